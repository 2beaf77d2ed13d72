//! Fixed capacity: memory is the caller's, given once, and never grows.
//!
//! [`Slab`] keeps values behind generation-checked [`Id`]s, with a deadline for each; [`Deadlines`] is the heap beneath it;
//! [`List`] threads queues through slots that exist anyway. Indices are 16 bits wide: at most [`MAX_SLOTS`] slots.

mod deadlines;
mod list;
mod slab;

pub use deadlines::{Deadlines, Timed, Timer};
pub use list::{Link, Linked, List};
pub use managed::ManagedSlice;
pub use slab::{Id, Slab, SlabSlot};

/// The largest number of slots that a container uses: 65,534. What is given beyond is left alone.
pub const MAX_SLOTS: usize = NONE as usize - 1;

/// "No slot", in links and positions.
const NONE: u16 = u16::MAX;
