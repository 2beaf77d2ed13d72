use crate::stack::{ErrorKind, StackError};
use core::fmt;

/// Why a call on a server or a client failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Error<E> {
    /// The id names no connection (any more), or the client has none.
    NotConnected,
    /// This side has closed already, in this direction or both.
    Closed,
    /// The server has a listener already.
    Listening,
    /// The stack says so.
    Stack(E),
}

impl<E: StackError> StackError for Error<E> {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotConnected => ErrorKind::StaleHandle,
            Self::Closed => ErrorKind::Closed,
            Self::Listening => ErrorKind::InvalidState,
            Self::Stack(error) => error.kind(),
        }
    }
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected => f.write_str("no such connection"),
            Self::Closed => f.write_str("already closed on this side"),
            Self::Listening => f.write_str("this server listens already: drain it first, or use another one"),
            Self::Stack(error) => error.fmt(f),
        }
    }
}

impl<E: core::error::Error> core::error::Error for Error<E> {}
