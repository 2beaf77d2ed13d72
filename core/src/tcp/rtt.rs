//! The round-trip time and the retransmission timeout (RFC 6298), in microseconds.

use super::Micros;

/// A timeout is at least this much longer than the smoothed round trip (200 ms, as Linux has; RFC 6298 asks for a second in all).
const MIN_VARIATION: u32 = 200_000;
const MAX_TIMEOUT: u32 = 60_000_000;
/// RFC 6298, section 2.1.
const INITIAL_TIMEOUT: u32 = 1_000_000;
/// RFC 6298, section 5.7: after a lost SYN.
const TIMEOUT_AFTER_LOST_SYN: u32 = 3_000_000;
/// So many acknowledgements without a sample and without a timeout between them take a step of the back-off back.
const ADVANCES: u8 = 4;
/// The minimum is forgotten after so long.
const MINIMUM_LIFE: Micros = 10_000_000;

pub(super) struct Rtt {
    /// Smoothed; zero before the first sample.
    smoothed: u32,
    variation: u32,
    /// The least of the present and of the previous period.
    minimum: [u32; 2],
    minimum_since: Micros,
    backoff: u8,
    /// Acknowledgements of something new since the last timeout, without a sample.
    advances: u8,
    syn_was_lost: bool,
}

impl Rtt {
    pub(super) const NEW: Self = Self {
        smoothed: 0,
        variation: 0,
        minimum: [u32::MAX; 2],
        minimum_since: 0,
        backoff: 0,
        advances: 0,
        syn_was_lost: false,
    };

    /// Takes a valid sample: the back-off ends with it (Karn's algorithm; RFC 6298, sections 3 and 5.7).
    pub(super) fn sample(&mut self, now: Micros, rtt: u32) {
        let rtt = rtt.clamp(1, MAX_TIMEOUT);
        // After several timeouts what was known is bogus (RFC 6298, section 5, last paragraph).
        if self.smoothed == 0 || (self.backoff >= 2 && rtt > self.smoothed) {
            self.smoothed = rtt;
            self.variation = rtt / 2;
        } else {
            let error = self.smoothed.abs_diff(rtt);
            self.variation = self.variation - self.variation / 4 + error / 4;
            self.smoothed = (self.smoothed - self.smoothed / 8 + rtt / 8).max(1);
        }
        if now.saturating_sub(self.minimum_since) > MINIMUM_LIFE {
            self.minimum = [u32::MAX, self.minimum[0]];
            self.minimum_since = now;
        }
        self.minimum[0] = self.minimum[0].min(rtt);
        self.backoff = 0;
    }

    /// Returns the smoothed round-trip time; zero before the first sample.
    pub(super) fn smoothed(&self) -> u32 {
        self.smoothed
    }

    pub(super) fn variation(&self) -> u32 {
        self.variation
    }

    /// Returns the least round-trip time of the last 10 to 20 s; zero before the first sample.
    pub(super) fn minimum(&self) -> u32 {
        match self.minimum[0].min(self.minimum[1]) {
            u32::MAX => 0,
            minimum => minimum,
        }
    }

    /// Returns the timeout without its back-off.
    fn base(&self) -> u32 {
        match self.smoothed {
            0 if self.syn_was_lost => TIMEOUT_AFTER_LOST_SYN,
            0 => INITIAL_TIMEOUT,
            smoothed => smoothed.saturating_add(self.variation.saturating_mul(4).max(MIN_VARIATION)),
        }
    }

    /// Returns the retransmission timeout, with its back-off.
    pub(super) fn timeout(&self) -> u32 {
        self.timeout_after(self.backoff)
    }

    /// Returns the timeout doubled `backoff` times, at most a minute.
    pub(super) fn timeout_after(&self, backoff: u8) -> u32 {
        let doubled = u64::from(self.base()) << backoff.min(16);
        doubled.min(u64::from(MAX_TIMEOUT)) as u32
    }

    /// Something new was acknowledged that gives no sample, as it was sent twice: after some of those in a row the back-off falls by a step.
    ///
    /// Without this, a sender without timestamps that goes through a long queue of lost segments waits a minute for each further loss. A
    /// single acknowledgement must not do so: where each segment times out once, the back-off is all that is known of the path.
    pub(super) fn advance(&mut self) {
        self.advances += 1;
        if self.advances >= ADVANCES {
            self.advances = 0;
            self.backoff = self.backoff.saturating_sub(1);
        }
    }

    pub(super) fn backoff(&self) -> u8 {
        self.backoff
    }

    /// RFC 6298, section 5.5.
    pub(super) fn back_off(&mut self) {
        if self.timeout() < MAX_TIMEOUT {
            self.backoff += 1;
        }
        self.advances = 0;
    }

    /// Ends the back-off without a sample: a handshake is over, or a timeout turned out to be false.
    pub(super) fn end_backoff(&mut self) {
        self.backoff = 0;
    }

    /// The SYN had to be repeated, and nothing is known of the path.
    pub(super) fn lost_syn(&mut self) {
        self.syn_was_lost = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_follows_rfc_6298() {
        let mut rtt = Rtt::NEW;
        assert_eq!(rtt.timeout(), 1_000_000);
        rtt.sample(0, 100_000);
        assert_eq!((rtt.smoothed(), rtt.timeout()), (100_000, 300_000));
        for _ in 0..100 {
            rtt.sample(0, 100_000);
        }
        assert_eq!(rtt.timeout() / 1000, 300, "the variation's part is at least 200 ms");
        rtt.back_off();
        rtt.back_off();
        assert_eq!(rtt.timeout() / 1000, 1_200);
        for _ in 0..200 {
            rtt.back_off();
        }
        assert_eq!(rtt.timeout(), MAX_TIMEOUT);
        rtt.sample(0, 100_000);
        assert_eq!(rtt.timeout() / 1000, 300, "a sample ends the back-off");
    }

    #[test]
    fn after_a_lost_syn_the_first_timeout_is_three_seconds() {
        let mut rtt = Rtt::NEW;
        rtt.lost_syn();
        assert_eq!(rtt.timeout(), 3_000_000);
        rtt.sample(0, 50_000);
        assert_eq!(rtt.timeout(), 250_000);
    }

    #[test]
    fn the_minimum_is_of_the_last_seconds() {
        let mut rtt = Rtt::NEW;
        rtt.sample(0, 10_000);
        rtt.sample(1_000_000, 50_000);
        assert_eq!(rtt.minimum(), 10_000);
        rtt.sample(20_000_000, 50_000);
        rtt.sample(40_000_000, 50_000);
        assert_eq!(rtt.minimum(), 50_000);
    }
}
