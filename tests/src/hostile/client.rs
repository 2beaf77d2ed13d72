//! Blind attacks on a client that talks with an honest server.

use super::caller::{BUFFER, Caller, readdressed};
use super::neighbor::{asked_for, neighbor};
use super::rig::{Answer, Rig, stamp};
use super::{Figure, Random, Segment, flag};
use crate::IpVersion;
use core::net::IpAddr;
use flag::{ACK, FIN, RST, SYN};
use smoltcp::phy::{Device, RxToken};
use socklet::client::{ClientConfig, ClientState};
use socklet::connection::Reason;
use socklet::server::ServerConfig;
use socklet::time::{Duration, Instant};

/// Forged SYN|ACKs, and as many of the other segments, before the honest answer.
const GUESSES: usize = 1000;
/// Milliseconds of talk, in each of which every kind of forged segment arrives once.
const ROUNDS: usize = 20_000;

/// A client, an honest server, and what travels between them.
struct Scene {
    caller: Caller,
    rig: Rig,
    /// The sequence number of the server's first octet.
    first: u32,
    /// Whom the server asks for.
    asked: Vec<IpAddr>,
}

/// The attacker knows both addresses and ports, and has to guess what is random.
pub(super) fn blind() -> Vec<Figure> {
    let [v4, v6] = [IpVersion::V4, IpVersion::V6].map(attack);
    vec![
        Figure {
            scenario: "a client in SYN-SENT, 1,000 SYN+ACKs, ACKs, resets and FINs with a guessed ACK, over IPv4 and IPv6: it connects to the honest server",
            measured: format!("at once, after {} and {} resets to the forger", v4.resets, v6.resets),
            bound: "at once; a reset for each SYN+ACK and ACK",
        },
        Figure {
            scenario: "the same client connected, 20,000 each of forged resets, SYNs, SYN+ACKs, data and FINs: octets echoed to it",
            measured: format!(
                "{} and {}, all right; {} and {} challenges",
                v4.octets, v6.octets, v4.challenges, v6.challenges
            ),
            bound: "all right, > 1 MB, closes in good order",
        },
    ]
}

struct Withstood {
    resets: usize,
    challenges: u64,
    octets: u64,
}

fn attack(version: IpVersion) -> Withstood {
    let rig = Rig::over(version, 2, BUFFER, ServerConfig::default());
    let mut scene = Scene {
        caller: Caller::new(version, ClientConfig::default(), u64::MAX),
        rig,
        first: 0,
        asked: Vec::new(),
    };
    let mut random = Random(21);
    let resets = scene.while_connecting(&mut random);
    scene.tick_until(|caller| caller.opened == 1);
    assert_eq!(scene.caller.client.state(), ClientState::Open);
    assert!(scene.caller.now <= Instant::from_millis(1100), "it waited until {}", scene.caller.now);
    for _ in 0..ROUNDS {
        scene.tick(Some(&mut random));
    }
    let (octets, challenges) = (scene.caller.received.position(), scene.caller.stack.stats().challenges);
    assert!(octets > 1_000_000, "{octets} octets came back");
    assert!(
        challenges >= 3 * ROUNDS as u64,
        "{challenges} challenges: the attack is not strong enough to tell"
    );
    scene.part();
    Withstood { resets, challenges, octets }
}

impl Scene {
    /// Forged answers come before the honest one. Returns how many of them were reset.
    fn while_connecting(&mut self, random: &mut Random) -> usize {
        self.caller.turn();
        self.caller.frames();
        self.caller.turn();
        let frames = self.caller.frames();
        let syn = frames.iter().find_map(|frame| Answer::parse(frame)).expect("a SYN");
        assert_eq!(syn.flags, SYN);
        let address = self.caller.address().expect("a connection");
        let mut resets = 0;
        for _ in 0..GUESSES {
            let ack = syn.seq.wrapping_add(2).wrapping_add(random.below(u32::MAX.into()) as u32);
            let forged = Segment { ack, ..self.caller.forged(address, random.next() as u32) };
            for flags in [SYN | ACK, ACK] {
                // RFC 9293, section 3.10.7.3, first step.
                let answers = self.answers(Segment { flags, ..forged });
                let [Answer { flags: RST, seq, .. }] = answers[..] else {
                    panic!("{answers:?}, not a reset")
                };
                assert_eq!(seq, ack);
                resets += 1;
            }
            // Second step: a reset must acknowledge the SYN. The fourth: what has neither SYN nor RST is dropped.
            for flags in [RST | ACK, RST, FIN, FIN | RST] {
                assert_eq!(self.answers(Segment { flags, ..forged }), []);
            }
            assert_eq!(self.caller.client.state(), ClientState::Connecting);
        }
        frames.into_iter().for_each(|frame| self.rig.send(&readdressed(frame)));
        resets
    }

    fn answers(&mut self, segment: Segment<'_>) -> Vec<Answer> {
        self.caller.send_it(segment.frame());
        self.caller.turn();
        self.caller.segments()
    }

    /// One of each kind of segment, with the best that a blind attacker can put into it: it hits upon the next sequence number, which the
    /// client shows nobody else, but not upon an acknowledgement number as well.
    fn attack(&mut self, random: &mut Random) {
        let address = self.caller.address().expect("the connection lives");
        let ack = random.next() as u32;
        let expected = self.first.wrapping_add(self.caller.received.position() as u32);
        let anywhere = Segment { ack, ..self.caller.forged(address, random.next() as u32) };
        let (exact, near) = (Segment { seq: expected, ..anywhere }, expected.wrapping_add(1));
        let kinds = [
            Segment { flags: RST, ..anywhere },
            Segment { flags: RST, seq: near, ..anywhere },
            Segment { flags: SYN, ..exact },
            Segment { flags: SYN | ACK, ..exact },
            Segment { flags: ACK, payload: b"out of the window", ..anywhere },
            Segment { flags: ACK, payload: b"with a guessed ACK", ..exact },
            Segment { flags: FIN | ACK, ..anywhere },
            Segment { flags: FIN | ACK, ..exact },
        ];
        // The one of 2^32 that is no guess.
        for segment in kinds.into_iter().filter(|segment| segment.flags != RST || segment.seq != expected) {
            self.caller.send_it(segment.frame());
        }
    }

    /// A millisecond: the time that a frame takes from one to the other and back.
    fn tick(&mut self, attacker: Option<&mut Random>) {
        self.caller.now = self.caller.now + Duration::from_millis(1);
        self.rig.now = self.caller.now;
        self.caller.turn();
        for frame in self.caller.frames() {
            self.rig.send(&readdressed(frame));
        }
        if let Some(random) = attacker {
            // Before the server's next segment, so that what is expected is still so.
            self.attack(random);
            self.caller.turn();
        }
        self.rig.turn();
        while let Some((rx, _)) = self.rig.far.receive(stamp(self.rig.now)) {
            rx.consume(|frame| {
                if let Some(synack) = Answer::parse(frame).filter(|segment| segment.has(SYN)) {
                    self.first = synack.seq.wrapping_add(1);
                }
                asked_for(frame).inspect(|ip| self.asked.push(*ip));
                self.caller.send_it(frame.to_vec());
            });
        }
        for ip in self.asked.drain(..) {
            self.rig.send(&neighbor(ip));
        }
    }

    /// Both say goodbye, when all that was sent has come back.
    fn part(&mut self) {
        self.caller.length = self.caller.sent.position();
        self.tick_until(|caller| caller.received.position() == caller.length);
        self.caller.client.stop();
        self.caller.client.shutdown(&mut self.caller.stack).expect("a connection");
        self.tick_until(|caller| !caller.ends.is_empty());
        assert_eq!(self.caller.ends[0].reason, Reason::Finished);
        assert_eq!((self.caller.opened, self.caller.client.state()), (1, ClientState::Stopped));
        let (_, reason, traffic) = self.rig.service.observer.ends[0];
        assert_eq!(
            (reason, traffic.received, traffic.sent),
            (Reason::PeerClosed, self.caller.length, self.caller.length)
        );
    }

    #[track_caller]
    fn tick_until(&mut self, done: impl Fn(&Caller) -> bool) {
        for _ in 0..10_000 {
            if done(&self.caller) {
                return;
            }
            self.tick(None);
        }
        panic!("not in 10 s");
    }
}
