use crate::time::Duration;

/// How long to wait before the next attempt to connect: exponential, with a cap and full jitter.
///
/// Attempt n (from 0) waits a random time between nothing and `min(cap, first * 2^n)`, so that the clients of a server that comes back do
/// not come back all at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait after the first failure. 1 second.
    pub first: Duration,
    /// The longest wait of all. 1 minute.
    pub cap: Duration,
    /// A connection that was open for so long counts as a success: what follows is a first failure again. 10 seconds.
    pub reset_after: Duration,
}

impl Backoff {
    /// The values that stand with the fields.
    pub const DEFAULT: Self = Self {
        first: Duration::from_secs(1),
        cap: Duration::from_secs(60),
        reset_after: Duration::from_secs(10),
    };

    /// The longest wait of an attempt.
    pub(super) fn limit(&self, attempt: u32) -> Duration {
        // Above 2^31 the multiplication saturates or the cap is reached, unless both are nonsense.
        self.first.saturating_mul(1 << attempt.min(31)).min(self.cap)
    }

    /// The wait before an attempt.
    pub(super) fn wait(&self, attempt: u32, random: &mut Random) -> Duration {
        let limit = self.limit(attempt);
        let micros =
            limit.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(limit.subsec_micros()));
        // micros * fraction / 2^32, in two halves that cannot overflow.
        let fraction = u64::from(random.next());
        let (high, low) = (micros >> 32, micros & u64::from(u32::MAX));
        Duration::from_micros(high * fraction + ((low * fraction) >> 32))
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014), the upper half. Any seed will do.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) const fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 32) as u32
    }
}
