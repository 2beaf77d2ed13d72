//! Byte streams that are made and checked from any position on, without memory.

use super::random::mix;

/// A pseudo-random stream of bytes, and how far one has come in it.
///
/// Comparing with it, byte for byte, finds bytes that are lost, doubled, moved, changed, or another connection's.
#[derive(Debug, Clone)]
pub struct Stream {
    key: u64,
    position: u64,
}

impl Stream {
    /// The stream number `key`, at its start.
    pub const fn new(key: u64) -> Self {
        Self { key, position: 0 }
    }

    /// How many bytes have been passed.
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Passes `count` bytes.
    pub const fn advance(&mut self, count: usize) {
        self.position += count as u64;
    }

    /// Writes the next bytes, without passing them.
    pub fn fill(&self, buffer: &mut [u8]) {
        self.each_run(buffer.len(), |at, run| {
            buffer[at..at + run.len()].copy_from_slice(run);
            true
        });
    }

    /// Checks that `received` comes next, and passes it.
    ///
    /// # Errors
    /// A sentence on the first byte that differs.
    pub fn check(&mut self, received: &[u8]) -> Result<(), String> {
        let same = self.each_run(received.len(), |at, run| received[at..at + run.len()] == *run);
        if !same {
            let mut expected = vec![0; received.len()];
            self.fill(&mut expected);
            let at = received.iter().zip(&expected).position(|(got, want)| got != want).unwrap_or(0);
            return Err(format!(
                "byte {} of the stream is {:#04x} instead of {:#04x} ({} of {} received bytes before it are right)",
                self.position + at as u64,
                received[at],
                expected[at],
                at,
                received.len(),
            ));
        }
        self.advance(received.len());
        Ok(())
    }

    /// The next `len` bytes in runs of up to 8, each with its place; stops when `visit` says false.
    fn each_run(&self, len: usize, mut visit: impl FnMut(usize, &[u8]) -> bool) -> bool {
        let mut at = 0;
        while at < len {
            let position = self.position + at as u64;
            let word = mix(self.key.wrapping_add(position / 8)).to_le_bytes();
            let run = &word[(position % 8) as usize..];
            let run = &run[..run.len().min(len - at)];
            if !visit(at, run) {
                return false;
            }
            at += run.len();
        }
        true
    }
}
