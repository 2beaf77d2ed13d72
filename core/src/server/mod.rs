//! A TCP server without I/O of its own: one listener, its connections, and what keeps them in bounds.
//!
//! [`Server::poll`] returns what happened as [`Event`]s; the calls beside it are those of sockets, with an [`Id`] for each
//! connection. Ready-made services on top of it are in [`service`](crate::service).
//!
//! ```
//! # use socklet::{server::*, stack::*, time::Instant};
//! /// One round of an echo server by hand.
//! fn round<S: TcpStack>(server: &mut Server<'_, S>, stack: &mut S, now: Instant) -> Option<Instant> {
//!     while let Some(event) = server.poll(stack, now) {
//!         match event {
//!             Event::Opened { .. } | Event::Closed { .. } => {}
//!             // Whatever fails here ends the connection, and `Closed` will say so.
//!             Event::Readable { id } | Event::Writable { id } => match server.relay(stack, id, id) {
//!                 Ok(relayed) if relayed.stopped == Stopped::EndOfStream => server.close(stack, id).unwrap_or(()),
//!                 Ok(relayed) if relayed.stopped == Stopped::Budget => server.wake(id),
//!                 Ok(_) | Err(_) => {}
//!             },
//!         }
//!     }
//!     server.deadline()
//! }
//! ```

mod config;
mod io;
mod relay;
#[cfg(test)]
mod tests;

pub use config::ServerConfig;
pub use relay::{Relayed, Stopped};

use crate::connection::{
    Connection, Context, Deadline, Error, Input, Reason, State, Traffic, Transitions, Verdict,
};
use crate::log::debug;
use crate::stack::{ErrorKind, Ready, StackError, Tag, TcpStack};
use crate::storage::{Id, ManagedSlice, Slab, SlabSlot};
use crate::time::{Duration, Instant, earliest};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Memory for one connection of a [`Server`]: 96 bytes with a handle of 8. `ServerSlot::<S>::EMPTY` fills an array.
pub type ServerSlot<S> = SlabSlot<Connection<<S as TcpStack>::Connection>>;

const _: () = assert!(size_of::<SlabSlot<Connection<u64>>>() <= 96);

/// What happened on a [`Server`].
///
/// `Readable` and `Writable` are edges, as with epoll's `EPOLLET`: each is reported once, when something new has come. So receive
/// until `WouldBlock` and send until `WouldBlock`, or call [`Server::wake`] to be reminded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Event {
    /// A connection was accepted. It can be sent to at once; `Readable` follows in any case.
    Opened {
        /// Its name from now on.
        id: Id,
        /// The peer's address.
        peer: SocketAddr,
    },
    /// Bytes, or the end of the stream, have come. The last one before a failure, so what is not received now is lost with it.
    Readable {
        /// Which connection.
        id: Id,
    },
    /// There may be room again after a send that was cut short.
    Writable {
        /// Which connection.
        id: Id,
    },
    /// The connection is over, and `id` is stale.
    ///
    /// Only one with [`Reason::Rejected`] comes without an `Opened` before.
    Closed {
        /// Which connection it was.
        id: Id,
        /// The peer's address.
        peer: SocketAddr,
        /// Why it ended.
        reason: Reason,
        /// What it moved.
        traffic: Traffic,
    },
}

/// What a [`Server`] has counted since it was made. The counters wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ServerStats {
    /// Connections accepted, the rejected ones included.
    pub accepted: u32,
    /// Connections turned away by [`ServerConfig::per_peer`].
    pub rejected: u32,
    /// Times that the stack could not accept, and why the last time.
    pub accept_errors: u32,
    /// The last of these errors.
    pub accept_error: Option<ErrorKind>,
}

#[derive(Debug)]
enum Phase<L> {
    /// Not listening yet, or not any more.
    Idle,
    Listening(L),
    /// The listener is closed; it still tells what changed on those it accepted.
    Draining {
        listener: L,
        until: Instant,
        /// From here on slots are still to be closed once the time is up.
        next: usize,
    },
}

/// What is still to be reported of the connection that changed.
#[derive(Debug, Clone, Copy)]
struct Pending {
    id: Id,
    readable: bool,
    writable: bool,
    /// It may be over.
    check: bool,
}

/// A TCP server: a listener and connections in storage of the caller's, with limits and deadlines.
///
/// It is not tied to one stack object, but must see the same one in every call. See the [module](self) for its use.
#[derive(Debug)]
pub struct Server<'a, S: TcpStack> {
    slots: Slab<'a, Connection<S::Connection>>,
    /// See [`with_holdback`](Self::with_holdback).
    holdback: ManagedSlice<'a, u8>,
    config: ServerConfig,
    phase: Phase<S::Listener>,
    pending: Option<Pending>,
    /// Connections that were woken, and how many of them this round may still report.
    woken: usize,
    wakes_left: usize,
    stats: ServerStats,
    cx: Context,
}

impl<'a, S: TcpStack> Server<'a, S> {
    /// A server that has not begun to listen; it serves as many connections at once as `storage` has slots.
    ///
    /// Connections for which no slot is free stay in the stack's backlog.
    pub fn new(storage: impl Into<ManagedSlice<'a, ServerSlot<S>>>, config: ServerConfig) -> Self {
        Self {
            slots: Slab::new(storage),
            holdback: ManagedSlice::Borrowed(&mut []),
            config,
            phase: Phase::Idle,
            pending: None,
            woken: 0,
            wakes_left: 0,
            stats: ServerStats::default(),
            cx: Context::NEW,
        }
    }

    /// Starts to listen on `local`.
    ///
    /// # Errors
    /// [`Error::Listening`] while it listens, or still has connections; [`Error::Stack`] as [`TcpStack::listen`].
    pub fn listen(&mut self, stack: &mut S, local: SocketAddr) -> Result<(), Error<S::Error>> {
        if matches!(self.phase, Phase::Listening(_)) || !self.slots.is_empty() {
            return Err(Error::Listening);
        }
        let listener = stack.listen(local, &self.config.listen).map_err(Error::Stack)?;
        self.phase = Phase::Listening(listener);
        Ok(())
    }

    /// The address that it listens on.
    ///
    /// # Errors
    /// [`Error::NotConnected`] while it does not listen; [`Error::Stack`] as [`TcpStack::listener_addr`].
    pub fn local_addr(&self, stack: &S) -> Result<SocketAddr, Error<S::Error>> {
        match self.phase {
            Phase::Listening(listener) => stack.listener_addr(listener).map_err(Error::Stack),
            Phase::Idle | Phase::Draining { .. } => Err(Error::NotConnected),
        }
    }

    /// Stops listening and lets the connections end by themselves within `grace`. What is left then is closed; a connection whose
    /// peer has not acknowledged everything ends with [`Deadline::Drain`]. A stack that cannot tell what is unsent is asked to close in
    /// order; there it ends so only if its last send found no room.
    ///
    /// A second call can shorten or lengthen the time.
    pub fn drain(&mut self, stack: &mut S, now: Instant, grace: Duration) {
        let until = self.cx.after(now, grace);
        self.phase = match self.phase {
            Phase::Idle => Phase::Idle,
            Phase::Listening(listener) => {
                // Its only error is that the listener is gone already.
                let _ = stack.close_listener(listener);
                Phase::Draining { listener, until, next: 0 }
            }
            Phase::Draining { listener, .. } => Phase::Draining { listener, until, next: 0 },
        };
    }

    /// Whether it does not listen, and every connection is over.
    pub fn is_drained(&self) -> bool {
        !matches!(self.phase, Phase::Listening(_)) && self.slots.is_empty()
    }

    /// The next thing that happened; `None` when that was all, and the round is over.
    ///
    /// Call it until `None` whenever the stack was polled, and at [`deadline`](Self::deadline). Costs grow with the connections that
    /// changed, not with those that are open.
    #[must_use = "an event that is dropped does not come again"]
    pub fn poll(&mut self, stack: &mut S, now: Instant) -> Option<Event> {
        self.cx.begin(now);
        loop {
            if let Some(pending) = self.pending.take() {
                if let Some(event) = self.report(stack, pending) {
                    return Some(event);
                }
            } else if let Some(ready) = self.next_ready(stack) {
                self.take_ready(&ready);
            } else if let Some(event) = self.accept(stack) {
                return Some(event);
            } else if let Some(event) = self.next_of_drain(stack) {
                return Some(event);
            } else if let Some(pending) = self.next_due() {
                self.pending = Some(pending);
            } else {
                self.wakes_left = self.woken;
                self.cx.end();
                return None;
            }
        }
    }

    /// When to call [`poll`](Self::poll) next, even if nothing comes: now or earlier when there is more to do.
    pub fn deadline(&self) -> Option<Instant> {
        let drain = match self.phase {
            Phase::Draining { until, .. } if !self.slots.is_empty() => Some(until),
            Phase::Idle | Phase::Listening(_) | Phase::Draining { .. } => None,
        };
        earliest(self.slots.earliest(), drain).map(|at| self.cx.due(at))
    }

    /// How many connections are open, those that are closing included.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// How many it has room for.
    pub fn capacity(&self) -> usize {
        self.slots.capacity()
    }

    /// All connections, in the order of their slots.
    pub fn ids(&self) -> impl Iterator<Item = Id> {
        self.slots.iter().map(|(id, _)| id)
    }

    /// The connection at an index below the capacity, if there is one: to walk over all of them while changing some.
    pub fn id_at(&self, index: usize) -> Option<Id> {
        self.slots.id_at(index)
    }

    /// What it has counted.
    pub fn stats(&self) -> ServerStats {
        self.stats
    }

    /// How it behaves.
    pub fn config(&self) -> &ServerConfig {
        &self.config
    }

    /// The (state, input) pairs that its connections have been through.
    pub fn transitions(&self) -> &Transitions {
        &self.cx.seen
    }

    fn next_ready(&mut self, stack: &mut S) -> Option<Ready<S::Connection>> {
        match self.phase {
            Phase::Idle => None,
            Phase::Listening(listener) | Phase::Draining { listener, .. } => stack.ready(listener),
        }
    }

    fn take_ready(&mut self, ready: &Ready<S::Connection>) {
        let Some(id) = self.slots.id_at(ready.tag.0 as usize) else { return };
        let Some(connection) = self.slots.get(id) else { return };
        // The slot may have a new owner since.
        if connection.handle() == ready.connection {
            self.pending = Some(Pending {
                id,
                // What came before an end can still be received.
                readable: ready.readiness.readable || ready.readiness.ended,
                writable: ready.readiness.writable && connection.blocked,
                check: ready.readiness.ended,
            });
        }
    }

    /// Reports one thing, and keeps the others for the next call.
    fn report(&mut self, stack: &mut S, pending: Pending) -> Option<Event> {
        let id = pending.id;
        let connection = self.slots.get_mut(id)?;
        let (receives, sends, closing) = match connection.state() {
            State::Open => (true, true, false),
            State::WriteClosed => (true, false, false),
            State::PeerClosed => (false, true, false),
            State::Closing(_) => (false, false, true),
            State::Opening | State::Closed(_) => (false, false, false),
        };
        if pending.readable {
            self.pending = Some(Pending { readable: false, ..pending });
            if closing {
                return self.check(stack, id);
            }
            receives.then_some(Event::Readable { id })
        } else if pending.writable {
            self.pending = Some(Pending { writable: false, ..pending });
            connection.blocked &= !sends;
            sends.then_some(Event::Writable { id })
        } else if pending.check || connection.stirred {
            self.check(stack, id)
        } else {
            None
        }
    }

    /// Looks at a connection's state and deadlines; discards what comes after a close.
    fn check(&mut self, stack: &mut S, id: Id) -> Option<Event> {
        let connection = self.slots.get_mut(id)?;
        if matches!(connection.state(), State::Closing(_)) && connection.discard(stack) {
            self.wake(id);
        }
        let connection = self.slots.get_mut(id)?;
        match connection.check(stack, &self.config.deadlines, &mut self.cx) {
            Verdict::Over(reason) => self.finish(stack, id, reason),
            Verdict::Wait(next) => {
                // What changed while looking is looked at once more.
                let next = if connection.stirred { Some(self.cx.now) } else { next };
                let woken = connection.woken.then_some(self.cx.now);
                self.slots.set_deadline(id, earliest(next, woken));
                None
            }
        }
    }

    fn accept(&mut self, stack: &mut S) -> Option<Event> {
        let Phase::Listening(listener) = self.phase else { return None };
        if self.slots.is_full() {
            return None;
        }
        let (handle, peer) = match stack.accept(listener) {
            Ok(accepted) => accepted?,
            Err(error) => {
                self.stats.accept_errors = self.stats.accept_errors.wrapping_add(1);
                self.stats.accept_error = Some(error.kind());
                return None;
            }
        };
        self.stats.accepted = self.stats.accepted.wrapping_add(1);
        let rejected = self.config.per_peer.is_some_and(|limit| self.count_of(stack, peer.ip()) >= limit);
        let Ok(id) = self.slots.insert(Connection::new(handle, self.cx.now)) else {
            // Not reached, a slot was free.
            let _ = stack.abort(handle);
            return None;
        };
        let connection = self.slots.get_mut(id)?;
        if rejected {
            debug!("{} is rejected: it has as many connections as one peer may have", peer);
            self.stats.rejected = self.stats.rejected.wrapping_add(1);
            connection.apply(Input::Rejected, &mut self.cx);
            return self.finish(stack, id, Reason::Rejected);
        }
        connection.apply(Input::Opened, &mut self.cx);
        if let Err(error) = stack.set_tag(handle, Tag(id.index() as u32)) {
            connection.apply(Input::Failed(error.kind()), &mut self.cx);
        }
        self.pending = Some(Pending { id, readable: true, writable: false, check: true });
        Some(Event::Opened { id, peer })
    }

    fn count_of(&self, stack: &S, address: IpAddr) -> usize {
        let peers = self.slots.iter().filter_map(|(_, connection)| stack.peer_addr(connection.handle()).ok());
        peers.filter(|peer| peer.ip() == address).count()
    }

    /// One of those that a drain has not seen end by themselves in time.
    fn next_of_drain(&mut self, stack: &mut S) -> Option<Event> {
        let Phase::Draining { until, next, .. } = &mut self.phase else { return None };
        if *until > self.cx.now {
            return None;
        }
        while *next < self.slots.capacity() {
            let index = *next;
            *next += 1;
            if let Some(id) = self.slots.id_at(index) {
                let reason = self.slots.get_mut(id)?.expire(stack, Deadline::Drain, &mut self.cx);
                return self.finish(stack, id, reason);
            }
        }
        None
    }

    /// The next connection to look at: its deadline has come, it was stirred, or woken in an earlier round.
    fn next_due(&mut self) -> Option<Pending> {
        let id = self.slots.take_due(self.cx.now)?;
        let connection = self.slots.get_mut(id)?;
        let woken = connection.woken;
        if woken {
            let Some(left) = self.wakes_left.checked_sub(1) else {
                self.slots.set_deadline(id, Some(self.cx.now));
                return None;
            };
            self.wakes_left = left;
            self.woken = self.woken.saturating_sub(1);
            connection.woken = false;
        }
        Some(Pending { id, readable: woken, writable: woken, check: true })
    }

    /// The end of a connection: its slot and the stack's are free.
    fn finish(&mut self, stack: &mut S, id: Id, reason: Reason) -> Option<Event> {
        let connection = self.slots.remove(id)?;
        self.woken = self.woken.saturating_sub(usize::from(connection.woken));
        let peer = stack.peer_addr(connection.handle()).unwrap_or(UNKNOWN);
        let traffic = connection.traffic();
        connection.release(stack, reason);
        Some(Event::Closed { id, peer, reason, traffic })
    }
}

/// The peer of a connection whose stack has forgotten it.
const UNKNOWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
