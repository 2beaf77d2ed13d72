use super::NalError;
use crate::stack::{ConnectOptions, ErrorKind, ListenOptions, Received, Sent, Status, TcpStack};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use embedded_nal::{TcpClientStack, TcpFullStack, nb};

/// How `receive` says that the peer has closed. Users of embedded-nal do not agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnEnd {
    /// By `Ok(0)`, as `read` does.
    #[default]
    Zero,
    /// By an error of the kind `PipeClosed`.
    PipeClosed,
}

/// A socket of a [`ToNal`]. Give it back by `close`: dropped, it keeps its slot in the stack.
#[derive(Debug)]
pub struct NalSocket<L, C>(State<L, C>);

#[derive(Debug)]
enum State<L, C> {
    New,
    Bound(u16),
    Listening(L),
    Connecting(C),
    Connected(C),
}

/// An embedded-nal `TcpFullStack` on any [`TcpStack`].
///
/// The traits have no `poll`, and their users wait in loops that call nothing else. So a closure is given the stack at the begin of each
/// call that may have to wait, to drive it: it knows the clock.
///
/// ```
/// use socklet::nal::ToNal;
/// use socklet::{stack::TcpStack, time::Instant};
///
/// fn adapt<S: TcpStack>(stack: S, mut clock: impl FnMut() -> Instant) -> impl embedded_nal::TcpFullStack {
///     ToNal::new(stack, move |stack: &mut S| {
///         let _ = stack.poll(clock());
///     })
/// }
/// ```
///
/// Give `|_| {}` where the stack's owner polls it beside the adapter, through [`stack_mut`](Self::stack_mut).
pub struct ToNal<S, D> {
    stack: S,
    drive: D,
    on_end: OnEnd,
    listen_ip: IpAddr,
    listen: ListenOptions,
    connect: ConnectOptions,
}

impl<S: fmt::Debug, D> fmt::Debug for ToNal<S, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToNal")
            .field("stack", &self.stack)
            .field("on_end", &self.on_end)
            .finish_non_exhaustive()
    }
}

impl<S: TcpStack, D: FnMut(&mut S)> ToNal<S, D> {
    /// On `stack`, driven by `drive`. It listens on every IPv4 address.
    pub fn new(stack: S, drive: D) -> Self {
        let (listen, connect) = (ListenOptions::default(), ConnectOptions::default());
        Self { stack, drive, on_end: OnEnd::Zero, listen_ip: Ipv4Addr::UNSPECIFIED.into(), listen, connect }
    }

    /// The same with another end of the stream.
    #[must_use]
    pub fn with_on_end(mut self, on_end: OnEnd) -> Self {
        self.on_end = on_end;
        self
    }

    /// The same, listening on this address and so.
    #[must_use]
    pub fn with_listen(mut self, ip: IpAddr, options: ListenOptions) -> Self {
        (self.listen_ip, self.listen) = (ip, options);
        self
    }

    /// The same, connecting so.
    #[must_use]
    pub fn with_connect(mut self, options: ConnectOptions) -> Self {
        self.connect = options;
        self
    }

    /// The stack beneath.
    pub const fn stack(&self) -> &S {
        &self.stack
    }

    /// The stack beneath, to drive it.
    pub const fn stack_mut(&mut self) -> &mut S {
        &mut self.stack
    }

    /// Ends the adapter. The sockets that are still open stay open in the stack.
    pub fn into_inner(self) -> S {
        self.stack
    }
}

type Socket<S> = NalSocket<<S as TcpStack>::Listener, <S as TcpStack>::Connection>;
type Error<S> = NalError<<S as TcpStack>::Error>;

fn failed<E: crate::stack::StackError>(error: E) -> NalError<E> {
    NalError::new(error.kind(), error)
}

fn not_connected<E>() -> nb::Error<NalError<E>> {
    nb::Error::Other(ErrorKind::InvalidState.into())
}

impl<S: TcpStack, D: FnMut(&mut S)> TcpClientStack for ToNal<S, D> {
    type TcpSocket = Socket<S>;
    type Error = Error<S>;

    fn socket(&mut self) -> Result<Socket<S>, Error<S>> {
        Ok(NalSocket(State::New))
    }

    /// Starts to connect, and when called again goes on with that, whatever `remote` is then. After a failure the socket is as new.
    fn connect(&mut self, socket: &mut Socket<S>, remote: SocketAddr) -> nb::Result<(), Error<S>> {
        (self.drive)(&mut self.stack);
        let connection = match &socket.0 {
            State::New => self.stack.connect(remote, &self.connect).map_err(failed)?,
            State::Bound(port) => {
                self.stack.connect(remote, &self.connect.with_local_port(*port)).map_err(failed)?
            }
            State::Connecting(connection) => *connection,
            State::Connected(_) => return Ok(()),
            State::Listening(_) => return Err(nb::Error::Other(ErrorKind::InvalidState.into())),
        };
        match self.stack.status(connection).map_err(failed)? {
            Status::Connecting => {
                socket.0 = State::Connecting(connection);
                Err(nb::Error::WouldBlock)
            }
            Status::Open | Status::Finished => {
                socket.0 = State::Connected(connection);
                Ok(())
            }
            Status::Failed(kind) => {
                socket.0 = State::New;
                let _ = self.stack.abort(connection);
                Err(nb::Error::Other(kind.into()))
            }
        }
    }

    fn send(&mut self, socket: &mut Socket<S>, buffer: &[u8]) -> nb::Result<usize, Error<S>> {
        (self.drive)(&mut self.stack);
        let State::Connected(connection) = &socket.0 else { return Err(not_connected()) };
        match self.stack.send(*connection, buffer).map_err(failed)? {
            Sent::Queued(count) => Ok(count),
            Sent::WouldBlock => Err(nb::Error::WouldBlock),
        }
    }

    fn receive(&mut self, socket: &mut Socket<S>, buffer: &mut [u8]) -> nb::Result<usize, Error<S>> {
        (self.drive)(&mut self.stack);
        let State::Connected(connection) = &socket.0 else { return Err(not_connected()) };
        match (self.stack.recv(*connection, buffer).map_err(failed)?, self.on_end) {
            (Received::Data(count), _) => Ok(count),
            (Received::WouldBlock, _) => Err(nb::Error::WouldBlock),
            (Received::EndOfStream, OnEnd::Zero) => Ok(0),
            (Received::EndOfStream, OnEnd::PipeClosed) => Err(nb::Error::Other(ErrorKind::Closed.into())),
        }
    }

    /// What is queued is still delivered while the stack is driven.
    fn close(&mut self, socket: Socket<S>) -> Result<(), Error<S>> {
        let closed = match socket.0 {
            State::New | State::Bound(_) => Ok(()),
            State::Listening(listener) => self.stack.close_listener(listener).map_err(failed),
            State::Connecting(connection) | State::Connected(connection) => {
                self.stack.close(connection).map_err(failed)
            }
        };
        (self.drive)(&mut self.stack);
        closed
    }
}

impl<S: TcpStack, D: FnMut(&mut S)> TcpFullStack for ToNal<S, D> {
    /// Remembers the port; `listen` or `connect` takes it.
    fn bind(&mut self, socket: &mut Socket<S>, local_port: u16) -> Result<(), Error<S>> {
        match socket.0 {
            State::New | State::Bound(_) => {
                socket.0 = State::Bound(local_port);
                Ok(())
            }
            State::Listening(_) | State::Connecting(_) | State::Connected(_) => {
                Err(ErrorKind::InvalidState.into())
            }
        }
    }

    fn listen(&mut self, socket: &mut Socket<S>) -> Result<(), Error<S>> {
        let State::Bound(port) = socket.0 else { return Err(ErrorKind::InvalidState.into()) };
        let local = SocketAddr::new(self.listen_ip, port);
        socket.0 = State::Listening(self.stack.listen(local, &self.listen).map_err(failed)?);
        Ok(())
    }

    fn accept(&mut self, socket: &mut Socket<S>) -> nb::Result<(Socket<S>, SocketAddr), Error<S>> {
        (self.drive)(&mut self.stack);
        let State::Listening(listener) = &socket.0 else { return Err(not_connected()) };
        match self.stack.accept(*listener).map_err(failed)? {
            Some((connection, peer)) => Ok((NalSocket(State::Connected(connection)), peer)),
            None => Err(nb::Error::WouldBlock),
        }
    }
}
