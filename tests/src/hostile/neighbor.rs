//! Who has which hardware address: ARP, and neighbour discovery (RFC 4861).

use super::segment::{GATEWAY_MAC, SERVER_MAC};
use crate::IpVersion;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetFrame, EthernetProtocol, EthernetRepr, Icmpv6Packet,
    Icmpv6Repr, IpProtocol, Ipv6Packet, Ipv6Repr, NdiscNeighborFlags, NdiscRepr,
};

/// Tells the server: `ip` is at the gateway's hardware address.
pub fn neighbor(ip: impl Into<IpAddr>) -> Vec<u8> {
    let ip = ip.into();
    told(IpVersion::of(ip).server(), ip)
}

/// Tells the one with the address `who`, in a frame to the server. Both addresses are of one family.
pub(super) fn told(who: IpAddr, ip: IpAddr) -> Vec<u8> {
    match (who, ip) {
        (IpAddr::V4(who), IpAddr::V4(ip)) => arp_reply(who, ip),
        (IpAddr::V6(who), IpAddr::V6(ip)) => advertisement(who, ip),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => panic!("{who} cannot reach {ip}"),
    }
}

/// The address that a frame asks for.
pub(super) fn asked_for(frame: &[u8]) -> Option<IpAddr> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    match ethernet.ethertype() {
        EthernetProtocol::Arp => match ArpRepr::parse(&ArpPacket::new_checked(ethernet.payload()).ok()?) {
            Ok(ArpRepr::EthernetIpv4 { target_protocol_addr, .. }) => Some(target_protocol_addr.into()),
            Ok(_) | Err(_) => None,
        },
        EthernetProtocol::Ipv6 => solicited(&Ipv6Packet::new_checked(ethernet.payload()).ok()?),
        _ => None,
    }
}

fn solicited(ip: &Ipv6Packet<&[u8]>) -> Option<IpAddr> {
    // A look at the header before the checksum is computed: this is asked of every frame.
    if ip.next_header() != IpProtocol::Icmpv6 {
        return None;
    }
    let packet = Icmpv6Packet::new_checked(ip.payload()).ok()?;
    let caps = ChecksumCapabilities::default();
    match Icmpv6Repr::parse(&ip.src_addr(), &ip.dst_addr(), &packet, &caps).ok()? {
        Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit { target_addr, .. }) => Some(target_addr.into()),
        _ => None,
    }
}

fn arp_reply(who: Ipv4Addr, ip: Ipv4Addr) -> Vec<u8> {
    let arp = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: GATEWAY_MAC,
        source_protocol_addr: ip,
        target_hardware_addr: SERVER_MAC,
        target_protocol_addr: who,
    };
    let mut frame = to_server(EthernetProtocol::Arp, arp.buffer_len());
    arp.emit(&mut ArpPacket::new_unchecked(&mut frame[14..]));
    frame
}

fn advertisement(who: Ipv6Addr, ip: Ipv6Addr) -> Vec<u8> {
    let says = Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
        flags: NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE,
        target_addr: ip,
        lladdr: Some(GATEWAY_MAC.into()),
    });
    let header = Ipv6Repr {
        src_addr: ip,
        dst_addr: who,
        next_header: IpProtocol::Icmpv6,
        payload_len: says.buffer_len(),
        // Nobody beyond a router can have sent it (RFC 4861, section 7.1.2).
        hop_limit: 255,
    };
    let mut frame = to_server(EthernetProtocol::Ipv6, header.buffer_len() + says.buffer_len());
    let mut packet = Ipv6Packet::new_unchecked(&mut frame[14..]);
    header.emit(&mut packet);
    let mut payload = Icmpv6Packet::new_unchecked(packet.payload_mut());
    says.emit(&ip, &who, &mut payload, &ChecksumCapabilities::default());
    frame
}

fn to_server(ethertype: EthernetProtocol, len: usize) -> Vec<u8> {
    let mut frame = vec![0; 14 + len];
    EthernetRepr { src_addr: GATEWAY_MAC, dst_addr: SERVER_MAC, ethertype }
        .emit(&mut EthernetFrame::new_unchecked(&mut frame[..]));
    frame
}
