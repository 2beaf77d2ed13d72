//! The sockets of a stack behind their handles, their ready queues and their deadlines.

use super::connection::{Connection, Discarded, Lingering, discard, reset};
use super::error::{Operation, OsError};
use super::{OsOptions, unsupported};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};
use socklet::stack::{Backpressure, ConnectOptions, ErrorKind, ListenOptions, Readiness, Ready, StackError};
use socklet::storage::{Id, Link, Linked, List, MAX_SLOTS, Slab, SlabSlot};
use socklet::time::{Instant, earliest};
use std::io;

const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// When to accept again after the process had no descriptor left: whoever holds them does not tell us.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Errors in a row that one `accept` passes over.
const ERRORS: usize = 64;

/// What a token names, in its upper bits; the slot is in the lower 16.
#[derive(Clone, Copy)]
enum Kind {
    Connection = 0,
    Listener = 1,
    Lingering = 2,
}

impl Kind {
    fn token(self, id: Id) -> Token {
        Token((self as usize) << 16 | id.index())
    }
}

/// A slot's place in the ready queue of its listener.
#[derive(Debug, Clone, Copy)]
struct ReadyLink(Link);

#[derive(Debug)]
struct ReadyQueue;

impl Linked<ReadyQueue> for ReadyLink {
    fn link(&self) -> &Link {
        &self.0
    }
    fn link_mut(&mut self) -> &mut Link {
        &mut self.0
    }
}

#[derive(Debug)]
struct Listener {
    /// `None` once closed; the rest stays while connections that it accepted are open.
    socket: Option<TcpListener>,
    local: SocketAddr,
    open: usize,
    ready: List<ReadyQueue>,
}

#[derive(Debug)]
pub(super) struct Table {
    registry: Registry,
    options: OsOptions,
    listeners: Slab<'static, Listener>,
    /// A deadline of zero is one that starts to run at the next poll, which knows the time. So for those that linger.
    connections: Slab<'static, Connection>,
    links: Vec<ReadyLink>,
    lingering: Slab<'static, Lingering>,
    /// An `accept` found no slot; the next one that is freed wakes the service.
    starved: bool,
    /// An `accept` found no descriptor.
    retry: Retry,
    /// The service should look: the next poll says so.
    wake: bool,
}

#[derive(Debug)]
enum Retry {
    No,
    Wanted,
    At(Instant),
}

impl Table {
    pub(super) fn new(registry: Registry, options: OsOptions) -> Self {
        let connections = options.connections.min(MAX_SLOTS);
        Self {
            listeners: slab(options.listeners.min(MAX_SLOTS)),
            connections: slab(connections),
            links: vec![ReadyLink(Link::UNLINKED); connections],
            lingering: slab(connections),
            starved: false,
            retry: Retry::No,
            wake: false,
            registry,
            options,
        }
    }

    pub(super) fn get(&self, id: Id) -> Result<&Connection, OsError> {
        self.connections.get(id).ok_or_else(stale)
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Result<&mut Connection, OsError> {
        self.connections.get_mut(id).ok_or_else(stale)
    }

    pub(super) fn listen(&mut self, local: SocketAddr, options: &ListenOptions) -> Result<Id, OsError> {
        if options.backpressure == Backpressure::Refuse {
            return unsupported();
        }
        if self.listeners.is_full() {
            return Err(OsError::new(Operation::Listen, Some(local), ErrorKind::NoSlot));
        }
        let failed = |error| OsError::io(Operation::Listen, local, error);
        let socket = self.listening_socket(local, options).map_err(failed)?;
        let local = socket.local_addr().map_err(failed)?;
        let listener = Listener { socket: Some(socket), local, open: 0, ready: List::new() };
        let full = |_| OsError::new(Operation::Listen, Some(local), ErrorKind::NoSlot);
        let id = self.listeners.insert(listener).map_err(full)?;
        let socket = self.listeners.get_mut(id).and_then(|listener| listener.socket.as_mut());
        let registered =
            socket.map(|socket| self.registry.register(socket, Kind::Listener.token(id), Interest::READABLE));
        if let Some(Err(error)) = registered {
            self.listeners.remove(id);
            return Err(failed(error));
        }
        Ok(id)
    }

    fn listening_socket(&self, local: SocketAddr, options: &ListenOptions) -> io::Result<TcpListener> {
        let socket = self.socket(local)?;
        socket.set_reuse_address(true)?;
        if local.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&local.into())?;
        socket.listen(i32::try_from(options.backlog.max(1)).unwrap_or(i32::MAX))?;
        Ok(TcpListener::from_std(socket.into()))
    }

    /// A socket with what all of ours have. Accepted ones inherit it; buffer sizes count when set before the handshake (RFC 7323, 2.2).
    fn socket(&self, family: SocketAddr) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(family), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(bytes) = self.options.send_buffer {
            socket.set_send_buffer_size(bytes)?;
        }
        if let Some(bytes) = self.options.recv_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        Ok(socket)
    }

    pub(super) fn listener_addr(&self, id: Id) -> Result<SocketAddr, OsError> {
        self.listeners.get(id).map(|listener| listener.local).ok_or_else(stale)
    }

    pub(super) fn accept(&mut self, id: Id) -> Result<Option<(Id, SocketAddr)>, OsError> {
        let listener = self.listeners.get_mut(id).ok_or_else(stale)?;
        let error = |kind| OsError::new(Operation::Accept, Some(listener.local), kind);
        let Some(socket) = &listener.socket else { return Err(error(ErrorKind::Closed)) };
        if self.connections.is_full() {
            self.starved = true;
            return Err(error(ErrorKind::NoSlot));
        }
        let (stream, peer) = match next_whole(socket, listener.local) {
            Ok(Some(accepted)) => accepted,
            Ok(None) => return Ok(None),
            Err(error) => {
                if error.kind() == ErrorKind::NoSlot {
                    (self.starved, self.retry) = (true, Retry::Wanted);
                }
                return Err(error);
            }
        };
        listener.open += 1;
        self.add(Connection::accepted(stream, peer, id), Operation::Accept).map(|id| Some((id, peer)))
    }

    pub(super) fn close_listener(&mut self, id: Id) -> Result<(), OsError> {
        let listener = self.listeners.get_mut(id).ok_or_else(stale)?;
        listener.socket = None;
        if listener.open == 0 {
            self.listeners.remove(id);
        }
        Ok(())
    }

    pub(super) fn connect(&mut self, remote: SocketAddr, options: &ConnectOptions) -> Result<Id, OsError> {
        let error = |kind| OsError::new(Operation::Connect, Some(remote), kind);
        if remote.port() == 0 {
            return Err(error(ErrorKind::InvalidState));
        }
        if self.connections.is_full() {
            return Err(error(ErrorKind::NoSlot));
        }
        let failed = |error| OsError::io(Operation::Connect, remote, error);
        let socket = self.socket(remote).map_err(failed)?;
        if let Some(local) = local_to_bind(remote, options) {
            if local.is_ipv4() != remote.is_ipv4() {
                return Err(error(ErrorKind::NoAddress));
            }
            let bound = socket.set_reuse_address(true).and_then(|()| socket.bind(&local.into()));
            bound.map_err(|error| OsError::io(Operation::Bind, local, error))?;
        }
        let under_way = match socket.connect(&remote.into()) {
            Ok(()) => false,
            Err(error) if in_progress(&error) => true,
            Err(error) if options.local_port.is_some() && error.kind() == io::ErrorKind::AddrNotAvailable => {
                return Err(failed(error).with_kind(ErrorKind::AddressInUse));
            }
            Err(error) => return Err(failed(error)),
        };
        let stream = TcpStream::from_std(socket.into());
        if !under_way {
            return self.add(Connection::connected(stream, remote), Operation::Connect);
        }
        let id = self.add(Connection::connecting(stream, remote, options.timeout), Operation::Connect)?;
        if options.timeout.is_some() {
            self.connections.set_deadline(id, Some(Instant::ZERO));
        }
        Ok(id)
    }

    fn add(&mut self, connection: Connection, operation: Operation) -> Result<Id, OsError> {
        let peer = connection.peer();
        let full = |_| OsError::new(operation, Some(peer), ErrorKind::NoSlot);
        let id = self.connections.insert(connection).map_err(full)?;
        let stream = self.connections.get_mut(id).map(Connection::stream);
        let token = Kind::Connection.token(id);
        match stream.map(|stream| self.registry.register(stream, token, BOTH)) {
            Some(Err(error)) => {
                self.remove(id);
                Err(OsError::io(operation, peer, error))
            }
            _ => Ok(id),
        }
    }

    /// Takes a connection out of its slot, its listener's queue and, if that is closed and has no other, its listener's slot.
    fn remove(&mut self, id: Id) -> Option<Connection> {
        let connection = self.connections.remove(id)?;
        self.wake |= core::mem::take(&mut self.starved);
        let Some(at) = connection.listener else { return Some(connection) };
        if let Some(listener) = self.listeners.get_mut(at) {
            if !connection.changed.is_empty() {
                listener.ready.remove(&mut self.links, id.index() as u16);
            }
            listener.open = listener.open.saturating_sub(1);
            if listener.socket.is_none() && listener.open == 0 {
                self.listeners.remove(at);
            }
        }
        Some(connection)
    }

    pub(super) fn abort(&mut self, id: Id) -> Result<(), OsError> {
        reset(self.remove(id).ok_or_else(stale)?.into_stream());
        Ok(())
    }

    /// FIN, and the socket stays until the peer has closed too.
    pub(super) fn close(&mut self, id: Id) -> Result<(), OsError> {
        let mut connection = self.remove(id).ok_or_else(stale)?;
        if !connection.is_open() || connection.shutdown().is_err() {
            return Ok(());
        }
        if self.lingering.is_full() {
            self.forget_oldest();
        }
        let lingering = Lingering { stream: connection.into_stream(), timed: false };
        let Ok(id) = self.lingering.insert(lingering) else { return Ok(()) };
        self.lingering.set_deadline(id, Some(Instant::ZERO));
        self.discard(id);
        Ok(())
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.lingering.take_due(Instant::FAR_FUTURE) {
            self.lingering.remove(oldest);
        }
    }

    /// Discards what a lingering connection has received; drops it when it is done.
    fn discard(&mut self, id: Id) {
        let Some(Lingering { stream, timed }) = self.lingering.get_mut(id) else { return };
        let waiting = match discard(stream) {
            Discarded::Done => false,
            Discarded::Waiting if *timed => true,
            // Registering again, at first under the new name, makes the system report what is still there.
            Discarded::Waiting | Discarded::More => {
                self.registry.reregister(stream, Kind::Lingering.token(id), Interest::READABLE).is_ok()
            }
        };
        if !waiting {
            self.lingering.remove(id);
        }
    }

    /// Takes in one event. Returns whether a service should look.
    pub(super) fn on_event(&mut self, event: &Event) -> bool {
        let Token(token) = event.token();
        let (kind, index) = (token >> 16, token & 0xffff);
        if kind == Kind::Connection as usize {
            self.connections.id_at(index).is_some_and(|id| self.on_connection(id, event))
        } else if kind == Kind::Lingering as usize {
            if let Some(id) = self.lingering.id_at(index) {
                self.discard(id);
            }
            false
        } else {
            kind == Kind::Listener as usize
        }
    }

    fn on_connection(&mut self, id: Id, event: &Event) -> bool {
        let Some(connection) = self.connections.get_mut(id) else { return false };
        let readiness = connection.on_event(event);
        if !connection.is_connecting() && self.connections.deadline(id).is_some() {
            self.connections.set_deadline(id, None);
        }
        self.report(id, readiness)
    }

    fn report(&mut self, id: Id, new: Readiness) -> bool {
        let Some(connection) = self.connections.get_mut(id) else { return false };
        if new.is_empty() {
            return false;
        }
        let old = connection.changed;
        let Some(listener) = connection.listener.and_then(|id| self.listeners.get_mut(id)) else {
            return true;
        };
        connection.changed = Readiness {
            readable: old.readable || new.readable,
            writable: old.writable || new.writable,
            ended: old.ended || new.ended,
        };
        if old.is_empty() {
            listener.ready.push(&mut self.links, id.index() as u16);
        }
        true
    }

    pub(super) fn ready(&mut self, id: Id) -> Option<Ready<Id>> {
        let listener = self.listeners.get_mut(id)?;
        let index = listener.ready.pop(&mut self.links)?;
        let id = self.connections.id_at(usize::from(index))?;
        let connection = self.connections.get_mut(id)?;
        let readiness = core::mem::take(&mut connection.changed);
        Some(Ready { connection: id, tag: connection.tag, readiness })
    }

    /// Starts the deadlines of what is new, and ends what is due. Returns whether a service should look.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        while let Some(id) = self.connections.take_due(now) {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            if let Some(timeout) = connection.take_timeout() {
                self.connections.set_deadline(id, Some(now + timeout));
            } else {
                connection.time_out();
                self.wake = true;
            }
        }
        while let Some(id) = self.lingering.take_due(now) {
            match self.lingering.get_mut(id) {
                Some(lingering) if !lingering.timed => {
                    lingering.timed = true;
                    self.lingering.set_deadline(id, Some(now + self.options.linger));
                }
                _ => drop(self.lingering.remove(id).map(|lingering| reset(lingering.stream))),
            }
        }
        match self.retry {
            Retry::Wanted => self.retry = Retry::At(now + ACCEPT_AGAIN),
            Retry::At(at) if at <= now => (self.retry, self.wake) = (Retry::No, true),
            Retry::At(_) | Retry::No => {}
        }
        core::mem::take(&mut self.wake)
    }

    #[cfg(test)]
    pub(super) fn lingering(&self) -> usize {
        self.lingering.len()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let retry = match self.retry {
            Retry::At(at) => Some(at),
            Retry::No | Retry::Wanted => None,
        };
        earliest(retry, earliest(self.connections.earliest(), self.lingering.earliest()))
    }
}

fn slab<T>(slots: usize) -> Slab<'static, T> {
    Slab::new((0..slots).map(|_| SlabSlot::EMPTY).collect::<Vec<_>>())
}

fn stale() -> OsError {
    OsError::new(Operation::Name, None, ErrorKind::StaleHandle)
}

fn in_progress(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
        || error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error())
}

/// What `connect` binds first, if anything is asked for.
fn local_to_bind(remote: SocketAddr, options: &ConnectOptions) -> Option<SocketAddr> {
    if options.local_addr.is_none() && options.local_port.is_none() {
        return None;
    }
    let any = match remote {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    Some(SocketAddr::new(options.local_addr.unwrap_or(any), options.local_port.unwrap_or(0)))
}

/// Accepts the next connection that is not broken already.
///
/// Linux hands out connections that were reset in the backlog, and passes errors of the network to `accept`; both concern the
/// one connection alone.
fn next_whole(socket: &TcpListener, local: SocketAddr) -> Result<Option<(TcpStream, SocketAddr)>, OsError> {
    let mut errors = 0;
    loop {
        match socket.accept() {
            Ok((stream, peer)) if matches!(stream.take_error(), Ok(None)) => {
                let _ = stream.set_nodelay(true);
                return Ok(Some((stream, peer)));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => {
                let error = OsError::io(Operation::Accept, local, error);
                errors += 1;
                if error.kind() == ErrorKind::NoSlot || errors == ERRORS {
                    return Err(error);
                }
            }
        }
    }
}
