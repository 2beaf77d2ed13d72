//! Segments that no well-behaved stack sends, and what RFC 9293 wants to be answered.

mod frames;
mod packets;
mod segments;

use super::rig::{Answer, Peer, Rig};
use super::{Figure, flag};
use crate::IpVersion;
use Reply::{Ack, Ignored, Problem, ProblemIfClosed, Reset, Silence, SynAck};
use flag::{ACK, RST, SYN};
use packets::{IPV4, IPV4_CONNECTED, IPV6, IPV6_CONNECTED};
use segments::{CONNECTED, STRANGERS};
use socklet::server::ServerConfig;
use socklet::time::Duration;

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reply {
    /// Nothing: no segment, no message.
    Silence,
    /// An ICMP error, and no segment.
    Problem,
    /// The same of a closed port; a listener is silent (what a SYN that opens nothing would be told has no way out of the backend).
    ProblemIfClosed,
    /// By a listener; a closed port resets it (smoltcp does so without the ACK that is due).
    Ignored,
    SynAck,
    /// With these flags, sequence and acknowledgement number.
    Reset(u8, u32, u32),
    /// Where the connection stands.
    Ack,
}

/// A frame by itself, or one for a connection.
type Case = (&'static str, fn(&Peer) -> Vec<u8>, Reply);

/// Over IPv4.
pub(super) fn replies() -> Vec<Figure> {
    vec![replies_over(
        IpVersion::V4,
        [IPV4, IPV4_CONNECTED],
        "odd segments: flags, options, headers, sources, fragments, checksums",
    )]
}

/// Over IPv6.
pub(super) fn replies_v6() -> Vec<Figure> {
    vec![replies_over(
        IpVersion::V6,
        [IPV6, IPV6_CONNECTED],
        "the same over IPv6: extension headers and payload lengths too",
    )]
}

/// Every odd segment, to a listener, to a closed port, and in a connection.
fn replies_over(version: IpVersion, more: [&'static [Case]; 2], scenario: &'static str) -> Figure {
    let (strangers, connected) = ([STRANGERS, more[0]].concat(), [CONNECTED, more[1]].concat());
    for case in &strangers {
        to_a_listener(version, case);
        to_a_closed_port(version, case);
    }
    for case in &connected {
        in_a_connection(version, case);
    }
    Figure {
        scenario,
        measured: format!(
            "{} to a listener and to a closed port, {} in a connection",
            strangers.len(),
            connected.len()
        ),
        bound: "the reply of RFC 9293, no slot lost",
    }
}

fn rig(version: IpVersion) -> Rig {
    Rig::over(version, 2, 2048, ServerConfig::default())
}

/// What the frame is answered with; there is an ICMP error if one is due, and no other.
#[track_caller]
fn answers(rig: &mut Rig, name: &str, frame: &[u8], problem: bool) -> Vec<Answer> {
    let before = rig.errors;
    let answers = rig.arrives_as(frame);
    assert_eq!(rig.errors - before, u64::from(problem), "ICMP errors about {name}");
    answers
}

fn in_a_connection(version: IpVersion, (name, frame, reply): &Case) {
    let mut rig = rig(version);
    let mut peer = rig.open(2000);
    peer.echo(&mut rig, b"before");
    rig.pass(Duration::from_secs(2));
    let answers = answers(&mut rig, name, &frame(&peer), *reply == Problem);
    let stands = |answer: &Answer| {
        (answer.flags, answer.seq, answer.ack, answer.payload.len()) == (ACK, peer.ack, peer.seq, 0)
    };
    match (reply, &answers[..]) {
        (Silence | Problem, []) => {}
        (Ack, [answer]) if stands(answer) => {}
        _ => panic!("{name} in a connection: {reply:?} is due, not {answers:?}"),
    }
    peer.echo(&mut rig, b"after");
    assert_eq!((rig.open_connections(), rig.free()), (1, 1), "{name} in a connection");
}

fn to_a_listener(version: IpVersion, (name, frame, reply): &Case) {
    let mut rig = rig(version);
    let peer = Peer { address: rig.peer(2000), seq: 5000, ack: 0 };
    let answers = answers(&mut rig, name, &frame(&peer), *reply == Problem);
    match (*reply, &answers[..]) {
        (Silence | Problem | ProblemIfClosed | Ignored, []) => {
            assert_eq!(rig.free(), 2, "{name} holds a slot");
        }
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

fn to_a_closed_port(version: IpVersion, (name, frame, reply): &Case) {
    let mut rig = rig(version);
    rig.service.server.drain(&mut rig.stack, rig.now, Duration::ZERO);
    let peer = Peer { address: rig.peer(2000), seq: 5000, ack: 0 };
    let problem = matches!(reply, Problem | ProblemIfClosed);
    let answers = answers(&mut rig, name, &frame(&peer), problem);
    match (*reply, &answers[..]) {
        (Silence | Problem | ProblemIfClosed, []) => {}
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
