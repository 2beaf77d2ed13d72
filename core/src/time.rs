//! Time as an argument.
//!
//! Nothing in this crate reads a clock: whoever drives the stack says what time it is. An [`Instant`] counts
//! microseconds from an origin that the caller chooses (boot, say); durations are [`core::time::Duration`].

use core::fmt;
use core::ops::Add;

pub use core::time::Duration;

/// A moment, in microseconds since an origin of the caller's choice.
///
/// It must not start again from zero while a stack lives. A step backward is harmless (nothing expires early, no
/// connection is lost); a step forward expires what the clock says has expired.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Instant(u64);

impl Instant {
    /// The origin.
    pub const ZERO: Self = Self(0);
    /// Later than any deadline: 584,000 years after the origin.
    pub const FAR_FUTURE: Self = Self(u64::MAX);

    /// The moment `micros` microseconds after the origin.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The moment `millis` milliseconds after the origin.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// The moment `secs` seconds after the origin.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since the origin.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero when it is not later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Adds, and stops at [`Instant::FAR_FUTURE`].
///
/// Kept free of 64-bit division, which a Cortex-M does in software.
impl Add<Duration> for Instant {
    type Output = Self;

    /// Not inlined: 64-bit sums and products are long on a 32-bit machine.
    #[cfg_attr(target_arch = "arm", inline(never))]
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }
}

/// `duration` in microseconds, [`u64::MAX`] at most.
pub(crate) const fn micros(duration: Duration) -> u64 {
    let whole = duration.as_secs().saturating_mul(1_000_000);
    whole.saturating_add(duration.subsec_micros() as u64)
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Seconds with six decimals.
impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// The earlier of two deadlines, where `None` means never.
pub fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// A clock that never goes back, made of one that may.
///
/// When the time given is earlier than before, it goes on from where it was: nothing expires early, and nothing waits for the
/// outer clock to catch up.
#[derive(Debug, Clone, Copy, Default)]
pub struct Monotonic {
    last: Instant,
    /// What the outer clock has lost in all.
    lost: u64,
}

impl Monotonic {
    /// A clock that has not been looked at.
    pub const NEW: Self = Self { last: Instant::ZERO, lost: 0 };

    /// The inner time at the outer time `now`: less than 3 x 2^61 microseconds, so that there is room to add to, in signed numbers too.
    pub fn advance(&mut self, now: Instant) -> Instant {
        // Whoever says that it is the end of time takes that back: leave room to go on.
        let now = if now.0 >> 61 == 0 { now.0 } else { u64::MAX >> 3 };
        let inner = now.wrapping_add(self.lost);
        if inner < self.last.0 {
            self.lose(self.last.0 - inner);
        } else {
            self.last = Instant(inner);
        }
        self.last
    }

    /// The outer clock has gone back. Not for ever: what it can lose in all is bounded, so that the sum above is.
    #[cold]
    fn lose(&mut self, step: u64) {
        self.lost = self.lost.saturating_add(step).min(1 << 62);
    }

    /// The outer time at the inner time `inner`.
    pub fn external(&self, inner: Instant) -> Instant {
        // Almost always.
        if self.lost == 0 { inner } else { Instant(inner.0.saturating_sub(self.lost)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_saturates() {
        assert_eq!(Instant::FAR_FUTURE + Duration::MAX, Instant::FAR_FUTURE);
        assert_eq!(Instant::from_secs(1) + Duration::from_nanos(1_500), Instant::from_micros(1_000_001));
    }

    #[test]
    fn a_backward_step_has_no_length() {
        assert_eq!(Instant::from_secs(1).since(Instant::from_secs(2)), Duration::ZERO);
    }

    #[test]
    fn a_monotonic_clock_goes_on_after_a_step_back() {
        let mut clock = Monotonic::default();
        assert_eq!(clock.advance(Instant::from_secs(100)), Instant::from_secs(100));
        assert_eq!(clock.advance(Instant::from_secs(40)), Instant::from_secs(100));
        assert_eq!(clock.advance(Instant::from_secs(41)), Instant::from_secs(101));
        assert_eq!(clock.external(Instant::from_secs(105)), Instant::from_secs(45));
        let last = clock.advance(Instant::FAR_FUTURE);
        assert_eq!(clock.advance(Instant::ZERO), last);
        assert_eq!(clock.advance(Instant::from_secs(1)), last + Duration::from_secs(1));
        for _ in 0..4 {
            assert!(clock.advance(Instant::FAR_FUTURE) < Instant::from_micros(3 << 61));
            clock.advance(Instant::ZERO);
        }
    }

    #[test]
    fn never_is_later_than_any_deadline() {
        let soon = Some(Instant::from_secs(1));
        assert_eq!(earliest(soon, None), soon);
        assert_eq!(earliest(None, None), None);
        assert_eq!(earliest(Some(Instant::from_secs(2)), soon), soon);
    }
}
