//! One end of a connection with a mind of its own: what it sends and receives, in what steps, and how it ends.

use super::SimStack;
use super::ledger::{End, Ledger, Pair};
use super::memory::{counted, uncounted};
use super::random::{Random, mix};
use super::stream::Stream;
use core::fmt;
use core::hash::{Hash, Hasher};
use socklet::client::Client;
use socklet::connection::{Error, Reason, Traffic};
use socklet::server::Server;
use socklet::stack::{ErrorKind, Received, Sent};
use socklet::storage::Id;
use socklet::time::{Duration, Instant};
use std::hash::DefaultHasher;

/// The calls on one connection, of a server or a client.
pub(super) trait Wire {
    fn send(&mut self, data: &[u8]) -> Outcome<Sent>;
    fn send_with(&mut self, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> Outcome<Sent>;
    fn recv(&mut self, buffer: &mut [u8]) -> Outcome<Received>;
    fn recv_with(&mut self, take: &mut dyn FnMut(&[u8]) -> usize) -> Outcome<Received<()>>;
    fn shutdown(&mut self) -> Outcome<()>;
    fn close(&mut self) -> Outcome<()>;
    fn abort(&mut self) -> Outcome<()>;
}

type Outcome<T> = Result<T, Error<ErrorKind>>;

/// A server's connection.
pub(super) struct Accepted<'s> {
    pub(super) server: &'s mut Server<'static, SimStack>,
    pub(super) stack: &'s mut SimStack,
    pub(super) id: Id,
}

impl Wire for Accepted<'_> {
    fn send(&mut self, data: &[u8]) -> Outcome<Sent> {
        counted(|| self.server.send(self.stack, self.id, data))
    }
    fn send_with(&mut self, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> Outcome<Sent> {
        counted(|| self.server.send_with(self.stack, self.id, fill))
    }
    fn recv(&mut self, buffer: &mut [u8]) -> Outcome<Received> {
        counted(|| self.server.recv(self.stack, self.id, buffer))
    }
    fn recv_with(&mut self, take: &mut dyn FnMut(&[u8]) -> usize) -> Outcome<Received<()>> {
        counted(|| self.server.recv_with(self.stack, self.id, |data| (take(data), ())))
    }
    fn shutdown(&mut self) -> Outcome<()> {
        counted(|| self.server.shutdown(self.stack, self.id))
    }
    fn close(&mut self) -> Outcome<()> {
        counted(|| self.server.close(self.stack, self.id))
    }
    fn abort(&mut self) -> Outcome<()> {
        counted(|| self.server.abort(self.id))
    }
}

/// A client's connection.
pub(super) struct Made<'s> {
    pub(super) client: &'s mut Client<SimStack>,
    pub(super) stack: &'s mut SimStack,
}

impl Wire for Made<'_> {
    fn send(&mut self, data: &[u8]) -> Outcome<Sent> {
        counted(|| self.client.send(self.stack, data))
    }
    fn send_with(&mut self, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> Outcome<Sent> {
        counted(|| self.client.send_with(self.stack, fill))
    }
    fn recv(&mut self, buffer: &mut [u8]) -> Outcome<Received> {
        counted(|| self.client.recv(self.stack, buffer))
    }
    fn recv_with(&mut self, take: &mut dyn FnMut(&[u8]) -> usize) -> Outcome<Received<()>> {
        counted(|| self.client.recv_with(self.stack, |data| (take(data), ())))
    }
    fn shutdown(&mut self) -> Outcome<()> {
        counted(|| self.client.shutdown(self.stack))
    }
    fn close(&mut self) -> Outcome<()> {
        counted(|| self.client.close(self.stack))
    }
    fn abort(&mut self) -> Outcome<()> {
        counted(|| self.client.abort())
    }
}

/// How an end ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It closes its write side when all is sent, and receives to the end.
    HalfClose,
    /// It waits for the peer's end of stream before.
    AfterPeer,
    /// It closes when all is sent; what still comes is discarded.
    Close,
    /// It aborts after so many bytes, sent and received together.
    Abort(u64),
    /// It does nothing any more after so many bytes: a deadline has to end it.
    Stall(u64),
}

/// In what steps bytes are moved.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// At most so many at once,
    step: usize,
    /// then a pause.
    pause: Duration,
    next: Instant,
}

impl Pace {
    /// Such that `len` bytes are through in some 300 steps and some seconds.
    fn random(random: &mut Random, len: u64) -> Self {
        let step = random.spread(1 + len / 300..=STEP as u64 + len / 300) as usize;
        let pause = if random.chance(3_000) { random.time(LONGEST_PAUSE) } else { Duration::ZERO };
        Self { step: step.min(STEP), pause, next: Instant::ZERO }
    }
}

const STEP: usize = 4096;
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Steps of one end before the others have their turn.
const TURN: usize = 64;

/// Bounds on what both ends do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Temper {
    /// The longest stream.
    pub(super) longest: u64,
    /// It calls twice what is to be called once, and what does not fit.
    pub(super) clumsy: bool,
}

/// One end of a connection.
pub(super) struct Talk {
    ledger: Ledger,
    pair: Pair,
    end: End,
    random: Random,
    outgoing: Stream,
    incoming: Stream,
    length: u64,
    writing: Pace,
    reading: Pace,
    ending: Ending,
    clumsy: bool,
    eos: bool,
    ended: bool,
    wake: Option<Instant>,
}

impl fmt::Debug for Talk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [sent, received] = [&self.outgoing, &self.incoming].map(Stream::position);
        write!(f, "{} -> {}, ", self.pair.client, self.pair.server)?;
        write!(f, "{:?} sent {sent} of {} bytes, received {received}, ", self.end, self.length)?;
        write!(
            f,
            "{:?}, ended: {}, end of stream: {}, due {:?}",
            self.ending, self.ended, self.eos, self.wake
        )
    }
}

impl Talk {
    pub(super) fn new(ledger: &Ledger, seed: u64, pair: Pair, end: End, temper: Temper) -> Self {
        let mut hasher = DefaultHasher::new();
        pair.hash(&mut hasher);
        let key = mix(seed) ^ hasher.finish();
        let mut random = Random::new(key, end as u64);
        let length = random.spread(0..=temper.longest);
        let after = random.below(length + 1);
        let ending = match random.below(20) {
            0..8 => Ending::HalfClose,
            8..14 => Ending::AfterPeer,
            14..17 => Ending::Close,
            17..19 => Ending::Abort(after),
            _ => Ending::Stall(after),
        };
        let [to_server, to_client] = [key, !key].map(mix).map(Stream::new);
        let (outgoing, incoming) = match end {
            End::Client => (to_server, to_client),
            End::Server => (to_client, to_server),
        };
        let [writing, reading] = [length, temper.longest].map(|len| Pace::random(&mut random, len));
        ledger.open(pair, end);
        Self {
            ledger: ledger.clone(),
            pair,
            end,
            outgoing,
            incoming,
            length,
            writing,
            reading,
            ending,
            clumsy: temper.clumsy && random.chance(5_000),
            eos: false,
            ended: false,
            wake: None,
            random,
        }
    }

    /// Does what can be done.
    pub(super) fn advance(&mut self, wire: &mut impl Wire, now: Instant) {
        self.wake = Some(now);
        for _ in 0..TURN {
            if self.stalls() || !(self.write(wire, now) | self.read(wire, now)) {
                let pauses = [self.writing.next, self.reading.next].into_iter().filter(|next| *next > now);
                self.wake = if self.stalls() { None } else { pauses.min() };
                return;
            }
        }
    }

    /// When it will do something by itself.
    pub(super) fn due(&self) -> Option<Instant> {
        self.wake
    }

    /// Whether it wants to.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.wake.is_some_and(|wake| wake <= now)
    }

    /// A drain may end it before the peer has closed.
    pub(super) fn may_be_cut(&self) {
        self.ledger.gave_up(self.pair, self.end);
    }

    /// Somebody else ends it.
    pub(super) fn abandon(&mut self) {
        self.ended = true;
        self.ledger.gave_up(self.pair, self.end);
    }

    /// Calls something out of turn.
    pub(super) fn blunder<W: Wire>(&mut self, wire: &mut W, now: Instant) {
        if self.random.chance(5_000) {
            self.read(wire, now);
        } else {
            let end = self.random.pick([W::shutdown, W::shutdown, W::close, W::abort]);
            if end(wire).is_ok() {
                self.abandon();
            }
        }
    }

    /// It is over.
    pub(super) fn closed(self, reason: Reason, traffic: Traffic) {
        self.ledger.closed(self.pair, self.end, reason, traffic);
    }

    fn moved(&self) -> u64 {
        self.outgoing.position() + self.incoming.position()
    }

    fn stalls(&self) -> bool {
        matches!(self.ending, Ending::Stall(after) if self.moved() >= after)
    }

    /// Sends, or ends when all is sent. Says whether there may be more to do.
    fn write(&mut self, wire: &mut impl Wire, now: Instant) -> bool {
        if let Ending::Abort(after) = self.ending
            && self.moved() >= after
        {
            return self.give_up(|this| this.finish(wire, Wire::abort));
        }
        if self.ended || self.writing.next > now {
            return false;
        }
        let left = self.length - self.outgoing.position();
        if left == 0 {
            return match self.ending {
                Ending::HalfClose => self.finish(wire, Wire::shutdown),
                Ending::AfterPeer if self.eos => self.finish(wire, Wire::shutdown),
                Ending::Close => self.give_up(|this| this.finish(wire, Wire::close)),
                Ending::AfterPeer | Ending::Abort(_) | Ending::Stall(_) => false,
            };
        }
        let size = (1 + self.random.below(self.writing.step as u64)).min(left) as usize;
        let Ok(Sent::Queued(count @ 1..)) = self.send(wire, size) else { return false };
        self.outgoing.advance(count);
        self.ledger.sent(self.pair, self.end, count);
        self.writing.next = now + self.writing.pause;
        true
    }

    fn send(&mut self, wire: &mut impl Wire, size: usize) -> Outcome<Sent> {
        if self.random.chance(5_000) {
            let mut buffer = [0; STEP];
            self.outgoing.fill(&mut buffer[..size]);
            return wire.send(&buffer[..size]);
        }
        wire.send_with(&mut |buffer| {
            let size = size.min(buffer.len());
            self.outgoing.fill(&mut buffer[..size]);
            size
        })
    }

    /// Notes that not all that the peer sends will be received, then does something.
    fn give_up(&mut self, act: impl FnOnce(&mut Self) -> bool) -> bool {
        if !self.ended {
            self.ledger.gave_up(self.pair, self.end);
        }
        !self.ended && act(self)
    }

    /// Ends in one way, and perhaps in others too.
    fn finish<W: Wire>(&mut self, wire: &mut W, end: fn(&mut W) -> Outcome<()>) -> bool {
        self.ended = end(wire).is_ok();
        while self.clumsy && self.ended && self.random.chance(4_000) {
            let again = self.random.pick([Wire::shutdown, W::shutdown, W::close, W::abort]);
            self.ledger.gave_up(self.pair, self.end);
            // Whatever it answers: it must not do harm.
            let _ = again(wire);
        }
        true
    }

    /// Receives. Says whether there may be more.
    fn read(&mut self, wire: &mut impl Wire, now: Instant) -> bool {
        let again = self.clumsy && self.random.chance(3_000);
        if (self.eos && !again) || self.reading.next > now {
            return false;
        }
        let size = 1 + self.random.below(self.reading.step as u64) as usize;
        let before = self.incoming.position();
        let (received, wrong) = self.receive(wire, size);
        if let Err(finding) = wrong {
            self.ledger.fail(format!("{:?}: at the {:?}, {finding}", self.pair, self.end));
            return false;
        }
        match received {
            Ok(Received::Data(())) => {
                let count = (self.incoming.position() - before) as usize;
                self.ledger.received(self.pair, self.end, count);
                if self.eos {
                    self.ledger.fail(format!("{:?}: {:?} received after the end", self.pair, self.end));
                }
                self.reading.next = now + self.reading.pause;
                true
            }
            Ok(Received::EndOfStream) => {
                self.ledger.end_of_stream(self.pair, self.end);
                !core::mem::replace(&mut self.eos, true)
            }
            Ok(Received::WouldBlock) | Err(_) => false,
        }
    }

    fn receive(&mut self, wire: &mut impl Wire, size: usize) -> (Outcome<Received<()>>, Result<(), String>) {
        let mut checked = Ok(());
        let incoming = &mut self.incoming;
        if self.random.chance(5_000) {
            let mut buffer = [0; STEP];
            let received = wire.recv(&mut buffer[..size]).map(|received| match received {
                Received::Data(count) => {
                    checked = incoming.check(&buffer[..count]);
                    Received::Data(())
                }
                Received::WouldBlock => Received::WouldBlock,
                Received::EndOfStream => Received::EndOfStream,
            });
            return (received, checked);
        }
        let received = wire.recv_with(&mut |data| {
            let size = size.min(data.len());
            checked = uncounted(|| incoming.check(&data[..size]));
            size
        });
        (received, checked)
    }
}
