//! Servers that mean a client harm: what each connection ends with, and that the client tries again, but not too often.

use super::caller::{BUFFER, Caller, SLOTS};
use super::rig::Answer;
use super::{Figure, Segment, flag};
use crate::IpVersion;
use core::net::SocketAddr;
use flag::{ACK, FIN, RST, SYN};
use socklet::client::{Backoff, ClientConfig, ClientState};
use socklet::connection::{Deadline, Deadlines, Progress, Reason};
use socklet::time::{Duration, Instant};

/// What the server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Malice {
    /// It answers no SYN.
    Silent,
    /// It resets each SYN.
    Refuses,
    /// It resets each connection once it is open.
    Resets,
    /// It closes each connection once it is open.
    ClosesAtOnce,
    /// It takes the first octets and never opens its window again.
    NeverReads,
    /// It sends an octet in 10 s, for ever.
    Drips,
}
use Malice::{ClosesAtOnce, Drips, NeverReads, Refuses, Resets, Silent};

/// Of the server that drips.
const DRIP: Duration = Duration::from_secs(10);
/// The server's first sequence number.
const ISN: u32 = 7000;
/// What it offers, once.
const WINDOW: u16 = 1000;
/// Connections that are tried.
const ATTEMPTS: usize = 40;

struct Server {
    malice: Malice,
    client: SocketAddr,
    seq: u32,
    ack: u32,
    window: u16,
    open: bool,
    drip: Instant,
}

/// Each kind of malice.
pub(super) fn all() -> Vec<Figure> {
    let figure = |(malice, scenario, reason)| {
        let caller = suffer(malice);
        let waits = waits(&caller);
        let wrong = caller.ends.iter().find(|end| end.reason != reason);
        assert_eq!(wrong, None, "by a server that {malice:?}");
        let bound = bounded(malice, &waits);
        let [first, last] = [mean(&waits[..5]), mean(&waits[ATTEMPTS - 20..])];
        Figure {
            scenario,
            measured: format!(
                "{ATTEMPTS} times \"{reason}\"; first 5 waits {first:.1} s, last 20 {last:.1} s"
            ),
            bound,
        }
    };
    [
        (
            Silent,
            "a client whose server answers no SYN: ends, and waits on average",
            Reason::TimedOut(Deadline::Connect),
        ),
        (Refuses, "the same, resets each SYN", Reason::Refused),
        (Resets, "the same, resets each connection", Reason::Reset),
        (ClosesAtOnce, "the same, closes at once", Reason::PeerClosed),
        (NeverReads, "the same, never reads, and answers each probe", Reason::TimedOut(Deadline::WriteStall)),
        (
            Drips,
            "the same, sends an octet in 10 s for ever (progress deadline 30 s)",
            Reason::TimedOut(Deadline::Progress),
        ),
    ]
    .map(figure)
    .into()
}

/// A client and its server until enough has been tried.
fn suffer(malice: Malice) -> Caller {
    let progress = Progress { bytes: 100, period: Duration::from_secs(30) };
    let progress = (malice == Drips).then_some(progress);
    let config = ClientConfig::default().with_deadlines(Deadlines::CLIENT.with_progress(progress));
    let length = if malice == Drips { 1 } else { 3 * BUFFER as u64 };
    let mut caller = Caller::new(IpVersion::V4, config, length);
    let mut server = Server::new(malice, caller.server);
    while caller.ends.len() < ATTEMPTS {
        let next = caller.turn().expect("it waits for something");
        let segments = caller.segments();
        for segment in &segments {
            server.hears(&mut caller, segment);
        }
        if segments.is_empty() {
            caller.now = server.lets_pass(&mut caller, next);
        }
        assert!(caller.now < Instant::from_secs(24 * 3600), "{malice:?}: {:?}", caller.client.state());
    }
    caller.client.stop();
    assert_eq!(caller.client.state(), ClientState::Stopped);
    // Linger and TIME-WAIT.
    caller.now = caller.now + Duration::from_secs(60);
    caller.turn();
    assert_eq!(caller.stack.slots(), (SLOTS, SLOTS), "{malice:?} holds a slot");
    caller
}

impl Server {
    fn new(malice: Malice, client: SocketAddr) -> Self {
        let drip = Instant::FAR_FUTURE;
        Self { malice, client, seq: ISN, ack: 0, window: WINDOW, open: false, drip }
    }

    fn says(&self, caller: &mut Caller, flags: u8, payload: &[u8]) {
        let head = caller.forged(self.client, self.seq);
        let segment = Segment { flags, ack: self.ack, window: self.window, payload, ..head };
        caller.send_it(segment.frame());
    }

    /// A segment of the client's.
    fn hears(&mut self, caller: &mut Caller, segment: &Answer) {
        if segment.has(SYN) {
            *self = Self::new(self.malice, caller.address().expect("a connection"));
            self.ack = segment.seq.wrapping_add(1);
            match self.malice {
                Silent => {}
                Refuses => self.says(caller, RST | ACK, b""),
                Resets | ClosesAtOnce | NeverReads | Drips => {
                    self.says(caller, SYN | ACK, b"");
                    self.seq += 1;
                }
            }
        } else if segment.has(RST) {
            self.drip = Instant::FAR_FUTURE;
        } else if core::mem::replace(&mut self.open, true) {
            self.goes_on(caller, segment);
        } else {
            self.begins(caller, segment);
        }
    }

    /// The acknowledgement that completes the handshake.
    fn begins(&mut self, caller: &mut Caller, segment: &Answer) {
        match self.malice {
            Silent | Refuses => panic!("{:?} has been answered with {segment:?}", self.malice),
            Resets => self.says(caller, RST, b""),
            ClosesAtOnce => {
                self.says(caller, FIN | ACK, b"");
                self.seq += 1;
            }
            NeverReads => {}
            Drips => self.drip = caller.now + DRIP,
        }
        if !segment.payload.is_empty() {
            self.goes_on(caller, segment);
        }
    }

    fn goes_on(&mut self, caller: &mut Caller, segment: &Answer) {
        let counts = segment.payload.len() as u32 + u32::from(segment.has(FIN));
        if counts == 0 || self.malice == Resets {
            return;
        }
        if self.malice == NeverReads {
            // What fits, then nothing more, however often it is asked.
            let fits = segment.seq == self.ack && counts <= self.window.into();
            (self.ack, self.window) = if fits {
                (self.ack.wrapping_add(counts), self.window - counts as u16)
            } else {
                (self.ack, 0)
            };
        } else if segment.seq == self.ack {
            self.ack = self.ack.wrapping_add(counts);
        }
        self.says(caller, ACK, b"");
    }

    /// Nothing is to be done now: until when?
    fn lets_pass(&mut self, caller: &mut Caller, next: Instant) -> Instant {
        if self.drip > caller.now {
            return next.min(self.drip);
        }
        let byte = caller.received.next(1).to_vec();
        self.says(caller, ACK, &byte);
        self.seq += 1;
        self.drip = caller.now + DRIP;
        caller.now
    }
}

/// From each end to the next attempt.
fn waits(caller: &Caller) -> Vec<Duration> {
    caller.ends.iter().map(|end| end.retry.expect("it tries again").since(end.at)).collect()
}

/// The backoff is the one that is documented: up to `first * 2^n`, and never above the cap; after a connection that lasted, from the start.
fn bounded(malice: Malice, waits: &[Duration]) -> &'static str {
    let Backoff { first, cap, .. } = Backoff::DEFAULT;
    let lasts = matches!(malice, NeverReads | Drips);
    for (number, wait) in waits.iter().enumerate() {
        let limit = if lasts { first } else { first.saturating_mul(1 << number.min(30)).min(cap) };
        assert!(*wait <= limit, "wait {number} after a server that {malice:?} is {wait:?}");
    }
    if lasts {
        return "the reason; <= 1 s each, for it was open for 10 s";
    }
    let late = mean(&waits[ATTEMPTS - 20..]);
    assert!((15.0..45.0).contains(&late), "{late} s on average after a server that {malice:?}");
    "the reason; <= 2^n s and 1 min each; 15 to 45 s"
}

fn mean(waits: &[Duration]) -> f64 {
    waits.iter().sum::<Duration>().as_secs_f64() / waits.len() as f64
}
