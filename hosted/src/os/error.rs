use core::fmt;
use core::net::SocketAddr;
use rustix::io::Errno;
use socklet::stack::{ErrorKind, StackError};
use std::io;

/// What an [`OsStack`](super::OsStack) was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Listen,
    Accept,
    Bind,
    Connect,
    Send,
    Receive,
    Shutdown,
    Count,
    Name,
}

impl Operation {
    fn phrase(self) -> &'static str {
        match self {
            Self::Listen => "listen on",
            Self::Accept => "accept a connection on",
            Self::Bind => "bind",
            Self::Connect => "connect to",
            Self::Send => "send to",
            Self::Receive => "receive from",
            Self::Shutdown => "shut down the connection to",
            Self::Count => "count what is queued for",
            Self::Name => "get the address of",
        }
    }

    /// Maps what the system said to what the caller can do about it.
    ///
    /// The same code means different things to different calls: `EADDRNOTAVAIL` is a foreign address for `bind`, and for `connect` over
    /// IPv4 it says that no port is free.
    fn kind(self, error: &io::Error, peer: Option<SocketAddr>) -> ErrorKind {
        let connecting = self == Self::Connect;
        match Errno::from_io_error(error) {
            Some(Errno::CONNREFUSED) => ErrorKind::Refused,
            // A reset that comes after the peer's FIN is reported as a broken pipe.
            Some(Errno::CONNRESET | Errno::PIPE | Errno::CONNABORTED | Errno::NOTCONN) => ErrorKind::Reset,
            Some(Errno::TIMEDOUT) => ErrorKind::TimedOut,
            Some(Errno::NETUNREACH) if connecting => ErrorKind::NoAddress,
            Some(Errno::NETUNREACH | Errno::HOSTUNREACH) => ErrorKind::Unreachable,
            Some(Errno::NETDOWN) => ErrorKind::LinkDown,
            Some(Errno::ADDRNOTAVAIL) if connecting && peer.is_some_and(|peer| peer.is_ipv4()) => {
                ErrorKind::AddressInUse
            }
            Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT) => ErrorKind::NoAddress,
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => ErrorKind::NoSlot,
            Some(Errno::ADDRINUSE) => ErrorKind::AddressInUse,
            _ => ErrorKind::Other,
        }
    }
}

/// What an error of a connection means.
pub(crate) fn kind_of(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::TimedOut => ErrorKind::TimedOut,
        _ => Operation::Receive.kind(error, None),
    }
}

/// Why a connection ended. The system tells once; this is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure {
    pub(super) kind: ErrorKind,
    code: Option<i32>,
}

impl Failure {
    pub(super) const fn new(kind: ErrorKind) -> Self {
        Self { kind, code: None }
    }

    pub(super) fn from_io(error: &io::Error) -> Self {
        Self { kind: kind_of(error), code: error.raw_os_error() }
    }

    pub(super) fn error(self, operation: Operation, peer: SocketAddr) -> OsError {
        let source = self.code.map(io::Error::from_raw_os_error);
        OsError { operation, address: Some(peer), kind: self.kind, source }
    }
}

/// What went wrong, in which call, on which address. The system's own error is its [source](core::error::Error::source).
#[derive(Debug)]
pub struct OsError {
    operation: Operation,
    address: Option<SocketAddr>,
    kind: ErrorKind,
    source: Option<io::Error>,
}

impl OsError {
    pub(super) fn new(operation: Operation, address: Option<SocketAddr>, kind: ErrorKind) -> Self {
        Self { operation, address, kind, source: None }
    }

    /// The same with another kind, where the caller knows better.
    pub(super) fn with_kind(self, kind: ErrorKind) -> Self {
        Self { kind, ..self }
    }

    pub(super) fn io(operation: Operation, address: SocketAddr, source: io::Error) -> Self {
        let kind = operation.kind(&source, Some(address));
        Self { operation, address: Some(address), kind, source: Some(source) }
    }
}

impl fmt::Display for OsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} ", self.operation.phrase())?;
        match self.address {
            Some(address) => write!(f, "{address}: ")?,
            None => f.write_str("a socket: ")?,
        }
        match &self.source {
            Some(source) => source.fmt(f),
            None => self.kind.fmt(f),
        }
    }
}

impl core::error::Error for OsError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

impl StackError for OsError {
    fn kind(&self) -> ErrorKind {
        self.kind
    }
}
