//! A byte stream that can be made and checked from any position on.

use std::sync::OnceLock;

/// A prime: a segment that is lost, doubled or moved does not land on equal bytes.
const PERIOD: usize = 65_521;
/// So that a slice of [`CHUNK`] bytes from any position is contiguous.
const TABLE: usize = PERIOD + CHUNK;
/// The longest slice that [`Pattern::next`] gives.
pub const CHUNK: usize = 32 * 1024;

/// A pseudo-random stream of bytes, and how far one has come in it.
///
/// Comparing with it, byte for byte, finds all that a hash would, and tells where.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// Where in the table it starts.
    start: u64,
    position: u64,
}

/// All streams are one, from different places on: to make one costs nothing.
fn table() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut table: Vec<u8> = (0..PERIOD)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 32) as u8
            })
            .collect();
        table.extend_from_within(..TABLE - PERIOD);
        table
    })
}

impl Pattern {
    /// The stream number `seed`, at its start.
    pub fn new(seed: u64) -> Self {
        let start = (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16) % PERIOD as u64;
        Self { start, position: 0 }
    }

    /// How many bytes have been [passed](Self::advance).
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// The next bytes: `len`, or [`CHUNK`] if that is fewer.
    pub fn next(&self, len: usize) -> &[u8] {
        let start = ((self.start + self.position) % PERIOD as u64) as usize;
        &table()[start..start + len.min(CHUNK)]
    }

    /// Passes `len` bytes.
    pub fn advance(&mut self, len: usize) {
        self.position += len as u64;
    }

    /// Checks that `received` comes next, and passes it.
    #[track_caller]
    pub fn check(&mut self, received: &[u8]) {
        for part in received.chunks(CHUNK) {
            let expected = self.next(part.len());
            if expected != part {
                let wrong = expected.iter().zip(part).position(|(a, b)| a != b).unwrap_or(0);
                panic!("the stream is wrong from byte {} on", self.position + wrong as u64);
            }
            self.advance(part.len());
        }
    }
}
