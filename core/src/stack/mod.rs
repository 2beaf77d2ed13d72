//! The boundary: what a TCP stack must offer, in the words of BSD sockets.
//!
//! | a sockets tutorial says | here |
//! |---|---|
//! | `socket`, `bind`, `listen` | [`TcpStack::listen`] |
//! | `accept` | [`TcpStack::accept`] |
//! | `socket`, (`bind`,) `connect` | [`TcpStack::connect`], then [`TcpStack::status`] |
//! | `send`, `recv` | [`TcpStack::send`], [`TcpStack::recv`]; without a copy [`TcpStack::send_with`], [`TcpStack::recv_with`] |
//! | `shutdown(SHUT_WR)` | [`TcpStack::shutdown`] |
//! | `close` | [`TcpStack::close`] |
//! | `close` with `SO_LINGER` 0 | [`TcpStack::abort`] |
//! | `getsockname`, `getpeername` | [`TcpStack::local_addr`], [`TcpStack::peer_addr`] |
//! | `epoll_wait` | [`TcpStack::poll`], then [`TcpStack::ready`] |
//!
//! Every call returns at once. Every backend passes the same conformance suite (package `socklet-tests`), and so should yours.

mod error;
mod options;

pub use error::{ErrorKind, StackError};
pub use options::{Backpressure, Capabilities, CongestionControl, ConnectOptions, KeepAlive, ListenOptions};

use crate::time::Instant;
use core::fmt::Debug;
use core::net::SocketAddr;

/// What [`TcpStack::send`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Sent {
    /// So many bytes are in the send buffer: all that were offered, or as many as had room. Zero only if none were offered.
    Queued(usize),
    /// The send buffer is full, or the connection is still being opened.
    WouldBlock,
}

/// What [`TcpStack::recv`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Received<T = usize> {
    /// Bytes: their count, or what the closure of [`TcpStack::recv_with`] made of them.
    ///
    /// A count of zero only means that the caller's buffer was empty.
    Data(T),
    /// Nothing has come yet.
    WouldBlock,
    /// The peer has closed its write side, and all that it sent before has been received.
    EndOfStream,
}

/// How far the connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Status {
    /// The handshake is not complete.
    Connecting,
    /// Bytes can flow in at least one direction, or the stack still has some to deliver.
    Open,
    /// Both sides have closed and every queued byte was acknowledged. Received bytes may still be waiting.
    Finished,
    /// It ended early. What had arrived before can still be received where the backend keeps it.
    Failed(ErrorKind),
}

/// What changed on a connection since it was last reported by [`TcpStack::ready`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Readiness {
    /// Bytes or the end of the stream have come.
    pub readable: bool,
    /// Queued bytes were acknowledged, or the handshake completed: there may be room to send.
    pub writable: bool,
    /// [`Status`] is now `Finished` or `Failed`.
    pub ended: bool,
}

impl Readiness {
    /// Everything may have changed: what a stack says that cannot tell.
    pub const ALL: Self = Self { readable: true, writable: true, ended: true };

    /// Whether nothing has changed.
    pub const fn is_empty(self) -> bool {
        !(self.readable || self.writable || self.ended)
    }
}

/// A number that the owner of a connection gives it, and gets back with its readiness: an index of its own, say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Tag(pub u32);

/// A connection that changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Ready<C> {
    /// The connection.
    pub connection: C,
    /// What [`TcpStack::set_tag`] gave it; zero before.
    pub tag: Tag,
    /// What changed.
    pub readiness: Readiness,
}

/// A TCP stack: listeners and connections behind handles, driven by [`poll`](Self::poll).
///
/// # The loop
///
/// ```text
/// loop {
///     let service_deadline = service.poll(&mut stack, now);   // takes events, sends, receives
///     let stack_deadline = stack.poll(now);                   // sends what was queued, takes what came
///     sleep until the earlier of the two, or until the device or a socket has something
/// }
/// ```
///
/// [`poll`](Self::poll) returns `now` or earlier when something changed that the service should see, so the loop needs no second condition.
///
/// # Handles
///
/// Handles are small and `Copy`. One whose socket is gone gives [`ErrorKind::StaleHandle`]; it never reaches another user's
/// connection. A connection keeps its handle, and its memory, until [`close`](Self::close) or [`abort`](Self::abort), also after it failed.
pub trait TcpStack {
    /// Names a listener.
    type Listener: Copy + Eq + Debug;
    /// Names a connection.
    type Connection: Copy + Eq + Debug;
    /// What went wrong; [`StackError::kind`] says what to do about it.
    type Error: StackError;

    /// What this stack can do.
    fn capabilities(&self) -> Capabilities;

    /// Listens on `local`. An unspecified address means every address of this host.
    ///
    /// The listener is passive: it never carries data.
    ///
    /// # Errors
    /// `AddressInUse` (another listener has the port), `NoAddress` (not an address of this host), `NoSlot` (no room for a listener),
    /// `InvalidState` (port 0 where the stack cannot choose one), `Unsupported`.
    fn listen(&mut self, local: SocketAddr, options: &ListenOptions) -> Result<Self::Listener, Self::Error>;

    /// Takes the oldest connection that is ready for use, and the peer's address; `None` while there is none.
    ///
    /// A connection that was reset before anyone accepted it is dropped silently and does not hide those behind it.
    ///
    /// # Errors
    /// `Closed` after [`close_listener`](Self::close_listener), `NoSlot` where the system has no room for what it has already accepted (no
    /// descriptor, say): it waits, and a later call may succeed; `StaleHandle`.
    fn accept(
        &mut self,
        listener: Self::Listener,
    ) -> Result<Option<(Self::Connection, SocketAddr)>, Self::Error>;

    /// The address that the listener has.
    ///
    /// # Errors
    /// `StaleHandle`, `Unsupported`.
    fn listener_addr(&self, listener: Self::Listener) -> Result<SocketAddr, Self::Error>;

    /// Stops listening: newcomers are refused, those that wait to be accepted are reset, accepted connections live on.
    ///
    /// The port is free at once. The handle serves [`ready`](Self::ready) until the last connection that it accepted is gone.
    ///
    /// # Errors
    /// `StaleHandle`.
    fn close_listener(&mut self, listener: Self::Listener) -> Result<(), Self::Error>;

    /// Starts to connect and returns at once; [`status`](Self::status) tells how it went.
    ///
    /// The local port is chosen by the stack (RFC 6056) unless `options` binds one.
    ///
    /// # Errors
    /// `NoSlot`, `NoAddress` (no local address or route for `remote`), `AddressInUse` (no free port, or the one given is taken for this
    /// peer), `Unreachable`, `Refused` where the stack knows at once, `Unsupported`.
    fn connect(
        &mut self,
        remote: SocketAddr,
        options: &ConnectOptions,
    ) -> Result<Self::Connection, Self::Error>;

    /// How far the connection has come.
    ///
    /// # Errors
    /// `StaleHandle` only.
    fn status(&self, connection: Self::Connection) -> Result<Status, Self::Error>;

    /// Gives a connection the number that [`ready`](Self::ready) returns with it.
    ///
    /// # Errors
    /// `StaleHandle`.
    fn set_tag(&mut self, connection: Self::Connection, tag: Tag) -> Result<(), Self::Error>;

    /// Copies bytes into the send buffer: as many as have room.
    ///
    /// Queued bytes are delivered, or the connection ends with a reason.
    ///
    /// # Errors
    /// `Closed` after [`shutdown`](Self::shutdown), the reason of the end (`Reset`, `TimedOut`, ...) after one, `StaleHandle`.
    fn send(&mut self, connection: Self::Connection, data: &[u8]) -> Result<Sent, Self::Error>;

    /// Copies received bytes out of the receive buffer.
    ///
    /// # Errors
    /// The reason of the end, once nothing is left to receive; `StaleHandle`.
    fn recv(&mut self, connection: Self::Connection, buffer: &mut [u8]) -> Result<Received, Self::Error>;

    /// Hands the free part of the send buffer to `fill`, which returns how many bytes it wrote at the start of it.
    ///
    /// The slice is what is contiguous, not all that is free; it is never empty. `fill` is not called when the answer is `WouldBlock`.
    ///
    /// # Errors
    /// As [`send`](Self::send); `Unsupported` without [`Capabilities::zero_copy`].
    fn send_with(
        &mut self,
        connection: Self::Connection,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<Sent, Self::Error>;

    /// Hands received bytes to `take`, which returns how many of them it is done with, and a value.
    ///
    /// The slice is what is contiguous, not all that has come; it is never empty. `take` is called only when there is something.
    ///
    /// # Errors
    /// As [`recv`](Self::recv); `Unsupported` without [`Capabilities::zero_copy`].
    fn recv_with<R>(
        &mut self,
        connection: Self::Connection,
        take: impl FnOnce(&[u8]) -> (usize, R),
    ) -> Result<Received<R>, Self::Error>;

    /// Moves bytes from the receive buffer of `from` to the send buffer of `to`, and shows them to `tap`; for an echo both are the same.
    ///
    /// As many as there are and have room, but not more than `most`. A short cut: why it moved no more, [`recv_with`](Self::recv_with) and
    /// [`send`](Self::send) say. A stack that has none, as by default, never moves anything.
    /// [`Server::relay`](crate::server::Server::relay) uses it.
    ///
    /// # Errors
    /// `StaleHandle`.
    fn splice(
        &mut self,
        from: Self::Connection,
        to: Self::Connection,
        most: usize,
        tap: impl FnMut(&[u8]),
    ) -> Result<usize, Self::Error> {
        let _ = (from, to, most, tap);
        Ok(0)
    }

    /// Closes the write side: what is queued is sent, then FIN. The peer's bytes can still be received. Doing it twice is harmless.
    ///
    /// # Errors
    /// `InvalidState` while connecting, the reason of the end after one, `StaleHandle`, `Unsupported` without [`Capabilities::half_close`].
    fn shutdown(&mut self, connection: Self::Connection) -> Result<(), Self::Error>;

    /// Gives the connection up in good order: what is queued is sent, then FIN. The handle is stale afterwards.
    ///
    /// The stack drives it to the end without the caller, and for no longer than its linger time; then it resets what is left.
    /// What the peer still sends is discarded. Call [`shutdown`](Self::shutdown) and keep the handle to learn how it ended.
    ///
    /// # Errors
    /// `StaleHandle`.
    fn close(&mut self, connection: Self::Connection) -> Result<(), Self::Error>;

    /// Resets the connection and forgets what is queued. The handle is stale afterwards.
    ///
    /// # Errors
    /// `StaleHandle`.
    fn abort(&mut self, connection: Self::Connection) -> Result<(), Self::Error>;

    /// This end's address.
    ///
    /// # Errors
    /// `StaleHandle`, `Unsupported`.
    fn local_addr(&self, connection: Self::Connection) -> Result<SocketAddr, Self::Error>;

    /// The peer's address.
    ///
    /// # Errors
    /// `StaleHandle`.
    fn peer_addr(&self, connection: Self::Connection) -> Result<SocketAddr, Self::Error>;

    /// Bytes queued and not yet acknowledged by the peer.
    ///
    /// # Errors
    /// `StaleHandle`, `Unsupported` where the stack cannot say.
    fn unsent(&self, connection: Self::Connection) -> Result<usize, Self::Error>;

    /// Takes the next connection that `listener` accepted and that changed; `None` when all have been seen.
    ///
    /// A change is reported once: receive until `WouldBlock`, or come back by yourself. Costs O(1), however many connections are open.
    fn ready(&mut self, listener: Self::Listener) -> Option<Ready<Self::Connection>>;

    /// Does what is to be done at `now`: sends, receives, and ends what has taken too long.
    ///
    /// Returns when to call it next, at the latest: not after `now` if there is more to do or something changed that a service should
    /// look at; `None` when only the network can wake it. The work of one call is bounded.
    #[must_use = "the next call is due at this time"]
    fn poll(&mut self, now: Instant) -> Option<Instant>;
}
