//! What data to send next, and when it may leave: the windows, silly windows, Nagle, pacing, probes.

use super::sender::{Agreed, Probe, Sender, Tail};
use super::{Micros, Options, Seq};

/// A segment may leave so much earlier than evenly: clocks are coarse, and a burst of this length does no harm.
pub(super) const SLACK: Micros = 1_000;

/// Segments that leave at once when nothing is in flight: the initial window (RFC 6928).
const BURST: u8 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Sent for the first time.
    Fresh,
    /// Sent again.
    Again,
    /// A byte into a closed window: not thought to arrive.
    Window,
}

/// A range of the stream to send, and whether the FIN stands at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Data {
    pub(super) kind: Kind,
    pub(super) seq: Seq,
    /// Bytes of payload.
    pub(super) len: u32,
    pub(super) fin: bool,
}

impl Data {
    /// Returns the sequence numbers that the range takes.
    pub(super) fn sequence_len(&self) -> u32 {
        self.len + u32::from(self.fin)
    }
}

/// How much a segment can hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// Payload of a full segment, beside the options that this one bears.
    pub(super) segment: u32,
    /// Payload that the device takes at a time: a multiple of segments, or less than one.
    pub(super) most: u32,
}

impl Size {
    pub(super) fn new(segment: u32, most: usize) -> Self {
        let segment = segment.max(1);
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        Self { segment, most: if most < segment { most } else { most - most % segment } }
    }
}

impl Sender<'_> {
    /// Returns the data to send now, if any may leave.
    pub(super) fn plan(&mut self, now: Micros, size: Size, options: &Options) -> Option<Data> {
        if !self.board.is_usable() {
            return None;
        }
        if self.probe != Probe::None
            && let Some(data) = self.plan_probe(now, size, options)
        {
            return Some(data);
        }
        self.paced = self.unpaced == 0 && self.pace_at > now + SLACK && self.has_more();
        if self.paced && !self.urgent {
            return None;
        }
        let in_flight = self.in_flight(size.segment);
        let space = self.congestion.space(in_flight);
        self.plan_again(size, space).or_else(|| self.plan_fresh(now, size, space, options))
    }

    /// A range that was lost.
    fn plan_again(&mut self, size: Size, space: u32) -> Option<Data> {
        let (seq, len) = self.board.first_lost()?;
        if space < len.min(size.segment) && !self.urgent {
            return None;
        }
        let len = len.min(size.most).min(self.window_from(seq)).min(space.max(size.segment));
        let len = if len > size.segment { len - len % size.segment } else { len };
        (len > 0).then(|| self.range(seq, len))
    }

    /// Sequence numbers that were sent before, as a range: the last of them may be the FIN's.
    fn range(&self, seq: Seq, len: u32) -> Data {
        let bytes = len.min(self.stream_end().past(seq));
        Data { kind: Kind::Again, seq, len: bytes, fin: bytes < len }
    }

    /// New bytes, and the FIN after the last: full segments, or all there is (RFC 9293, section 3.8.6.2.1).
    fn plan_fresh(&mut self, now: Micros, size: Size, space: u32, options: &Options) -> Option<Data> {
        let seq = self.board.end();
        if self.fin_was_sent() {
            return None;
        }
        let (unsent, window) = (self.stream_end().past(seq), self.window_from(seq));
        if unsent == 0 {
            let fin = self.ended && window > 0;
            return fin.then_some(Data { kind: Kind::Fresh, seq, len: 0, fin: true });
        }
        if self.board.is_empty() {
            self.unpaced = BURST;
            if now > self.last_sent + Micros::from(self.rtt.timeout()) {
                self.congestion.restart_after_idle();
            }
        }
        // A window of less than a segment holds nothing back while nothing is in flight.
        let space = if self.board.in_flight() == 0 { space.max(size.segment) } else { space };
        let able = unsent.min(window).min(space).min(size.most);
        let held = options.nagle && !self.board.is_empty() && !self.ended;
        let len = match able {
            all if all == unsent && (!held || all % size.segment == 0) => all,
            some if some >= size.segment => some - some % size.segment,
            part if part > 0 && part == window && part >= self.widest / 2 => part,
            _ => return None,
        };
        Some(Data { kind: Kind::Fresh, seq, len, fin: self.ended && len == unsent && len < window })
    }

    /// A segment that no congestion window asks for.
    fn plan_probe(&mut self, now: Micros, size: Size, options: &Options) -> Option<Data> {
        match core::mem::replace(&mut self.probe, Probe::None) {
            Probe::None => None,
            Probe::Tail => {
                let one = Size { segment: size.segment, most: size.most.min(size.segment) };
                self.counters.tail_probes = self.counters.tail_probes.wrapping_add(1);
                let data =
                    self.plan_fresh(now, one, size.segment, options).or_else(|| self.last_segment(one));
                if let Some(data) = data {
                    let end = data.seq + data.sequence_len();
                    let first = self.timed.filter(|(timed, _)| *timed == end).map(|(_, at)| at);
                    self.tail = Some(Tail { end, again: data.kind == Kind::Again, first, sample: None });
                }
                data
            }
            Probe::Small => {
                let seq = self.board.end();
                let len =
                    self.stream_end().past(seq).min(self.window_from(seq)).min(size.segment).min(size.most);
                (len > 0).then_some(Data { kind: Kind::Fresh, seq, len, fin: false })
            }
            // RFC 9293, section 3.8.6.1: a byte of data, or the FIN if there is nothing else.
            Probe::Window => {
                let len = u32::from(self.ring.len() > 0);
                self.counters.window_probes = self.counters.window_probes.wrapping_add(1);
                let probe = Data { kind: Kind::Window, seq: self.board.start(), len, fin: len == 0 };
                (len > 0 || self.ended).then_some(probe)
            }
        }
    }

    /// The last segment in flight, as far as the peer's window allows.
    fn last_segment(&self, size: Size) -> Option<Data> {
        let end = self.board.end().min(self.board.start() + self.window());
        if end <= self.board.start() {
            return None;
        }
        let start = self.board.start().max(end - size.segment.min(size.most));
        Some(self.range(start, end - start))
    }

    /// Notes that planned data has left. `clock` is the value of its timestamp, if it bears one.
    pub(super) fn has_left(
        &mut self,
        now: Micros,
        data: &Data,
        size: Size,
        clock: Option<u32>,
        agreed: &Agreed,
    ) {
        let len = data.sequence_len();
        let end = data.seq + len;
        let is_new = end > self.furthest;
        match data.kind {
            Kind::Fresh => {
                self.board.sent(len);
                if is_new && self.timed.is_none() && data.seq >= self.furthest {
                    self.timed = Some((end, now));
                }
            }
            Kind::Again => self.left_again(now, data.seq, end, clock, agreed),
            Kind::Window => self.timed = None,
        }
        self.furthest = self.furthest.max(end);
        self.last_sent = now;
        self.restart_tail();
        if data.kind != Kind::Window {
            self.congestion.sent(len);
            self.pace(now, len.div_ceil(size.segment));
        }
        self.arm(now, size.segment, agreed);
    }

    fn left_again(&mut self, now: Micros, seq: Seq, end: Seq, clock: Option<u32>, agreed: &Agreed) {
        self.urgent = false;
        self.counters.retransmitted = self.counters.retransmitted.wrapping_add(1);
        self.episode.again = self.episode.again.saturating_add(1);
        if self.episode.again == 1 {
            self.episode.first = clock.map(|clock| (end, clock));
        }
        // Karn's algorithm: what was sent twice tells nothing; without SACK, nor does what waits for it.
        if !agreed.sack || self.timed.is_some_and(|(timed, _)| seq < timed && timed <= end) {
            self.timed = None;
        }
        if seq == self.board.start() {
            self.arm_retransmission(now);
        }
        self.board.resent(seq, end);
    }

    /// Says when the next segment may leave: evenly, but in pairs once there is a queue.
    ///
    /// Linux sends two segments back to back, and a full queue drops the second of a pair; who never sends pairs takes more than its share.
    fn pace(&mut self, now: Micros, segments: u32) {
        if self.unpaced > 0 {
            self.unpaced = self.unpaced.saturating_sub(segments.min(u32::from(u8::MAX)) as u8);
            self.pace_at = now;
            return;
        }
        let gap = Micros::from(self.congestion.pace(self.rtt.smoothed()));
        self.pace_at = self.pace_at.max(now.saturating_sub(SLACK));
        if segments == 1 && !self.second && self.has_queue() {
            self.second = true;
            return;
        }
        let count = segments + u32::from(core::mem::take(&mut self.second));
        self.pace_at += gap * Micros::from(count);
    }

    /// Returns `true` if three segments or more seem to stand in a queue on the path.
    fn has_queue(&self) -> bool {
        let (rtt, least) = (self.rtt.smoothed(), self.rtt.minimum());
        let queued = u64::from(self.congestion.window()) * u64::from(rtt.saturating_sub(least));
        least > 0 && queued >= 3 * u64::from(self.congestion.segment()) * u64::from(rtt)
    }
}
