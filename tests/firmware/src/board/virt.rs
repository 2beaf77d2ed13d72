//! QEMU's riscv32 `virt` machine: rv32imac, virtio-net.

use super::Board;
use crate::driver::{Fifo as _, Frames, Virtio};
use crate::registers::Registers;

// SAFETY: the addresses of the machine's device tree (`-M virt,dumpdtb=`).
const CLINT: Registers = unsafe { Registers::at(0x0200_0000) };
const PLIC: Registers = unsafe { Registers::at(0x0c00_0000) };
const MTIMECMP: usize = 0x4000;
const MTIME: usize = 0xbff8;
const PLIC_ENABLE: usize = 0x2000;
const PLIC_CLAIM: usize = 0x20_0004;

/// The board.
pub struct Virt(());

impl Board for Virt {
    type Ethernet = Frames<Virtio>;
    const TICKS: u32 = 10;
    const MICROS: u32 = 1;

    fn take() -> Self {
        Self(())
    }

    fn ethernet(&mut self) -> (Self::Ethernet, [u8; 6]) {
        let (device, line) = Virtio::start();
        PLIC.write(4 * line, 1);
        PLIC.write(PLIC_ENABLE, 1 << line);
        let address = device.hardware_address();
        (Frames::new(device), address)
    }

    fn ticks(&mut self) -> u32 {
        CLINT.read(MTIME)
    }

    /// WFI wakes on an interrupt that is enabled in `mie` although `mstatus.MIE` is off (privileged specification, 3.3.3):
    /// no handler is needed, and what comes before WFI is not lost.
    fn sleep(&mut self, ticks: u32) {
        let (low, high) = (CLINT.read(MTIME), CLINT.read(MTIME + 4));
        let (low, carry) = low.overflowing_add(ticks);
        CLINT.write(MTIMECMP + 4, u32::MAX);
        CLINT.write(MTIMECMP, low);
        CLINT.write(MTIMECMP + 4, high.wrapping_add(u32::from(carry)));
        // SAFETY: both only wake; neither is taken while `mstatus.MIE` is off, as it is from reset.
        unsafe {
            riscv::register::mie::set_mtimer();
            riscv::register::mie::set_mext();
        }
        riscv::asm::wfi();
        let line = PLIC.read(PLIC_CLAIM);
        PLIC.write(PLIC_CLAIM, line);
    }
}
