//! Oddities of IPv4, and of IPv6.

use super::super::{SERVER, Segment, flag};
use super::Case;
use super::Reply::{Problem, ProblemIfClosed, Silence, SynAck};
use super::frames::{
    altered, extended, from_itself, lengthened, syn, syn_from, to_all_nodes, to_all_nodes_in_person,
};
use core::net::Ipv6Addr;
use flag::RST;

/// To anyone, in IPv4.
pub(super) const IPV4: &[Case] = &[
    ("SYN from broadcast", |_| syn_from([255; 4]), Silence),
    ("SYN from the network's broadcast", |_| syn_from([10, 0, 0, 255]), Silence),
    ("SYN from multicast", |_| syn_from([224, 0, 0, 1]), Silence),
    ("SYN from nowhere", |_| syn_from([0; 4]), Silence),
    ("SYN from the server itself", |_| syn_from(SERVER), Silence),
    ("SYN in a first fragment", |p| altered(syn(p), |ip| ip[6] |= 0x20), Silence),
    ("SYN in a later fragment", |p| altered(syn(p), |ip| ip[7] = 1), Silence),
    (
        "SYN with a wrong IP checksum",
        |p| syn(p).frame().iter().enumerate().map(|(at, octet)| octet ^ u8::from(at == 24)).collect(),
        Silence,
    ),
    ("SYN in a packet longer than its frame", |p| altered(syn(p), |ip| ip[3] += 1), Silence),
    ("SYN of IP version 5", |p| altered(syn(p), |ip| ip[0] = 0x55), Silence),
];

/// In a connection over IPv4.
pub(super) const IPV4_CONNECTED: &[Case] =
    &[("a fragment", |p| altered(p.segment(b"evil"), |ip| ip[6] |= 0x20), Silence)];

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

/// PadN of 6 octets: what is left of an options header of 8 (RFC 8200, section 4.2).
const PADDING: &[u8] = &[0, 1, 4, 0, 0, 0, 0];
/// An option that nobody knows, and that is to be skipped (the two highest bits, section 4.2).
const SKIPPED: &[u8] = &[0, 0x1e, 4, 0, 0, 0, 0];
/// The same, for which the packet is to be discarded.
const DISCARDING: &[u8] = &[0, 0x5e, 4, 0, 0, 0, 0];
/// The same, with a message to the sender.
const COMPLAINING: &[u8] = &[0, 0x9e, 4, 0, 0, 0, 0];
/// Its length is that of all that follows, and more.
const ENDLESS: &[u8] = &[255, 1, 4, 0, 0, 0, 0];
/// The length of its only option ends beyond the header.
const OVERFULL: &[u8] = &[0, 1, 40, 0, 0, 0, 0];

/// To anyone, in IPv6. smoltcp reads hop-by-hop options; of other extension headers it says that it knows them not (RFC 4443,
/// section 3.4), which is all that a host may do which has no use for them.
pub(super) const IPV6: &[Case] = &[
    ("SYN from multicast", |_| syn_from([0xff02, 0, 0, 0, 0, 0, 0, 1]), Silence),
    ("SYN from nowhere", |_| syn_from(Ipv6Addr::UNSPECIFIED), Silence),
    ("SYN from the server itself", |_| from_itself(), Silence),
    ("SYN to all nodes", |_| to_all_nodes(), Silence),
    ("SYN to all nodes in a frame to this one", |_| to_all_nodes_in_person(), Silence),
    ("SYN behind hop-by-hop options", |p| extended(syn(p), HOP_BY_HOP, PADDING), SynAck),
    ("SYN behind an option to skip", |p| extended(syn(p), HOP_BY_HOP, SKIPPED), SynAck),
    ("SYN behind an option that discards it", |p| extended(syn(p), HOP_BY_HOP, DISCARDING), Silence),
    ("RST behind the same", |p| extended(Segment { flags: RST, ..syn(p) }, HOP_BY_HOP, DISCARDING), Silence),
    ("SYN behind an option to complain of", |p| extended(syn(p), HOP_BY_HOP, COMPLAINING), ProblemIfClosed),
    ("SYN in endless options", |p| extended(syn(p), HOP_BY_HOP, ENDLESS), Silence),
    ("SYN behind an option beyond its header", |p| extended(syn(p), HOP_BY_HOP, OVERFULL), Silence),
    ("SYN behind options twice", |p| twice_extended(syn(p)), Problem),
    ("SYN behind destination options", |p| extended(syn(p), DESTINATION, PADDING), Problem),
    ("SYN behind a routing header", |p| extended(syn(p), ROUTING, &[0; 7]), Problem),
    ("SYN in a first fragment", |p| extended(syn(p), FRAGMENT, &[0, 0, 1, 0, 0, 0, 7]), Problem),
    ("SYN in a later fragment", |p| extended(syn(p), FRAGMENT, &[0, 0, 8, 0, 0, 0, 7]), Problem),
    ("SYN in an atomic fragment", |p| extended(syn(p), FRAGMENT, &[0, 0, 0, 0, 0, 0, 7]), Problem),
    ("SYN in a packet longer than its frame", |p| lengthened(syn(p).frame(), 1), Silence),
    ("SYN in a packet too short for its header", |p| lengthened(syn(p).frame(), -8), Silence),
    ("SYN in a packet of no length", |p| lengthened(syn(p).frame(), -24), Silence),
    ("SYN of IP version 5", |p| altered(syn(p), |ip| ip[0] = 0x50), Silence),
    ("SYN of IP version 4", |p| altered(syn(p), |ip| ip[0] = 0x45), Silence),
];

/// In a connection over IPv6.
pub(super) const IPV6_CONNECTED: &[Case] = &[
    ("a fragment", |p| extended(p.segment(b"evil"), FRAGMENT, &[0, 0, 1, 0, 0, 0, 7]), Problem),
    (
        "data behind an option that discards it",
        |p| extended(p.segment(b"evil"), HOP_BY_HOP, DISCARDING),
        Silence,
    ),
    (
        "RST behind the same",
        |p| extended(Segment { flags: RST, ..p.segment(b"") }, HOP_BY_HOP, DISCARDING),
        Silence,
    ),
    ("data in a packet longer than its frame", |p| lengthened(p.segment(b"evil").frame(), 1), Silence),
    ("data in a packet too short for its header", |p| lengthened(p.segment(b"evil").frame(), -8), Silence),
];

fn twice_extended(segment: Segment<'_>) -> Vec<u8> {
    let once = extended(segment, HOP_BY_HOP, PADDING);
    let mut frame = once.clone();
    // The second header is one more hop-by-hop header, which is allowed directly behind IPv6 only.
    frame.splice(54..54, [HOP_BY_HOP].into_iter().chain(PADDING.iter().copied()));
    lengthened(frame, 8)
}
