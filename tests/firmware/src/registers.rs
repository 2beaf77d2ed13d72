//! Memory-mapped registers of 32 bits.

use core::ptr;

/// A peripheral's registers.
#[derive(Clone, Copy)]
pub(crate) struct Registers(usize);

impl Registers {
    /// The peripheral at `base`.
    ///
    /// # Safety
    /// From `base` on there are registers, 32 bits wide and aligned, as far as the offsets that will be used; reading or writing them
    /// touches no memory of the program.
    pub(crate) const unsafe fn at(base: usize) -> Self {
        Self(base)
    }

    pub(crate) fn read(self, offset: usize) -> u32 {
        // SAFETY: a register, by the contract of `at`.
        unsafe { ptr::read_volatile(ptr::with_exposed_provenance(self.0 + offset)) }
    }

    pub(crate) fn write(self, offset: usize, value: u32) {
        // SAFETY: a register, by the contract of `at`.
        unsafe { ptr::write_volatile(ptr::with_exposed_provenance_mut(self.0 + offset), value) }
    }
}
