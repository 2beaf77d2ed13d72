//! CUBIC (RFC 9438) in integers.

use crate::tcp::Micros;

#[derive(Clone, Copy)]
pub(super) struct Cubic {
    /// The window before the last reduction, in bytes: W_max.
    peak: u32,
    /// The one before that: for when the reduction is undone.
    last_peak: u32,
    /// When the epoch began; zero for not yet.
    epoch: Micros,
    /// The time from there to the peak, in 64ths of a second: K.
    rise: u32,
    /// The window that Reno would have: W_est, and its credit.
    reno: u32,
    reno_credit: u32,
}

/// The curve is not followed beyond 25 s from the peak: the product of three times stays within 32 bits.
const MOST_TICKS: u32 = 1_600;

/// 64ths of a second, in microseconds.
const TICK: u32 = 15_625;

impl Cubic {
    pub(super) const NEW: Self = Self { peak: 0, last_peak: 0, epoch: 0, rise: 0, reno: 0, reno_credit: 0 };

    /// Returns the window after a loss: 0.7 of `window` (section 4.6).
    pub(super) fn reduce(&mut self, window: u32) -> u32 {
        self.last_peak = self.peak;
        // Section 4.7, fast convergence: a flow that has less than before leaves some of it to a newcomer.
        self.peak = if window < self.peak { window / 20 * 17 } else { window };
        self.epoch = 0;
        (u64::from(window) * 7 / 10) as u32
    }

    /// The last reduction was a mistake (section 4.9).
    pub(super) fn forget_reduction(&mut self) {
        self.peak = self.last_peak;
        self.epoch = 0;
    }

    /// Returns the number of bytes to be acknowledged for each step of one segment, so that the window becomes what the curve has in
    /// one round trip from now; `None` while the window is ahead of the curve.
    pub(super) fn need(
        &mut self,
        now: Micros,
        acknowledged: u32,
        rtt: u32,
        window: u32,
        mss: u32,
    ) -> Option<u32> {
        if self.epoch == 0 {
            self.epoch = now.max(1);
            self.peak = self.peak.max(window);
            // K = cubic root of (W_max - window) / 0.4 (section 4.2); in 64ths of a second the 0.4 becomes 655,360.
            self.rise = cube_root(((self.peak - window) / mss.max(1)).saturating_mul(655_360));
            (self.reno, self.reno_credit) = (window, 0);
        }
        let target = self.curve(now, rtt, window, mss).max(self.friendly(acknowledged, mss));
        if target <= window {
            return None;
        }
        let steps = (target - window) / mss.max(1);
        Some(match steps {
            0 => (window / (target - window)).saturating_mul(mss),
            steps => window / steps,
        })
    }

    /// W_cubic one round trip from now (section 4.2), at most 1.5 windows (section 4.4).
    fn curve(&self, now: Micros, rtt: u32, window: u32, mss: u32) -> u32 {
        let age = now.saturating_sub(self.epoch).min(1 << 31) as u32;
        let age = age.saturating_add(rtt) / TICK;
        let from_peak = age.min(MOST_TICKS) as i32 - self.rise.min(MOST_TICKS) as i32;
        let cube = i64::from(from_peak * from_peak) * i64::from(from_peak);
        // 0.4 (t / 64)^3 segments.
        let offset = ((cube >> 6) * i64::from(mss / 5 * 2)) >> 12;
        (i64::from(self.peak) + offset).clamp(0, i64::from(window) * 3 / 2) as u32
    }

    /// W_est (section 4.3), with alpha = 0.53 below the peak and 1 from there on: a step for each 1.89 windows, then for each.
    fn friendly(&mut self, acknowledged: u32, mss: u32) -> u32 {
        self.reno_credit = self.reno_credit.saturating_add(acknowledged);
        let need = if self.reno < self.peak { self.reno.saturating_mul(17) / 9 } else { self.reno };
        if self.reno_credit >= need {
            self.reno_credit -= need;
            self.reno = self.reno.saturating_add(mss);
        }
        self.reno
    }
}

fn cube_root(of: u32) -> u32 {
    let mut root = 0u32;
    for bit in (0..11).rev() {
        let next: u32 = root | 1 << bit;
        if next * next <= of / next {
            root = next;
        }
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cube_roots_are_exact() {
        for root in [0u32, 1, 2, 3, 10, 100, 999, 1_625] {
            assert_eq!(cube_root(root * root * root), root);
            assert_eq!(cube_root(root * root * root + root), root);
        }
    }

    /// The window returns to the peak after K, slowly there, faster beyond.
    #[test]
    fn the_window_follows_the_curve() {
        let (mss, rtt) = (1_000, 100_000);
        let mut cubic = Cubic::NEW;
        let mut window = cubic.reduce(100_000);
        assert_eq!(window, 70_000);
        // K = cbrt(30 / 0.4) = 4.2 s.
        let (mut now, mut credit, mut at_4s, mut at_8s) = (1_000_000u64, 0, 0, 0);
        for round in 0..80 {
            let mut acknowledged = 0;
            while acknowledged < window {
                acknowledged += 2 * mss;
                credit += 2 * mss;
                match cubic.need(now, 2 * mss, rtt, window, mss) {
                    None => credit = 0,
                    Some(need) => {
                        if credit >= need {
                            credit -= need;
                            window += mss;
                        }
                    }
                }
            }
            now += u64::from(rtt);
            if round == 41 {
                at_4s = window;
            }
            if round == 79 {
                at_8s = window;
            }
        }
        assert!((97_000..=103_000).contains(&at_4s), "{at_4s}");
        assert!((112_000..=130_000).contains(&at_8s), "{at_8s}: 0.4 * 3.8^3 = 22 segments above");
    }
}
