//! Any [`TcpStack`] behind one object type, so that each behaviour is compiled once and not once per stack.

use core::net::SocketAddr;
use socklet::stack::{
    Capabilities, ConnectOptions, ErrorKind, ListenOptions, Readiness, Received, Sent, StackError, Status,
    Tag, TcpStack,
};
use socklet::time::Instant;

/// A listener of a [`Host`]: its number, counted from 0. It is never used for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerNo(usize);

/// A connection of a [`Host`]: its number, counted from 0. It is never used for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionNo(usize);

/// What a call gives, with the error reduced to its kind.
pub type Outcome<T> = Result<T, ErrorKind>;

/// [`TcpStack`], call for call, with handles and errors that have one type for all stacks.
#[expect(missing_docs, reason = "each is the method of TcpStack with the same name")]
pub trait Host {
    fn capabilities(&self) -> Capabilities;
    fn poll(&mut self, now: Instant) -> Option<Instant>;
    fn listen(&mut self, local: SocketAddr, options: &ListenOptions) -> Outcome<ListenerNo>;
    fn accept(&mut self, listener: ListenerNo) -> Outcome<Option<(ConnectionNo, SocketAddr)>>;
    fn listener_addr(&self, listener: ListenerNo) -> Outcome<SocketAddr>;
    fn close_listener(&mut self, listener: ListenerNo) -> Outcome<()>;
    fn ready(&mut self, listener: ListenerNo) -> Option<(ConnectionNo, Tag, Readiness)>;
    fn connect(&mut self, remote: SocketAddr, options: &ConnectOptions) -> Outcome<ConnectionNo>;
    fn status(&self, connection: ConnectionNo) -> Outcome<Status>;
    fn set_tag(&mut self, connection: ConnectionNo, tag: Tag) -> Outcome<()>;
    fn send(&mut self, connection: ConnectionNo, data: &[u8]) -> Outcome<Sent>;
    fn recv(&mut self, connection: ConnectionNo, buffer: &mut [u8]) -> Outcome<Received>;
    fn send_with(
        &mut self,
        connection: ConnectionNo,
        fill: &mut dyn FnMut(&mut [u8]) -> usize,
    ) -> Outcome<Sent>;
    fn recv_with(
        &mut self,
        connection: ConnectionNo,
        take: &mut dyn FnMut(&[u8]) -> usize,
    ) -> Outcome<Received<()>>;
    fn shutdown(&mut self, connection: ConnectionNo) -> Outcome<()>;
    fn close(&mut self, connection: ConnectionNo) -> Outcome<()>;
    fn abort(&mut self, connection: ConnectionNo) -> Outcome<()>;
    fn local_addr(&self, connection: ConnectionNo) -> Outcome<SocketAddr>;
    fn peer_addr(&self, connection: ConnectionNo) -> Outcome<SocketAddr>;
    fn unsent(&self, connection: ConnectionNo) -> Outcome<usize>;
}

/// A stack as a [`Host`]. It remembers every handle it ever had, so that stale ones can be tried too.
#[derive(Debug)]
pub struct Stack<S: TcpStack> {
    /// The stack itself.
    pub inner: S,
    listeners: Vec<S::Listener>,
    connections: Vec<S::Connection>,
}

impl<S: TcpStack> Stack<S> {
    /// Wraps `inner`.
    pub const fn new(inner: S) -> Self {
        Self { inner, listeners: Vec::new(), connections: Vec::new() }
    }

    fn remember(&mut self, connection: S::Connection) -> ConnectionNo {
        assert!(!self.connections.contains(&connection), "handle {connection:?} was given out twice");
        self.connections.push(connection);
        ConnectionNo(self.connections.len() - 1)
    }
}

fn kind<E: StackError>(error: E) -> ErrorKind {
    assert!(!error.to_string().is_empty(), "an error has a text: {error:?}");
    error.kind()
}

impl<S: TcpStack> Host for Stack<S> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn poll(&mut self, now: Instant) -> Option<Instant> {
        self.inner.poll(now)
    }

    fn listen(&mut self, local: SocketAddr, options: &ListenOptions) -> Outcome<ListenerNo> {
        let listener = self.inner.listen(local, options).map_err(kind)?;
        self.listeners.push(listener);
        Ok(ListenerNo(self.listeners.len() - 1))
    }

    fn accept(&mut self, listener: ListenerNo) -> Outcome<Option<(ConnectionNo, SocketAddr)>> {
        let accepted = self.inner.accept(self.listeners[listener.0]).map_err(kind)?;
        Ok(accepted.map(|(connection, peer)| (self.remember(connection), peer)))
    }

    fn listener_addr(&self, listener: ListenerNo) -> Outcome<SocketAddr> {
        self.inner.listener_addr(self.listeners[listener.0]).map_err(kind)
    }

    fn close_listener(&mut self, listener: ListenerNo) -> Outcome<()> {
        self.inner.close_listener(self.listeners[listener.0]).map_err(kind)
    }

    fn ready(&mut self, listener: ListenerNo) -> Option<(ConnectionNo, Tag, Readiness)> {
        let ready = self.inner.ready(self.listeners[listener.0])?;
        let number = self.connections.iter().position(|known| *known == ready.connection);
        let number =
            number.unwrap_or_else(|| panic!("{:?} is ready and was never accepted", ready.connection));
        Some((ConnectionNo(number), ready.tag, ready.readiness))
    }

    fn connect(&mut self, remote: SocketAddr, options: &ConnectOptions) -> Outcome<ConnectionNo> {
        let connection = self.inner.connect(remote, options).map_err(kind)?;
        Ok(self.remember(connection))
    }

    fn status(&self, connection: ConnectionNo) -> Outcome<Status> {
        self.inner.status(self.connections[connection.0]).map_err(kind)
    }

    fn set_tag(&mut self, connection: ConnectionNo, tag: Tag) -> Outcome<()> {
        self.inner.set_tag(self.connections[connection.0], tag).map_err(kind)
    }

    fn send(&mut self, connection: ConnectionNo, data: &[u8]) -> Outcome<Sent> {
        self.inner.send(self.connections[connection.0], data).map_err(kind)
    }

    fn recv(&mut self, connection: ConnectionNo, buffer: &mut [u8]) -> Outcome<Received> {
        self.inner.recv(self.connections[connection.0], buffer).map_err(kind)
    }

    fn send_with(
        &mut self,
        connection: ConnectionNo,
        fill: &mut dyn FnMut(&mut [u8]) -> usize,
    ) -> Outcome<Sent> {
        self.inner.send_with(self.connections[connection.0], fill).map_err(kind)
    }

    fn recv_with(
        &mut self,
        connection: ConnectionNo,
        take: &mut dyn FnMut(&[u8]) -> usize,
    ) -> Outcome<Received<()>> {
        self.inner.recv_with(self.connections[connection.0], |data| (take(data), ())).map_err(kind)
    }

    fn shutdown(&mut self, connection: ConnectionNo) -> Outcome<()> {
        self.inner.shutdown(self.connections[connection.0]).map_err(kind)
    }

    fn close(&mut self, connection: ConnectionNo) -> Outcome<()> {
        self.inner.close(self.connections[connection.0]).map_err(kind)
    }

    fn abort(&mut self, connection: ConnectionNo) -> Outcome<()> {
        self.inner.abort(self.connections[connection.0]).map_err(kind)
    }

    fn local_addr(&self, connection: ConnectionNo) -> Outcome<SocketAddr> {
        self.inner.local_addr(self.connections[connection.0]).map_err(kind)
    }

    fn peer_addr(&self, connection: ConnectionNo) -> Outcome<SocketAddr> {
        self.inner.peer_addr(self.connections[connection.0]).map_err(kind)
    }

    fn unsent(&self, connection: ConnectionNo) -> Outcome<usize> {
        self.inner.unsent(self.connections[connection.0]).map_err(kind)
    }
}
