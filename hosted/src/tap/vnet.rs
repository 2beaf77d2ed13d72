//! The virtio-net header in front of each frame, and what it leaves to the other side: checksums and segmentation.
//!
//! Virtual I/O Device 1.3, section 5.1.6. Linux gives the legacy form: 10 bytes, fields in the machine's byte order.

use core::num::NonZeroU16;
use smoltcp::phy::Medium;
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpAddress, IpProtocol, IpVersion, Ipv4Packet, Ipv6Packet, TcpPacket,
};

/// Bytes in front of each frame.
pub(super) const HEADER_LEN: usize = 10;

const ETHERNET_HEADER_LEN: usize = 14;

/// The transport checksum holds the pseudo-header sum only; the other side finishes it, or trusts the host.
const NEEDS_CSUM: u8 = 1;
/// The other side, or its hardware, has verified the checksum.
const DATA_VALID: u8 = 2;

const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;

/// Where TCP has its checksum.
const TCP_CHECKSUM: usize = 16;

/// `struct virtio_net_hdr`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) flags: u8,
    pub(super) gso_type: u8,
    /// Bytes of all headers, which each segment gets a copy of.
    pub(super) hdr_len: u16,
    /// Payload bytes of each segment.
    pub(super) gso_size: u16,
    /// Where the checksummed bytes start in the frame.
    pub(super) csum_start: u16,
    /// Where the checksum stands, from there.
    pub(super) csum_offset: u16,
}

impl Header {
    pub(super) fn parse(bytes: &[u8; HEADER_LEN]) -> Self {
        let [flags, gso_type, a, b, c, d, e, f, g, h] = *bytes;
        Self {
            flags,
            gso_type,
            hdr_len: u16::from_ne_bytes([a, b]),
            gso_size: u16::from_ne_bytes([c, d]),
            csum_start: u16::from_ne_bytes([e, f]),
            csum_offset: u16::from_ne_bytes([g, h]),
        }
    }

    /// Whether the kernel is to cut the frame, or has not cut it.
    pub(super) fn is_segmented(self) -> bool {
        self.gso_type != 0
    }

    pub(super) fn emit(self) -> [u8; HEADER_LEN] {
        let [a, b] = self.hdr_len.to_ne_bytes();
        let [c, d] = self.gso_size.to_ne_bytes();
        let [e, f] = self.csum_start.to_ne_bytes();
        let [g, h] = self.csum_offset.to_ne_bytes();
        [self.flags, self.gso_type, a, b, c, d, e, f, g, h]
    }
}

/// The TCP segment in a frame.
struct Segment {
    /// Of the TCP header, from the start of the frame.
    start: usize,
    /// Header and payload, without what Ethernet pads.
    len: usize,
    src: IpAddress,
    dst: IpAddress,
}

impl Segment {
    /// Finds it where smoltcp would: behind IPv4 with any options, or IPv6 with at most a hop-by-hop header.
    fn find(frame: &[u8], medium: Medium) -> Option<Self> {
        let (below, version) = match medium {
            Medium::Ethernet => match EthernetFrame::new_checked(frame).ok()?.ethertype() {
                EthernetProtocol::Ipv4 => (ETHERNET_HEADER_LEN, IpVersion::Ipv4),
                EthernetProtocol::Ipv6 => (ETHERNET_HEADER_LEN, IpVersion::Ipv6),
                EthernetProtocol::Arp | EthernetProtocol::Unknown(_) => return None,
            },
            // An empty slice makes it panic.
            Medium::Ip if frame.is_empty() => return None,
            Medium::Ip => (0, IpVersion::of_packet(frame).ok()?),
        };
        let bytes = frame.get(below..)?;
        match version {
            IpVersion::Ipv4 => Self::in_ipv4(bytes, below),
            IpVersion::Ipv6 => Self::in_ipv6(bytes, below),
        }
    }

    fn in_ipv4(bytes: &[u8], below: usize) -> Option<Self> {
        let packet = Ipv4Packet::new_checked(bytes).ok()?;
        let whole = !packet.more_frags() && packet.frag_offset() == 0;
        (packet.next_header() == IpProtocol::Tcp && whole).then(|| {
            let header_len = usize::from(packet.header_len());
            Self {
                start: below + header_len,
                len: usize::from(packet.total_len()).saturating_sub(header_len),
                src: packet.src_addr().into(),
                dst: packet.dst_addr().into(),
            }
        })
    }

    fn in_ipv6(bytes: &[u8], below: usize) -> Option<Self> {
        let packet = Ipv6Packet::new_checked(bytes).ok()?;
        let (next, extension_len) = match (packet.next_header(), packet.payload()) {
            // RFC 8200, section 4.3: the length counts units of 8 bytes after the first.
            (IpProtocol::HopByHop, [next, units, ..]) => {
                (IpProtocol::from(*next), 8 + 8 * usize::from(*units))
            }
            (next, _) => (next, 0),
        };
        (next == IpProtocol::Tcp).then(|| Self {
            start: below + packet.header_len() + extension_len,
            len: usize::from(packet.payload_len()).saturating_sub(extension_len),
            src: packet.src_addr().into(),
            dst: packet.dst_addr().into(),
        })
    }

    /// The sum over the pseudo header (RFC 9293, section 3.1; RFC 8200, section 8.1), not complemented.
    fn pseudo_header_sum(&self) -> u16 {
        let address = |address: IpAddress| match address {
            IpAddress::Ipv4(address) => sum(&address.octets()),
            IpAddress::Ipv6(address) => sum(&address.octets()),
        };
        // A segment is at most 65,535 bytes long.
        let len = u32::try_from(self.len).unwrap_or(0);
        fold(address(self.src) + address(self.dst) + u32::from(u8::from(IpProtocol::Tcp)) + len)
    }

    /// Whether its checksum is right.
    fn verify(&self, frame: &[u8]) -> bool {
        frame
            .get(self.start..self.start + self.len)
            .and_then(|bytes| TcpPacket::new_checked(bytes).ok())
            .is_some_and(|packet| packet.verify_checksum(&self.src, &self.dst))
    }
}

/// The ones' complement sum of at most 128 KiB, not folded.
fn sum(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map_or(0, |&byte| u32::from(byte) << 8);
    words.iter().fold(last, |sum, &word| sum + u32::from(u16::from_be_bytes(word)))
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

/// Prepares a frame to leave: the header for it, and in its TCP checksum field what the kernel wants there.
///
/// A payload that is longer than `segment_size`, or than a frame of `mtu` bytes can hold, is to be cut by the kernel. Frames without
/// TCP leave as they are: smoltcp has finished them.
pub(super) fn offload(
    frame: &mut [u8],
    medium: Medium,
    mtu: usize,
    segment_size: Option<NonZeroU16>,
) -> Header {
    let Some(segment) = Segment::find(frame, medium) else { return Header::default() };
    let start = segment.start;
    let Some(mut packet) = frame.get_mut(start..).and_then(|bytes| TcpPacket::new_checked(bytes).ok()) else {
        return Header::default();
    };
    packet.set_checksum(segment.pseudo_header_sum());
    let header_len = usize::from(packet.header_len());
    let syn = packet.syn();

    let headers_len = start + header_len;
    let room = mtu.saturating_sub(headers_len).max(1);
    let size = segment_size.map_or(room, |size| room.min(size.get().into()));
    if syn && let Some(options) = frame.get_mut(start + 20..headers_len) {
        // RFC 9293, section 3.7.1: the MSS is for headers without options.
        clamp_mss(options, room.saturating_add(header_len - 20) as u16);
    }
    let checksum_only = Header {
        flags: NEEDS_CSUM,
        csum_start: start as u16,
        csum_offset: TCP_CHECKSUM as u16,
        ..Header::default()
    };
    if segment.len.saturating_sub(header_len) <= size {
        return checksum_only;
    }
    Header {
        gso_type: match segment.src {
            IpAddress::Ipv4(_) => GSO_TCPV4,
            IpAddress::Ipv6(_) => GSO_TCPV6,
        },
        hdr_len: headers_len as u16,
        gso_size: size as u16,
        ..checksum_only
    }
}

/// Lowers the maximum segment size among TCP options.
fn clamp_mss(mut options: &mut [u8], mss: u16) {
    loop {
        options = match options {
            // RFC 9293, section 3.2: kind 2, four bytes long.
            [2, 4, value @ ..] => {
                if let Some(value) = value.first_chunk_mut() {
                    *value = mss.min(u16::from_be_bytes(*value)).to_be_bytes();
                }
                return;
            }
            [] | [0, ..] => return,
            [1, rest @ ..] => rest,
            [_, len, ..] => {
                let len = usize::from(*len).max(2);
                match options.get_mut(len..) {
                    Some(rest) => rest,
                    None => return,
                }
            }
            [_] => return,
        }
    }
}

/// Prepares a frame that came for a stack that verifies no TCP checksum: `false` if it must be dropped.
///
/// What this host sent to itself never left memory and is taken as it is; what came from elsewhere is verified here.
pub(super) fn accept(frame: &mut [u8], medium: Medium, header: Header) -> bool {
    if header.flags & NEEDS_CSUM != 0 {
        if usize::from(header.csum_offset) != TCP_CHECKSUM {
            finish_checksum(frame, header);
        }
        return true;
    }
    header.flags & DATA_VALID != 0 || Segment::find(frame, medium).is_none_or(|segment| segment.verify(frame))
}

/// Does what the sender left open, for a protocol whose checksum smoltcp verifies (UDP).
fn finish_checksum(frame: &mut [u8], header: Header) {
    let start = usize::from(header.csum_start);
    let Some(bytes) = frame.get_mut(start..) else { return };
    let value = match !fold(sum(bytes)) {
        // In UDP zero means "no checksum" (RFC 768).
        0 => 0xffff,
        value => value,
    };
    let offset = usize::from(header.csum_offset);
    if let Some(field) = bytes.get_mut(offset..offset + 2) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
