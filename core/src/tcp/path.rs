//! The path's limit on the length of packets: what routers say (RFC 1191, RFC 8201), and what silence means (RFC 4821).

use super::{Micros, Options};

/// No path takes less (RFC 791: 576 bytes, less 40 of headers and the longest IP and TCP options in use).
const LEAST: u16 = 488;

/// Payloads that fit where full segments do not: IPv6's least MTU, a tunnel, PPPoE; without options, over IPv6.
const STEPS: [u16; 3] = [1_220, 1_340, 1_432];

/// So many timeouts in a row of a full segment mean a path that drops it without a word.
const SILENT_TIMEOUTS: u8 = 2;

/// When the path is tried with longer segments again (RFC 8201, section 4: not before 10 minutes).
const LIFE: Micros = 600_000_000;

/// What the path takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Path {
    /// Payload without options that the interface takes.
    full: u16,
    /// When the limit was lowered; zero for not.
    lowered_at: Micros,
}

impl Path {
    pub(super) const NEW: Self = Self { full: 0, lowered_at: 0 };

    /// Begins with what the interface takes.
    pub(super) fn begin(&mut self, options: &Options) {
        *self = Self { full: options.mss, lowered_at: 0 };
    }

    /// A router says that `mss` bytes fit. Returns the new limit if it is lower.
    pub(super) fn too_big(&mut self, now: Micros, present: u16, mss: u16) -> Option<u16> {
        let mss = mss.max(LEAST);
        if mss >= present {
            return None;
        }
        self.lowered_at = now.max(1);
        Some(mss)
    }

    /// A full segment of the `present` size timed out `timeouts` times in a row. Returns the limit to go on with, if it is time to suspect
    /// the path.
    pub(super) fn silent(&mut self, now: Micros, present: u16, timeouts: u8) -> Option<u16> {
        let step = STEPS.first().copied().filter(|step| timeouts >= SILENT_TIMEOUTS && *step < present)?;
        self.lowered_at = now.max(1);
        Some(step)
    }

    /// Returns the limit to try again, when the last one is old.
    pub(super) fn retry(&mut self, now: Micros, present: u16) -> Option<u16> {
        if self.lowered_at == 0 || now.saturating_sub(self.lowered_at) < LIFE || present >= self.full {
            return None;
        }
        self.lowered_at = now;
        Some(STEPS.iter().copied().find(|step| *step > present).unwrap_or(self.full).min(self.full))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_falls_at_once_and_rises_after_ten_minutes_step_by_step() {
        let mut path = Path::NEW;
        path.begin(&Options::new(1_460));
        assert_eq!(path.too_big(1, 1_460, 1_460), None);
        assert_eq!(path.too_big(1, 1_460, 20), Some(LEAST), "nobody cuts us to pieces");
        assert_eq!(path.silent(5, 1_460, 1), None);
        assert_eq!(path.silent(5, 1_460, 2), Some(1_220));
        assert_eq!(path.silent(5, 1_220, 9), None);
        assert_eq!(path.retry(LIFE, 1_220), None);
        assert_eq!(path.retry(LIFE + 5, 1_220), Some(1_340));
        assert_eq!(path.retry(2 * LIFE + 5, 1_340), Some(1_432));
        assert_eq!(path.retry(3 * LIFE + 5, 1_432), Some(1_460));
        assert_eq!(path.retry(9 * LIFE, 1_460), None);
    }
}
