//! [`TcpStack`] on the sockets of the operating system.
//!
//! Bytes are queued in the kernel only. What a tutorial does with `socket`, `bind`, `listen`, `accept`, `connect`, `read`, `write`,
//! `shutdown` and `close` is done here with the same calls; readiness comes from epoll or kqueue through mio, at a cost per ready
//! socket.
//!
//! - Listeners set `SO_REUSEADDR`, so a restarted server binds its port while old connections are in TIME-WAIT. A listener on an
//!   IPv6 address, `[::]` too, takes IPv6 alone: listen twice for both families.
//! - All sockets set `TCP_NODELAY`: what is sent leaves at once.
//! - [`Backpressure::Defer`](socklet::stack::Backpressure) is what Linux does when a backlog is full. `Refuse` is a setting of the whole machine there
//!   (`net.ipv4.tcp_abort_on_overflow`), so it is `Unsupported` here.
//! - A closed connection lingers in the background: FIN, then what the peer still sends is read and discarded until it closes too. A
//!   plain `close` with unread bytes would reset the connection and destroy what is on its way to the peer.
//! - `unsent` is what the kernel says: Linux, FreeBSD and macOS do; elsewhere it is `Unsupported`.

mod connection;
mod error;
mod sys;
mod table;
#[cfg(test)]
mod tests;

pub use error::OsError;
pub(crate) use error::kind_of;

use core::net::SocketAddr;
use core::time::Duration;
use error::Operation;
use mio::Token;
use socklet::stack::{
    Capabilities, ConnectOptions, ErrorKind, ListenOptions, Ready, Received, Sent, Status, Tag, TcpStack,
};
use socklet::storage::Id;
use socklet::time::{Instant, Monotonic};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use table::Table;

/// Events taken from the system in one poll.
const EVENTS: usize = 1024;

/// How large an [`OsStack`] is, and what it sets on its sockets.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct OsOptions {
    /// Connections at a time, at most 65,534. As many closed ones may linger beside them.
    pub connections: usize,
    /// Listeners at a time, at most 65,534.
    pub listeners: usize,
    /// `SO_SNDBUF`, in bytes. The kernel rounds it, and Linux doubles it. `None`: the system's own choice, which adapts.
    pub send_buffer: Option<usize>,
    /// `SO_RCVBUF`, likewise.
    pub recv_buffer: Option<usize>,
    /// How long a closed connection may take to end in order before it is reset.
    pub linger: Duration,
}

/// 4,096 connections, 64 listeners, buffers of the system's choice, 30 seconds of linger time.
impl Default for OsOptions {
    fn default() -> Self {
        let (send_buffer, recv_buffer) = (None, None);
        Self { connections: 4096, listeners: 64, send_buffer, recv_buffer, linger: Duration::from_secs(30) }
    }
}

impl OsOptions {
    /// The same for another number of connections.
    #[must_use]
    pub fn with_connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// The same with buffers of these sizes, in bytes.
    #[must_use]
    pub fn with_buffers(mut self, send: impl Into<Option<usize>>, recv: impl Into<Option<usize>>) -> Self {
        (self.send_buffer, self.recv_buffer) = (send.into(), recv.into());
        self
    }

    /// The same with another linger time.
    #[must_use]
    pub fn with_linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }
}

/// Names a listener of an [`OsStack`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OsListener(Id);

/// Names a connection of an [`OsStack`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OsConnection(Id);

/// A [`TcpStack`] on the sockets of the operating system.
///
/// ```
/// use socklet::stack::{ListenOptions, TcpStack};
/// use socklet_hosted::os::{OsOptions, OsStack};
///
/// let mut stack = OsStack::new(OsOptions::default())?;
/// let listener = stack.listen("127.0.0.1:0".parse()?, &ListenOptions::default())?;
/// println!("listening on {}", stack.listener_addr(listener)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct OsStack {
    poll: mio::Poll,
    events: mio::Events,
    table: Table,
    /// A [`wait`](Self::wait) has found something since the last poll.
    changed: bool,
    clock: Monotonic,
}

impl OsStack {
    /// The first token that is free for a driver's own sources on the [registry](Self::registry); so are all above it.
    pub const FREE_TOKENS: Token = Token(3 << 16);

    /// A stack without listeners and connections.
    ///
    /// # Errors
    /// The system has no descriptor left for epoll or kqueue.
    pub fn new(options: OsOptions) -> io::Result<Self> {
        let poll = mio::Poll::new()?;
        let table = Table::new(poll.registry().try_clone()?, options);
        Ok(Self {
            poll,
            events: mio::Events::with_capacity(EVENTS),
            table,
            changed: false,
            clock: Monotonic::NEW,
        })
    }

    /// Where a driver adds sources of its own, a [`Waker`](mio::Waker) or a terminal, with tokens from [`FREE_TOKENS`](Self::FREE_TOKENS)
    /// on: they end a [`wait`](Self::wait), and are not reported otherwise.
    pub fn registry(&self) -> &mio::Registry {
        self.poll.registry()
    }

    /// Sleeps until a socket or a source of the driver has something, a signal comes, or `timeout` has passed.
    ///
    /// What it finds is in the listeners' ready queues at once, and the next [`poll`](TcpStack::poll) tells of it too.
    ///
    /// # Errors
    /// The system refuses to wait, for a reason other than a signal.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match self.look(timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            changed => self.changed |= changed?,
        }
        Ok(())
    }

    /// Takes in events. Returns whether a service should look at something.
    fn look(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        self.events.clear();
        self.poll.poll(&mut self.events, timeout)?;
        let mut changed = false;
        let mut taken = 0;
        for event in &self.events {
            changed |= self.table.on_event(event);
            taken += 1;
        }
        Ok(changed || taken == EVENTS)
    }
}

/// Readable when a socket of the stack, or a source on its registry, has something: for a loop that waits on descriptors of its own.
impl AsRawFd for OsStack {
    fn as_raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }
}

fn unsupported<T>() -> Result<T, OsError> {
    Err(OsError::new(Operation::Name, None, ErrorKind::Unsupported))
}

impl TcpStack for OsStack {
    type Listener = OsListener;
    type Connection = OsConnection;
    type Error = OsError;

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::ALL;
        capabilities.backlog = false;
        capabilities.zero_copy = false;
        capabilities.unsent = sys::TELLS;
        capabilities
    }

    /// `Backpressure::Refuse` is `Unsupported`. The backlog is given to the system as it is; Linux adds one, and caps it at
    /// `net.core.somaxconn`. With port 0 the system chooses a free one.
    fn listen(&mut self, local: SocketAddr, options: &ListenOptions) -> Result<OsListener, OsError> {
        self.table.listen(local, options).map(OsListener)
    }

    /// `NoSlot` when the stack or the process has no room: the connection stays in the backlog, and a poll that returns `now` says when
    /// to try again.
    fn accept(&mut self, listener: OsListener) -> Result<Option<(OsConnection, SocketAddr)>, OsError> {
        let accepted = self.table.accept(listener.0)?;
        Ok(accepted.map(|(id, peer)| (OsConnection(id), peer)))
    }

    fn listener_addr(&self, listener: OsListener) -> Result<SocketAddr, OsError> {
        self.table.listener_addr(listener.0)
    }

    fn close_listener(&mut self, listener: OsListener) -> Result<(), OsError> {
        self.table.close_listener(listener.0)
    }

    fn connect(&mut self, remote: SocketAddr, options: &ConnectOptions) -> Result<OsConnection, OsError> {
        self.table.connect(remote, options).map(OsConnection)
    }

    fn status(&self, connection: OsConnection) -> Result<Status, OsError> {
        Ok(self.table.get(connection.0)?.status())
    }

    fn set_tag(&mut self, connection: OsConnection, tag: Tag) -> Result<(), OsError> {
        self.table.get_mut(connection.0)?.tag = tag;
        Ok(())
    }

    fn send(&mut self, connection: OsConnection, data: &[u8]) -> Result<Sent, OsError> {
        self.table.get_mut(connection.0)?.send(data)
    }

    fn recv(&mut self, connection: OsConnection, buffer: &mut [u8]) -> Result<Received, OsError> {
        self.table.get_mut(connection.0)?.recv(buffer)
    }

    /// The buffers are the kernel's: `Unsupported`.
    fn send_with(
        &mut self,
        connection: OsConnection,
        _: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<Sent, OsError> {
        self.table.get(connection.0)?;
        unsupported()
    }

    /// The buffers are the kernel's: `Unsupported`.
    fn recv_with<R>(
        &mut self,
        connection: OsConnection,
        _: impl FnOnce(&[u8]) -> (usize, R),
    ) -> Result<Received<R>, OsError> {
        self.table.get(connection.0)?;
        unsupported()
    }

    fn shutdown(&mut self, connection: OsConnection) -> Result<(), OsError> {
        self.table.get_mut(connection.0)?.shutdown()
    }

    fn close(&mut self, connection: OsConnection) -> Result<(), OsError> {
        self.table.close(connection.0)
    }

    fn abort(&mut self, connection: OsConnection) -> Result<(), OsError> {
        self.table.abort(connection.0)
    }

    fn local_addr(&self, connection: OsConnection) -> Result<SocketAddr, OsError> {
        self.table.get(connection.0)?.local()
    }

    fn peer_addr(&self, connection: OsConnection) -> Result<SocketAddr, OsError> {
        Ok(self.table.get(connection.0)?.peer())
    }

    fn unsent(&self, connection: OsConnection) -> Result<usize, OsError> {
        let connection = self.table.get(connection.0)?;
        if sys::TELLS { connection.unsent() } else { unsupported() }
    }

    fn ready(&mut self, listener: OsListener) -> Option<Ready<OsConnection>> {
        let Ready { connection, tag, readiness } = self.table.ready(listener.0)?;
        Some(Ready { connection: OsConnection(connection), tag, readiness })
    }

    fn poll(&mut self, now: Instant) -> Option<Instant> {
        let changed = core::mem::take(&mut self.changed) || self.look(Some(Duration::ZERO)).unwrap_or(false);
        let at = self.clock.advance(now);
        let due = if self.table.expire(at) || changed { Some(at) } else { self.table.deadline() };
        due.map(|due| self.clock.external(due))
    }
}
