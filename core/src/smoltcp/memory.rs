//! The backend's memory: borrowed from the caller, or allocated once.

use super::listener::ListenerSlot;
use super::slot::Slot;
use crate::storage::ManagedSlice;
use ::smoltcp::iface::SocketStorage;

/// Memory for `N` connections with `RX` and `TX` octets of buffer each, and `L` listeners: one static, say.
///
/// A receive buffer below the MSS (1,460 octets on Ethernet) makes the peer send small segments; one of several MSS lets it send ahead.
#[derive(Debug)]
pub struct Storage<'a, const N: usize, const RX: usize, const TX: usize, const L: usize = 4> {
    sockets: [[SocketStorage<'a>; 1]; N],
    rx: [[u8; RX]; N],
    tx: [[u8; TX]; N],
    slots: [Slot<'a>; N],
    listeners: [ListenerSlot; L],
}

impl<const N: usize, const RX: usize, const TX: usize, const L: usize> Storage<'_, N, RX, TX, L> {
    /// Memory that nobody uses yet.
    pub const NEW: Self = Self {
        sockets: [const { [SocketStorage::EMPTY; 1] }; N],
        rx: [[0; RX]; N],
        tx: [[0; TX]; N],
        slots: [const { Slot::EMPTY }; N],
        listeners: [const { ListenerSlot::EMPTY }; L],
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
        let memory = storage.sockets.iter_mut().zip(buffers);
        for (slot, (socket, (rx, tx))) in storage.slots.iter_mut().zip(memory) {
            slot.equip(socket, rx, tx);
        }
        Self {
            slots: ManagedSlice::Borrowed(&mut storage.slots),
            listeners: ManagedSlice::Borrowed(&mut storage.listeners),
        }
    }
}

#[cfg(feature = "alloc")]
impl Memory<'static> {
    /// Allocates memory for `connections` with `rx` and `tx` octets of buffer each, and `listeners`. Nothing is allocated after this.
    ///
    /// A buffer is at most 1 GiB (RFC 7323, section 2.3); a larger one is cut to that.
    pub fn allocate(connections: usize, rx: usize, tx: usize, listeners: usize) -> Self {
        extern crate alloc;
        use ::smoltcp::socket::tcp::SocketBuffer;
        use alloc::{vec, vec::Vec};
        let buffer = |size: usize| SocketBuffer::new(vec![0; size.min(1 << 30)]);
        let slots: Vec<_> = (0..connections).map(|_| Slot::owned(buffer(rx), buffer(tx))).collect();
        let listeners: Vec<_> = (0..listeners).map(|_| ListenerSlot::EMPTY).collect();
        Self { slots: slots.into(), listeners: listeners.into() }
    }
}
