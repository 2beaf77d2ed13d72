//! Sleeping on a Cortex-M.

use cortex_m::interrupt::{self, InterruptNumber};
use cortex_m::peripheral::NVIC;

/// An interrupt line.
#[derive(Clone, Copy)]
pub(super) struct Line(pub(super) u16);

// SAFETY: the number of a line of this board, which does not change.
unsafe impl InterruptNumber for Line {
    fn number(self) -> u16 {
        self.0
    }
}

/// Sleeps until one of `lines` is active.
///
/// WFI wakes on a pending line although PRIMASK is set (ARMv7-M, B1.5.19), so what comes between the last look at the device and WFI
/// is not lost, and no handler is needed: the main loop is the bottom half. An active line cannot be unpended.
pub(super) fn wait_for(lines: [Line; 2]) {
    interrupt::free(|_| {
        for line in lines {
            NVIC::unpend(line);
            // SAFETY: nothing is taken in here, and the lines are masked again before the end.
            unsafe { NVIC::unmask(line) };
        }
        cortex_m::asm::wfi();
        lines.into_iter().for_each(NVIC::mask);
    });
}
