//! One connection's life, for [`Server`](crate::server::Server) and [`Client`](crate::client::Client): states, inputs, deadlines, reasons.
//!
//! [`step`] is the whole state machine, a pure function. [`Connection`] joins it to a stack's handle: it feeds what the stack
//! answers to the machine, counts bytes, and computes deadlines when they are looked at rather than whenever a byte moves.

mod deadlines;
mod error;
mod reason;
mod state;

#[cfg(test)]
pub(crate) mod mock;
#[cfg(test)]
mod tests;

pub use deadlines::{Deadlines, Progress};
pub use error::Error;
pub use reason::{Deadline, Reason};
pub use state::{First, Input, InputKind, State, StateKind, Transitions, step};

use crate::stack::{ErrorKind, Received, Sent, StackError, Status, TcpStack};
use crate::time::{Duration, Instant, Monotonic};
use deadlines::Clock;

/// Bytes that a connection has moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Traffic {
    /// Bytes received and taken.
    pub received: u64,
    /// Bytes queued to be sent. After an orderly end all of them were delivered.
    pub sent: u64,
}

impl Traffic {
    /// Both directions, the low half.
    const fn moved(&self) -> u32 {
        (self.received as u32).wrapping_add(self.sent as u32)
    }
}

/// What the connections of one owner share: the time, and which transitions they have made.
///
/// Between two rounds of polling the time is unknown: what starts then is counted from the next look at the connection.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) now: Instant,
    /// The owner's clock may go back; deadlines must not wait for it to catch up.
    clock: Monotonic,
    pub(crate) seen: Transitions,
}

impl Context {
    pub(crate) const NEW: Self = Self { now: UNKNOWN_TIME, clock: Monotonic::NEW, seen: Transitions::NONE };

    /// A round begins, or goes on.
    #[inline]
    pub(crate) fn begin(&mut self, now: Instant) {
        self.now = self.clock.advance(now);
    }

    /// The round is over.
    pub(crate) fn end(&mut self) {
        self.now = UNKNOWN_TIME;
    }

    /// When something is due, by the owner's clock.
    pub(crate) fn due(&self, at: Instant) -> Instant {
        self.clock.external(at)
    }

    /// The moment `wait` after `now`.
    pub(crate) fn after(&mut self, now: Instant, wait: Duration) -> Instant {
        self.clock.advance(now) + wait
    }

    /// The stack could not even begin to connect.
    pub(crate) fn fail_to_open(&mut self, kind: ErrorKind) -> Reason {
        self.seen.record(StateKind::Opening, InputKind::Failed);
        Reason::of(kind, true)
    }

    /// The time for a deadline that means "look again".
    pub(crate) fn at_once(&self) -> Instant {
        if self.now == UNKNOWN_TIME { Instant::ZERO } else { self.now }
    }
}

/// What stands for the time between two rounds.
pub(crate) const UNKNOWN_TIME: Instant = Instant::FAR_FUTURE;

/// What to do with a connection after it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Look again at this time.
    Wait(Option<Instant>),
    /// It is over: [`Connection::release`] it.
    Over(Reason),
}

/// A stack's connection, its state, its traffic and its clock.
#[derive(Debug)]
pub struct Connection<C> {
    handle: C,
    traffic: Traffic,
    clock: Clock,
    /// A number for the owner's own use.
    pub(crate) word: u32,
    /// Bytes that were received and not yet taken, in the owner's store: from, to.
    pub(crate) held: (u16, u16),
    state: State,
    /// It should be looked at: the state changed, or a deadline began.
    pub(crate) stirred: bool,
    /// A send was cut short.
    pub(crate) blocked: bool,
    /// The owner wants to be called again in the next round.
    pub(crate) woken: bool,
}

impl<C: Copy> Connection<C> {
    pub(crate) fn new(handle: C, now: Instant) -> Self {
        Self {
            handle,
            traffic: Traffic::default(),
            clock: Clock::new(now),
            word: 0,
            held: (0, 0),
            state: State::Opening,
            stirred: true,
            blocked: false,
            woken: false,
        }
    }

    /// The stack's handle.
    pub fn handle(&self) -> C {
        self.handle
    }

    /// How far its life has come.
    pub fn state(&self) -> State {
        self.state
    }

    /// Bytes moved so far.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// The machine takes a step.
    pub(crate) fn apply(&mut self, input: Input, cx: &mut Context) {
        cx.seen.record(self.state.kind(), input.kind());
        let state = step(self.state, input);
        if state == self.state {
            return;
        }
        self.stirred = true;
        match state {
            State::Open | State::Closing(_) => self.clock.restart(cx.now),
            State::Opening | State::PeerClosed | State::WriteClosed | State::Closed(_) => {}
        }
        self.state = state;
    }

    pub(crate) fn send<S: TcpStack<Connection = C>>(
        &mut self,
        stack: &mut S,
        data: &[u8],
        cx: &mut Context,
    ) -> Result<Sent, Error<S::Error>> {
        self.may_send()?;
        let sent = stack.send(self.handle, data);
        self.note_sent(sent, Some(data.len()), cx)
    }

    pub(crate) fn send_with<S: TcpStack<Connection = C>>(
        &mut self,
        stack: &mut S,
        fill: impl FnOnce(&mut [u8]) -> usize,
        cx: &mut Context,
    ) -> Result<Sent, Error<S::Error>> {
        self.may_send()?;
        let sent = stack.send_with(self.handle, fill);
        self.note_sent(sent, None, cx)
    }

    pub(crate) fn recv<S: TcpStack<Connection = C>>(
        &mut self,
        stack: &mut S,
        buffer: &mut [u8],
        cx: &mut Context,
    ) -> Result<Received, Error<S::Error>> {
        self.may_receive()?;
        let received = stack.recv(self.handle, buffer);
        if let Ok(Received::Data(count)) = received {
            self.note_received(count, cx);
        }
        self.note_end(received, cx)
    }

    pub(crate) fn recv_with<S: TcpStack<Connection = C>, R>(
        &mut self,
        stack: &mut S,
        take: impl FnOnce(&[u8]) -> (usize, R),
        cx: &mut Context,
    ) -> Result<Received<R>, Error<S::Error>> {
        self.may_receive()?;
        let mut taken = 0;
        let received = stack.recv_with(self.handle, |data| {
            let (count, value) = take(data);
            taken = count.min(data.len());
            (taken, value)
        });
        self.note_received(taken, cx);
        self.note_end(received, cx)
    }

    /// Closes the write side.
    pub(crate) fn shutdown<S: TcpStack<Connection = C>>(
        &mut self,
        stack: &mut S,
        cx: &mut Context,
    ) -> Result<(), Error<S::Error>> {
        match self.state {
            State::Opening | State::Open | State::PeerClosed => {
                let done = stack.shutdown(self.handle);
                self.note_end(done, cx)?;
            }
            State::WriteClosed | State::Closing(_) | State::Closed(_) => {}
        }
        self.apply(Input::Shutdown, cx);
        Ok(())
    }

    /// Closes in good order, as far as the stack can.
    pub(crate) fn close<S: TcpStack<Connection = C>>(&mut self, stack: &mut S, cx: &mut Context) {
        let shutdown = match self.state {
            State::Open | State::PeerClosed => stack.shutdown(self.handle),
            State::Opening | State::WriteClosed | State::Closing(_) | State::Closed(_) => Ok(()),
        };
        match shutdown {
            Ok(()) => self.apply(Input::Close, cx),
            // Without a half-close the stack's own `close` is the only orderly one.
            Err(error) if error.kind() == ErrorKind::Unsupported => self.apply(Input::Released, cx),
            Err(error) => self.apply(Input::Failed(error.kind()), cx),
        }
    }

    /// Discards what came after a close. Says whether more may be there.
    pub(crate) fn discard<S: TcpStack<Connection = C>>(&mut self, stack: &mut S) -> bool {
        let zero_copy = stack.capabilities().zero_copy;
        for _ in 0..DISCARD_ROUNDS {
            let received = if zero_copy {
                stack.recv_with(self.handle, |data| (data.len(), data.len()))
            } else {
                stack.recv(self.handle, &mut [0; 128])
            };
            match received {
                Ok(Received::Data(_)) => {}
                // An end is not taken from here: the stack's status tells which one.
                Ok(Received::WouldBlock | Received::EndOfStream) | Err(_) => return false,
            }
        }
        true
    }

    /// Looks at the stack's status and the deadlines.
    pub(crate) fn check<S: TcpStack<Connection = C>>(
        &mut self,
        stack: &mut S,
        deadlines: &Deadlines,
        cx: &mut Context,
    ) -> Verdict {
        self.stirred = false;
        self.clock.catch_up(cx.now);
        self.look(stack, cx);
        if self.clock.wants_unsent(deadlines) {
            self.clock.observe_unsent(cx.now, stack.unsent(self.handle).ok(), &self.traffic);
        }
        self.clock.next_period(cx.now, deadlines, &self.traffic);
        match self.clock.check(cx.now, self.state, deadlines, &self.traffic) {
            Ok(next) => match self.state {
                State::Closed(reason) => Verdict::Over(reason),
                State::Opening | State::Open | State::PeerClosed | State::WriteClosed | State::Closing(_) => {
                    Verdict::Wait(next)
                }
            },
            Err(deadline) => Verdict::Over(self.expire(stack, deadline, cx)),
        }
    }

    /// Takes over what the stack says of the connection.
    fn look<S: TcpStack<Connection = C>>(&mut self, stack: &S, cx: &mut Context) {
        let status = stack.status(self.handle).unwrap_or_else(|error| Status::Failed(error.kind()));
        match (self.state, status) {
            (State::Closed(_), _) | (_, Status::Connecting) => {}
            (State::Opening, Status::Open | Status::Finished) => self.apply(Input::Opened, cx),
            (_, Status::Failed(kind)) => self.apply(Input::Failed(kind), cx),
            (State::PeerClosed | State::Closing(_), Status::Finished) => self.apply(Input::Finished, cx),
            // What the peer sent before it closed is still to be received.
            (State::Open | State::WriteClosed, Status::Finished) | (_, Status::Open) => {}
        }
    }

    /// A deadline has passed. A drain that lost nothing is not a failure: only the peer keeps its half open.
    pub(crate) fn expire<S: TcpStack<Connection = C>>(
        &mut self,
        stack: &S,
        deadline: Deadline,
        cx: &mut Context,
    ) -> Reason {
        let released = deadline == Deadline::Drain && !self.has_undelivered(stack);
        self.apply(if released { Input::Released } else { Input::Expired(deadline) }, cx);
        match self.state {
            State::Closed(reason) => reason,
            State::Opening | State::Open | State::PeerClosed | State::WriteClosed | State::Closing(_) => {
                Reason::TimedOut(deadline)
            }
        }
    }

    /// Whether the peer has not taken all of what was to be sent. Of a stack that cannot say this is known only where a send found no
    /// room; whatever else is left is in its hands, as after a close without a half-close.
    fn has_undelivered<S: TcpStack<Connection = C>>(&self, stack: &S) -> bool {
        match stack.unsent(self.handle) {
            Ok(unsent) => unsent > 0,
            Err(error) => self.blocked || error.kind() != ErrorKind::Unsupported,
        }
    }

    /// Gives the handle back to the stack. After an orderly end the stack finishes the rest, TIME-WAIT for one.
    pub(crate) fn release<S: TcpStack<Connection = C>>(self, stack: &mut S, reason: Reason) {
        // The only possible error is a stale handle, which is as good as released.
        let _ = if reason.is_orderly() { stack.close(self.handle) } else { stack.abort(self.handle) };
    }

    fn may_send<E>(&self) -> Result<(), Error<E>> {
        if self.state.sends() { Ok(()) } else { Err(Error::Closed) }
    }

    fn may_receive<E>(&self) -> Result<(), Error<E>> {
        if self.state.receives() { Ok(()) } else { Err(Error::Closed) }
    }

    fn note_sent<E: StackError>(
        &mut self,
        sent: Result<Sent, E>,
        offered: Option<usize>,
        cx: &mut Context,
    ) -> Result<Sent, Error<E>> {
        match sent {
            Ok(Sent::Queued(count)) => {
                self.blocked |= offered.is_some_and(|offered| count < offered);
                self.note_queued(count, cx);
            }
            Ok(Sent::WouldBlock) => self.blocked = true,
            Err(ref error) => self.note_error(error.kind(), cx),
        }
        sent.map_err(Error::Stack)
    }

    pub(crate) fn note_queued(&mut self, count: usize, cx: &mut Context) {
        if count > 0 {
            self.stirred |= self.clock.sent(cx.now, &self.traffic);
            self.traffic.sent = self.traffic.sent.wrapping_add(count as u64);
        }
    }

    pub(crate) fn note_received(&mut self, count: usize, cx: &mut Context) {
        if count > 0 {
            self.stirred |= self.clock.received(cx.now, &self.traffic);
            self.traffic.received = self.traffic.received.wrapping_add(count as u64);
        }
    }

    #[inline]
    fn note_end<T: Ended, E: StackError>(
        &mut self,
        result: Result<T, E>,
        cx: &mut Context,
    ) -> Result<T, Error<E>> {
        match &result {
            Ok(value) if value.is_end_of_stream() => self.note_end_of_stream(cx),
            Ok(_) => {}
            Err(error) => self.note_error(error.kind(), cx),
        }
        result.map_err(Error::Stack)
    }

    #[cold]
    fn note_end_of_stream(&mut self, cx: &mut Context) {
        self.apply(Input::EndOfStream, cx);
    }

    /// An error of a call may be the end of the connection.
    #[cold]
    fn note_error(&mut self, kind: ErrorKind, cx: &mut Context) {
        match kind {
            ErrorKind::Closed | ErrorKind::InvalidState | ErrorKind::Unsupported => {}
            ErrorKind::Refused
            | ErrorKind::Reset
            | ErrorKind::TimedOut
            | ErrorKind::Unreachable
            | ErrorKind::LinkDown
            | ErrorKind::NoAddress
            | ErrorKind::NoSlot
            | ErrorKind::AddressInUse
            | ErrorKind::StaleHandle
            | ErrorKind::Other => self.apply(Input::Failed(kind), cx),
        }
    }
}

/// How many pieces are discarded at a time.
const DISCARD_ROUNDS: usize = 64;

/// Whether a call's answer is the end of the peer's stream.
trait Ended {
    fn is_end_of_stream(&self) -> bool;
}

impl<T> Ended for Received<T> {
    fn is_end_of_stream(&self) -> bool {
        matches!(self, Self::EndOfStream)
    }
}

impl Ended for () {
    fn is_end_of_stream(&self) -> bool {
        false
    }
}
