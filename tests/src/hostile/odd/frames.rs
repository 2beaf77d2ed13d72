//! Frames that no stack would send.

use super::super::rig::Peer;
use super::super::{PEER_V6, SERVER_V6, Segment};
use crate::IpVersion;
use core::net::{IpAddr, SocketAddr};
use smoltcp::wire::{Ipv4Packet, TcpPacket};

const ETHERNET: usize = 14;
const IPV6: usize = 40;

pub(super) fn syn(peer: &Peer) -> Segment<'static> {
    Segment::syn(peer.address, 5000)
}

pub(super) fn syn_from(ip: impl Into<IpAddr>) -> Vec<u8> {
    Segment::syn(SocketAddr::new(ip.into(), 2000), 5000).frame()
}

/// As `alter` leaves the IP packet; the IP checksum, where there is one, is right again.
pub(super) fn altered(segment: Segment<'_>, alter: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut frame = segment.frame();
    alter(&mut frame[ETHERNET..]);
    if segment.from.is_ipv4() {
        Ipv4Packet::new_unchecked(&mut frame[ETHERNET..]).fill_checksum();
    }
    frame
}

/// With another TCP header; its checksum is right again.
pub(super) fn reheaded(segment: Segment<'_>, alter: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut frame = segment.frame();
    let tcp = &mut frame[tcp_at(&segment)..];
    alter(tcp);
    TcpPacket::new_unchecked(tcp).fill_checksum(&segment.from.ip().into(), &segment.to.ip().into());
    frame
}

/// With a wrong TCP checksum.
pub(super) fn miscounted(segment: Segment<'_>) -> Vec<u8> {
    let mut frame = segment.frame();
    frame[tcp_at(&segment) + 16] ^= 1;
    frame
}

fn tcp_at(segment: &Segment<'_>) -> usize {
    ETHERNET + IpVersion::of(segment.from.ip()).header()
}

/// With an extension header of this type between IPv6 and TCP (RFC 8200, section 4): `rest` is what follows its next-header field.
pub(super) fn extended(segment: Segment<'_>, kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut frame = segment.frame();
    let next = core::mem::replace(&mut frame[ETHERNET + 6], kind);
    let header = core::iter::once(next).chain(rest.iter().copied());
    frame.splice(ETHERNET + IPV6..ETHERNET + IPV6, header);
    lengthened(frame, 1 + rest.len() as i16)
}

/// With a payload length that is longer by so many octets, or shorter.
pub(super) fn lengthened(mut frame: Vec<u8>, by: i16) -> Vec<u8> {
    let field = &mut frame[ETHERNET + 4..ETHERNET + 6];
    let length = u16::from_be_bytes([field[0], field[1]]).wrapping_add_signed(by);
    field.copy_from_slice(&length.to_be_bytes());
    frame
}

/// The multicast frame and address that would reach every node on the link (RFC 2464, section 7).
pub(super) fn to_all_nodes() -> Vec<u8> {
    let to = SocketAddr::new("ff02::1".parse().expect("an address"), 7);
    let mut frame = Segment { to, ..Segment::syn(SocketAddr::from((PEER_V6, 2000)), 5000) }.frame();
    frame[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 1]);
    frame
}

/// That group as the IP destination, in a frame to the server alone.
pub(super) fn to_all_nodes_in_person() -> Vec<u8> {
    let mut frame = to_all_nodes();
    frame[..6].copy_from_slice(super::super::SERVER_MAC.as_bytes());
    frame
}

/// The server's own address.
pub(super) fn from_itself() -> Vec<u8> {
    syn_from(SERVER_V6)
}
