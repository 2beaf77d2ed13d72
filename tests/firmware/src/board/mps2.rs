//! MPS2 with the AN385 (Cortex-M3) or AN386 (Cortex-M4F) image: 25 MHz, LAN9118.

use super::Board;
use super::cortex_m::{Line, wait_for};
use crate::driver::{Fifo as _, Frames, Lan9118};
use crate::registers::Registers;

// SAFETY: the addresses of application notes AN385 and AN386, table "peripheral memory map".
const COUNTER: Registers = unsafe { Registers::at(0x4000_0000) };
const ALARM: Registers = unsafe { Registers::at(0x4000_1000) };
const LAN9118: Registers = unsafe { Registers::at(0x4020_0000) };
const ALARM_LINE: Line = Line(9);
const LAN9118_LINE: Line = Line(13);

/// Registers of a CMSDK APB timer (DDI 0479, 4.3): it counts down.
mod timer {
    pub(super) const CTRL: usize = 0x0;
    pub(super) const VALUE: usize = 0x4;
    pub(super) const RELOAD: usize = 0x8;
    pub(super) const INTCLEAR: usize = 0xc;
    pub(super) const ENABLE: u32 = 1;
    pub(super) const INTERRUPT: u32 = 1 << 3;
}

/// The board.
pub struct Mps2(());

impl Board for Mps2 {
    type Ethernet = Frames<Lan9118>;
    const TICKS: u32 = 25;
    const MICROS: u32 = 1;

    fn take() -> Self {
        COUNTER.write(timer::RELOAD, u32::MAX);
        COUNTER.write(timer::CTRL, timer::ENABLE);
        Self(())
    }

    fn ethernet(&mut self) -> (Self::Ethernet, [u8; 6]) {
        let chip = Lan9118::start(LAN9118);
        let address = chip.hardware_address();
        (Frames::new(chip), address)
    }

    fn ticks(&mut self) -> u32 {
        !COUNTER.read(timer::VALUE)
    }

    fn sleep(&mut self, ticks: u32) {
        ALARM.write(timer::RELOAD, ticks);
        ALARM.write(timer::CTRL, timer::ENABLE | timer::INTERRUPT);
        wait_for([ALARM_LINE, LAN9118_LINE]);
        ALARM.write(timer::CTRL, 0);
        ALARM.write(timer::INTCLEAR, 1);
    }
}
