//! What the fuzzers in `tests/fuzz` run: each target is a function of bytes, which `cargo test` runs on the committed corpus.

mod adapter;
mod codecs;
mod frames;
mod model;

pub use adapter::adapter;
pub use codecs::codecs;
pub use frames::frames;
pub use model::calls;

/// Decisions, taken from bytes; when they are used up, all are 0.
#[derive(Debug)]
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or(0)
    }

    fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// A number below `limit`, which is at most 256.
    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit
    }

    /// A length in one byte, then so many bytes, if they are there.
    fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte()).min(self.0.len());
        self.0.split_off(..len).unwrap_or_default()
    }
}
