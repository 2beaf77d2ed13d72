//! What runs on a stack, and ready-made services.
//!
//! A driver, the simulator and a firmware's main loop all run a [`Service`]:
//!
//! ```
//! # use socklet::{service::Service, stack::TcpStack, time::*};
//! fn round<S: TcpStack>(service: &mut impl Service<S>, stack: &mut S, now: Instant) -> Option<Instant> {
//!     let service_deadline = service.poll(stack, now);
//!     let stack_deadline = stack.poll(now);
//!     earliest(service_deadline, stack_deadline) // sleep until then, or until the device or a socket has something
//! }
//! ```
//!
//! [`Serve`] makes a service of a [`Server`] and a [`Protocol`], which says what to do with one connection: [`Echo`], [`Discard`],
//! [`Chargen`], [`Reply`], or one of your own. An [`Observer`] is told what happens.

mod chargen;
mod protocols;
#[cfg(test)]
mod tests;

pub use chargen::Chargen;
pub use protocols::{Discard, Echo, Reply};

use crate::connection::{Error, Reason, Traffic};
use crate::server::{Event, Server};
use crate::stack::{StackError, TcpStack};
use crate::storage::Id;
use crate::time::{Duration, Instant};
use core::net::SocketAddr;

/// Something that runs on a stack.
pub trait Service<S: TcpStack> {
    /// Takes events, receives, sends. Returns its next deadline; one that is not after `now` asks to be called again at once.
    #[must_use = "the next call is due at this time"]
    fn poll(&mut self, stack: &mut S, now: Instant) -> Option<Instant>;

    /// Asks it to end: it stops listening, and what it has open may finish within `grace`.
    fn drain(&mut self, stack: &mut S, now: Instant, grace: Duration) {
        let _ = (stack, now, grace);
    }

    /// Whether a drain is complete.
    fn is_drained(&self) -> bool {
        true
    }
}

/// Is told what happens to the connections of a [`Serve`]. `()` does nothing with it.
pub trait Observer {
    /// A connection was accepted.
    fn opened(&mut self, id: Id, peer: SocketAddr) {
        let _ = (id, peer);
    }

    /// These bytes were received, and the service has dealt with them.
    fn received(&mut self, id: Id, data: &[u8]) {
        let _ = (id, data);
    }

    /// It is over. Without an [`opened`](Self::opened) before when the reason is [`Reason::Rejected`].
    fn closed(&mut self, id: Id, peer: SocketAddr, reason: Reason, traffic: Traffic) {
        let _ = (id, peer, reason, traffic);
    }
}

impl Observer for () {}

/// What a [`Protocol`] waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The next `Readable` or `Writable`.
    Wait,
    /// Nothing: it has done enough for this round and has more to do.
    Again,
    /// The end: the connection is to be closed in good order.
    Close,
}

/// What a server does with one connection.
pub trait Protocol<S: TcpStack> {
    /// Does what can be done on `id`, until the stack says `WouldBlock`. Called when it was opened, and when it is readable or writable.
    ///
    /// # Errors
    /// Those of the server's calls. The connection is over then, and `Closed` has this reason or an earlier one.
    fn advance(
        &mut self,
        server: &mut Server<'_, S>,
        stack: &mut S,
        id: Id,
        observer: &mut impl Observer,
    ) -> Result<Next, Error<S::Error>>;
}

/// A [`Service`] made of a [`Server`], a [`Protocol`] and an [`Observer`].
#[derive(Debug)]
pub struct Serve<'a, S: TcpStack, P, O = ()> {
    /// The server, which must be told to [`listen`](Server::listen).
    pub server: Server<'a, S>,
    /// What it does with each connection.
    pub protocol: P,
    /// Who is told.
    pub observer: O,
}

impl<'a, S: TcpStack, P: Protocol<S>> Serve<'a, S, P> {
    /// Serves `protocol`, silently.
    pub fn new(server: Server<'a, S>, protocol: P) -> Self {
        Self { server, protocol, observer: () }
    }

    /// The same with an observer.
    pub fn observed_by<O: Observer>(self, observer: O) -> Serve<'a, S, P, O> {
        Serve { server: self.server, protocol: self.protocol, observer }
    }
}

impl<S: TcpStack, P: Protocol<S>, O: Observer> Service<S> for Serve<'_, S, P, O> {
    fn poll(&mut self, stack: &mut S, now: Instant) -> Option<Instant> {
        while let Some(event) = self.server.poll(stack, now) {
            match event {
                // `Readable` follows.
                Event::Opened { id, peer } => self.observer.opened(id, peer),
                Event::Readable { id } | Event::Writable { id } => {
                    match self.protocol.advance(&mut self.server, stack, id, &mut self.observer) {
                        Ok(Next::Again) => self.server.wake(id),
                        // A stale id needs no closing.
                        Ok(Next::Close) => self.server.close(stack, id).unwrap_or(()),
                        Ok(Next::Wait) => {}
                        Err(error) => self.server.fail(id, error.kind()),
                    }
                }
                Event::Closed { id, peer, reason, traffic } => {
                    self.observer.closed(id, peer, reason, traffic);
                }
            }
        }
        self.server.deadline()
    }

    fn drain(&mut self, stack: &mut S, now: Instant, grace: Duration) {
        self.server.drain(stack, now, grace);
    }

    fn is_drained(&self) -> bool {
        self.server.is_drained()
    }
}
