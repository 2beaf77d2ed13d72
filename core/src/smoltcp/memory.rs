//! The backend's memory: borrowed from the caller, or allocated once.

use super::listener::ListenerSlot;
use super::slot::Slot;
use crate::storage::ManagedSlice;
use ::smoltcp::iface::SocketStorage;
use core::array;
use core::mem::MaybeUninit;

/// Memory for `N` connections with `RX` and `TX` octets of buffer each, and `L` listeners: one static, say.
///
/// A static that starts as [`NEW`](Self::NEW) takes no flash: all of it goes to `.bss`. What is not zero is written when a stack takes it.
///
/// A receive buffer below the MSS (1,460 octets on Ethernet) makes the peer send small segments; one of several MSS lets it send ahead.
#[derive(Debug)]
pub struct Storage<'a, const N: usize, const RX: usize, const TX: usize, const L: usize = 4> {
    sockets: MaybeUninit<[[SocketStorage<'a>; 1]; N]>,
    rx: [[u8; RX]; N],
    tx: [[u8; TX]; N],
    slots: MaybeUninit<[Slot<'a>; N]>,
    listeners: MaybeUninit<[ListenerSlot; L]>,
}

impl<const N: usize, const RX: usize, const TX: usize, const L: usize> Storage<'_, N, RX, TX, L> {
    /// Memory that nobody uses yet.
    pub const NEW: Self = Self {
        sockets: MaybeUninit::uninit(),
        rx: [[0; RX]; N],
        tx: [[0; TX]; N],
        slots: MaybeUninit::uninit(),
        listeners: MaybeUninit::uninit(),
    };

    /// The same as [`NEW`](Self::NEW), for where a value is wanted.
    pub const fn new() -> Self {
        Self::NEW
    }
}

impl<const N: usize, const RX: usize, const TX: usize, const L: usize> Default for Storage<'_, N, RX, TX, L> {
    fn default() -> Self {
        Self::NEW
    }
}

/// Memory handed to a stack: made from a [`Storage`], or allocated.
#[derive(Debug)]
pub struct Memory<'a> {
    pub(super) slots: ManagedSlice<'a, Slot<'a>>,
    pub(super) listeners: ManagedSlice<'a, ListenerSlot>,
}

impl<'a, const N: usize, const RX: usize, const TX: usize, const L: usize>
    From<&'a mut Storage<'a, N, RX, TX, L>> for Memory<'a>
{
    fn from(storage: &'a mut Storage<'a, N, RX, TX, L>) -> Self {
        let buffers = storage.rx.iter_mut().zip(storage.tx.iter_mut());
        let sockets = storage.sockets.write(array::from_fn(|_| [SocketStorage::default()]));
        let slots = storage.slots.write(array::from_fn(|_| Slot::EMPTY));
        for (slot, (socket, (rx, tx))) in slots.iter_mut().zip(sockets.iter_mut().zip(buffers)) {
            slot.equip(socket, rx, tx);
        }
        let listeners = storage.listeners.write(array::from_fn(|_| ListenerSlot::EMPTY));
        Self { slots: ManagedSlice::Borrowed(slots), listeners: ManagedSlice::Borrowed(listeners) }
    }
}

#[cfg(feature = "alloc")]
extern crate alloc;

/// The longest buffer (RFC 7323, section 2.3).
#[cfg(feature = "alloc")]
const MOST: usize = 1 << 30;

#[cfg(feature = "alloc")]
impl Memory<'static> {
    /// Allocates memory for `connections` with `rx` and `tx` octets of buffer each, and `listeners`. Nothing is allocated after this.
    ///
    /// A buffer is at most 1 GiB (RFC 7323, section 2.3); a larger one is cut to that.
    pub fn allocate(connections: usize, rx: usize, tx: usize, listeners: usize) -> Self {
        use ::smoltcp::socket::tcp::SocketBuffer;
        use alloc::{vec, vec::Vec};
        let buffer = |size: usize| SocketBuffer::new(vec![0; size.min(MOST)]);
        let slots: Vec<_> = (0..connections).map(|_| Slot::owned(buffer(rx), buffer(tx))).collect();
        let listeners: Vec<_> = (0..listeners).map(|_| ListenerSlot::EMPTY).collect();
        Self { slots: slots.into(), listeners: listeners.into() }
    }

    /// The same, unless the buffers together are more than there is.
    ///
    /// # Errors
    /// The allocator does not give as much.
    pub fn try_allocate(
        connections: usize,
        rx: usize,
        tx: usize,
        listeners: usize,
    ) -> Result<Self, alloc::collections::TryReserveError> {
        let each = rx.min(MOST).saturating_add(tx.min(MOST));
        probe(connections.saturating_mul(each))?;
        Ok(Self::allocate(connections, rx, tx, listeners))
    }
}

/// Whether the allocator has so many octets; it has them still afterwards.
///
/// They are not the buffers themselves: to make those zero would touch each page, while an allocator of zeros leaves that to who needs it.
#[cfg(feature = "alloc")]
fn probe(octets: usize) -> Result<(), alloc::collections::TryReserveError> {
    use alloc::vec::Vec;
    let too_many = octets > isize::MAX.unsigned_abs();
    let mut pieces = Vec::new();
    let mut left = octets;
    while left > 0 {
        // A system that promises more than it has does so for no piece that is too large by itself.
        let piece = if too_many { left } else { left.min(MOST) };
        let mut reserved: Vec<u8> = Vec::new();
        reserved.try_reserve_exact(piece)?;
        pieces.try_reserve(1)?;
        // An allocation that nobody looks at may be left out.
        pieces.push(core::hint::black_box(reserved));
        left -= piece;
    }
    Ok(())
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;

    #[test]
    fn what_no_machine_has_is_refused() {
        assert!(Memory::try_allocate(usize::MAX, 1, 1, 1).is_err());
        assert!(Memory::try_allocate(usize::MAX >> 4, MOST, MOST, 1).is_err());
        // 48 bits of addresses are 256 TiB.
        assert!(Memory::try_allocate(1 << 18, MOST, 1, 1).is_err());
    }

    #[test]
    fn what_there_is_is_given() {
        let memory = Memory::try_allocate(3, 2048, 1024, 2).unwrap();
        assert_eq!((memory.slots.len(), memory.listeners.len()), (3, 2));
        assert!(Memory::try_allocate(0, MOST, MOST, 0).is_ok());
    }
}
