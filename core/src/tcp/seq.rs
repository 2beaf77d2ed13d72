//! Sequence numbers (RFC 9293, section 3.4).

use core::cmp::Ordering;
use core::ops::{Add, AddAssign, Sub};

/// A sequence number of 32 bits, which wraps.
///
/// Two numbers compare as RFC 9293 asks while they are less than 2 GiB apart.
///
/// ```
/// use socklet::tcp::Seq;
///
/// assert!(Seq(0xffff_ffff) < Seq(1));
/// assert_eq!(Seq(1) - Seq(0xffff_ffff), 2);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Seq(pub u32);

impl Seq {
    /// Returns the later of two numbers.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        if self < other { other } else { self }
    }

    /// Returns the earlier of two numbers.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        if other < self { other } else { self }
    }

    /// Returns the number of bytes from `earlier` to this number; zero if `earlier` is not earlier.
    pub fn past(self, earlier: Self) -> u32 {
        if earlier < self { self - earlier } else { 0 }
    }
}

impl Add<u32> for Seq {
    type Output = Self;

    fn add(self, bytes: u32) -> Self {
        Self(self.0.wrapping_add(bytes))
    }
}

impl AddAssign<u32> for Seq {
    fn add_assign(&mut self, bytes: u32) {
        *self = *self + bytes;
    }
}

impl Sub<u32> for Seq {
    type Output = Self;

    fn sub(self, bytes: u32) -> Self {
        Self(self.0.wrapping_sub(bytes))
    }
}

/// Returns the distance from `earlier`, modulo 2^32.
impl Sub for Seq {
    type Output = u32;

    fn sub(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }
}

impl PartialOrd for Seq {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some((self.0.wrapping_sub(other.0) as i32).cmp(&0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_across_the_wrap() {
        for base in [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
            let (low, high) = (Seq(base), Seq(base) + 0x7fff_ffff);
            assert!(low < high);
            assert_eq!((high.past(low), low.past(high)), (0x7fff_ffff, 0));
            assert_eq!((low.max(high), low.min(high)), (high, low));
        }
    }
}
