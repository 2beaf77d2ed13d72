use core::fmt;

/// Why a call failed or a connection ended, by what the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ErrorKind {
    /// The peer's host answered that nobody listens. Try later.
    Refused,
    /// The peer reset the connection. What it had not acknowledged may be lost.
    Reset,
    /// A deadline passed.
    TimedOut,
    /// The network cannot reach the peer.
    Unreachable,
    /// The network interface went away.
    LinkDown,
    /// The address is not one of this host, or this host has none to reach the peer from.
    NoAddress,
    /// No memory is left for one more listener or connection. Close one.
    NoSlot,
    /// The port is taken.
    AddressInUse,
    /// The call does not fit the state: port 0, shutdown before the handshake, a buffer of no size.
    InvalidState,
    /// This side has closed already.
    Closed,
    /// The handle names a socket that is gone.
    StaleHandle,
    /// This stack cannot do it; see [`Capabilities`](super::Capabilities).
    Unsupported,
    /// The operating system or the device said something else; the error's text has it.
    Other,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "connection refused",
            Self::Reset => "connection reset by the peer",
            Self::TimedOut => "timed out",
            Self::Unreachable => "peer unreachable",
            Self::LinkDown => "network link down",
            Self::NoAddress => "no usable local address",
            Self::NoSlot => "no free slot",
            Self::AddressInUse => "address in use",
            Self::InvalidState => "not possible in this state",
            Self::Closed => "already closed on this side",
            Self::StaleHandle => "stale handle",
            Self::Unsupported => "not supported by this stack",
            Self::Other => "other error",
        })
    }
}

impl core::error::Error for ErrorKind {}

/// An error of a [`TcpStack`](super::TcpStack).
pub trait StackError: core::error::Error {
    /// What the caller can do about it.
    fn kind(&self) -> ErrorKind;
}

impl StackError for ErrorKind {
    fn kind(&self) -> ErrorKind {
        *self
    }
}
