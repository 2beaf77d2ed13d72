//! How deep the stack went: it is painted at the start, and what is still painted was never used.

use core::ptr;

const PAINT: u32 = 0xACE5_ACE5;
/// What `paint` itself and its callers may use below the frame it measures from.
const OWN_FRAME: usize = 256;

unsafe extern "C" {
    /// End of the statics: the lowest address the stack may reach. (The runtime's linker script says so.)
    static mut __euninit: u32;
    /// The address above the stack.
    static mut _stack_start: u32;
}

fn bounds() -> (usize, usize) {
    ((&raw const __euninit).addr(), (&raw const _stack_start).addr())
}

/// Paints the free part of the stack. First thing in `main`.
#[inline(never)]
pub fn paint() {
    let here = 0u32;
    let end = (&raw const here).addr() - OWN_FRAME;
    let (mut at, _) = bounds();
    while at < end {
        // SAFETY: between the statics and this frame lies only unused stack.
        unsafe { ptr::write_volatile(ptr::with_exposed_provenance_mut(at), PAINT) };
        at += 4;
    }
}

/// The most bytes of stack that were in use since [`paint`].
pub fn high_water() -> usize {
    let (mut at, top) = bounds();
    // SAFETY: the words of the stack, read only.
    while at < top && unsafe { ptr::read_volatile(ptr::with_exposed_provenance::<u32>(at)) } == PAINT {
        at += 4;
    }
    top - at
}
