//! Oddities of TCP, which are the same over IPv4 and IPv6.

use super::super::rig::Peer;
use super::super::{Segment, flag};
use super::Case;
use super::Reply::{Ack, Ignored, Reset, Silence, SynAck};
use super::frames::{miscounted, reheaded, syn};
use core::net::SocketAddr;
use flag::{ACK, FIN, PSH, RST, SYN, URG};

/// Sections 3.10.7.1 and 3.10.7.2: no connection, with and without a listener.
pub(super) const STRANGERS: &[Case] = &[
    ("SYN", |p| syn(p).frame(), SynAck),
    ("SYN with data", |p| Segment { payload: b"early", ..syn(p) }.frame(), SynAck),
    ("SYN with URG and PSH", |p| Segment { flags: SYN | URG | PSH, urgent: 9, ..syn(p) }.frame(), SynAck),
    // RFC 1122, section 3.2.1.7, and RFC 8200, section 3: a host does not drop what has arrived for its hop limit.
    ("SYN, hop limit 0", |p| Segment { hop_limit: 0, ..syn(p) }.frame(), SynAck),
    ("SYN, hop limit 1", |p| Segment { hop_limit: 1, ..syn(p) }.frame(), SynAck),
    ("SYN, window 0", |p| Segment { window: 0, ..syn(p) }.frame(), SynAck),
    ("SYN, unknown option", |p| Segment { options: &[77, 4, 1, 2], ..syn(p) }.frame(), SynAck),
    ("SYN, MSS 0", |p| Segment { options: &[2, 4, 0, 0], ..syn(p) }.frame(), SynAck),
    ("SYN, MSS 1", |p| Segment { options: &[2, 4, 0, 1], ..syn(p) }.frame(), SynAck),
    ("SYN+FIN", |p| Segment { flags: SYN | FIN, ..syn(p) }.frame(), Silence),
    ("SYN+RST", |p| Segment { flags: SYN | RST, ..syn(p) }.frame(), Silence),
    ("URG and PSH alone", |p| Segment { flags: URG | PSH, ..syn(p) }.frame(), Ignored),
    ("no flags at all", |p| Segment { flags: 0, ..syn(p) }.frame(), Ignored),
    ("every flag", |p| Segment { flags: 0xff, ..syn(p) }.frame(), Silence),
    ("RST", |p| Segment { flags: RST, ..syn(p) }.frame(), Silence),
    ("RST+ACK", |p| Segment { flags: RST | ACK, ..syn(p) }.frame(), Silence),
    ("ACK", |p| Segment { flags: ACK, ack: 77, ..syn(p) }.frame(), Reset(RST, 77, 0)),
    ("SYN+ACK", |p| Segment { flags: SYN | ACK, ack: 77, ..syn(p) }.frame(), Reset(RST, 77, 0)),
    ("FIN+ACK", |p| Segment { flags: FIN | ACK, ack: 77, ..syn(p) }.frame(), Reset(RST, 77, 0)),
    (
        "data with ACK",
        |p| Segment { flags: ACK, ack: 77, payload: b"x", ..syn(p) }.frame(),
        Reset(RST, 77, 0),
    ),
    ("SYN, option of length 0", |p| Segment { options: &[2, 0, 0, 0], ..syn(p) }.frame(), Silence),
    ("SYN, option beyond the header", |p| Segment { options: &[2, 40, 5, 180], ..syn(p) }.frame(), Silence),
    ("SYN, MSS of a wrong length", |p| Segment { options: &[2, 3, 5, 0], ..syn(p) }.frame(), Silence),
    ("SYN, data offset below 5", |p| reheaded(syn(p), |tcp| tcp[12] = 0x40), Silence),
    ("SYN, data offset beyond the segment", |p| reheaded(syn(p), |tcp| tcp[12] = 0xf0), Silence),
    ("SYN from port 0", |p| Segment::syn(SocketAddr::new(p.address.ip(), 0), 5000).frame(), Silence),
    ("SYN with a wrong TCP checksum", |p| miscounted(syn(p)), Silence),
    ("SYN to everyone on the link", to_everyone, Silence),
    ("SYN cut short", |p| syn(p).frame().split_last_chunk::<8>().expect("more").0.into(), Silence),
];

fn to_everyone(peer: &Peer) -> Vec<u8> {
    let mut frame = syn(peer).frame();
    frame[..6].fill(0xff);
    frame
}

/// Section 3.10.7.4 and RFC 5961: in a connection.
pub(super) const CONNECTED: &[Case] = &[
    ("old data", |p| Segment { seq: p.seq.wrapping_sub(3), ..p.segment(b"old") }.frame(), Ack),
    (
        "data beyond the window",
        |p| Segment { seq: p.seq.wrapping_add(100_000), ..p.segment(b"far") }.frame(),
        Ack,
    ),
    (
        "an ACK of what was never sent",
        |p| Segment { ack: p.ack.wrapping_add(5000), ..p.segment(b"") }.frame(),
        Ack,
    ),
    (
        "data with such an ACK",
        |p| Segment { ack: p.ack.wrapping_add(5000), ..p.segment(b"evil") }.frame(),
        Ack,
    ),
    ("an old ACK", |p| Segment { ack: p.ack.wrapping_sub(1), ..p.segment(b"") }.frame(), Silence),
    ("data without ACK", |p| Segment { flags: PSH, ..p.segment(b"evil") }.frame(), Silence),
    ("SYN", |p| Segment { flags: SYN, ..p.segment(b"") }.frame(), Ack),
    ("SYN+ACK", |p| Segment { flags: SYN | ACK, ..p.segment(b"") }.frame(), Ack),
    ("SYN+FIN", |p| Segment { flags: SYN | FIN, ..p.segment(b"") }.frame(), Ack),
    (
        "RST in the window",
        |p| Segment { flags: RST, seq: p.seq.wrapping_add(1), ..p.segment(b"") }.frame(),
        Ack,
    ),
    (
        "RST beyond the window",
        |p| Segment { flags: RST, seq: p.seq.wrapping_add(100_000), ..p.segment(b"") }.frame(),
        Silence,
    ),
    (
        "SYN+RST in the window",
        |p| Segment { flags: SYN | RST, seq: p.seq.wrapping_add(1), ..p.segment(b"") }.frame(),
        Ack,
    ),
    ("a keep-alive", |p| Segment { seq: p.seq.wrapping_sub(1), ..p.segment(b"") }.frame(), Ack),
    (
        "FIN beyond the window",
        |p| Segment { flags: FIN | ACK, seq: p.seq.wrapping_add(100_000), ..p.segment(b"") }.frame(),
        Ack,
    ),
    ("a wrong TCP checksum", |p| miscounted(p.segment(b"evil")), Silence),
    ("RST with a wrong checksum", |p| miscounted(Segment { flags: RST, ..p.segment(b"") }), Silence),
    ("SYN with a wrong checksum", |p| miscounted(Segment { flags: SYN, ..p.segment(b"") }), Silence),
    ("FIN with a wrong checksum", |p| miscounted(Segment { flags: FIN | ACK, ..p.segment(b"") }), Silence),
    ("a malformed option", |p| Segment { options: &[8, 1, 0, 0], ..p.segment(b"evil") }.frame(), Silence),
];
