use crate::args::DemoArgs;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::Arc;

/// Bytes of a round trip that is timed.
pub(super) const PING: u64 = 64;
/// Round trips that each connection times.
const PINGS: u64 = 100;
/// After this long without a byte something is wrong.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// What each connection does: some timed round trips, then bytes both ways at once, all echoed and compared.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) clients: usize,
    /// Bytes of each connection's stream, the round trips included.
    pub(super) bytes: u64,
    /// The first bytes of them, which are sent `PING` by `PING`.
    pub(super) pings: u64,
    pub(super) seed: u64,
    bytes_of_all: Arc<[u8]>,
    /// Bytes that came back right.
    pub(super) checked: Arc<AtomicU64>,
}

/// A prime: bytes that are lost, doubled or moved do not land on equal ones.
const PERIOD: usize = 65_521;
/// The longest slice of a stream.
pub(super) const SLICE: usize = 32 << 10;

impl Plan {
    pub(super) fn new(args: &DemoArgs, seed: u64) -> Self {
        let mut state = seed | 1;
        let mut bytes: Vec<u8> = core::iter::repeat_with(|| {
            // xorshift64 (Marsaglia, 2003).
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .take(PERIOD)
        .collect();
        bytes.extend_from_within(..SLICE);
        let pings = PING * PINGS;
        Self {
            clients: args.clients.into(),
            bytes: (args.bytes as u64).max(pings),
            pings,
            seed,
            bytes_of_all: bytes.into(),
            checked: Arc::default(),
        }
    }

    /// The stream of a connection. Each has its own part of the same pseudo-random bytes.
    pub(super) fn stream(&self, connection: usize) -> Stream {
        let offset = (connection as u64).wrapping_mul(40_503).wrapping_add(self.seed >> 8);
        Stream { bytes: Arc::clone(&self.bytes_of_all), offset: offset % PERIOD as u64, position: 0 }
    }

    /// Counts bytes that came back right.
    pub(super) fn count(&self, bytes: usize) {
        self.checked.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// A pseudo-random stream, and how far one has come in it.
#[derive(Debug)]
pub(super) struct Stream {
    bytes: Arc<[u8]>,
    offset: u64,
    pub(super) position: u64,
}

impl Stream {
    /// What comes next, up to the position `end`: at most [`SLICE`] bytes.
    pub(super) fn next(&self, end: u64) -> &[u8] {
        let len = end.saturating_sub(self.position).min(SLICE as u64) as usize;
        let start = ((self.offset + self.position) % PERIOD as u64) as usize;
        &self.bytes[start..start + len]
    }

    /// Checks that `received` comes next, and passes it.
    pub(super) fn check(&mut self, received: &[u8]) -> Result<(), String> {
        for part in received.chunks(SLICE) {
            let expected = self.next(u64::MAX);
            if expected[..part.len()] != *part {
                let wrong = expected.iter().zip(part).position(|(expected, byte)| expected != byte);
                return Err(format!("byte {} is wrong", self.position + wrong.unwrap_or(0) as u64));
            }
            self.position += part.len() as u64;
        }
        Ok(())
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) connections: usize,
    /// Bytes that came back right.
    pub(super) bytes: u64,
    /// From the first byte to the last, the timed round trips left out.
    pub(super) elapsed: Duration,
    pub(super) round_trips: Vec<Duration>,
    /// What went wrong.
    pub(super) errors: Vec<String>,
}

impl Outcome {
    /// The round trip that so many percent did not exceed.
    pub(super) fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.round_trips.clone();
        sorted.sort_unstable();
        sorted
            .get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan::new(&DemoArgs { clients: 2, bytes: 1 << 20, seed: None, in_memory: true }, 7)
    }

    #[test]
    fn a_stream_matches_itself_wherever_it_is_cut() {
        let (source, mut sink) = (plan().stream(1), plan().stream(1));
        let mut source = source;
        for len in [1, 64, 30_000, 32_768, 65_521 - 3, 5] {
            let mut piece = Vec::new();
            while piece.len() < len {
                let end = source.position + (len - piece.len()) as u64;
                let next = source.next(end).to_vec();
                source.position += next.len() as u64;
                piece.extend(next);
            }
            assert_eq!(sink.check(&piece), Ok(()));
        }
    }

    #[test]
    fn a_wrong_byte_is_named() {
        let source = plan().stream(0);
        let mut bytes = source.next(1000).to_vec();
        bytes[500] ^= 1;
        assert_eq!(plan().stream(0).check(&bytes), Err("byte 500 is wrong".into()));
        assert!(plan().stream(1).check(source.next(1000)).is_err(), "another connection's stream");
    }
}
