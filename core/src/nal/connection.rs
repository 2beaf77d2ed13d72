use super::NalError;
use super::from_nal::{NalOptions, OnZero};
use crate::stack::{ErrorKind, Received, Sent, StackError, Status, Tag};
use crate::storage::Id;
use crate::time::Duration;
use core::net::SocketAddr;
use embedded_nal::{TcpClientStack, TcpError, TcpErrorKind, nb};

/// What a slot of a listener holds.
#[derive(Debug)]
pub struct Listener<T> {
    /// `None` once closed; the rest stays while connections that it accepted are open.
    pub(super) socket: Option<T>,
    pub(super) local: SocketAddr,
    pub(super) open: usize,
    /// How far `ready` has come in the slots.
    pub(super) looked_at: usize,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// With the time limit, until it runs.
    Connecting(Option<Duration>),
    Open,
    /// The end of the stream was received.
    Ended,
    /// A call failed. What came before may still be there to receive.
    Failing(ErrorKind),
    /// Nothing is left to receive.
    Failed(ErrorKind),
}

/// What a slot of a connection holds.
#[derive(Debug)]
pub struct Connection<T> {
    /// `None` once it was given back to the stack, after a handshake that failed.
    socket: Option<T>,
    peer: SocketAddr,
    state: State,
    pub(super) listener: Option<Id>,
    pub(super) tag: Tag,
}

impl<T> Connection<T> {
    pub(super) fn accepted(socket: T, peer: SocketAddr, listener: Id) -> Self {
        Self { socket: Some(socket), peer, state: State::Open, listener: Some(listener), tag: Tag::default() }
    }

    pub(super) fn connecting(socket: T, peer: SocketAddr, timeout: Option<Duration>) -> Self {
        let state = State::Connecting(timeout);
        Self { socket: Some(socket), peer, state, listener: None, tag: Tag::default() }
    }

    pub(super) fn into_socket(self) -> Option<T> {
        self.socket
    }

    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(super) fn is_connecting(&self) -> bool {
        matches!(self.state, State::Connecting(_))
    }

    pub(super) fn status(&self) -> Status {
        match self.state {
            State::Connecting(_) => Status::Connecting,
            State::Open | State::Ended => Status::Open,
            State::Failing(kind) | State::Failed(kind) => Status::Failed(kind),
        }
    }

    /// The time limit on the handshake, when it is to start now; once.
    pub(super) fn take_timeout(&mut self) -> Option<Duration> {
        match &mut self.state {
            State::Connecting(timeout) => timeout.take(),
            State::Open | State::Ended | State::Failing(_) | State::Failed(_) => None,
        }
    }

    pub(super) fn time_out<N: TcpClientStack<TcpSocket = T>>(&mut self, stack: &mut N) {
        self.state = State::Failed(ErrorKind::TimedOut);
        self.give_back(stack);
    }

    fn give_back<N: TcpClientStack<TcpSocket = T>>(&mut self, stack: &mut N) {
        if let Some(socket) = self.socket.take() {
            let _ = stack.close(socket);
        }
    }

    /// Goes on with the handshake; `None` while it lasts.
    pub(super) fn connect<N: TcpClientStack<TcpSocket = T>>(
        &mut self,
        stack: &mut N,
        options: &NalOptions<N::Error>,
    ) -> Option<Result<(), NalError<N::Error>>> {
        match stack.connect(self.socket.as_mut()?, self.peer) {
            Ok(()) => {
                self.state = State::Open;
                Some(Ok(()))
            }
            Err(nb::Error::WouldBlock) => None,
            Err(nb::Error::Other(error)) => {
                let kind = (options.classify)(&error);
                self.state = State::Failed(kind);
                self.give_back(stack);
                Some(Err(NalError::new(kind, error)))
            }
        }
    }

    pub(super) fn send<N: TcpClientStack<TcpSocket = T>>(
        &mut self,
        stack: &mut N,
        options: &NalOptions<N::Error>,
        data: &[u8],
    ) -> Result<Sent, NalError<N::Error>> {
        match self.state {
            State::Connecting(_) => return Ok(Sent::WouldBlock),
            State::Failing(kind) | State::Failed(kind) => return Err(kind.into()),
            State::Open | State::Ended => {}
        }
        let Some(socket) = &mut self.socket else { return Err(ErrorKind::InvalidState.into()) };
        if data.is_empty() {
            return Ok(Sent::Queued(0));
        }
        let error = match stack.send(socket, data) {
            Ok(0) | Err(nb::Error::WouldBlock) => return Ok(Sent::WouldBlock),
            Ok(count) if count <= data.len() => return Ok(Sent::Queued(count)),
            Ok(_) => ErrorKind::Other.into(),
            Err(nb::Error::Other(error)) => NalError::new((options.classify)(&error), error),
        };
        self.state = State::Failing(StackError::kind(&error));
        Err(error)
    }

    pub(super) fn recv<N: TcpClientStack<TcpSocket = T>>(
        &mut self,
        stack: &mut N,
        options: &NalOptions<N::Error>,
        buffer: &mut [u8],
    ) -> Result<Received, NalError<N::Error>> {
        let failing = match self.state {
            State::Connecting(_) => return Ok(Received::WouldBlock),
            State::Ended => return Ok(Received::EndOfStream),
            State::Failed(kind) => return Err(kind.into()),
            State::Failing(kind) => Some(kind),
            State::Open => None,
        };
        let Some(socket) = &mut self.socket else { return Err(ErrorKind::InvalidState.into()) };
        if buffer.is_empty() {
            return Ok(Received::Data(0));
        }
        let (ended, error) = match stack.receive(socket, buffer) {
            Ok(0) => (options.on_zero == OnZero::EndOfStream, None),
            Ok(count) if count <= buffer.len() => return Ok(Received::Data(count)),
            Ok(_) => (true, Some(ErrorKind::Other.into())),
            Err(nb::Error::WouldBlock) => (false, None),
            Err(nb::Error::Other(error)) if error.kind() == TcpErrorKind::PipeClosed => (true, None),
            Err(nb::Error::Other(error)) => (true, Some(NalError::new((options.classify)(&error), error))),
        };
        match (failing, error) {
            // The first failure is the reason; whatever comes after it says only that nothing is left.
            (Some(kind), _) => {
                self.state = State::Failed(kind);
                Err(kind.into())
            }
            (None, Some(error)) => {
                self.state = State::Failed(StackError::kind(&error));
                Err(error)
            }
            (None, None) if ended => {
                self.state = State::Ended;
                Ok(Received::EndOfStream)
            }
            (None, None) => Ok(Received::WouldBlock),
        }
    }
}
