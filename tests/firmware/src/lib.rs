//! Four boards behind one trait, and what every image needs of them: a clock, a console, a stack that is measured.
//!
//! | feature | machine (`qemu -M`) | core | Ethernet |
//! |---|---|---|---|
//! | `an385` | mps2-an385 | Cortex-M3 | LAN9118 |
//! | `an386` | mps2-an386 | Cortex-M4F | LAN9118 |
//! | `lm3s6965` | lm3s6965evb | Cortex-M3, 64 KiB RAM | Stellaris |
//! | `virt` | virt, 32 bit | rv32imac | virtio-net |

#![no_std]

pub mod app;
pub mod bare;
pub mod board;
pub mod cable;
pub mod clock;
pub mod console;
pub mod count;
mod driver;
mod registers;
pub mod stack;

#[cfg(target_arch = "arm")]
pub use cortex_m_rt as rt;
#[cfg(target_arch = "riscv32")]
pub use riscv_rt as rt;

/// Makes `$main`, a `fn(BoardInUse) -> !`, the function that the board starts with.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[$crate::rt::entry]
        fn start() -> ! {
            $crate::stack::paint();
            $main(<$crate::board::ThisBoard as $crate::board::Board>::take())
        }
    };
}
