//! What is known of the bytes in flight: the sender's half of RFC 2018, and loss as RFC 8985 infers it, by order of transmission.
//!
//! The sequence space from the oldest unacknowledged number to the next new one is cut into runs of one fate. A retransmission remembers
//! the number that new data had reached when it left, and its place among those that left then. So of any two transmissions it is known
//! which was later without a clock for each, and one is lost when a later one has arrived, and reordering does not explain it.
//!
//! Memory is fixed. When places get few, details are forgotten at the end, where they matter least; a SACK block for which no place is
//! left is passed over. Both only cost a retransmission.

use super::Seq;
use crate::storage::ManagedSlice;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Sent,
    Sacked,
    Lost,
    Resent,
}

/// When a transmission left, among all others. Order 0 is that of a first transmission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    after: Seq,
    order: u16,
}

impl Stamp {
    const FIRST: Self = Self { after: Seq(0), order: 0 };

    fn is_before(self, other: Self) -> bool {
        self.after < other.after || (self.after == other.after && self.order < other.order)
    }
}

/// A run of sent bytes of one fate: 12 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    end: Seq,
    after: Seq,
    order: u16,
    fate: Fate,
}

impl Run {
    /// What storage is filled with.
    pub const EMPTY: Self = Self { end: Seq(0), after: Seq(0), order: 0, fate: Fate::Sent };

    const fn new(end: Seq, stamp: Stamp, fate: Fate) -> Self {
        Self { end, after: stamp.after, order: stamp.order, fate }
    }

    fn stamp(&self) -> Stamp {
        Stamp { after: self.after, order: self.order }
    }
}

/// What an acknowledgement says has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Arrived {
    /// Bytes that are known to be there for the first time.
    pub(super) bytes: u32,
    /// Some of them counted as lost and were never sent again: they were not lost.
    pub(super) was_not_lost: bool,
}

impl Arrived {
    pub(super) fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.was_not_lost |= other.was_not_lost;
    }
}

/// Runs that are kept free for what is sent: SACK blocks do not take them.
const RESERVE: usize = 4;

pub(super) struct Scoreboard<'a> {
    list: ManagedSlice<'a, Run>,
    len: usize,
    start: Seq,
    /// The latest transmission that is known to have arrived.
    latest: Stamp,
    /// The latest retransmission.
    order: Stamp,
    /// Below this number, a SACKed range may have been forgotten.
    hazy: Seq,
    /// By how many bytes the path was seen to reorder.
    reordering: u32,
    /// Bytes that are thought to be on their way, and bytes that are SACKed.
    flight: u32,
    sacked: u32,
}

impl<'a> Scoreboard<'a> {
    /// Takes memory for 4 runs or more; with less, nothing is sent.
    pub(super) const fn new(list: ManagedSlice<'a, Run>) -> Self {
        Self {
            list,
            len: 0,
            start: Seq(0),
            latest: Stamp::FIRST,
            order: Stamp::FIRST,
            hazy: Seq(0),
            reordering: 0,
            flight: 0,
            sacked: 0,
        }
    }

    /// Returns `true` if the memory is enough to send at all: 4 runs.
    pub(super) fn is_usable(&self) -> bool {
        self.list.len() >= RESERVE
    }

    /// Begins with `start` as the next number.
    pub(super) fn begin(&mut self, start: Seq) {
        let stamp = Stamp { after: start, order: 0 };
        (self.len, self.start, self.hazy) = (0, start, start);
        (self.latest, self.order) = (stamp, stamp);
        (self.reordering, self.flight, self.sacked) = (0, 0, 0);
    }

    fn runs(&self) -> &[Run] {
        self.list.get(..self.len).unwrap_or(&[])
    }

    fn runs_mut(&mut self) -> &mut [Run] {
        self.list.get_mut(..self.len).unwrap_or(&mut [])
    }

    fn run(&self, at: usize) -> Run {
        self.runs().get(at).copied().unwrap_or(Run::EMPTY)
    }

    /// Returns the oldest number that is not acknowledged: SND.UNA.
    pub(super) fn start(&self) -> Seq {
        self.start
    }

    /// Returns the next number that was never sent: SND.NXT.
    pub(super) fn end(&self) -> Seq {
        self.runs().last().map_or(self.start, |run| run.end)
    }

    fn start_of(&self, at: usize) -> Seq {
        match at.checked_sub(1) {
            None => self.start,
            Some(before) => self.run(before).end,
        }
    }

    /// Returns the number of bytes that are thought to be on their way.
    pub(super) fn in_flight(&self) -> u32 {
        self.flight
    }

    /// Returns the number of bytes that are SACKed.
    #[cfg(test)]
    pub(super) fn sacked_bytes(&self) -> u32 {
        self.sacked
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns by how many bytes the path was seen to reorder.
    pub(super) fn reordering(&self) -> u32 {
        self.reordering
    }

    /// The path has been in order for long.
    pub(super) fn forget_reordering(&mut self) {
        self.reordering = 0;
    }

    fn recount(&mut self) {
        let (mut flight, mut sacked, mut from) = (0, 0, self.start);
        for run in self.runs() {
            match run.fate {
                Fate::Sent | Fate::Resent => flight += run.end - from,
                Fate::Sacked => sacked += run.end - from,
                Fate::Lost => {}
            }
            from = run.end;
        }
        (self.flight, self.sacked) = (flight, sacked);
    }

    pub(super) fn highest_sacked(&self) -> Seq {
        if self.sacked == 0 {
            return self.start;
        }
        self.runs().iter().rfind(|run| run.fate == Fate::Sacked).map_or(self.start, |run| run.end)
    }

    /// Returns `true` if the byte has arrived.
    pub(super) fn has_arrived(&self, at: Seq) -> bool {
        at < self.start
            || self.runs().iter().find(|run| at < run.end).is_some_and(|run| run.fate == Fate::Sacked)
    }

    /// Returns the oldest range to send again.
    pub(super) fn first_lost(&self) -> Option<(Seq, u32)> {
        if self.flight + self.sacked == self.end() - self.start {
            return None;
        }
        let at = self.runs().iter().position(|run| run.fate == Fate::Lost)?;
        let from = self.start_of(at);
        Some((from, self.run(at).end - from))
    }

    /// New bytes have left.
    pub(super) fn sent(&mut self, bytes: u32) {
        let end = self.end() + bytes;
        match self.runs_mut().last_mut() {
            Some(run) if run.fate == Fate::Sent => {
                run.end = end;
                self.flight += bytes;
            }
            _ => {
                self.make_room(1);
                // Where nothing can be remembered apart, the last run takes it in.
                if !self.insert(self.len, Run::new(end, Stamp::FIRST, Fate::Sent))
                    && let Some(run) = self.runs_mut().last_mut()
                {
                    run.end = end;
                }
                self.recount();
            }
        }
    }

    /// A range has left again.
    pub(super) fn resent(&mut self, from: Seq, to: Seq) {
        let after = self.end();
        let order = if self.order.after == after { self.order.order.saturating_add(1) } else { 1 };
        self.order = Stamp { after, order };
        self.set(from, to, Fate::Resent, self.order);
    }

    /// Marks everything that is not acknowledged as lost (RFC 6298, section 5.4; RFC 8985, section 6.3).
    ///
    /// A receiver may have thrown away what it SACKed (RFC 2018, section 8): if the oldest byte is SACKed and still not acknowledged, no
    /// mark is believed any more.
    pub(super) fn lose_all(&mut self) {
        let reneged = self.run(0).fate == Fate::Sacked;
        for run in self.runs_mut() {
            if run.fate != Fate::Sacked || reneged {
                run.fate = Fate::Lost;
            }
        }
        self.merge();
    }

    /// Marks the oldest range as lost: all that a receiver without SACK lets a sender know.
    pub(super) fn lose_first(&mut self, bytes: u32) {
        let to = (self.start + bytes).min(self.end());
        if to != self.start {
            self.set(self.start, to, Fate::Lost, Stamp::FIRST);
        }
    }

    /// Takes the marks of loss back from what was not sent again: a timeout was false.
    pub(super) fn restore_lost(&mut self) {
        for run in self.runs_mut() {
            if run.fate == Fate::Lost && run.order == 0 {
                run.fate = Fate::Sent;
            }
        }
        self.merge();
    }

    /// Notes one arrival.
    fn arrived(&mut self, run: Run, from: Seq, to: Seq, highest: Seq) -> Arrived {
        let first = run.order == 0;
        let stamp = match run.fate {
            Fate::Sacked => return Arrived::default(),
            Fate::Resent => run.stamp(),
            Fate::Lost if !first => run.stamp(),
            Fate::Sent | Fate::Lost => {
                // Sent once: it came later than what was sent after it.
                if self.hazy <= from {
                    self.reordering = self.reordering.max(highest.past(from));
                }
                Stamp { after: to, order: 0 }
            }
        };
        if self.latest.is_before(stamp) {
            self.latest = stamp;
        }
        Arrived { bytes: to - from, was_not_lost: first && run.fate == Fate::Lost }
    }

    /// Everything before `ack` has arrived.
    pub(super) fn acknowledged(&mut self, ack: Seq) -> Arrived {
        let (mut news, mut gone) = (Arrived::default(), 0);
        let highest = self.highest_sacked();
        for at in 0..self.len {
            let (run, from) = (self.run(at), self.start_of(at));
            if ack <= from {
                break;
            }
            news.add(self.arrived(run, from, run.end.min(ack), highest));
            gone += usize::from(run.end <= ack);
        }
        let len = self.len;
        self.list.copy_within(gone..len, 0);
        self.len -= gone;
        self.start = ack;
        self.hazy = self.hazy.max(ack);
        match self.len {
            0 => (self.flight, self.sacked) = (0, 0),
            _ => self.recount(),
        }
        news
    }

    /// A range beyond the acknowledgement has arrived. What is out of bounds or has no place is passed over.
    pub(super) fn sack(&mut self, from: Seq, to: Seq) -> Arrived {
        let mut news = Arrived::default();
        if !(self.start <= from && from < to && to <= self.end()) {
            return news;
        }
        let widens = |at: usize| {
            let run = self.run(at);
            run.fate == Fate::Sacked && self.start_of(at) <= to && from <= run.end
        };
        if self.list.len() - self.len < RESERVE && !(0..self.len).any(widens) {
            self.hazy = self.hazy.max(to);
            return news;
        }
        let highest = self.highest_sacked();
        for at in 0..self.len {
            let (run, start) = (self.run(at), self.start_of(at));
            if to <= start {
                break;
            }
            if from < run.end {
                news.add(self.arrived(run, start.max(from), run.end.min(to), highest));
            }
        }
        if news.bytes > 0 {
            self.set(from, to, Fate::Sacked, Stamp::FIRST);
        }
        news
    }

    /// A range arrived twice although both copies were sent in good faith: reordering hid it (RFC 8985, section 6.2, step 4).
    pub(super) fn duplicate(&mut self, from: Seq) {
        let reach = self.highest_sacked().max(self.start).past(from);
        self.reordering = self.reordering.max(reach.min(1 << 20));
    }

    /// Infers losses from what has arrived: first transmissions with `threshold` bytes SACKed above them, and retransmissions that a later
    /// transmission has overtaken. With `late`, the time that reordering may take is over for what is below that number: any byte above
    /// is enough.
    ///
    /// Returns `true` if any run is lost anew.
    pub(super) fn find_lost(&mut self, threshold: u32, late: Option<Seq>) -> bool {
        if self.len < 2 && self.latest.order == 0 {
            return false;
        }
        let (mut above, mut found) = (0, false);
        let (latest, reordering) = (self.latest, if late.is_some() { 0 } else { self.reordering });
        for at in (0..self.len).rev() {
            let run = self.run(at);
            let lost = match run.fate {
                Fate::Sacked => {
                    above += run.end - self.start_of(at);
                    false
                }
                Fate::Lost => false,
                Fate::Sent => above >= threshold || above > 0 && late.is_some_and(|below| run.end <= below),
                Fate::Resent => run.stamp().is_before(latest) && latest.after - run.after >= reordering,
            };
            if lost && let Some(run) = self.runs_mut().get_mut(at) {
                run.fate = Fate::Lost;
                found = true;
            }
        }
        if found {
            self.merge();
        }
        found
    }

    /// Returns `true` if what may only be late, not lost, is overtaken by something that has arrived.
    pub(super) fn is_overtaken(&self) -> bool {
        self.sacked > 0 && self.flight > 0
            || self.latest.order > 0
                && self
                    .runs()
                    .iter()
                    .any(|run| run.fate == Fate::Resent && run.stamp().is_before(self.latest))
    }

    /// Inserts a run. Returns `false` if no place is left.
    fn insert(&mut self, at: usize, run: Run) -> bool {
        let len = self.len;
        if len >= self.list.len() {
            return false;
        }
        self.list.copy_within(at..len, at + 1);
        if let Some(place) = self.list.get_mut(at) {
            *place = run;
        }
        self.len += 1;
        true
    }

    /// Cuts the run that `at` is in.
    fn cut(&mut self, at: Seq) {
        if at <= self.start || self.end() <= at {
            return;
        }
        if let Some(index) = self.runs().iter().position(|run| at <= run.end) {
            let run = self.run(index);
            if run.end != at {
                self.insert(index, Run { end: at, ..run });
            }
        }
    }

    fn set(&mut self, from: Seq, to: Seq, fate: Fate, stamp: Stamp) {
        self.make_room(2);
        self.cut(from);
        self.cut(to);
        let mut start = self.start;
        for run in self.list.iter_mut().take(self.len) {
            let end = run.end;
            if from <= start && end <= to {
                *run = Run::new(end, stamp, fate);
            }
            start = end;
        }
        self.merge();
    }

    /// Joins neighbours of one fate; retransmissions only if they left together, or where places get few. The later stamp is kept, so that
    /// none is thought lost too soon.
    fn merge(&mut self) {
        let tight = self.len > self.list.len() / 2;
        let mut kept = 0;
        for at in 1..self.len {
            let (last, mut run) = (self.run(kept), self.run(at));
            let stamped = matches!(run.fate, Fate::Resent | Fate::Lost);
            let same = last.fate == run.fate && (!stamped || tight || last.stamp() == run.stamp());
            kept += usize::from(!same);
            if same && stamped && run.stamp().is_before(last.stamp()) {
                (run.after, run.order) = (last.after, last.order);
            }
            if let Some(place) = self.runs_mut().get_mut(kept) {
                *place = run;
            }
        }
        self.len = self.len.min(kept + 1);
        self.recount();
    }

    /// Forgets details at the end until `count` places are free: what was SACKed there counts as on its way again.
    ///
    /// A retransmission stays one, whatever it is merged with: so nothing is sent over and over, and the timer finds what was lost.
    fn make_room(&mut self, count: usize) {
        while self.len >= 2 && self.list.len() - self.len < count {
            let (low, high) = (self.run(self.len - 2), self.run(self.len - 1));
            self.hazy = high.end;
            let (fate, stamp) = match (low.fate, high.fate) {
                (Fate::Resent, _) => (Fate::Resent, low.stamp()),
                (_, Fate::Resent) => (Fate::Resent, high.stamp()),
                (Fate::Lost, _) => (Fate::Lost, low.stamp()),
                (_, Fate::Lost) => (Fate::Lost, high.stamp()),
                (Fate::Sent | Fate::Sacked, Fate::Sent | Fate::Sacked) => (Fate::Sent, Stamp::FIRST),
            };
            self.len -= 1;
            if let Some(last) = self.runs_mut().last_mut() {
                *last = Run::new(high.end, stamp, fate);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(memory: &mut [Run]) -> Scoreboard<'_> {
        let mut board = Scoreboard::new(ManagedSlice::Borrowed(memory));
        board.begin(Seq(0));
        board
    }

    #[test]
    fn a_segment_with_enough_above_it_is_lost_and_its_repetition_too_once_overtaken() {
        let mut memory = [Run::EMPTY; 12];
        let mut board = board(&mut memory);
        board.sent(5_000);
        assert_eq!(board.sack(Seq(1_000), Seq(3_000)).bytes, 2_000);
        assert!(!board.find_lost(3_000, None));
        assert_eq!(board.sack(Seq(3_000), Seq(4_000)).bytes, 1_000);
        assert!(board.find_lost(3_000, None));
        assert_eq!(
            (board.first_lost(), board.in_flight(), board.sacked_bytes()),
            (Some((Seq(0), 1_000)), 1_000, 3_000)
        );
        board.resent(Seq(0), Seq(1_000));
        board.sent(1_000);
        assert!(!board.find_lost(3_000, None));
        board.sack(Seq(5_000), Seq(6_000));
        assert!(board.find_lost(3_000, None), "what left after the repetition has arrived before it");
        assert_eq!(board.first_lost(), Some((Seq(0), 1_000)));
    }

    #[test]
    fn a_receiver_that_takes_back_what_it_sacked_gets_it_again() {
        let mut memory = [Run::EMPTY; 12];
        let mut board = board(&mut memory);
        board.sent(3_000);
        board.sack(Seq(0), Seq(3_000));
        assert_eq!((board.in_flight(), board.first_lost()), (0, None));
        board.lose_all();
        assert_eq!(board.first_lost(), Some((Seq(0), 3_000)));
    }

    #[test]
    fn an_arrival_that_was_called_lost_is_reported() {
        let mut memory = [Run::EMPTY; 12];
        let mut board = board(&mut memory);
        board.sent(3_000);
        board.lose_all();
        board.resent(Seq(0), Seq(1_000));
        assert!(!board.acknowledged(Seq(1_000)).was_not_lost);
        assert!(board.acknowledged(Seq(2_000)).was_not_lost);
        board.restore_lost();
        assert_eq!(board.in_flight(), 1_000);
    }

    /// Against a list of bytes that remembers everything: counts agree, and no byte is lost from the account.
    #[test]
    fn counts_agree_with_a_byte_by_byte_model_however_little_memory_there_is() {
        let mut seed = 1u64;
        let mut random = move |below: u32| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((seed >> 33) as u32) % below
        };
        for places in [4, 5, 6, 8, 12, 40] {
            let mut memory = [Run::EMPTY; 40];
            let mut board = board(&mut memory[..places]);
            let base = 0xffff_f000u32;
            board.begin(Seq(base));
            for _ in 0..3_000 {
                let (start, end) = (board.start(), board.end());
                let span = end - start;
                let at = |offset: u32| start + offset;
                match random(6) {
                    0 => board.sent(1 + random(50)),
                    1 if span > 0 => {
                        let from = random(span);
                        board.sack(at(from), at(from + 1 + random(span - from)));
                    }
                    2 if span > 0 => drop(board.acknowledged(at(random(span + 1)))),
                    3 => {
                        let late = (random(3) == 0).then(|| at(random(span + 1)));
                        board.find_lost(1 + random(60), late);
                        if let Some((from, len)) = board.first_lost() {
                            board.resent(from, from + 1 + random(len));
                        }
                    }
                    4 if random(10) == 0 => board.lose_all(),
                    _ => board.duplicate(at(random(span + 1))),
                }
                let lost: u32 = (0..board.len)
                    .filter(|at| board.run(*at).fate == Fate::Lost)
                    .map(|at| board.run(at).end - board.start_of(at))
                    .sum();
                assert_eq!(board.in_flight() + board.sacked_bytes() + lost, board.end() - board.start());
                assert!(board.len <= places);
                assert!((0..board.len).all(|at| board.start_of(at) < board.run(at).end), "no empty run");
            }
        }
    }
}
