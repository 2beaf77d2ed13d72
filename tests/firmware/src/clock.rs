//! Microseconds from a counter that wraps, and sleeping until a deadline.

use crate::board::Board;

/// Longest sleep in microseconds: no board's counter may wrap unseen.
const LONGEST_SLEEP: u32 = 60_000_000;

/// Time since start. `rate` microseconds pass in each real one: a test of ten minutes in half a one.
pub struct Clock<B: Board> {
    board: B,
    rate: u32,
    seen: u32,
    rest: u32,
    micros: u64,
}

impl<B: Board> Clock<B> {
    /// A clock on `board`'s counter, at zero.
    pub fn new(mut board: B, rate: u32) -> Self {
        let seen = board.ticks();
        Self { board, rate: rate.max(1), seen, rest: 0, micros: 0 }
    }

    /// Microseconds since [`new`](Self::new). Call it at least once a minute.
    pub fn now(&mut self) -> u64 {
        let ticks = self.board.ticks();
        let passed = ticks.wrapping_sub(self.seen);
        self.seen = ticks;
        // 32 bits: a Cortex-M divides them in hardware, 64 it does not.
        let (whole, rest) = (passed / B::TICKS, passed % B::TICKS);
        let rest = self.rest + rest * B::MICROS;
        self.micros += u64::from(whole * B::MICROS + rest / B::TICKS) * u64::from(self.rate);
        self.rest = rest % B::TICKS;
        self.micros
    }

    /// Sleeps until the network interrupts or `deadline` (in microseconds; `None`: the network only).
    pub fn sleep_until(&mut self, deadline: Option<u64>) {
        let now = self.now();
        let micros = deadline.map_or(u64::MAX, |deadline| deadline.saturating_sub(now));
        let micros = u32::try_from(micros).unwrap_or(u32::MAX).min(LONGEST_SLEEP) / self.rate;
        if micros > 0 {
            // At most 1.5e9: nothing overflows.
            self.board.sleep((micros / B::MICROS + 1) * B::TICKS);
        }
    }
}
