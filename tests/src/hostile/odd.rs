use super::rig::{Answer, Peer, Rig};
use super::{Figure, PEER, SERVER, Segment, flag};
use core::net::{Ipv4Addr, SocketAddrV4};
use flag::{ACK, FIN, PSH, RST, SYN, URG};
use smoltcp::wire::{Ipv4Packet, TcpPacket};
use socklet::server::ServerConfig;
use socklet::time::Duration;

/// What RFC 9293 asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reply {
    Silence,
    /// By a listener; a closed port resets it (smoltcp does so without the ACK that is due).
    Ignored,
    SynAck,
    /// With these flags, sequence and acknowledgement number.
    Reset(u8, u32, u32),
    /// Where the connection stands.
    Ack,
}
use Reply::{Ack, Ignored, Reset, Silence, SynAck};

/// A frame by itself, or one for a connection.
type Case = (&'static str, fn(&Peer) -> Vec<u8>, Reply);

/// As `alter` leaves the IP packet; the IP checksum is right again.
fn altered(segment: Segment<'_>, alter: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut frame = segment.frame();
    alter(&mut frame[14..]);
    Ipv4Packet::new_unchecked(&mut frame[14..]).fill_checksum();
    frame
}

/// With another TCP header; its checksum is right again.
fn reheaded(segment: Segment<'_>, alter: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut frame = segment.frame();
    alter(&mut frame[34..]);
    TcpPacket::new_unchecked(&mut frame[34..])
        .fill_checksum(&(*segment.from.ip()).into(), &(*segment.to.ip()).into());
    frame
}

fn syn(peer: &Peer) -> Segment<'static> {
    Segment::syn(peer.address, 5000)
}

fn syn_from(ip: [u8; 4]) -> Vec<u8> {
    Segment::syn(SocketAddrV4::new(Ipv4Addr::from(ip), 2000), 5000).frame()
}

/// Sections 3.10.7.1 and 3.10.7.2: no connection, with and without a listener.
const STRANGERS: &[Case] = &[
    ("SYN", |p| syn(p).frame(), SynAck),
    ("SYN with data", |p| Segment { payload: b"early", ..syn(p) }.frame(), SynAck),
    ("SYN with URG and PSH", |p| Segment { flags: SYN | URG | PSH, urgent: 9, ..syn(p) }.frame(), SynAck),
    // RFC 1122, section 3.2.1.7: a host does not drop what has arrived for its TTL.
    ("SYN, TTL 0", |p| Segment { hop_limit: 0, ..syn(p) }.frame(), SynAck),
    ("SYN, TTL 1", |p| Segment { hop_limit: 1, ..syn(p) }.frame(), SynAck),
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
    ("SYN from broadcast", |_| syn_from([255; 4]), Silence),
    ("SYN from the network's broadcast", |_| syn_from([10, 0, 0, 255]), Silence),
    ("SYN from multicast", |_| syn_from([224, 0, 0, 1]), Silence),
    ("SYN from nowhere", |_| syn_from([0; 4]), Silence),
    ("SYN from the server itself", |_| syn_from(SERVER.octets()), Silence),
    ("SYN from port 0", |_| Segment::syn(SocketAddrV4::new(PEER, 0), 5000).frame(), Silence),
    ("SYN to everyone on the link", to_everyone, Silence),
    ("SYN in a first fragment", |p| altered(syn(p), |ip| ip[6] |= 0x20), Silence),
    ("SYN in a later fragment", |p| altered(syn(p), |ip| ip[7] = 1), Silence),
    ("SYN with a wrong TCP checksum", |p| altered(syn(p), |ip| ip[36] ^= 1), Silence),
    (
        "SYN with a wrong IP checksum",
        |p| syn(p).frame().iter().enumerate().map(|(at, octet)| octet ^ u8::from(at == 24)).collect(),
        Silence,
    ),
    ("SYN in a packet longer than its frame", |p| altered(syn(p), |ip| ip[3] += 1), Silence),
    ("SYN cut short", |p| syn(p).frame()[..14 + 20 + 16].to_vec(), Silence),
    ("SYN of IP version 5", |p| altered(syn(p), |ip| ip[0] = 0x55), Silence),
];

fn to_everyone(peer: &Peer) -> Vec<u8> {
    let mut frame = syn(peer).frame();
    frame[..6].fill(0xff);
    frame
}

/// Section 3.10.7.4 and RFC 5961: in a connection.
const CONNECTED: &[Case] = &[
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
    ("a fragment", |p| altered(p.segment(b"evil"), |ip| ip[6] |= 0x20), Silence),
    ("a wrong TCP checksum", |p| altered(p.segment(b"evil"), |ip| ip[36] ^= 1), Silence),
    (
        "RST with a wrong checksum",
        |p| altered(Segment { flags: RST, ..p.segment(b"") }, |ip| ip[36] ^= 1),
        Silence,
    ),
    (
        "SYN with a wrong checksum",
        |p| altered(Segment { flags: SYN, ..p.segment(b"") }, |ip| ip[36] ^= 1),
        Silence,
    ),
    (
        "FIN with a wrong checksum",
        |p| altered(Segment { flags: FIN | ACK, ..p.segment(b"") }, |ip| ip[36] ^= 1),
        Silence,
    ),
    ("a malformed option", |p| Segment { options: &[8, 1, 0, 0], ..p.segment(b"evil") }.frame(), Silence),
];

/// Every odd segment, to a listener, to a closed port, and in a connection.
pub(super) fn replies() -> Vec<Figure> {
    for (name, frame, reply) in STRANGERS {
        to_a_listener(name, *frame, *reply);
        to_a_closed_port(name, *frame, *reply);
    }
    for (name, frame, reply) in CONNECTED {
        let mut rig = Rig::new(2, 2048, ServerConfig::default());
        let mut peer = rig.open(2000);
        peer.echo(&mut rig, b"before");
        rig.pass(Duration::from_secs(2));
        let answers = rig.arrives_as(&frame(&peer));
        let stands = |answer: &Answer| {
            (answer.flags, answer.seq, answer.ack, answer.payload.len()) == (ACK, peer.ack, peer.seq, 0)
        };
        match (reply, &answers[..]) {
            (Silence, []) => {}
            (Ack, [answer]) if stands(answer) => {}
            _ => panic!("{name} in a connection: {reply:?} is due, not {answers:?}"),
        }
        peer.echo(&mut rig, b"after");
        assert_eq!((rig.open_connections(), rig.free()), (1, 1), "{name} in a connection");
    }
    vec![Figure {
        scenario: "odd segments: flags, options, headers, sources, fragments, checksums",
        measured: format!(
            "{} to a listener and to a closed port, {} in a connection",
            STRANGERS.len(),
            CONNECTED.len()
        ),
        bound: "the reply of RFC 9293, no slot lost",
    }]
}

fn to_a_listener(name: &str, frame: fn(&Peer) -> Vec<u8>, reply: Reply) {
    let mut rig = Rig::new(2, 2048, ServerConfig::default());
    let peer = Peer { address: SocketAddrV4::new(PEER, 2000), seq: 5000, ack: 0 };
    let answers = rig.arrives_as(&frame(&peer));
    match (reply, &answers[..]) {
        (Silence | Ignored, []) => assert_eq!(rig.free(), 2, "{name} holds a slot"),
        (SynAck, [answer]) if (answer.flags, answer.ack) == (SYN | ACK, 5001) => assert_eq!(rig.free(), 1),
        (Reset(flags, seq, ack), [answer]) if (answer.flags, answer.seq, answer.ack) == (flags, seq, ack) => {
            assert_eq!(rig.free(), 2, "{name} holds a slot");
        }
        _ => panic!("{name} to a listener: {reply:?} is due, not {answers:?}"),
    }
    rig.pass(Duration::from_secs(60));
    assert_eq!((rig.open_connections(), rig.free()), (0, 2), "{name} to a listener");
    rig.open(3000).echo(&mut rig, b"after");
}

fn to_a_closed_port(name: &str, frame: fn(&Peer) -> Vec<u8>, reply: Reply) {
    let mut rig = Rig::new(2, 2048, ServerConfig::default());
    rig.service.server.drain(&mut rig.stack, rig.now, Duration::ZERO);
    let peer = Peer { address: SocketAddrV4::new(PEER, 2000), seq: 5000, ack: 0 };
    let answers = rig.arrives_as(&frame(&peer));
    match (reply, &answers[..]) {
        (Silence, []) => {}
        (Ignored, [answer]) if (answer.flags, answer.seq) == (RST, 0) => {}
        // Sequence number 0, and the acknowledgement of all that the SYN counts for.
        (SynAck, [answer]) => {
            let counted = answer.ack.wrapping_sub(5001);
            assert!(
                answer.flags == RST | ACK && answer.seq == 0 && matches!(counted, 0 | 5),
                "{name}: {answer:?}"
            );
        }
        (Reset(flags, seq, ack), [answer]) if (answer.flags, answer.seq, answer.ack) == (flags, seq, ack) => {
        }
        _ => panic!("{name} to a closed port: {reply:?} is due, not {answers:?}"),
    }
    assert_eq!(rig.free(), 2);
}

/// A stream in pieces of every size, out of order, overlapping, with URG, and with bytes after its FIN.
pub(super) fn disorder() -> Vec<Figure> {
    const BYTES: usize = 20_000;
    let mut rig = Rig::new(1, 4096, ServerConfig::default());
    let mut peer = rig.open(2000);
    let bytes: Vec<u8> = (0..BYTES).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 13) as u8).collect();
    let mut random = super::Random(3);
    let first = peer.seq;
    let (mut taken, mut echoed, mut pieces) = (0, Vec::new(), 0);
    while echoed.len() < BYTES {
        // Anywhere around what is next, often overlapping what was sent before.
        let at = (taken + random.below(3000) as usize).saturating_sub(1000).min(BYTES - 1);
        let at = if random.below(3) == 0 { taken.min(BYTES - 1) } else { at };
        let piece = &bytes[at..(at + 1 + random.below(1400) as usize).min(BYTES)];
        let urgent = random.below(2) as u8 * URG;
        let segment = peer.segment(piece);
        let segment =
            Segment { seq: first.wrapping_add(at as u32), flags: ACK | urgent, urgent: 3, ..segment };
        pieces += 1;
        for answer in rig.arrives(segment) {
            taken = answer.ack.wrapping_sub(first) as usize;
            if answer.seq == peer.ack {
                peer.ack = peer.ack.wrapping_add(answer.payload.len() as u32);
                echoed.extend(answer.payload);
            }
        }
        rig.now = rig.now + Duration::from_millis(20);
        assert!(pieces < 100_000, "stuck at {taken} taken, {} echoed", echoed.len());
    }
    assert_eq!(echoed, bytes);
    peer.seq = first.wrapping_add(BYTES as u32);
    let fin = Segment { flags: FIN | ACK, ..peer.segment(b"the end") };
    let beyond = Segment { seq: peer.seq.wrapping_add(8), ..peer.segment(b"and more") };
    rig.arrives(peer.segment(b""));
    let mut last = rig.arrives(fin);
    last.extend(rig.arrives(beyond));
    let said: Vec<u8> = last.iter().flat_map(|answer| answer.payload.clone()).collect();
    assert!(said.starts_with(b"the end") && !said.windows(4).any(|word| word == b"more"), "{said:?}");
    assert!(last.iter().all(|answer| answer.ack == peer.seq.wrapping_add(8)), "{last:?}");
    let ack = peer.ack.wrapping_add(8);
    rig.arrives(Segment { seq: peer.seq.wrapping_add(8), ack, ..peer.segment(b"") });
    assert_eq!((rig.open_connections(), rig.free()), (0, 1));
    vec![Figure {
        scenario: "20,000 octets in random pieces: out of order, overlapping, URG, data beyond FIN",
        measured: format!("every octet right, from {pieces} pieces; nothing after the FIN"),
        bound: "every octet, in order, once",
    }]
}
