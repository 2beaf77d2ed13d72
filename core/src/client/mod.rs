//! A TCP client without I/O of its own: it connects, and connects again after a wait, until it is told to stop.
//!
//! ```
//! # use socklet::{client::*, stack::*, time::Instant};
//! /// One round of a client that says hello and counts what comes back.
//! fn round<S: TcpStack>(client: &mut Client<S>, stack: &mut S, now: Instant, count: &mut usize) -> Option<Instant> {
//!     while let Some(event) = client.poll(stack, now) {
//!         match event {
//!             // Whatever fails here ends the connection, and `Closed` will say so.
//!             Event::Opened { .. } => drop(client.send(stack, b"hello")),
//!             Event::Readable => loop {
//!                 match client.recv(stack, &mut [0; 64]) {
//!                     Ok(Received::Data(more)) => *count += more,
//!                     Ok(Received::EndOfStream) => break client.close(stack).unwrap_or(()),
//!                     Ok(Received::WouldBlock) | Err(_) => break,
//!                 }
//!             },
//!             Event::Writable | Event::Closed { .. } => {}
//!         }
//!     }
//!     client.deadline()
//! }
//! ```

mod backoff;
mod io;
#[cfg(test)]
mod tests;

pub use backoff::Backoff;

use crate::connection::{
    Connection, Context, Deadline, Deadlines, Reason, State, Traffic, Transitions, UNKNOWN_TIME, Verdict,
};
use crate::stack::{ConnectOptions, Received, Sent, StackError, TcpStack};
use crate::time::{Instant, earliest};
use backoff::Random;
use core::net::SocketAddr;

/// How a [`Client`] behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientConfig {
    /// How to connect, with the limit on the handshake.
    pub connect: ConnectOptions,
    /// The other limits in time.
    pub deadlines: Deadlines,
    /// How to connect again; `None` to try once.
    pub retry: Option<Backoff>,
}

impl ClientConfig {
    /// The same with other [`ConnectOptions`].
    #[must_use]
    pub const fn with_connect(mut self, connect: ConnectOptions) -> Self {
        self.connect = connect;
        self
    }

    /// The same with other [`Deadlines`].
    #[must_use]
    pub const fn with_deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// The same with another [`retry`](Self::retry).
    #[must_use]
    pub const fn with_retry(mut self, retry: Option<Backoff>) -> Self {
        self.retry = retry;
        self
    }
}

/// The defaults of each part; it does connect again.
impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            connect: ConnectOptions::default(),
            deadlines: Deadlines::CLIENT,
            retry: Some(Backoff::DEFAULT),
        }
    }
}

/// What happened on a [`Client`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Event {
    /// It is connected. It can send at once.
    Opened {
        /// This end's address, where the stack knows it.
        local: Option<SocketAddr>,
        /// The peer's address.
        peer: SocketAddr,
    },
    /// Bytes, or the end of the stream, are there (or may be: a stack without zero-copy cannot look ahead). Reported in every round in
    /// which that is so; after a failure for the last time.
    Readable,
    /// There may be room again after a send that was cut short.
    Writable,
    /// The connection is over, or the attempt has failed.
    Closed {
        /// Why.
        reason: Reason,
        /// What it moved.
        traffic: Traffic,
        /// When the next attempt will be made.
        retry: Option<Instant>,
    },
}

/// What a [`Client`] is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ClientState {
    /// The next poll connects.
    Idle,
    /// The handshake is not complete.
    Connecting,
    /// Bytes can flow in at least one direction.
    Open,
    /// What is queued is being delivered.
    Closing,
    /// The next attempt is due at a time.
    Waiting {
        /// When.
        until: Instant,
        /// How many have failed in a row, or did not last.
        attempt: u32,
    },
    /// It does nothing until [`Client::start`].
    Stopped,
}

#[derive(Debug)]
enum Phase<C> {
    Idle,
    Connecting { connection: Connection<C>, until: Option<Instant> },
    Open { connection: Connection<C>, since: Instant },
    Waiting { until: Instant },
    Stopped,
}

/// A TCP client: one connection at a time, made again after a failure. See the [module](self) for its use.
#[derive(Debug)]
pub struct Client<S: TcpStack> {
    remote: SocketAddr,
    config: ClientConfig,
    phase: Phase<S::Connection>,
    /// Whether there may be another attempt.
    retries: bool,
    attempt: u32,
    /// What this round has still to report.
    readable: bool,
    writable: bool,
    due: Option<Instant>,
    random: Random,
    cx: Context,
}

impl<S: TcpStack> Client<S> {
    /// A client that connects to `remote` with the next poll. `seed` makes its waits differ from those of other clients.
    pub fn new(remote: SocketAddr, config: ClientConfig, seed: u64) -> Self {
        Self {
            remote,
            config,
            phase: Phase::Idle,
            retries: true,
            attempt: 0,
            readable: false,
            writable: false,
            due: None,
            random: Random::new(seed),
            cx: Context::NEW,
        }
    }

    /// The peer that it connects to.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Names another peer for the next attempt.
    pub fn set_remote(&mut self, remote: SocketAddr) {
        self.remote = remote;
    }

    /// Makes no more attempts. A connection that is open stays so until it is closed.
    pub fn stop(&mut self) {
        self.retries = false;
        if matches!(self.phase, Phase::Idle | Phase::Waiting { .. }) {
            self.phase = Phase::Stopped;
        }
    }

    /// Takes a stop back: connects with the next poll unless it is connected, without waiting.
    pub fn start(&mut self) {
        self.retries = true;
        self.attempt = 0;
        if matches!(self.phase, Phase::Stopped | Phase::Waiting { .. }) {
            self.phase = Phase::Idle;
        }
    }

    /// What it is doing.
    pub fn state(&self) -> ClientState {
        match &self.phase {
            Phase::Idle => ClientState::Idle,
            Phase::Connecting { .. } => ClientState::Connecting,
            Phase::Open { connection, .. } => match connection.state() {
                State::Opening | State::Open | State::PeerClosed | State::WriteClosed => ClientState::Open,
                State::Closing(_) | State::Closed(_) => ClientState::Closing,
            },
            Phase::Waiting { until } => {
                ClientState::Waiting { until: self.cx.due(*until), attempt: self.attempt }
            }
            Phase::Stopped => ClientState::Stopped,
        }
    }

    /// The (state, input) pairs that its connections have been through.
    pub fn transitions(&self) -> &Transitions {
        &self.cx.seen
    }

    /// When to call [`poll`](Self::poll) next, even if nothing comes: now or earlier when there is more to do.
    pub fn deadline(&self) -> Option<Instant> {
        let at = match &self.phase {
            Phase::Idle => Some(Instant::ZERO),
            Phase::Connecting { connection, .. } | Phase::Open { connection, .. } if connection.stirred => {
                Some(Instant::ZERO)
            }
            Phase::Connecting { until, .. } => earliest(*until, self.due),
            Phase::Open { .. } => self.due,
            Phase::Waiting { until } => Some(*until),
            Phase::Stopped => None,
        };
        at.map(|at| self.cx.due(at))
    }

    /// The next thing that happened; `None` when that was all, and the round is over.
    ///
    /// Call it until `None` whenever the stack was polled, and at [`deadline`](Self::deadline).
    #[must_use = "an event that is dropped does not come again"]
    pub fn poll(&mut self, stack: &mut S, now: Instant) -> Option<Event> {
        if self.cx.now == UNKNOWN_TIME {
            (self.readable, self.writable) = (true, true);
        }
        self.cx.begin(now);
        let event = match core::mem::replace(&mut self.phase, Phase::Stopped) {
            Phase::Stopped => None,
            Phase::Waiting { until } if until > self.cx.now => {
                self.phase = Phase::Waiting { until };
                None
            }
            Phase::Idle | Phase::Waiting { .. } => self.connect(stack),
            Phase::Connecting { connection, until } => self.handshake(stack, connection, until),
            Phase::Open { connection, since } => self.advance(stack, connection, since),
        };
        if event.is_none() {
            self.cx.end();
        }
        event
    }

    fn connect(&mut self, stack: &mut S) -> Option<Event> {
        let now = self.cx.now;
        match stack.connect(self.remote, &self.config.connect) {
            Ok(handle) => {
                let until = self.config.connect.timeout.map(|timeout| now + timeout);
                self.handshake(stack, Connection::new(handle, now), until)
            }
            Err(error) => {
                let reason = self.cx.fail_to_open(error.kind());
                Some(self.ended(reason, Traffic::default(), None))
            }
        }
    }

    fn handshake(
        &mut self,
        stack: &mut S,
        mut connection: Connection<S::Connection>,
        until: Option<Instant>,
    ) -> Option<Event> {
        let now = self.cx.now;
        let reason = match connection.check(stack, &self.config.deadlines, &mut self.cx) {
            Verdict::Over(reason) => reason,
            Verdict::Wait(next) => match connection.state() {
                State::Opening if until.is_none_or(|until| until > now) => {
                    self.due = next;
                    self.phase = Phase::Connecting { connection, until };
                    return None;
                }
                State::Opening => connection.expire(stack, Deadline::Connect, &mut self.cx),
                State::Open
                | State::PeerClosed
                | State::WriteClosed
                | State::Closing(_)
                | State::Closed(_) => {
                    let local = stack.local_addr(connection.handle()).ok();
                    self.phase = Phase::Open { connection, since: now };
                    return Some(Event::Opened { local, peer: self.remote });
                }
            },
        };
        let traffic = connection.traffic();
        connection.release(stack, reason);
        Some(self.ended(reason, traffic, None))
    }

    fn advance(
        &mut self,
        stack: &mut S,
        mut connection: Connection<S::Connection>,
        since: Instant,
    ) -> Option<Event> {
        let mut more = false;
        let (receives, sends) = match connection.state() {
            State::Open => (true, true),
            State::WriteClosed => (true, false),
            State::PeerClosed => (false, true),
            State::Closing(_) => {
                more = connection.discard(stack);
                (false, false)
            }
            State::Opening | State::Closed(_) => (false, false),
        };
        let readable =
            core::mem::take(&mut self.readable) && receives && has_input(stack, connection.handle());
        if readable {
            self.phase = Phase::Open { connection, since };
            return Some(Event::Readable);
        }
        if core::mem::take(&mut self.writable)
            && sends
            && connection.blocked
            && has_room(stack, connection.handle())
        {
            connection.blocked = false;
            self.phase = Phase::Open { connection, since };
            return Some(Event::Writable);
        }
        match connection.check(stack, &self.config.deadlines, &mut self.cx) {
            Verdict::Wait(next) => {
                connection.stirred |= more;
                self.due = next;
                self.phase = Phase::Open { connection, since };
                None
            }
            Verdict::Over(reason) => {
                let traffic = connection.traffic();
                connection.release(stack, reason);
                Some(self.ended(reason, traffic, Some(since)))
            }
        }
    }

    /// The connection is over; what comes next?
    fn ended(&mut self, reason: Reason, traffic: Traffic, since: Option<Instant>) -> Event {
        let now = self.cx.now;
        let retry = match self.config.retry {
            Some(backoff) if self.retries => {
                if since.is_some_and(|since| now.since(since) >= backoff.reset_after) {
                    self.attempt = 0;
                }
                let wait = backoff.wait(self.attempt, &mut self.random);
                self.attempt = self.attempt.saturating_add(1);
                Some(now + wait)
            }
            Some(_) | None => None,
        };
        self.phase = retry.map_or(Phase::Stopped, |until| Phase::Waiting { until });
        Event::Closed { reason, traffic, retry: retry.map(|at| self.cx.due(at)) }
    }
}

/// Whether there is something to receive, an end included. A stack that cannot look ahead may have something.
fn has_input<S: TcpStack>(stack: &mut S, handle: S::Connection) -> bool {
    !stack.capabilities().zero_copy
        || !matches!(stack.recv_with(handle, |_| (0, ())), Ok(Received::WouldBlock))
}

/// Whether there is room to send, or an error to hear of. A stack that cannot look ahead may have some.
fn has_room<S: TcpStack>(stack: &mut S, handle: S::Connection) -> bool {
    !stack.capabilities().zero_copy || !matches!(stack.send_with(handle, |_| 0), Ok(Sent::WouldBlock))
}
