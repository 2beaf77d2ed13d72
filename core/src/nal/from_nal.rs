use super::NalError;
use super::connection::{Connection, Listener};
use super::role::{ClientOnly, FullStack, Role};
use crate::stack::{
    Backpressure, Capabilities, ConnectOptions, ErrorKind, ListenOptions, Readiness, Ready, Received, Sent,
    Status, Tag, TcpStack,
};
use crate::storage::{Id, ManagedSlice, Slab, SlabSlot};
use crate::time::{Duration, Instant, Monotonic, earliest};
use core::fmt;
use core::marker::PhantomData;
use core::net::SocketAddr;
use embedded_nal::{TcpClientStack, TcpError, TcpErrorKind, TcpFullStack, nb};

/// What it means when `receive` returns `Ok(0)` for a buffer that has room. The published stacks do not agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnZero {
    /// The peer has closed: std-embedded-nal, [`ToNal`](super::ToNal).
    EndOfStream,
    /// Nothing has come. The end of the stream is then known only from an error of the kind `PipeClosed`, or not at all.
    WouldBlock,
}

/// How to read an embedded-nal stack.
#[derive(Debug)]
#[non_exhaustive]
pub struct NalOptions<E> {
    /// The meaning of `Ok(0)`.
    pub on_zero: OnZero,
    /// How often each socket is tried: the traits cannot tell when something has come.
    pub interval: Duration,
    /// Whether the stack's `connect` answers `WouldBlock` while the handshake lasts. If not, it blocks, and the connect timeout has no effect.
    pub connect_in_background: bool,
    /// What an error means. By itself the trait tells `PipeClosed` from all others.
    pub classify: fn(&E) -> ErrorKind,
}

impl<E: TcpError> NalOptions<E> {
    /// Tries each socket every 5 ms; `PipeClosed` is [`ErrorKind::Reset`] to a sender, and all other errors are [`ErrorKind::Other`].
    pub fn new(on_zero: OnZero) -> Self {
        let classify = |error: &E| match error.kind() {
            TcpErrorKind::PipeClosed => ErrorKind::Reset,
            _ => ErrorKind::Other,
        };
        Self { on_zero, interval: Duration::from_millis(5), connect_in_background: true, classify }
    }

    /// The same with another interval.
    #[must_use]
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// The same with another reading of errors.
    #[must_use]
    pub fn with_classify(mut self, classify: fn(&E) -> ErrorKind) -> Self {
        self.classify = classify;
        self
    }

    /// The same for a stack whose `connect` blocks.
    #[must_use]
    pub fn with_blocking_connect(mut self) -> Self {
        self.connect_in_background = false;
        self
    }
}

/// Names a listener of a [`FromNal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NalListener(Id);

/// Names a connection of a [`FromNal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NalConnection(Id);

/// Memory for one connection over sockets of type `T`: the socket and about 100 bytes.
pub type NalSlot<T> = SlabSlot<Connection<T>>;

/// Memory for one listener over sockets of type `T`, likewise.
pub type NalListenerSlot<T> = SlabSlot<Listener<T>>;

/// A [`TcpStack`] on an embedded-nal stack.
///
/// The traits know neither half-close nor reset, neither addresses to bind nor a backlog, neither readiness nor how much is queued. So
/// `shutdown`, `unsent`, `local_addr`, the zero-copy calls, bound addresses and `Backpressure::Refuse` are `Unsupported`; `abort` closes; a
/// connection is never `Finished`; and every connection is reported as possibly ready once in each [interval](NalOptions::interval).
///
/// `close` hands over to the stack's own `close`. Bytes that are still inside that stack are delivered if it does so.
pub struct FromNal<'a, N: TcpClientStack, R> {
    stack: N,
    options: NalOptions<N::Error>,
    listeners: Slab<'a, Listener<N::TcpSocket>>,
    connections: Slab<'a, Connection<N::TcpSocket>>,
    drive: fn(&mut N) -> bool,
    /// When all sockets are tried again.
    next_look: Option<Instant>,
    clock: Monotonic,
    role: PhantomData<R>,
}

impl<N: TcpClientStack, R> fmt::Debug for FromNal<'_, N, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromNal").field("connections", &self.connections.len()).finish_non_exhaustive()
    }
}

impl<'a, N: TcpClientStack> FromNal<'a, N, ClientOnly> {
    /// On a client stack, with memory for so many connections.
    pub fn client(
        stack: N,
        connections: impl Into<ManagedSlice<'a, NalSlot<N::TcpSocket>>>,
        options: NalOptions<N::Error>,
    ) -> Self {
        Self::new(stack, &mut [][..], connections, options)
    }
}

impl<'a, N: TcpFullStack> FromNal<'a, N, FullStack> {
    /// On a full stack, with memory for so many listeners and connections.
    pub fn full(
        stack: N,
        listeners: impl Into<ManagedSlice<'a, NalListenerSlot<N::TcpSocket>>>,
        connections: impl Into<ManagedSlice<'a, NalSlot<N::TcpSocket>>>,
        options: NalOptions<N::Error>,
    ) -> Self {
        Self::new(stack, listeners, connections, options)
    }
}

impl<'a, N: TcpClientStack, R> FromNal<'a, N, R> {
    fn new(
        stack: N,
        listeners: impl Into<ManagedSlice<'a, NalListenerSlot<N::TcpSocket>>>,
        connections: impl Into<ManagedSlice<'a, NalSlot<N::TcpSocket>>>,
        options: NalOptions<N::Error>,
    ) -> Self {
        let (listeners, connections) = (Slab::new(listeners), Slab::new(connections));
        Self {
            stack,
            options,
            listeners,
            connections,
            drive: |_| false,
            next_look: None,
            clock: Monotonic::NEW,
            role: PhantomData,
        }
    }

    /// The same over a stack that has work of its own. `drive` is called once in each interval, or at each poll while no socket is open;
    /// it returns whether it must be called again although none is.
    #[must_use]
    pub fn with_drive(mut self, drive: fn(&mut N) -> bool) -> Self {
        self.drive = drive;
        self
    }

    /// Another [interval](NalOptions::interval) from now on: a long one where the owner learns by itself when something has come, and calls
    /// [`look`](Self::look).
    pub const fn set_interval(&mut self, interval: Duration) {
        self.options.interval = interval;
    }

    /// Lets the next poll try every socket, whatever the interval: something has come.
    pub const fn look(&mut self) {
        self.next_look = None;
    }

    /// The stack beneath.
    pub const fn stack(&self) -> &N {
        &self.stack
    }

    /// The stack beneath, to do what no trait can say.
    pub const fn stack_mut(&mut self) -> &mut N {
        &mut self.stack
    }

    fn error(&self, error: N::Error) -> NalError<N::Error> {
        NalError::new((self.options.classify)(&error), error)
    }

    fn get(&self, id: Id) -> Result<&Connection<N::TcpSocket>, NalError<N::Error>> {
        self.connections.get(id).ok_or_else(stale)
    }

    /// A connection with what its calls need of this.
    fn split(&mut self, id: Id) -> Result<Split<'_, N>, NalError<N::Error>> {
        let connection = self.connections.get_mut(id).ok_or_else(stale)?;
        Ok((connection, &mut self.stack, &self.options))
    }

    fn remove(&mut self, id: Id) -> Result<Connection<N::TcpSocket>, NalError<N::Error>> {
        let connection = self.connections.remove(id).ok_or_else(stale)?;
        let listener = connection.listener.and_then(|at| Some((at, self.listeners.get_mut(at)?)));
        if let Some((at, listener)) = listener {
            listener.open = listener.open.saturating_sub(1);
            if listener.socket.is_none() && listener.open == 0 {
                self.listeners.remove(at);
            }
        }
        Ok(connection)
    }

    /// Goes on with every handshake.
    fn go_on_connecting(&mut self) {
        for index in 0..self.connections.capacity() {
            let Some(id) = self.connections.id_at(index) else { continue };
            let Some(connection) = self.connections.get_mut(id) else { continue };
            if connection.is_connecting() && connection.connect(&mut self.stack, &self.options).is_some() {
                self.connections.set_deadline(id, None);
            }
        }
    }

    /// By a clock that never goes back.
    fn poll_at(&mut self, now: Instant) -> Option<Instant> {
        let ended = self.expire(now);
        let latest = now + self.options.interval;
        if self.connections.is_empty() && self.listeners.is_empty() {
            self.next_look = None;
            return (self.drive)(&mut self.stack).then_some(latest);
        }
        let next_look = self.next_look.unwrap_or(now);
        if next_look > now {
            self.next_look = Some(next_look);
            return if ended { Some(now) } else { earliest(self.next_look, self.connections.earliest()) };
        }
        let _ = (self.drive)(&mut self.stack);
        self.next_look = Some(latest);
        self.go_on_connecting();
        for index in 0..self.listeners.capacity() {
            let id = self.listeners.id_at(index);
            if let Some(listener) = id.and_then(|id| self.listeners.get_mut(id)) {
                listener.looked_at = 0;
            }
        }
        Some(now)
    }

    /// Starts the time limits of new handshakes, and ends those that are due. Returns whether one was ended.
    fn expire(&mut self, now: Instant) -> bool {
        let mut changed = false;
        while let Some(id) = self.connections.take_due(now) {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            match connection.take_timeout() {
                Some(timeout) => self.connections.set_deadline(id, Some(now + timeout)),
                None => {
                    connection.time_out(&mut self.stack);
                    changed = true;
                }
            }
        }
        changed
    }
}

type Split<'s, N> = (
    &'s mut Connection<<N as TcpClientStack>::TcpSocket>,
    &'s mut N,
    &'s NalOptions<<N as TcpClientStack>::Error>,
);

fn stale<E>() -> NalError<E> {
    ErrorKind::StaleHandle.into()
}

fn unsupported<T, E>() -> Result<T, NalError<E>> {
    Err(ErrorKind::Unsupported.into())
}

impl<N: TcpClientStack, R: Role<N>> TcpStack for FromNal<'_, N, R> {
    type Listener = NalListener;
    type Connection = NalConnection;
    type Error = NalError<N::Error>;

    fn capabilities(&self) -> Capabilities {
        let connect_in_background = self.options.connect_in_background;
        Capabilities { listen: R::LISTENS, connect_in_background, ..Capabilities::CLIENT_ONLY }
    }

    /// On every address: another one is `Unsupported`, and port 0 is `InvalidState`, because nobody could learn the port.
    fn listen(&mut self, local: SocketAddr, options: &ListenOptions) -> Result<NalListener, Self::Error> {
        if !R::LISTENS || !local.ip().is_unspecified() || options.backpressure == Backpressure::Refuse {
            return unsupported();
        }
        if local.port() == 0 {
            return Err(ErrorKind::InvalidState.into());
        }
        if self.listeners.is_full() {
            return Err(ErrorKind::NoSlot.into());
        }
        let mut socket = self.stack.socket().map_err(|error| NalError::new(ErrorKind::NoSlot, error))?;
        match R::listen(&mut self.stack, &mut socket, local.port()) {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                let _ = self.stack.close(socket);
                return Err(self.error(error));
            }
            None => return unsupported(),
        }
        let listener = Listener { socket: Some(socket), local, open: 0, looked_at: 0 };
        self.listeners.insert(listener).map(NalListener).map_err(|_| ErrorKind::NoSlot.into())
    }

    fn accept(&mut self, listener: NalListener) -> Result<Option<(NalConnection, SocketAddr)>, Self::Error> {
        let beneath = self.listeners.get_mut(listener.0).ok_or_else(stale)?;
        let Some(socket) = &mut beneath.socket else { return Err(ErrorKind::Closed.into()) };
        if self.connections.is_full() {
            return Err(ErrorKind::NoSlot.into());
        }
        let (socket, peer) = match R::accept(&mut self.stack, socket) {
            Ok(accepted) => accepted,
            Err(nb::Error::WouldBlock) => return Ok(None),
            Err(nb::Error::Other(error)) => return Err(self.error(error)),
        };
        beneath.open = beneath.open.saturating_add(1);
        let connection = Connection::accepted(socket, peer, listener.0);
        let id = self.connections.insert(connection).map_err(|_| ErrorKind::NoSlot)?;
        Ok(Some((NalConnection(id), peer)))
    }

    fn listener_addr(&self, listener: NalListener) -> Result<SocketAddr, Self::Error> {
        self.listeners.get(listener.0).map(|listener| listener.local).ok_or_else(stale)
    }

    fn close_listener(&mut self, listener: NalListener) -> Result<(), Self::Error> {
        let beneath = self.listeners.get_mut(listener.0).ok_or_else(stale)?;
        let socket = beneath.socket.take();
        if beneath.open == 0 {
            self.listeners.remove(listener.0);
        }
        match socket.map(|socket| self.stack.close(socket)) {
            Some(Err(error)) => Err(self.error(error)),
            Some(Ok(())) | None => Ok(()),
        }
    }

    fn connect(
        &mut self,
        remote: SocketAddr,
        options: &ConnectOptions,
    ) -> Result<NalConnection, Self::Error> {
        if options.local_addr.is_some() || options.local_port.is_some() {
            return unsupported();
        }
        if remote.port() == 0 {
            return Err(ErrorKind::InvalidState.into());
        }
        if self.connections.is_full() {
            return Err(ErrorKind::NoSlot.into());
        }
        let socket = self.stack.socket().map_err(|error| NalError::new(ErrorKind::NoSlot, error))?;
        let mut connection = Connection::connecting(socket, remote, options.timeout);
        if let Some(Err(error)) = connection.connect(&mut self.stack, &self.options) {
            return Err(error);
        }
        let timed = connection.is_connecting() && options.timeout.is_some();
        let id = self.connections.insert(connection).map_err(|_| ErrorKind::NoSlot)?;
        self.connections.set_deadline(id, timed.then_some(Instant::ZERO));
        Ok(NalConnection(id))
    }

    fn status(&self, connection: NalConnection) -> Result<Status, Self::Error> {
        Ok(self.get(connection.0)?.status())
    }

    fn set_tag(&mut self, connection: NalConnection, tag: Tag) -> Result<(), Self::Error> {
        self.connections.get_mut(connection.0).ok_or_else(stale)?.tag = tag;
        Ok(())
    }

    fn send(&mut self, connection: NalConnection, data: &[u8]) -> Result<Sent, Self::Error> {
        let (connection, stack, options) = self.split(connection.0)?;
        connection.send(stack, options, data)
    }

    fn recv(&mut self, connection: NalConnection, buffer: &mut [u8]) -> Result<Received, Self::Error> {
        let (connection, stack, options) = self.split(connection.0)?;
        connection.recv(stack, options, buffer)
    }

    fn send_with(
        &mut self,
        connection: NalConnection,
        _: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<Sent, Self::Error> {
        self.get(connection.0)?;
        unsupported()
    }

    fn recv_with<T>(
        &mut self,
        connection: NalConnection,
        _: impl FnOnce(&[u8]) -> (usize, T),
    ) -> Result<Received<T>, Self::Error> {
        self.get(connection.0)?;
        unsupported()
    }

    fn shutdown(&mut self, connection: NalConnection) -> Result<(), Self::Error> {
        self.get(connection.0)?;
        unsupported()
    }

    fn close(&mut self, connection: NalConnection) -> Result<(), Self::Error> {
        match self.remove(connection.0)?.into_socket().map(|socket| self.stack.close(socket)) {
            Some(Err(error)) => Err(self.error(error)),
            Some(Ok(())) | None => Ok(()),
        }
    }

    /// There is no reset in the traits: this closes.
    fn abort(&mut self, connection: NalConnection) -> Result<(), Self::Error> {
        self.close(connection)
    }

    fn local_addr(&self, connection: NalConnection) -> Result<SocketAddr, Self::Error> {
        self.get(connection.0)?;
        unsupported()
    }

    fn peer_addr(&self, connection: NalConnection) -> Result<SocketAddr, Self::Error> {
        Ok(self.get(connection.0)?.peer())
    }

    fn unsent(&self, connection: NalConnection) -> Result<usize, Self::Error> {
        self.get(connection.0)?;
        unsupported()
    }

    /// Each connection once in each interval, whether it changed or not.
    fn ready(&mut self, listener: NalListener) -> Option<Ready<NalConnection>> {
        let beneath = self.listeners.get_mut(listener.0)?;
        while beneath.looked_at < self.connections.capacity() {
            let id = self.connections.id_at(beneath.looked_at);
            beneath.looked_at = beneath.looked_at.saturating_add(1);
            let found = id.and_then(|id| Some((id, self.connections.get(id)?)));
            if let Some((id, connection)) = found
                && connection.listener == Some(listener.0)
            {
                let connection =
                    Ready { connection: NalConnection(id), tag: connection.tag, readiness: Readiness::ALL };
                return Some(connection);
            }
        }
        None
    }

    fn poll(&mut self, now: Instant) -> Option<Instant> {
        let at = self.clock.advance(now);
        let due = self.poll_at(at);
        due.map(|due| self.clock.external(due))
    }
}
