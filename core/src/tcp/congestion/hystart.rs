//! HyStart++ (RFC 9406): leaves slow start before the queue overflows.

use crate::tcp::Seq;

/// RFC 9406, section 4.3: samples of a round, the bounds of the growth that counts, rounds of conservative slow start.
const SAMPLES: u8 = 8;
const MIN_GROWTH: u32 = 4_000;
const MAX_GROWTH: u32 = 16_000;
const CONSERVATIVE_ROUNDS: u8 = 5;
const CONSERVATIVE_DIVISOR: u32 = 4;

#[derive(Clone, Copy)]
pub(super) struct HyStart {
    round_end: Option<Seq>,
    /// The least round trip of the round before, of this round, and when conservative slow start began.
    before: u32,
    least: u32,
    baseline: u32,
    samples: u8,
    /// Rounds of conservative slow start so far; zero for not in it.
    conservative: u8,
}

impl HyStart {
    pub(super) const NEW: Self =
        Self { round_end: None, before: u32::MAX, least: u32::MAX, baseline: 0, samples: 0, conservative: 0 };

    /// Returns by how much the window grows for so many acknowledged bytes.
    pub(super) fn step(&self, acknowledged: u32) -> u32 {
        if self.conservative > 0 { acknowledged / CONSERVATIVE_DIVISOR } else { acknowledged }
    }

    /// Takes a sample. Returns `true` if slow start is over.
    pub(super) fn round_trip(&mut self, rtt: u32, acknowledged: Seq, next: Seq) -> bool {
        if self.round_end.is_none_or(|end| end <= acknowledged) {
            self.round_end = Some(next);
            self.before = self.least;
            self.least = u32::MAX;
            self.samples = 0;
            if self.conservative > 0 {
                self.conservative += 1;
            }
            if self.conservative > CONSERVATIVE_ROUNDS {
                *self = Self::NEW;
                return true;
            }
        }
        self.least = self.least.min(rtt);
        self.samples = self.samples.saturating_add(1);
        if self.samples < SAMPLES || self.before == u32::MAX {
            return false;
        }
        if self.conservative > 0 {
            // The growth was a flicker: back to slow start.
            if self.least < self.baseline {
                self.conservative = 0;
            }
        } else if self.least >= self.before.saturating_add((self.before / 8).clamp(MIN_GROWTH, MAX_GROWTH)) {
            self.conservative = 1;
            self.baseline = self.least;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds of ten samples with one length each.
    fn rounds(start: &mut HyStart, lengths: &[u32]) -> Vec<bool> {
        let mut round = 0;
        let mut one = |rtt: u32| {
            round += 1;
            let (acknowledged, next) = (Seq(round * 1_000), Seq((round + 1) * 1_000));
            (0..10).fold(false, |over, sample| over | start.round_trip(rtt, acknowledged + sample, next))
        };
        lengths.iter().map(|rtt| one(*rtt)).collect()
    }

    #[test]
    fn longer_round_trips_end_slow_start_after_five_rounds_of_slower_growth() {
        let mut start = HyStart::NEW;
        assert_eq!(rounds(&mut start, &[50_000, 51_000, 60_000]), [false, false, false]);
        assert_eq!(start.step(4_000), 1_000);
        let mut lengths = vec![50_000, 51_000];
        lengths.resize(10, 60_000);
        let mut start = HyStart::NEW;
        let over = rounds(&mut start, &lengths);
        assert_eq!(over.iter().position(|over| *over), Some(7), "{over:?}");
    }

    #[test]
    fn a_flicker_does_not() {
        let mut start = HyStart::NEW;
        rounds(&mut start, &[50_000, 60_000, 50_000, 50_000]);
        assert_eq!(start.step(4_000), 4_000);
    }
}
