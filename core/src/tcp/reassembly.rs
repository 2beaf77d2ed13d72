//! What has come out of order: the receiver's half of RFC 2018.

use super::Seq;
use crate::storage::ManagedSlice;

/// A range of received bytes beyond a hole: 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    pub(super) start: Seq,
    pub(super) end: Seq,
}

impl Hole {
    /// What storage is filled with.
    pub const EMPTY: Self = Self { start: Seq(0), end: Seq(0) };
}

/// The received ranges, the latest first, as RFC 2018, section 4, wants them reported.
pub(super) struct Reassembly<'a> {
    list: ManagedSlice<'a, Hole>,
    len: usize,
}

impl<'a> Reassembly<'a> {
    pub(super) const fn new(list: ManagedSlice<'a, Hole>) -> Self {
        Self { list, len: 0 }
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    pub(super) fn latest_first(&self) -> &[Hole] {
        self.list.get(..self.len).unwrap_or(&[])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn remove(&mut self, at: usize) {
        if at < self.len && self.len <= self.list.len() {
            self.list.copy_within(at + 1..self.len, at);
            self.len -= 1;
        }
    }

    /// Adds a range. Returns `false` if no place is left for it; the peer must send those bytes again.
    pub(super) fn insert(&mut self, start: Seq, end: Seq) -> bool {
        let mut new = Hole { start, end };
        let touches = |old: &Hole, new: &Hole| old.start <= new.end && new.start <= old.end;
        while let Some(at) = self.latest_first().iter().position(|old| touches(old, &new)) {
            let Some(old) = self.list.get(at) else { break };
            new = Hole { start: new.start.min(old.start), end: new.end.max(old.end) };
            self.remove(at);
        }
        if self.len >= self.list.len() {
            return false;
        }
        self.list.copy_within(0..self.len, 1);
        if let Some(first) = self.list.first_mut() {
            *first = new;
        }
        self.len += 1;
        true
    }

    /// Returns where the stream reaches if it has reached `next`, and takes away the ranges that it meets.
    pub(super) fn join(&mut self, mut next: Seq) -> Seq {
        while let Some(at) = self.latest_first().iter().position(|range| range.start <= next) {
            next = self.list.get(at).map_or(next, |range| next.max(range.end));
            self.remove(at);
        }
        next
    }

    /// Returns `true` if all of a range was received before.
    pub(super) fn has(&self, start: Seq, end: Seq) -> bool {
        self.latest_first().iter().any(|range| range.start <= start && end <= range.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_merge_join_and_are_refused_without_a_place() {
        let mut memory = [Hole::EMPTY; 2];
        let mut ranges = Reassembly::new(ManagedSlice::Borrowed(&mut memory));
        assert!(ranges.insert(Seq(20), Seq(30)));
        assert!(ranges.insert(Seq(40), Seq(50)));
        assert_eq!(ranges.latest_first()[0].start, Seq(40), "the latest is reported first");
        assert!(!ranges.insert(Seq(60), Seq(70)), "no place");
        assert!(ranges.insert(Seq(30), Seq(40)), "widens and joins both");
        assert_eq!(ranges.latest_first(), [Hole { start: Seq(20), end: Seq(50) }]);
        assert!(ranges.has(Seq(25), Seq(45)) && !ranges.has(Seq(25), Seq(51)));
        assert_eq!(ranges.join(Seq(19)), Seq(19));
        assert_eq!(ranges.join(Seq(22)), Seq(50));
        assert!(ranges.is_empty());
    }

    #[test]
    fn without_memory_nothing_is_kept() {
        let mut ranges = Reassembly::new(ManagedSlice::Borrowed(&mut []));
        assert!(!ranges.insert(Seq(20), Seq(30)));
        assert_eq!(ranges.join(Seq(5)), Seq(5));
    }
}
