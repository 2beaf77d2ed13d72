//! Keyed hashing and random numbers: nobody outside may foresee where a flow is filed, or which port comes next.

/// A key for [`Key::hash`].
#[derive(Clone, Copy)]
pub(super) struct Key([u32; 2]);

impl Key {
    /// HalfSipHash-1-3 with a 64-bit key: 32-bit arithmetic only, some 100 instructions for a 4-tuple on a Cortex-M.
    #[cfg_attr(not(target_os = "none"), inline)]
    pub(super) fn hash<const N: usize>(self, words: &[u32; N]) -> u32 {
        let Self([k0, k1]) = self;
        let mut state = [k0, k1, 0x6c79_6765 ^ k0, 0x7465_6462 ^ k1];
        let length = (N as u32) << 26;
        for word in words {
            absorb(&mut state, *word);
        }
        absorb(&mut state, length);
        state[2] ^= 0xff;
        for _ in 0..3 {
            round(&mut state);
        }
        state[1] ^ state[3]
    }
}

#[inline]
fn absorb(state: &mut [u32; 4], word: u32) {
    state[3] ^= word;
    round(state);
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

/// A stream of numbers from a seed (SplitMix64).
#[derive(Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Not inlined: 64-bit products are long on a 32-bit machine, and only the start needs many.
    #[inline(never)]
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn key(&mut self) -> Key {
        let bits = self.next();
        Key([bits as u32, (bits >> 32) as u32])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference vector of the algorithm's authors for HalfSipHash-2-4 does not fit 1-3 rounds and whole words,
    /// so this checks what the flow table needs: keys and inputs that differ in a bit give unrelated values.
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
