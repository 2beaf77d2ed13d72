//! LM3S6965 evaluation board: Cortex-M3, 64 KiB RAM, Ethernet on the chip, at the 12.5 MHz that QEMU has after reset.

use super::Board;
use super::cortex_m::{Line, wait_for};
use crate::driver::{Fifo as _, Frames, Stellaris};
use crate::registers::Registers;

// SAFETY: the addresses of the LM3S6965 data sheet, table "memory map".
const WATCHDOG: Registers = unsafe { Registers::at(0x4000_0000) };
const TIMER: Registers = unsafe { Registers::at(0x4003_0000) };
const ETHERNET: Registers = unsafe { Registers::at(0x4004_8000) };
const TIMER_LINE: Line = Line(19);
const ETHERNET_LINE: Line = Line(42);

/// The watchdog counts down for ever as long as its reset stays off: the one counter here that QEMU lets a program read.
mod watchdog {
    pub(super) const LOAD: usize = 0x0;
    pub(super) const VALUE: usize = 0x4;
    pub(super) const CTL: usize = 0x8;
    pub(super) const INTERRUPT: u32 = 1;
}

/// General-purpose timer 0, as one of 32 bits that runs once.
mod timer {
    pub(super) const CFG: usize = 0x0;
    pub(super) const TAMR: usize = 0x4;
    pub(super) const CTL: usize = 0xc;
    pub(super) const IMR: usize = 0x18;
    pub(super) const ICR: usize = 0x24;
    pub(super) const TAILR: usize = 0x28;
    pub(super) const ONE_SHOT: u32 = 1;
    pub(super) const ENABLE: u32 = 1;
    pub(super) const TIMEOUT: u32 = 1;
}

/// The board.
pub struct Lm3s6965(());

impl Board for Lm3s6965 {
    type Ethernet = Frames<Stellaris>;
    const TICKS: u32 = 25;
    const MICROS: u32 = 2;

    fn take() -> Self {
        WATCHDOG.write(watchdog::LOAD, u32::MAX);
        WATCHDOG.write(watchdog::CTL, watchdog::INTERRUPT);
        TIMER.write(timer::CFG, 0);
        TIMER.write(timer::TAMR, timer::ONE_SHOT);
        TIMER.write(timer::IMR, timer::TIMEOUT);
        Self(())
    }

    fn ethernet(&mut self) -> (Self::Ethernet, [u8; 6]) {
        let chip = Stellaris::start(ETHERNET);
        let address = chip.hardware_address();
        (Frames::new(chip), address)
    }

    fn ticks(&mut self) -> u32 {
        !WATCHDOG.read(watchdog::VALUE)
    }

    fn sleep(&mut self, ticks: u32) {
        TIMER.write(timer::TAILR, ticks);
        TIMER.write(timer::CTL, timer::ENABLE);
        wait_for([TIMER_LINE, ETHERNET_LINE]);
        TIMER.write(timer::CTL, 0);
        TIMER.write(timer::ICR, timer::TIMEOUT);
    }
}
