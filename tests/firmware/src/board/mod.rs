//! The boards.

#[cfg(target_arch = "arm")]
mod cortex_m;
#[cfg(feature = "lm3s6965")]
mod lm3s6965;
#[cfg(any(feature = "an385", feature = "an386"))]
mod mps2;
#[cfg(feature = "virt")]
mod virt;

#[cfg(feature = "lm3s6965")]
pub use lm3s6965::Lm3s6965 as ThisBoard;
#[cfg(any(feature = "an385", feature = "an386"))]
pub use mps2::Mps2 as ThisBoard;
#[cfg(feature = "virt")]
pub use virt::Virt as ThisBoard;

use smoltcp::phy;

/// The Ethernet device of the board that this image is for.
pub type Ethernet = <ThisBoard as Board>::Ethernet;

/// What an image asks of a board.
pub trait Board: Sized {
    /// The Ethernet device's driver.
    type Ethernet: phy::Device;
    /// So many ticks of [`ticks`](Self::ticks) ...
    const TICKS: u32;
    /// ... are so many microseconds.
    const MICROS: u32;

    /// Starts the counter and gives the board. Once.
    fn take() -> Self;

    /// Starts the Ethernet device and gives it with its hardware address. Once.
    fn ethernet(&mut self) -> (Self::Ethernet, [u8; 6]);

    /// A free-running counter that counts up and wraps at 32 bits.
    fn ticks(&mut self) -> u32;

    /// Sleeps (WFI) until the Ethernet device interrupts or `ticks` have passed. Returns at once if it has interrupted already.
    fn sleep(&mut self, ticks: u32);

    /// A number that differs from start to start.
    ///
    /// These boards have no random source; the debugger's wall clock stands in. Yours: a TRNG, noise of an ADC, a counter in flash.
    fn seed(&mut self) -> u64 {
        let seconds = semihosting::sys::arm_compat::sys_time().unwrap_or_default();
        (seconds as u64) << 32 | u64::from(self.ticks())
    }
}
