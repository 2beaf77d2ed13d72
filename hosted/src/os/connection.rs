use super::error::{Failure, Operation, OsError};
use super::sys;
use core::net::SocketAddr;
use core::time::Duration;
use mio::event::Event;
use mio::net::TcpStream;
use socket2::SockRef;
use socklet::stack::{ErrorKind, Readiness, Received, Sent, Status, Tag};
use socklet::storage::Id;
use std::io::{self, Read, Write};
use std::net::Shutdown;

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// With the time limit, until it runs.
    Connecting {
        timeout: Option<Duration>,
    },
    Open,
    Failed(Failure),
}

/// One connection: the socket, and what the system does not remember about it.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    phase: Phase,
    /// The handshake was completed.
    opened: bool,
    shut: bool,
    pub(super) tag: Tag,
    /// Where it was accepted.
    pub(super) listener: Option<Id>,
    /// What [`ready`](socklet::stack::TcpStack::ready) will report; it is in the listener's queue while this is not empty.
    pub(super) changed: Readiness,
}

impl Connection {
    pub(super) fn accepted(stream: TcpStream, peer: SocketAddr, listener: Id) -> Self {
        Self { listener: Some(listener), ..Self::connected(stream, peer) }
    }

    pub(super) fn connected(stream: TcpStream, peer: SocketAddr) -> Self {
        let (tag, changed) = (Tag::default(), Readiness::default());
        Self { stream, peer, phase: Phase::Open, opened: true, shut: false, tag, listener: None, changed }
    }

    pub(super) fn connecting(stream: TcpStream, peer: SocketAddr, timeout: Option<Duration>) -> Self {
        Self { phase: Phase::Connecting { timeout }, opened: false, ..Self::connected(stream, peer) }
    }

    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    pub(super) fn into_stream(self) -> TcpStream {
        self.stream
    }

    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(super) fn local(&self) -> Result<SocketAddr, OsError> {
        self.stream.local_addr().map_err(|error| OsError::io(Operation::Name, self.peer, error))
    }

    /// The time limit on the handshake, when it is to start now; once.
    pub(super) fn take_timeout(&mut self) -> Option<Duration> {
        match &mut self.phase {
            Phase::Connecting { timeout } => timeout.take(),
            Phase::Open | Phase::Failed(_) => None,
        }
    }

    pub(super) fn is_connecting(&self) -> bool {
        matches!(self.phase, Phase::Connecting { .. })
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// The handshake took too long: no further SYN leaves.
    pub(super) fn time_out(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
        self.phase = Phase::Failed(Failure::new(ErrorKind::TimedOut));
    }

    /// The system keeps the peer's address until the last acknowledgement of our FIN, then forgets it: so one sees the end of LAST-ACK
    /// and the begin of TIME-WAIT (RFC 9293, 3.6) without asking for the state.
    fn is_gone(&self) -> bool {
        self.stream.peer_addr().is_err()
    }

    pub(super) fn status(&self) -> Status {
        match self.phase {
            Phase::Connecting { .. } => Status::Connecting,
            Phase::Open if self.shut && self.is_gone() => Status::Finished,
            Phase::Open => Status::Open,
            Phase::Failed(failure) => Status::Failed(failure.kind),
        }
    }

    /// Takes in what the system reports, and says what it means for the owner.
    pub(super) fn on_event(&mut self, event: &Event) -> Readiness {
        let hung_up = event.is_error() || (event.is_read_closed() && event.is_write_closed());
        if hung_up {
            self.look_for_failure();
        }
        if self.is_connecting() && event.is_writable() && !self.is_gone() {
            (self.phase, self.opened) = (Phase::Open, true);
        }
        let ended = match self.status() {
            Status::Connecting => return Readiness::default(),
            Status::Open => false,
            Status::Finished | Status::Failed(_) => true,
        };
        let readable = event.is_readable() || event.is_read_closed() || ended;
        Readiness { readable, writable: event.is_writable() || ended, ended }
    }

    fn look_for_failure(&mut self) {
        match (self.phase, self.stream.take_error()) {
            (Phase::Failed(_), _) => {}
            (_, Ok(Some(error)) | Err(error)) => self.phase = Phase::Failed(Failure::from_io(&error)),
            // Gone without a word and without our FIN.
            (Phase::Open, Ok(None)) if !self.shut && self.is_gone() => {
                self.phase = Phase::Failed(Failure::new(ErrorKind::Reset));
            }
            (Phase::Open | Phase::Connecting { .. }, Ok(None)) => {}
        }
    }

    fn fail(&mut self, operation: Operation, error: io::Error) -> OsError {
        self.phase = Phase::Failed(Failure::from_io(&error));
        OsError::io(operation, self.peer, error)
    }

    pub(super) fn send(&mut self, data: &[u8]) -> Result<Sent, OsError> {
        match self.phase {
            Phase::Connecting { .. } => return Ok(Sent::WouldBlock),
            Phase::Failed(failure) => return Err(failure.error(Operation::Send, self.peer)),
            Phase::Open if self.shut => {
                return Err(OsError::new(Operation::Send, Some(self.peer), ErrorKind::Closed));
            }
            Phase::Open if data.is_empty() => return Ok(Sent::Queued(0)),
            Phase::Open => {}
        }
        loop {
            match self.stream.write(data) {
                Ok(sent) => return Ok(Sent::Queued(sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Sent::WouldBlock),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.fail(Operation::Send, error)),
            }
        }
    }

    /// Reads even after a failure: what had come before it may still be there.
    pub(super) fn recv(&mut self, buffer: &mut [u8]) -> Result<Received, OsError> {
        if self.is_connecting() {
            return Ok(Received::WouldBlock);
        }
        if buffer.is_empty() {
            return Ok(Received::Data(0));
        }
        loop {
            match (self.stream.read(buffer), self.phase) {
                (Ok(count @ 1..), _) => return Ok(Received::Data(count)),
                // After a reset the system says so once, and "end of stream" from then on.
                (_, Phase::Failed(failure)) => return Err(failure.error(Operation::Receive, self.peer)),
                (Ok(0), _) => return Ok(Received::EndOfStream),
                (Err(error), _) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Received::WouldBlock);
                }
                (Err(error), _) if error.kind() == io::ErrorKind::Interrupted => {}
                (Err(error), _) => return Err(self.fail(Operation::Receive, error)),
            }
        }
    }

    /// What was queued and never acknowledged, also after a failure. The system would count the SYN too.
    pub(super) fn unsent(&self) -> Result<usize, OsError> {
        if !self.opened {
            return Ok(0);
        }
        sys::queued(&self.stream, self.shut)
            .map_err(|errno| OsError::io(Operation::Count, self.peer, errno.into()))
    }

    pub(super) fn shutdown(&mut self) -> Result<(), OsError> {
        match self.phase {
            Phase::Connecting { .. } => {
                return Err(OsError::new(Operation::Shutdown, Some(self.peer), ErrorKind::InvalidState));
            }
            Phase::Failed(failure) => return Err(failure.error(Operation::Shutdown, self.peer)),
            Phase::Open if self.shut => return Ok(()),
            Phase::Open => {}
        }
        match self.stream.shutdown(Shutdown::Write) {
            Ok(()) => {
                self.shut = true;
                Ok(())
            }
            Err(error) => {
                self.look_for_failure();
                match self.phase {
                    Phase::Failed(failure) => Err(failure.error(Operation::Shutdown, self.peer)),
                    Phase::Connecting { .. } | Phase::Open => Err(self.fail(Operation::Shutdown, error)),
                }
            }
        }
    }
}

/// A socket that its owner has closed, waiting for the peer to close too.
#[derive(Debug)]
pub(super) struct Lingering {
    pub(super) stream: TcpStream,
    /// Its deadline runs.
    pub(super) timed: bool,
}

/// What came of a look at a connection that lingers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Discarded {
    /// The peer may send more.
    Waiting,
    /// There is more to discard already.
    More,
    /// The peer has closed, or the connection failed.
    Done,
}

/// Closes with a reset.
pub(super) fn reset(stream: TcpStream) {
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
}

/// Reads and forgets what the peer still sends, up to a bound.
///
/// A socket closed with unread bytes sends a reset (RFC 2525, 2.17), which destroys what is on its way to the peer.
pub(super) fn discard(stream: &mut TcpStream) -> Discarded {
    let mut scratch = [0; 16 * 1024];
    for _ in 0..16 {
        match stream.read(&mut scratch) {
            Ok(0) => return Discarded::Done,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Discarded::Waiting,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Discarded::Done,
        }
    }
    Discarded::More
}
