use crate::stack::ErrorKind;
use core::fmt;

/// A time limit that a connection can pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Deadline {
    /// The handshake was not complete in time.
    Connect,
    /// The peer sent nothing since the connection was opened.
    FirstByte,
    /// No byte moved in either direction.
    Idle,
    /// Bytes were queued and the peer acknowledged none of them.
    WriteStall,
    /// Bytes moved, but too few.
    Progress,
    /// After a close or a drain, the peer did not take in time what was still queued.
    Drain,
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "the peer did not answer",
            Self::FirstByte => "the peer sent nothing",
            Self::Idle => "nothing moved in either direction",
            Self::WriteStall => "the peer acknowledged nothing",
            Self::Progress => "the peer was too slow",
            Self::Drain => "the peer did not take the last bytes",
        })
    }
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Reason {
    /// The peer closed first, then this side; every byte was delivered.
    PeerClosed,
    /// This side closed first; every byte was delivered.
    Finished,
    /// The peer reset it. Bytes on the way may be lost.
    Reset,
    /// Nobody listens at the peer's port.
    Refused,
    /// The network cannot reach the peer.
    Unreachable,
    /// The network interface went away.
    LinkDown,
    /// A deadline passed.
    TimedOut(Deadline),
    /// This side aborted it, or closed it before it was open.
    Aborted,
    /// A limit of the server turned it away; it was never open.
    Rejected,
    /// The stack gave it up for this reason.
    Failed(ErrorKind),
}

impl Reason {
    /// Whether both sides closed in order and every byte was delivered.
    pub const fn is_orderly(self) -> bool {
        matches!(self, Self::PeerClosed | Self::Finished)
    }

    /// What an end reported by the stack means; its own timeout means [`Deadline::Connect`] during the handshake only.
    pub(super) const fn of(kind: ErrorKind, opening: bool) -> Self {
        match kind {
            ErrorKind::Refused => Self::Refused,
            ErrorKind::Reset => Self::Reset,
            ErrorKind::Unreachable => Self::Unreachable,
            ErrorKind::LinkDown => Self::LinkDown,
            ErrorKind::TimedOut if opening => Self::TimedOut(Deadline::Connect),
            ErrorKind::TimedOut
            | ErrorKind::NoAddress
            | ErrorKind::NoSlot
            | ErrorKind::AddressInUse
            | ErrorKind::InvalidState
            | ErrorKind::Closed
            | ErrorKind::StaleHandle
            | ErrorKind::Unsupported
            | ErrorKind::Other => Self::Failed(kind),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PeerClosed => "closed by the peer",
            Self::Finished => "closed here, all delivered",
            Self::Reset => "reset by the peer",
            Self::Refused => "refused: nobody listens there",
            Self::Unreachable => "peer unreachable",
            Self::LinkDown => "network link down",
            Self::TimedOut(deadline) => return write!(f, "timed out: {deadline}"),
            Self::Aborted => "aborted here",
            Self::Rejected => "rejected: too many connections from this peer",
            Self::Failed(kind) => return write!(f, "failed: {kind}"),
        })
    }
}
