//! Segments that smoltcp is shown instead of those that came.

use super::frame::Segment;
use ::smoltcp::phy::ChecksumCapabilities;
use ::smoltcp::wire::{HardwareAddress, Ipv4Packet, TcpPacket};
#[cfg(feature = "ipv6")]
use ::smoltcp::wire::{IpProtocol, Ipv6Packet};

/// An Ethernet header, an IPv6 header, and a TCP header with one option of 4 octets.
const ROOM: usize = 14 + 40 + 24;

/// What a crafted segment says.
pub(super) struct Says {
    pub(super) flags: u8,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) mss: Option<u16>,
}

/// A segment with the addresses, ports and window of `frame`, without payload; its headers and their length in octets.
pub(super) fn craft(
    frame: &[u8],
    link: usize,
    segment: &Segment,
    says: &Says,
) -> Option<([u8; ROOM], usize)> {
    let mut bytes = [0; ROOM];
    let ipv4 = segment.flow.remote.ip().is_ipv4();
    let ip = if ipv4 { 20 } else { 40 };
    let tcp = if says.mss.is_some() { 24 } else { 20 };
    let headers = frame.get(..link + ip)?;
    bytes.get_mut(..link + ip)?.copy_from_slice(headers);
    let length = link + ip + tcp;
    let window = frame.get(segment.offset + 14..segment.offset + 16)?;

    let head = bytes.get_mut(link + ip..length)?;
    head.get_mut(0..2)?.copy_from_slice(&segment.flow.remote_port.to_be_bytes());
    head.get_mut(2..4)?.copy_from_slice(&segment.flow.local_port.to_be_bytes());
    head.get_mut(4..8)?.copy_from_slice(&says.seq.to_be_bytes());
    head.get_mut(8..12)?.copy_from_slice(&says.ack.to_be_bytes());
    head.get_mut(12..14)?.copy_from_slice(&[(tcp as u8 / 4) << 4, says.flags]);
    head.get_mut(14..16)?.copy_from_slice(window);
    if let Some(mss) = says.mss {
        let [high, low] = mss.to_be_bytes();
        head.get_mut(20..24)?.copy_from_slice(&[2, 4, high, low]);
    }
    let (from, to) = (super::address(segment.flow.remote.ip())?, super::address(segment.flow.local.ip())?);
    TcpPacket::new_unchecked(head).fill_checksum(&from, &to);
    finish_ip(bytes.get_mut(link..length)?, ipv4);
    Some((bytes, length))
}

/// Why smoltcp would not take a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    Malformed,
    WrongChecksum,
    /// Its hardware address is another host's.
    ForAnother,
}

/// Whether smoltcp would take the frame: it is addressed to this interface, and its checksums are right.
///
/// To be asked before a segment is crafted from it: the crafted one is always right.
pub(super) fn verify(
    frame: &[u8],
    link: usize,
    segment: &Segment,
    own: HardwareAddress,
    checksum: &ChecksumCapabilities,
) -> Result<(), Flaw> {
    #[allow(irrefutable_let_patterns, reason = "smoltcp has more media only if a feature says so")]
    if let HardwareAddress::Ethernet(own) = own
        && frame.get(..6) != Some(own.as_bytes())
    {
        return Err(Flaw::ForAnother);
    }
    let ip = frame.get(link..).unwrap_or(&[]);
    if segment.flow.remote.ip().is_ipv4() && checksum.ipv4.rx() {
        let packet = Ipv4Packet::new_checked(ip).map_err(|_| Flaw::Malformed)?;
        if !packet.verify_checksum() {
            return Err(Flaw::WrongChecksum);
        }
    }
    let addresses = super::address(segment.flow.remote.ip()).zip(super::address(segment.flow.local.ip()));
    let tcp = frame.get(segment.offset..segment.end_of_packet).map(TcpPacket::new_checked);
    match (addresses, tcp) {
        (Some((from, to)), Some(Ok(packet))) if checksum.tcp.rx() && !packet.verify_checksum(&from, &to) => {
            Err(Flaw::WrongChecksum)
        }
        (Some(_), Some(Ok(_))) => Ok(()),
        _ => Err(Flaw::Malformed),
    }
}

fn finish_ip(packet: &mut [u8], ipv4: bool) {
    let length = packet.len() as u16;
    if ipv4 {
        let mut packet = Ipv4Packet::new_unchecked(packet);
        packet.set_header_len(20);
        packet.set_total_len(length);
        packet.fill_checksum();
    } else {
        #[cfg(feature = "ipv6")]
        {
            let mut packet = Ipv6Packet::new_unchecked(packet);
            packet.set_next_header(IpProtocol::Tcp);
            packet.set_payload_len(length - 40);
        }
    }
}
