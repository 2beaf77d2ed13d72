//! Keyed hashing and random numbers: nobody outside may foresee where a flow is filed, or which port comes next.

/// A key for [`Key::hash`].
#[derive(Clone, Copy)]
pub(super) struct Key([u32; 2]);

impl Key {
    /// HalfSipHash-1-3 with a 64-bit key: 32-bit arithmetic only, some 100 instructions for a 4-tuple on a Cortex-M. For what nobody sees.
    #[cfg_attr(not(target_os = "none"), inline)]
    pub(super) fn hash<const N: usize>(self, words: &[u32; N]) -> u32 {
        self.digest::<N, 1, 3>(words)
    }

    /// HalfSipHash-2-4, as published: a pseudo-random function, for what others see. From its outputs neither the key nor another output can
    /// be found but by trying all keys.
    #[inline(never)]
    pub(super) fn strong_hash<const N: usize>(self, words: &[u32; N]) -> u32 {
        self.digest::<N, 2, 4>(words)
    }

    #[inline]
    fn digest<const N: usize, const C: usize, const D: usize>(self, words: &[u32; N]) -> u32 {
        let Self([k0, k1]) = self;
        let mut state = [k0, k1, 0x6c79_6765 ^ k0, 0x7465_6462 ^ k1];
        let length = (N as u32) << 26;
        for word in words {
            absorb::<C>(&mut state, *word);
        }
        absorb::<C>(&mut state, length);
        state[2] ^= 0xff;
        for _ in 0..D {
            round(&mut state);
        }
        state[1] ^ state[3]
    }
}

#[inline]
fn absorb<const C: usize>(state: &mut [u32; 4], word: u32) {
    state[3] ^= word;
    for _ in 0..C {
        round(state);
    }
    state[0] ^= word;
}

#[inline]
fn round(v: &mut [u32; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(5) ^ v[0];
    v[0] = v[0].rotate_left(16);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(8) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(7) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[2];
    v[2] = v[2].rotate_left(16);
}

/// Secrets from one seed: a keyed one-way function of a counter. None of them tells anything of the seed, nor of another.
///
/// smoltcp's own generator gives its seed away to whoever sees three of its outputs, DHCP transaction ids for example: what it gets from here
/// leads nowhere.
#[derive(Clone)]
pub(super) struct Random {
    key: Key,
    count: u32,
}

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self { key: Key([seed as u32, (seed >> 32) as u32]), count: 0 }
    }

    fn half(&mut self) -> u32 {
        self.count = self.count.wrapping_add(1);
        self.key.strong_hash(&[self.count])
    }

    /// Returns the next 64 bits.
    pub(super) fn next(&mut self) -> u64 {
        (u64::from(self.half()) << 32) | u64::from(self.half())
    }

    /// Returns a key of its own for one purpose.
    pub(super) fn key(&mut self) -> Key {
        Key([self.half(), self.half()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors that the authors of SipHash publish (vectors.h, `vectors_hsip32`), for messages of whole words: bytes 0, 1, 2, ...
    #[test]
    fn the_strong_hash_is_half_sip_hash_2_4() {
        let key = Key([0x0302_0100, 0x0706_0504]);
        assert_eq!(key.strong_hash(&[]).to_le_bytes(), [0xa9, 0x35, 0x9f, 0x5b]);
        assert_eq!(key.strong_hash(&[0x0302_0100]).to_le_bytes(), [0x2a, 0x6e, 0x46, 0x89]);
        assert_eq!(key.strong_hash(&[0x0302_0100, 0x0706_0504]).to_le_bytes(), [0xd0, 0xb8, 0x84, 0x8f]);
    }

    #[test]
    fn one_bit_changes_half_the_hash() {
        let key = Random::new(7).key();
        let mut flipped = 0;
        for bit in 0..96 {
            let mut words = [1u32, 2, 3];
            let before = key.hash(&words);
            words[bit / 32] ^= 1 << (bit % 32);
            flipped += (before ^ key.hash(&words)).count_ones();
        }
        let mean = f64::from(flipped) / 96.0;
        assert!((14.0..18.0).contains(&mean), "{mean} of 32 bits");
    }

    #[test]
    fn length_counts() {
        let key = Random::new(7).key();
        assert_ne!(key.hash(&[0]), key.hash(&[0, 0]));
    }
}
