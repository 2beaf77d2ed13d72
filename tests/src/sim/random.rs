use core::ops::RangeInclusive;
use socklet::time::Duration;

/// Odds in parts of ten thousand: 100 is one percent.
pub type Odds = u32;

/// A stream of random numbers (SplitMix64; Steele, Lea, Flood 2014). The same seed gives the same numbers.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The stream for one purpose of a seed: what is drawn for one purpose does not change what is drawn for another.
    pub const fn new(seed: u64, purpose: u64) -> Self {
        Self(mix(seed ^ mix(purpose)))
    }

    /// 64 random bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number below `limit`; 0 if that is 0.
    pub const fn below(&mut self, limit: u64) -> u64 {
        ((self.bits() as u128 * limit as u128) >> 64) as u64
    }

    /// A number in `range`.
    pub fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.below(range.end() - range.start() + 1)
    }

    /// A number in `range`, as likely between 10 and 100 as between 100 and 1,000.
    pub fn spread(&mut self, range: RangeInclusive<u64>) -> u64 {
        let [low, high] = [range.start() + 1, range.end() + 1].map(u64::ilog2);
        let high = 1 << self.within(low.into()..=high.into());
        self.within(high..=2 * high - 1).saturating_sub(1).clamp(*range.start(), *range.end())
    }

    /// True in so many of ten thousand cases.
    pub const fn chance(&mut self, odds: Odds) -> bool {
        self.below(10_000) < odds as u64
    }

    /// A time up to `limit`.
    pub fn time(&mut self, limit: Duration) -> Duration {
        Duration::from_micros(self.below(limit.as_micros() as u64 + 1))
    }

    /// One of several.
    pub fn pick<T: Copy, const N: usize>(&mut self, choices: [T; N]) -> T {
        choices[self.below(N as u64) as usize]
    }
}

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Stafford's variant 13 of the finalizer of MurmurHash3.
pub(super) const fn mix(word: u64) -> u64 {
    let z = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
