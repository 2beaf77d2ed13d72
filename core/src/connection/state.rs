use super::{Deadline, Reason};
use crate::stack::ErrorKind;

/// Which side closed its write side first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum First {
    /// The peer.
    Peer,
    /// This side.
    Here,
}

impl First {
    const fn reason(self) -> Reason {
        match self {
            Self::Peer => Reason::PeerClosed,
            Self::Here => Reason::Finished,
        }
    }
}

/// How far a connection's life has come, as its owner sees it.
///
/// ```text
///            Opened        EndOfStream            Shutdown, Close
///  Opening ---------> Open -----------> PeerClosed -------------.
///                      | \                                      v
///                      |  `---------------- Close ---------> Closing --------> Closed(reason)
///                      |  Shutdown              EndOfStream,    ^    Finished,
///                      `-----------> WriteClosed --- Close -----'    Released
///
///  from every state: Abort, Failed, Expired, Rejected --> Closed(reason)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// The handshake is not complete.
    Opening,
    /// Both directions are open.
    Open,
    /// The end of the peer's stream was received; this side can still send.
    PeerClosed,
    /// This side sent its FIN; the peer can still send.
    WriteClosed,
    /// Nothing more will be sent or received by the owner: what is queued is being delivered, what still comes is discarded.
    Closing(First),
    /// It is over.
    Closed(Reason),
}

/// What happens to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Input {
    /// The handshake is complete.
    Opened,
    /// A limit turns it away.
    Rejected,
    /// The end of the peer's stream was received, after all its bytes.
    EndOfStream,
    /// The owner closed the write side.
    Shutdown,
    /// The owner closed the connection.
    Close,
    /// The owner aborted it.
    Abort,
    /// The stack says: both sides have closed, every byte is acknowledged.
    Finished,
    /// What is left (no bytes of ours) is handed over to the stack, by its `close`.
    Released,
    /// The stack says: it ended early.
    Failed(ErrorKind),
    /// A deadline passed.
    Expired(Deadline),
}

/// The state that follows `state` after `input`: the whole life of a connection in one table.
///
/// An input that does not fit the state changes nothing; [`State::Closed`] is never left.
#[must_use]
pub const fn step(state: State, input: Input) -> State {
    use Input as I;
    use State::{Closed, Closing, Open, Opening, PeerClosed, WriteClosed};
    match (state, input) {
        (Opening, I::Opened) => Open,
        (Opening, I::EndOfStream | I::Shutdown) => Opening,
        (Opening, I::Close | I::Abort) => Closed(Reason::Aborted),
        (Opening, I::Finished | I::Released) => Closed(Reason::Finished),
        (Opening, I::Failed(kind)) => Closed(Reason::of(kind, true)),

        (Open, I::Opened) => Open,
        (Open, I::EndOfStream) => PeerClosed,
        (Open, I::Shutdown) => WriteClosed,
        (Open, I::Close) => Closing(First::Here),
        // A stack that cannot half-close may end both directions with the peer's close.
        (Open, I::Finished) => Closed(Reason::PeerClosed),
        (Open, I::Released) => Closed(Reason::Finished),

        (PeerClosed, I::Opened | I::EndOfStream) => PeerClosed,
        (PeerClosed, I::Shutdown | I::Close) => Closing(First::Peer),
        (PeerClosed, I::Finished | I::Released) => Closed(Reason::PeerClosed),

        (WriteClosed, I::Opened | I::Shutdown) => WriteClosed,
        (WriteClosed, I::EndOfStream | I::Close) => Closing(First::Here),
        (WriteClosed, I::Finished | I::Released) => Closed(Reason::Finished),

        (Closing(first), I::Opened | I::EndOfStream | I::Shutdown | I::Close) => Closing(first),
        (Closing(first), I::Finished | I::Released) => Closed(first.reason()),

        (Opening | Open | PeerClosed | WriteClosed | Closing(_), I::Rejected) => Closed(Reason::Rejected),
        (Open | PeerClosed | WriteClosed | Closing(_), I::Abort) => Closed(Reason::Aborted),
        (Open | PeerClosed | WriteClosed | Closing(_), I::Failed(kind)) => Closed(Reason::of(kind, false)),
        (Opening | Open | PeerClosed | WriteClosed | Closing(_), I::Expired(deadline)) => {
            Closed(Reason::TimedOut(deadline))
        }

        (
            Closed(reason),
            I::Opened
            | I::Rejected
            | I::EndOfStream
            | I::Shutdown
            | I::Close
            | I::Abort
            | I::Finished
            | I::Released
            | I::Failed(_)
            | I::Expired(_),
        ) => Closed(reason),
    }
}

/// A [`State`] without its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the variants of State")]
pub enum StateKind {
    Opening,
    Open,
    PeerClosed,
    WriteClosed,
    Closing,
    Closed,
}

impl StateKind {
    /// All of them, in order.
    pub const ALL: [Self; 6] =
        [Self::Opening, Self::Open, Self::PeerClosed, Self::WriteClosed, Self::Closing, Self::Closed];
}

impl State {
    /// Which state it is.
    pub const fn kind(self) -> StateKind {
        match self {
            Self::Opening => StateKind::Opening,
            Self::Open => StateKind::Open,
            Self::PeerClosed => StateKind::PeerClosed,
            Self::WriteClosed => StateKind::WriteClosed,
            Self::Closing(_) => StateKind::Closing,
            Self::Closed(_) => StateKind::Closed,
        }
    }

    /// Whether its owner may send.
    pub(crate) const fn sends(self) -> bool {
        match self {
            Self::Opening | Self::Open | Self::PeerClosed => true,
            Self::WriteClosed | Self::Closing(_) | Self::Closed(_) => false,
        }
    }

    /// Whether its owner may receive: after the peer's end of stream it is told of that end again.
    pub(crate) const fn receives(self) -> bool {
        match self {
            Self::Opening | Self::Open | Self::PeerClosed | Self::WriteClosed => true,
            Self::Closing(_) | Self::Closed(_) => false,
        }
    }
}

/// An [`Input`] without its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the variants of Input")]
pub enum InputKind {
    Opened,
    Rejected,
    EndOfStream,
    Shutdown,
    Close,
    Abort,
    Finished,
    Released,
    Failed,
    Expired,
}

impl InputKind {
    /// All of them, in order.
    pub const ALL: [Self; 10] = [
        Self::Opened,
        Self::Rejected,
        Self::EndOfStream,
        Self::Shutdown,
        Self::Close,
        Self::Abort,
        Self::Finished,
        Self::Released,
        Self::Failed,
        Self::Expired,
    ];
}

impl Input {
    /// Which input it is.
    pub const fn kind(self) -> InputKind {
        match self {
            Self::Opened => InputKind::Opened,
            Self::Rejected => InputKind::Rejected,
            Self::EndOfStream => InputKind::EndOfStream,
            Self::Shutdown => InputKind::Shutdown,
            Self::Close => InputKind::Close,
            Self::Abort => InputKind::Abort,
            Self::Finished => InputKind::Finished,
            Self::Released => InputKind::Released,
            Self::Failed(_) => InputKind::Failed,
            Self::Expired(_) => InputKind::Expired,
        }
    }
}

/// Which (state, input) pairs have occurred: 12 bytes, one bit set per input.
///
/// A server and a client keep one, so that a test can show what it has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Transitions {
    inputs: [u16; StateKind::ALL.len()],
}

impl Transitions {
    /// None yet.
    pub const NONE: Self = Self { inputs: [0; StateKind::ALL.len()] };

    /// Whether `input` has occurred in `state`.
    pub fn contains(&self, state: StateKind, input: InputKind) -> bool {
        self.inputs.get(state as usize).is_some_and(|inputs| inputs & (1 << input as u16) != 0)
    }

    /// Adds those of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.inputs.iter_mut().zip(other.inputs) {
            *mine |= theirs;
        }
    }

    pub(super) fn record(&mut self, state: StateKind, input: InputKind) {
        if let Some(inputs) = self.inputs.get_mut(state as usize) {
            *inputs |= 1 << input as u16;
        }
    }
}
