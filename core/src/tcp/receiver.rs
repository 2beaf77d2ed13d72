//! The receiving half of a connection: the buffer, what came out of order, the window that is offered, and when to acknowledge.

use super::header::{Header, Timestamp};
use super::reassembly::{Hole, Reassembly};
use super::ring::Ring;
use super::{Micros, NEVER, Seq};
use crate::storage::ManagedSlice;

/// How long an acknowledgement may wait for company (RFC 9293, section 3.8.6.3: less than 0.5 s).
const DELAY: Micros = 40_000;

/// So many segments are acknowledged at once when a connection opens, and after it was idle: the peer's window is small then.
const QUICK: u8 = 16;

/// A connection on which nothing came for so long is idle.
const IDLE: Micros = 1_000_000;

/// What was agreed of timestamps may be older than this without being trusted (RFC 7323, section 5.5).
const TIMESTAMP_LIFE: Micros = 24 * 86_400 * 1_000_000;

/// Whether an acknowledgement is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    No,
    At(Micros),
    Now,
}

/// What a segment's payload did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is in order; so many bytes became readable.
    InOrder,
    OutOfOrder,
    /// It was there before.
    Duplicate,
}

pub(super) struct Receiver<'a> {
    ring: Ring<'a>,
    ahead: Reassembly<'a>,
    /// RCV.NXT.
    next: Seq,
    /// The right edge up to which the peer may send.
    edge: Seq,
    /// The acknowledgement number that left last (Last.ACK.sent of RFC 7323).
    last_acknowledged: Seq,
    /// Where the peer's FIN stands, once it has come.
    fin: Option<Seq>,
    /// The shift of the window that is offered.
    scale: u8,
    quick: u8,
    due: Due,
    /// The last payload bore PSH: the peer waits, perhaps.
    pushed: bool,
    delayed: bool,
    /// The longest payload that the peer has sent, at most `limit`, which it may send.
    segment: u32,
    limit: u32,
    /// A range that came twice, to be reported (RFC 2883).
    twice: Option<Hole>,
    /// TS.Recent, and when it came.
    recent: u32,
    recent_at: Micros,
    heard_at: Micros,
}

impl<'a> Receiver<'a> {
    pub(super) const fn new(bytes: ManagedSlice<'a, u8>, holes: ManagedSlice<'a, Hole>) -> Self {
        Self {
            ring: Ring::new(bytes),
            ahead: Reassembly::new(holes),
            next: Seq(0),
            edge: Seq(0),
            last_acknowledged: Seq(0),
            fin: None,
            scale: 0,
            quick: QUICK,
            due: Due::No,
            pushed: false,
            delayed: true,
            segment: 536,
            limit: 536,
            twice: None,
            recent: 0,
            recent_at: 0,
            heard_at: 0,
        }
    }

    /// Makes everything new, for a connection whose first segment has not come.
    pub(super) fn begin(&mut self, limit: u32, delayed: bool) {
        self.ring.clear();
        self.ahead.clear();
        (self.next, self.edge, self.last_acknowledged) = (Seq(0), Seq(0), Seq(0));
        (self.fin, self.twice, self.due) = (None, None, Due::No);
        (self.quick, self.pushed, self.delayed) = (QUICK, false, delayed);
        (self.segment, self.limit) = (limit.min(536), limit);
        (self.recent, self.recent_at, self.heard_at) = (0, 0, 0);
        self.scale = scale_for(self.ring.capacity());
    }

    pub(super) fn set_delayed(&mut self, delayed: bool) {
        self.delayed = delayed;
    }

    /// The peer's SYN has come, with this sequence number.
    pub(super) fn synchronize(&mut self, syn: Seq) {
        self.next = syn + 1;
        (self.edge, self.last_acknowledged) = (self.next, self.next);
    }

    /// The peer does not scale windows, or a SYN cookie could not remember that it does.
    pub(super) fn do_not_scale(&mut self) {
        self.scale = 0;
    }

    /// Takes over the window that the SYN|ACK of a cookie offered.
    pub(super) fn assume_offered(&mut self) {
        self.edge = self.next + self.ring.free().min(65_535) as u32;
    }

    pub(super) fn scale(&self) -> u8 {
        self.scale
    }

    pub(super) fn next(&self) -> Seq {
        self.next
    }

    pub(super) fn ring(&self) -> &Ring<'a> {
        &self.ring
    }

    /// Returns `true` if the peer's FIN has come, and everything before it.
    pub(super) fn is_finished(&self) -> bool {
        self.fin.is_some_and(|fin| fin < self.next)
    }

    // ---- judging ----------------------------------------------------------------------------------------

    /// The four cases of RFC 9293, section 3.10.7.4, first step, for the window up to the buffer's end.
    ///
    /// A segment without bytes is taken at the right edge too: it comes from there when everything that the window allowed has left and was
    /// lost. Of a reset this is not true (RFC 5961, section 3.2).
    pub(super) fn accepts(&self, header: &Header, len: u32) -> bool {
        let room = self.ring.free() as u32;
        let inside = |at: Seq| self.next <= at && at < self.next + room;
        match (len, room) {
            (0, _) => {
                let at_edge = header.seq == self.next + room && !header.flags.has(super::Flags::RST);
                inside(header.seq) || at_edge || header.seq == self.next
            }
            (_, 0) => false,
            _ => inside(header.seq) || inside(header.seq + (len - 1)),
        }
    }

    /// PAWS (RFC 7323, section 5.3, R1): returns `true` for a segment from long ago.
    pub(super) fn is_old(&self, now: Micros, timestamp: Timestamp) -> bool {
        Seq(timestamp.value) < Seq(self.recent) && now.saturating_sub(self.recent_at) < TIMESTAMP_LIFE
    }

    /// RFC 7323, section 4.3: the timestamp of the earliest segment that is not acknowledged is echoed.
    pub(super) fn note_timestamp(&mut self, now: Micros, seq: Seq, timestamp: Timestamp) {
        let is_later =
            Seq(timestamp.value) >= Seq(self.recent) || now.saturating_sub(self.recent_at) >= TIMESTAMP_LIFE;
        if seq <= self.last_acknowledged && is_later {
            (self.recent, self.recent_at) = (timestamp.value, now);
        }
    }

    /// Takes the timestamp of the peer's SYN.
    pub(super) fn first_timestamp(&mut self, now: Micros, timestamp: Timestamp) {
        (self.recent, self.recent_at) = (timestamp.value, now);
    }

    /// Returns what is echoed: TS.Recent.
    pub(super) fn echo(&self) -> u32 {
        self.recent
    }

    // ---- taking -----------------------------------------------------------------------------------------

    /// Notes a range that has come before, for a report to the peer (RFC 2883).
    pub(super) fn note_duplicate(&mut self, from: Seq, to: Seq) {
        let end = to.min(self.next);
        if from < end {
            self.twice = Some(Hole { start: from, end });
        }
    }

    /// Takes the payload of an acceptable segment; what exceeds the buffer is cut, and comes again.
    ///
    /// With `keep` off the bytes are acknowledged and dropped: nobody reads any more.
    pub(super) fn take(
        &mut self,
        now: Micros,
        seq: Seq,
        payload: &[u8],
        fin: bool,
        pushed: bool,
        keep: bool,
    ) -> Taken {
        let len = payload.len() as u32;
        if fin {
            self.fin = Some(seq + len);
        }
        if now.saturating_sub(self.heard_at) > IDLE {
            self.quick = QUICK;
        }
        self.heard_at = now;
        let skip = self.next.past(seq) as usize;
        let offset = seq.past(self.next) as usize;
        self.note_duplicate(seq, seq + len);
        let fresh = payload.get(skip..).unwrap_or(&[]);
        let fresh = fresh.get(..self.ring.free().saturating_sub(offset)).unwrap_or(fresh);
        if offset > 0 {
            self.due = Due::Now;
            return self.put_ahead(offset, fresh);
        }
        let cut = skip + fresh.len() < payload.len();
        if keep {
            self.ring.write(self.ring.len(), fresh);
        }
        let had_holes = !self.ahead.is_empty();
        let reached = self.next + fresh.len() as u32;
        let next = if had_holes { self.ahead.join(reached) } else { reached };
        if keep {
            self.ring.commit((next - self.next) as usize);
        }
        self.next = next;
        self.segment = self.segment.max(len.min(self.limit));
        self.pushed = pushed;
        self.schedule(now, had_holes || cut);
        if self.fin == Some(self.next) {
            self.next += 1;
            self.due = Due::Now;
        }
        if fresh.is_empty() && !payload.is_empty() { Taken::Duplicate } else { Taken::InOrder }
    }

    fn put_ahead(&mut self, offset: usize, fresh: &[u8]) -> Taken {
        if fresh.is_empty() {
            return Taken::OutOfOrder;
        }
        let start = self.next + offset as u32;
        let end = start + fresh.len() as u32;
        let known = self.ahead.has(start, end);
        if known {
            self.twice = Some(Hole { start, end });
        }
        if self.ahead.insert(start, end) {
            self.ring.write(self.ring.len() + offset, fresh);
        }
        if known { Taken::Duplicate } else { Taken::OutOfOrder }
    }

    /// Decides when what came is acknowledged (RFC 9293, section 3.8.6.3; RFC 5681, section 4.2).
    fn schedule(&mut self, now: Micros, pressing: bool) {
        let quick = self.quick > 0;
        self.quick = self.quick.saturating_sub(1);
        let many = self.next - self.last_acknowledged >= 2 * self.segment;
        match self.due {
            Due::Now => {}
            Due::No | Due::At(_) if pressing || quick || many || !self.delayed => self.due = Due::Now,
            Due::No => self.due = Due::At(now + DELAY),
            Due::At(_) => {}
        }
    }

    /// An acknowledgement is due with the next transmission.
    pub(super) fn acknowledge_now(&mut self) {
        self.due = Due::Now;
    }

    /// Returns when the acknowledgement that waits is due.
    pub(super) fn due_at(&self) -> Micros {
        match self.due {
            Due::No => NEVER,
            Due::At(at) => at,
            Due::Now => 0,
        }
    }

    /// Returns `true` if an acknowledgement must leave now.
    pub(super) fn is_due(&self, now: Micros) -> bool {
        self.due_at() <= now
    }

    // ---- offering ---------------------------------------------------------------------------------------

    /// Returns how far the window that the peer knows of reaches.
    fn known(&self) -> u32 {
        self.edge.past(self.next)
    }

    /// Returns the window that could be offered: what is free, less what rounding may take, as far as 16 bits can say it.
    fn open(&self) -> u32 {
        let reserve = (1u32 << self.scale) - 1;
        (self.ring.free() as u32).saturating_sub(reserve).min(65_535 << self.scale)
    }

    /// The step by which the right edge moves (RFC 9293, section 3.8.6.2.2).
    fn step(&self) -> u32 {
        (self.ring.capacity() as u32 / 2).min(self.limit)
    }

    /// Returns the window field for a segment that acknowledges everything, and notes that it was offered.
    ///
    /// The edge never moves back by more than the unit of the scale, which RFC 7323, section 2.4, cannot avoid; what the peer sends up to the
    /// furthest edge is always taken, for room is kept for it.
    pub(super) fn offer(&mut self) -> u16 {
        let (known, open) = (self.known(), self.open());
        let all = self.ring.len() == 0 && open >= known;
        let window = if all || open >= known.saturating_add(self.step()) { open } else { known };
        self.edge = self.next + window;
        self.acknowledged();
        let units = window.div_ceil(1 << self.scale);
        units.min(65_535) as u16
    }

    /// Returns the window field of a SYN, which is never scaled (RFC 7323, section 2.2).
    pub(super) fn offer_first(&mut self) -> u16 {
        let window = self.ring.free().min(65_535);
        self.edge = self.next + window as u32;
        self.acknowledged();
        window as u16
    }

    fn acknowledged(&mut self) {
        self.due = Due::No;
        self.last_acknowledged = self.next;
    }

    /// Adds what was received out of order to a header, duplicates first (RFC 2018, section 4; RFC 2883, section 4).
    pub(super) fn report(&mut self, header: &mut Header) {
        if let Some(range) = self.twice.take() {
            header.push_sack(range.start, range.end);
        }
        for range in self.ahead.latest_first() {
            if !header.push_sack(range.start, range.end) {
                break;
            }
        }
    }

    /// Returns the number of SACK blocks that [`report`](Self::report) would add if there were room.
    pub(super) fn blocks(&self) -> usize {
        self.ahead.latest_first().len() + usize::from(self.twice.is_some())
    }

    // ---- the reader -------------------------------------------------------------------------------------

    /// Drops `count` bytes that the user has taken, and acknowledges where the user's reading is news for the peer.
    pub(super) fn consume(&mut self, count: usize, peer_may_send: bool) {
        self.ring.consume(count);
        if self.ahead.is_empty() {
            self.ring.settle();
        }
        if count == 0 || !peer_may_send {
            return;
        }
        let (known, open) = (self.known(), self.open());
        // An update of its own only where it at least doubles what the peer knows of.
        let opens = open >= known.saturating_add(self.step()) && open / 2 >= known;
        // The peer has said all, and the user has read all: the peer may wait for this.
        let emptied = self.pushed && self.ring.len() == 0 && self.due != Due::No;
        if opens || emptied {
            self.due = Due::Now;
        }
    }

    /// Drops everything that was received.
    pub(super) fn discard(&mut self) {
        self.ring.consume(self.ring.len());
    }
}

/// Returns the shift for a buffer (RFC 7323, section 2.2): the least with which 16 bits can say it, at most 14.
pub(super) fn scale_for(capacity: usize) -> u8 {
    let bits = usize::BITS - capacity.leading_zeros();
    bits.saturating_sub(16).min(14) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_buffer_has_a_scale_that_can_say_it() {
        for (capacity, scale) in
            [(0, 0), (1, 0), (65_535, 0), (65_536, 1), (1 << 29, 14), (1 << 30, 14), (1 << 31, 14)]
        {
            assert_eq!(scale_for(capacity), scale, "{capacity}");
        }
    }

    /// RFC 9293, section 3.8.6: the right edge never moves back by more than a unit, and what was promised fits into the buffer.
    #[test]
    fn the_right_edge_does_not_move_back() {
        for (capacity, step) in [(4_096, 1), (70_000, 1), (70_000, 7), (300_000, 33), (300_000, 1_000)] {
            let mut bytes = vec![0; capacity];
            let mut receiver =
                Receiver::new(ManagedSlice::Borrowed(&mut bytes), ManagedSlice::Borrowed(&mut []));
            receiver.begin(1_000, true);
            receiver.synchronize(Seq(u32::MAX - 5));
            let unit = 1u32 << receiver.scale();
            let mut furthest = receiver.next();
            let payload = vec![1; step];
            for round in 0..400 {
                let edge = receiver.next() + (u32::from(receiver.offer()) << receiver.scale());
                assert!(edge + unit > furthest, "back by {} at {}", furthest - edge, receiver.next().0);
                furthest = furthest.max(edge);
                assert!(
                    furthest - receiver.next() <= receiver.ring.free() as u32,
                    "more than there is room for"
                );
                if furthest - receiver.next() < step as u32 {
                    break;
                }
                let seq = receiver.next();
                receiver.take(0, seq, &payload, false, false, true);
                if round % 50 == 49 {
                    receiver.consume(step * 10, true);
                }
            }
        }
    }

    #[test]
    fn without_scaling_a_large_buffer_makes_no_updates_of_its_own() {
        let mut bytes = vec![0; 1 << 20];
        let mut receiver = Receiver::new(ManagedSlice::Borrowed(&mut bytes), ManagedSlice::Borrowed(&mut []));
        receiver.begin(1_000, true);
        receiver.do_not_scale();
        receiver.synchronize(Seq(0));
        receiver.quick = 0;
        receiver.offer();
        let mut sent = 0;
        for at in 0..10u32 {
            receiver.take(0, Seq(1 + at * 1_000), &[0; 1_000], false, false, true);
            receiver.consume(1_000, true);
            if receiver.is_due(0) {
                receiver.offer();
                sent += 1;
            }
        }
        assert_eq!(sent, 5, "each second segment is acknowledged, and nothing else is said");
    }
}
