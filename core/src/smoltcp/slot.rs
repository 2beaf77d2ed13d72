//! One connection's memory in the backend.

use super::flow::{Chain, Flow};
use super::token::Sequence;
use crate::stack::{ErrorKind, Readiness, Tag};
use crate::storage::{Link, Linked, Timed, Timer};
use crate::time::{Duration, Instant};
use ::smoltcp::iface::{SocketSet, SocketStorage};
use ::smoltcp::socket::{AnySocket, Socket, tcp};
use core::fmt;

/// Kinds of list that a slot can be in, one of each kind at a time.
#[derive(Debug)]
pub(super) enum LifeList {}
#[derive(Debug)]
pub(super) enum WorkList {}

/// Whose a slot is, and which [`LifeList`] it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(super) enum Life {
    /// Nobody's: in the free list.
    Free,
    /// A SYN came; the handshake is not complete: in the listener's list of half-open ones.
    HalfOpen { listener: u8 },
    /// Established and waiting: in the listener's accept queue.
    Queued { listener: u8 },
    /// A handle is out: in the listener's list of those that changed, or in none.
    Owned { listener: Option<u8> },
    /// Given up by `close`, still delivering: in no list.
    Lingering,
    /// In TIME-WAIT without an owner: in the list of those, and reclaimed at need.
    TimeWait,
}

/// The slot's own deadline, beside smoltcp's timers; 8 octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit(u64);

impl Limit {
    pub(super) const NEVER: Self = Self(u64::MAX);
    /// Marks a duration; a moment is never as late as this.
    const PENDING: u64 = 1 << 63;

    pub(super) fn at(moment: Instant) -> Self {
        Self(moment.as_micros() & !Self::PENDING)
    }

    /// Starts with the next poll, which knows the time.
    pub(super) fn after(duration: Duration) -> Self {
        let micros = (Instant::ZERO + duration).as_micros();
        if micros >= Self::PENDING - 1 { Self::NEVER } else { Self(micros | Self::PENDING) }
    }

    /// The poll says what time it is.
    pub(super) fn start(&mut self, now: Instant) {
        if *self != Self::NEVER && self.0 & Self::PENDING != 0 {
            // No `Duration`: to make one takes a 64-bit division.
            *self = Self::at(Instant::from_micros(now.as_micros().saturating_add(self.0 & !Self::PENDING)));
        }
    }

    /// When it is, once it has started.
    pub(super) fn due(self) -> Option<Instant> {
        (self.0 & Self::PENDING == 0).then(|| Instant::from_micros(self.0))
    }
}

/// Which list of work a slot is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    None,
    /// To be run at the next poll.
    Dirty,
    /// Has something to send to a neighbour whose hardware address is being asked for.
    AwaitsNeighbor,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(super) enum End {
    Finished,
    Failed(ErrorKind),
}

/// Marks a slot: its initial sequence number is a cookie. Half open, it can be forgotten and made again.
pub(super) const COOKIE: u8 = 1;
/// Marks a slot: it had to wait for a neighbour's hardware address.
pub(super) const ASKED: u8 = 2;

/// One connection's memory in the backend, beside smoltcp's socket and its buffers.
pub struct Slot<'a> {
    pub(super) set: Option<SocketSet<'a>>,
    pub(super) flow: Flow,
    pub(super) limit: Limit,
    pub(super) timer: Timer,
    pub(super) sequence: Sequence,
    pub(super) generation: u32,
    pub(super) tag: Tag,
    pub(super) chain: Chain,
    life_link: Link,
    work_link: Link,
    pub(super) life: Life,
    pub(super) work: Work,
    pub(super) end: Option<End>,
    /// What its owner has not heard of; if anything, it is in the listener's list of those.
    pub(super) changed: Readiness,
    /// [`COOKIE`] and [`ASKED`].
    pub(super) marks: u8,
    /// Its window is offered in units of 2 to the power of this: not 0 if the receive buffer is larger than a window without scaling.
    pub(super) scale: u8,
    /// How much of the window that was offered last is left, in these units.
    pub(super) room: u16,
    /// Segments received and sent: see [`ConnectionStats`](super::ConnectionStats).
    pub(super) segments_received: u32,
    pub(super) segments_sent: u32,
    /// Segments sent again, as far as it can count.
    pub(super) retransmitted: u8,
}

impl Slot<'_> {
    /// A slot without memory for a socket: what storage is filled with before it is given away.
    pub const EMPTY: Self = Self {
        set: None,
        flow: Flow::NONE,
        limit: Limit::NEVER,
        timer: Timer::STOPPED,
        sequence: Sequence::NOTHING,
        generation: 0,
        tag: Tag(0),
        chain: Chain::EMPTY,
        life_link: Link::UNLINKED,
        work_link: Link::UNLINKED,
        life: Life::Free,
        work: Work::None,
        end: None,
        changed: Readiness { readable: false, writable: false, ended: false },
        marks: 0,
        scale: 0,
        room: 0,
        segments_received: 0,
        segments_sent: 0,
        retransmitted: 0,
    };
}

impl<'a> Slot<'a> {
    pub(super) fn equip(
        &mut self,
        storage: &'a mut [SocketStorage<'a>; 1],
        rx: &'a mut [u8],
        tx: &'a mut [u8],
    ) {
        let mut set = SocketSet::new(&mut storage[..]);
        set.add(socket(tcp::SocketBuffer::new(rx), tcp::SocketBuffer::new(tx)));
        self.set = Some(set);
    }

    #[cfg(feature = "alloc")]
    pub(super) fn owned(rx: tcp::SocketBuffer<'a>, tx: tcp::SocketBuffer<'a>) -> Self {
        let mut set = SocketSet::new(managed::ManagedSlice::Owned(Default::default()));
        set.add(socket(rx, tx));
        Self { set: Some(set), ..Self::EMPTY }
    }

    /// Makes the socket's place in its set new: there smoltcp keeps that it must be silent while a neighbour is asked for, whoever the
    /// socket talks to meanwhile.
    pub(super) fn forget_neighbor(&mut self) {
        let Some(set) = &mut self.set else { return };
        let Some(handle) = set.iter().next().map(|(handle, _)| handle) else { return };
        #[allow(irrefutable_let_patterns, reason = "another package may have asked for other kinds")]
        if let Socket::Tcp(socket) = set.remove(handle) {
            set.add(socket);
        }
    }

    /// The right edge of the window that was offered last, or a little before it.
    pub(super) fn edge(&self) -> u32 {
        self.sequence.expected.wrapping_add(u32::from(self.room) << self.scale)
    }

    /// Notes the right edge of the window that was offered last.
    pub(super) fn set_edge(&mut self, edge: u32) {
        let left = edge.wrapping_sub(self.sequence.expected);
        let left = if left < 1 << 31 { left >> self.scale } else { 0 };
        self.room = left.min(u32::from(u16::MAX)) as u16;
    }

    #[cfg_attr(target_arch = "arm", inline(never))]
    pub(super) fn socket(&self) -> Option<&tcp::Socket<'a>> {
        tcp::Socket::downcast(self.set.as_ref()?.iter().next()?.1)
    }

    #[cfg_attr(target_arch = "arm", inline(never))]
    pub(super) fn socket_mut(&mut self) -> Option<&mut tcp::Socket<'a>> {
        tcp::Socket::downcast_mut(self.set.as_mut()?.iter_mut().next()?.1)
    }
}

/// Nagle's algorithm is off: the service decides what goes together.
fn socket<'a>(rx: tcp::SocketBuffer<'a>, tx: tcp::SocketBuffer<'a>) -> tcp::Socket<'a> {
    let mut socket = tcp::Socket::new(rx, tx);
    socket.set_nagle_enabled(false);
    socket
}

impl fmt::Debug for Slot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("life", &self.life)
            .field("state", &self.socket().map(tcp::Socket::state))
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl Timed for Slot<'_> {
    fn timer(&self) -> &Timer {
        &self.timer
    }
    fn timer_mut(&mut self) -> &mut Timer {
        &mut self.timer
    }
}

impl Linked<LifeList> for Slot<'_> {
    fn link(&self) -> &Link {
        &self.life_link
    }
    fn link_mut(&mut self) -> &mut Link {
        &mut self.life_link
    }
}

impl Linked<WorkList> for Slot<'_> {
    fn link(&self) -> &Link {
        &self.work_link
    }
    fn link_mut(&mut self) -> &mut Link {
        &mut self.work_link
    }
}

/// What of a socket a poll can change: taken before and after.
#[derive(Clone, Copy)]
pub(super) struct Snapshot {
    pub(super) state: tcp::State,
    received: usize,
    queued: usize,
}

impl Snapshot {
    pub(super) fn of(socket: &tcp::Socket<'_>) -> Self {
        Self { state: socket.state(), received: socket.recv_queue(), queued: socket.send_queue() }
    }

    /// Whether bytes wait to be sent or acknowledged.
    pub(super) fn has_unsent(&self) -> bool {
        self.queued > 0
    }

    /// Octets received since `before`.
    pub(super) fn octets_since(&self, before: &Self) -> u32 {
        self.received.saturating_sub(before.received) as u32
    }

    /// How many sequence numbers of the peer were taken in since `before`: bytes, and its FIN.
    pub(super) fn advance(&self, before: &Self) -> u32 {
        self.octets_since(before) + u32::from(peer_has_closed(self.state) && !peer_has_closed(before.state))
    }

    /// What a service should look at, given what it was before.
    pub(super) fn since(&self, before: &Self) -> Readiness {
        let state_changed = self.state != before.state;
        Readiness {
            readable: self.received > before.received || (state_changed && peer_has_closed(self.state)),
            writable: self.queued < before.queued || (state_changed && self.state == tcp::State::Established),
            ended: false,
        }
    }
}

/// Whether the peer's FIN has come.
fn peer_has_closed(state: tcp::State) -> bool {
    use tcp::State::{CloseWait, Closing, LastAck, TimeWait};
    matches!(state, CloseWait | Closing | LastAck | TimeWait)
}

/// How a socket that is in `state` ended, if it did; `before` is its state before a segment came, `reset` whether that was a reset.
pub(super) fn end_of(before: tcp::State, state: tcp::State, reset: bool) -> Option<End> {
    use tcp::State::{
        CloseWait, Closed, Closing, Established, FinWait1, FinWait2, LastAck, Listen, SynReceived, SynSent,
        TimeWait,
    };
    match state {
        TimeWait => Some(End::Finished),
        SynSent | SynReceived | Established | FinWait1 | FinWait2 | CloseWait | Closing | LastAck => None,
        Closed | Listen => match before {
            Closed | Listen => None,
            SynSent => Some(End::Failed(ErrorKind::Refused)),
            TimeWait => Some(End::Finished),
            LastAck if !reset => Some(End::Finished),
            SynReceived | Established | FinWait1 | FinWait2 | CloseWait | Closing | LastAck => {
                Some(End::Failed(ErrorKind::Reset))
            }
        },
    }
}
