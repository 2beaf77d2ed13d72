//! Whom an arriving segment is for, and whether it is believed: newcomers, TIME-WAIT, and blind attacks (RFC 5961).

use super::engine::Engine;
use super::flow::Flow;
use super::frame::{ACK, FIN, RST, SYN, Segment};
use super::isn::Proof;
use super::slot::{COOKIE, End, Life, Limit, Slot};
use super::stats::one_more;
use crate::log::debug;
use crate::stack::Backpressure;
use crate::time::Duration;
use ::smoltcp::socket::tcp::{self, State};
use ::smoltcp::wire::IpListenEndpoint;

/// How long a cookie may come back (see [`isn`]), rounded up.
const COOKIE_LIFE: Duration = Duration::from_secs(135);

/// What to do with a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is for this connection.
    For(u16),
    /// It names this connection, but anyone could have sent it: answer with a challenge ACK.
    Challenge(u16),
    /// It opens a connection, in this slot, which answers with this sequence number.
    Opens {
        index: u16,
        isn: u32,
        cookie: bool,
    },
    /// It completes a handshake that only a cookie remembers.
    Returns {
        index: u16,
        isn: u32,
        mss: u16,
    },
    /// It is for nobody: smoltcp answers with a reset, if it may.
    ForNobody,
    Dropped,
}

/// Whether a segment that names a connection is believed.
enum Belief {
    Taken,
    Challenged,
    Dropped,
    /// The connection is over, or not begun: the segment opens a new one.
    Anew,
}

impl Engine<'_> {
    pub(super) fn arrival(&mut self, segment: &Segment) -> Arrival {
        let Some(index) = self.flows.find(&self.slots, &segment.flow) else { return self.stranger(segment) };
        match self.believe(index, segment) {
            Belief::Taken => Arrival::For(index),
            Belief::Challenged => {
                self.stats.challenges += 1;
                debug!("{} is challenged: its segment proves nothing", segment.flow.remote_addr());
                Arrival::Challenge(index)
            }
            Belief::Dropped => {
                one_more(&mut self.stats.dropped.blind_resets);
                Arrival::Dropped
            }
            Belief::Anew => {
                // TIME-WAIT keeps nobody out. The owner, if any, keeps its data.
                match self.slots.get(usize::from(index)).map(|slot| slot.life) {
                    Some(Life::Owned { .. }) => self.unfile(index),
                    Some(Life::HalfOpen { .. } | Life::Queued { .. } | Life::Lingering | Life::TimeWait) => {
                        self.release(index);
                    }
                    Some(Life::Free) | None => {}
                }
                self.stranger(segment)
            }
        }
    }

    /// RFC 5961: a reset counts only if its sequence number is exactly the next one expected, a SYN never ends a connection.
    fn believe(&self, index: u16, segment: &Segment) -> Belief {
        let Some(slot) = self.slots.get(usize::from(index)) else { return Belief::Dropped };
        let Some(socket) = slot.socket() else { return Belief::Dropped };
        if segment.is_reset() {
            return believe_reset(socket, slot.sequence.expected, segment.seq);
        }
        if segment.flags & SYN == 0 {
            let reaches_too_far = ends_beyond(socket, slot.edge(), segment);
            return if reaches_too_far { Belief::Challenged } else { Belief::Taken };
        }
        if segment.opens() && self.opens_anew(slot, segment) {
            return Belief::Anew;
        }
        match socket.state() {
            State::Closed | State::Listen | State::SynSent | State::SynReceived => Belief::Taken,
            // Section 4.2, whatever the sequence number. A peer that restarted answers the challenge with a reset that counts.
            State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck
            | State::TimeWait => Belief::Challenged,
        }
    }

    /// Whether a SYN is for a new connection although its flow has a slot: in TIME-WAIT with a later sequence number (RFC 9293, section
    /// 3.6.1), or half open with another one (section 3.10.7.4: back to LISTEN).
    fn opens_anew(&self, slot: &Slot<'_>, segment: &Segment) -> bool {
        let ahead = segment.seq.wrapping_sub(slot.sequence.expected);
        match slot.life {
            Life::HalfOpen { .. } => ahead != u32::MAX,
            Life::Owned { .. } | Life::Lingering | Life::TimeWait => {
                slot.end == Some(End::Finished) && ahead < 1 << 31
            }
            Life::Free | Life::Queued { .. } => false,
        }
    }

    /// A segment whose flow has no slot.
    fn stranger(&mut self, segment: &Segment) -> Arrival {
        let Flow { local, remote, .. } = segment.flow;
        if !self.is_own(local.ip()) {
            one_more(&mut self.stats.dropped.not_for_us);
            return Arrival::Dropped;
        }
        if !self.is_peer(remote) || self.is_own(remote.ip()) {
            one_more(&mut self.stats.dropped.bad_source);
            return Arrival::Dropped;
        }
        let Some(listener) = self.listener_for(&segment.flow) else { return Arrival::ForNobody };
        if segment.opens() {
            self.newcomer(listener, segment)
        } else if self.now < self.cookies_until && segment.flags & ACK != 0 && !segment.is_reset() {
            self.returning(listener, segment)
        } else if segment.flags & (ACK | RST) == 0 {
            // RFC 9293, section 3.10.7.2: neither a reset, nor an acknowledgement, nor a SYN.
            one_more(&mut self.stats.dropped.no_flags);
            Arrival::Dropped
        } else {
            Arrival::ForNobody
        }
    }

    fn newcomer(&mut self, listener: u8, segment: &Segment) -> Arrival {
        // Whoever takes the room of another will lose it to the next: then let the sequence number remember this one.
        let cookie = !self.has_room(listener);
        let Some(index) = self.admit(listener, segment.flow) else { return self.no_room(listener) };
        self.stats.syns_admitted += 1;
        let isn = if cookie {
            self.cookies_until = self.now + COOKIE_LIFE;
            self.stats.cookies_sent += 1;
            self.numbers.cookie(&segment.flow, segment.seq, segment.mss, self.now)
        } else {
            self.numbers.initial(&segment.flow, self.now)
        };
        if cookie && let Some(slot) = self.slots.get_mut(usize::from(index)) {
            slot.marks |= COOKIE;
        }
        debug!("{} opens a connection to port {}", segment.flow.remote_addr(), segment.flow.local_port);
        Arrival::Opens { index, isn, cookie }
    }

    fn returning(&mut self, listener: u8, segment: &Segment) -> Arrival {
        let (isn, peer_isn) = (segment.ack.wrapping_sub(1), segment.seq.wrapping_sub(1));
        let mss = match self.numbers.check(&segment.flow, peer_isn, isn, self.now) {
            Proof::Given { mss } => mss,
            // Perhaps a later segment of one whose first has yet to be repeated: a reset would end what has hardly begun. Not even a
            // listener that refuses sends one: there may be room by then.
            Proof::Possible => {
                self.stats.syns_deferred += 1;
                return Arrival::Dropped;
            }
            Proof::None => return Arrival::ForNobody,
        };
        let Some(index) = self.admit(listener, segment.flow) else { return self.no_room(listener) };
        self.stats.cookies_returned += 1;
        Arrival::Returns { index, isn, mss }
    }

    fn no_room(&mut self, listener: u8) -> Arrival {
        match self.listeners.get(usize::from(listener)).map(|listener| listener.backpressure) {
            Some(Backpressure::Refuse) => {
                self.stats.syns_refused += 1;
                debug!("a newcomer is refused: no room");
                Arrival::ForNobody
            }
            Some(Backpressure::Defer) | None => {
                self.stats.syns_deferred += 1;
                debug!("a newcomer is left to try again: no room");
                Arrival::Dropped
            }
        }
    }

    fn listener_for(&self, flow: &Flow) -> Option<u8> {
        let serves = |listener: &super::ListenerSlot| listener.serves(flow.local, flow.local_port);
        self.listeners.iter().position(serves).map(|index| index as u8)
    }

    /// Whether one more could be admitted without recycling a half-open connection.
    fn has_room(&self, listener: u8) -> bool {
        let listener = self.listeners.get(usize::from(listener));
        listener.is_some_and(|listener| listener.waiting() < listener.backlog)
            && !(self.free.is_empty() && self.time_wait.is_empty())
    }

    /// A slot for a newcomer, listening for exactly this flow; `None` when there is no room.
    fn admit(&mut self, listener: u8, flow: Flow) -> Option<u16> {
        let place = self.listeners.get(usize::from(listener))?;
        if place.queue.len() >= place.backlog {
            return None;
        }
        if place.waiting() >= place.backlog && !self.recycle_half_open(listener) {
            return None;
        }
        let index = self.vacate()?;
        let slot = self.slots.get_mut(usize::from(index))?;
        let endpoint = IpListenEndpoint { addr: super::address(flow.local.ip()), port: flow.local_port };
        slot.socket_mut()?.listen(endpoint).ok()?;
        self.occupy(index, flow, Life::HalfOpen { listener });
        self.set_limit(index, Limit::at(self.now + self.config.half_open));
        Some(index)
    }

    /// A free slot, at the cost of the oldest TIME-WAIT or of a half-open connection.
    ///
    /// TIME-WAIT goes first: nobody waits for it, while a half-open connection may be a client that is about to be served.
    pub(super) fn vacate(&mut self) -> Option<u16> {
        if let Some(index) = self.free.first() {
            return Some(index);
        }
        if let Some(index) = self.time_wait.first() {
            self.stats.time_waits_reclaimed += 1;
            self.release(index);
            return self.free.first();
        }
        let mut listeners = 0..self.listeners.len() as u8;
        listeners.find(|listener| self.recycle_half_open(*listener))?;
        self.free.first()
    }

    /// Gives up a half-open connection of `listener`: the oldest if it has had time to answer, or one that a cookie remembers.
    fn recycle_half_open(&mut self, listener: u8) -> bool {
        let Some(half_open) = self.listeners.get(usize::from(listener)).map(|listener| &listener.half_open)
        else {
            return false;
        };
        // Those with a cookie came last, until all have one.
        let candidates = [half_open.first(), half_open.last()].into_iter().flatten();
        let Some(index) = candidates.into_iter().find(|index| self.is_recyclable(*index)) else {
            return false;
        };
        self.stats.half_open_dropped += 1;
        self.release(index);
        true
    }

    fn is_recyclable(&self, index: u16) -> bool {
        let Some(slot) = self.slots.get(usize::from(index)) else { return false };
        let Some(deadline) = slot.limit.due() else { return false };
        // It began `half_open` before its deadline.
        slot.marks & COOKIE != 0
            || deadline + self.config.half_open_reclaim <= self.now + self.config.half_open
    }

    /// The sequence number for a connection opened from here.
    pub(super) fn initial_number(&self, flow: &Flow) -> u32 {
        self.numbers.initial(flow, self.now)
    }
}

/// Whether a FIN stands behind bytes for which no room was offered.
///
/// smoltcp cuts such bytes off but takes the FIN, as if it stood where they were cut: the stream would end early and in good order.
fn ends_beyond(socket: &tcp::Socket<'_>, edge: u32, segment: &Segment) -> bool {
    let last = segment.seq.wrapping_add(segment.payload);
    let beyond = segment.flags & FIN != 0 && segment.payload > 0 && edge.wrapping_sub(last) >= 1 << 31;
    // Those that have sent no acknowledgement have offered nothing.
    beyond && !matches!(socket.state(), State::Closed | State::Listen | State::SynSent)
}

/// RFC 5961, section 3.2; in TIME-WAIT RFC 1337, section 3 (fix F1: ignore it).
fn believe_reset(socket: &tcp::Socket<'_>, expected: u32, seq: u32) -> Belief {
    let exact = seq == expected;
    let window = socket.recv_capacity().saturating_sub(socket.recv_queue());
    let in_window = (seq.wrapping_sub(expected) as usize) < window;
    match socket.state() {
        // Judged by its acknowledgement number (RFC 9293, section 3.10.7.3), or not at all.
        State::SynSent | State::Closed | State::Listen => Belief::Taken,
        State::TimeWait => Belief::Dropped,
        State::SynReceived if exact => Belief::Taken,
        State::SynReceived => Belief::Dropped,
        State::Established
        | State::FinWait1
        | State::FinWait2
        | State::CloseWait
        | State::Closing
        | State::LastAck => match (exact, in_window) {
            (true, _) => Belief::Taken,
            (false, true) => Belief::Challenged,
            (false, false) => Belief::Dropped,
        },
    }
}
