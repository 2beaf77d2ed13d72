//! Ethernet drivers: each chip moves whole frames (`Fifo`), and [`Frames`] makes a `phy::Device` of it.

#[cfg(any(feature = "an385", feature = "an386"))]
mod lan9118;
#[cfg(feature = "lm3s6965")]
mod stellaris;
#[cfg(feature = "virt")]
mod virtio;

#[cfg(any(feature = "an385", feature = "an386"))]
pub use lan9118::Lan9118;
#[cfg(feature = "lm3s6965")]
pub use stellaris::Stellaris;
#[cfg(feature = "virt")]
pub use virtio::Virtio;

use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::time::Instant;
use static_cell::ConstStaticCell;

/// A frame without its checksum: header and 1,500 bytes, and up to the next word.
pub(crate) const FRAME: usize = 1516;
const MTU: usize = 1514;

/// Frames that were lost in the driver, since start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Errors {
    /// Received ones that were damaged or too long.
    pub received: u32,
    /// Ones to send that the chip did not take.
    pub sent: u32,
}

/// A chip that takes and gives whole frames. No call waits for the network.
pub trait Fifo {
    /// The address in the chip.
    fn hardware_address(&self) -> [u8; 6];

    /// Takes back the interrupt, then moves the oldest received frame to the start of `frame` and returns its length.
    ///
    /// In this order: a frame that comes in between interrupts again. One that is damaged or longer than `frame` is counted and dropped.
    fn take(&mut self, frame: &mut [u8; FRAME]) -> Option<usize>;

    /// Whether [`put`](Self::put) would take a frame of any length.
    fn has_room(&mut self) -> bool;

    /// Sends a frame, or counts it as an error.
    fn put(&mut self, frame: &[u8]);

    /// What went wrong so far.
    fn errors(&self) -> Errors;
}

/// A `phy::Device` on a [`Fifo`], with a buffer for one frame each way.
pub struct Frames<F> {
    fifo: F,
    received: &'static mut [u8; FRAME],
    to_send: &'static mut [u8; FRAME],
}

// Not in the value itself, which is moved about on the stack before it settles.
static RECEIVED: ConstStaticCell<[u8; FRAME]> = ConstStaticCell::new([0; FRAME]);
static TO_SEND: ConstStaticCell<[u8; FRAME]> = ConstStaticCell::new([0; FRAME]);

impl<F: Fifo> Frames<F> {
    /// Once: the buffers are static.
    pub(crate) fn new(fifo: F) -> Self {
        Self { fifo, received: RECEIVED.take(), to_send: TO_SEND.take() }
    }

    /// What went wrong so far.
    pub fn errors(&self) -> Errors {
        self.fifo.errors()
    }
}

impl<F: Fifo> Device for Frames<F> {
    type RxToken<'a>
        = Received<'a>
    where
        F: 'a;
    type TxToken<'a>
        = ToSend<'a, F>
    where
        F: 'a;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, ToSend<'_, F>)> {
        if !self.fifo.has_room() {
            return None; // the answer would have no place
        }
        let length = self.fifo.take(self.received)?;
        let frame = self.received.get(..length)?;
        Some((Received(frame), ToSend { fifo: &mut self.fifo, frame: self.to_send }))
    }

    fn transmit(&mut self, _: Instant) -> Option<ToSend<'_, F>> {
        self.fifo.has_room().then_some(ToSend { fifo: &mut self.fifo, frame: self.to_send })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = MTU;
        capabilities
    }
}

/// A received frame.
pub struct Received<'a>(&'a [u8]);

impl phy::RxToken for Received<'_> {
    fn consume<R, G: FnOnce(&[u8]) -> R>(self, read: G) -> R {
        read(self.0)
    }
}

/// Room for a frame to send.
pub struct ToSend<'a, F> {
    fifo: &'a mut F,
    frame: &'a mut [u8; FRAME],
}

impl<F: Fifo> phy::TxToken for ToSend<'_, F> {
    fn consume<R, G: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: G) -> R {
        let frame = &mut self.frame[..length.min(FRAME)];
        let result = fill(frame);
        self.fifo.put(frame);
        result
    }
}

/// Spreads words over `bytes`, the first byte lowest.
#[cfg(target_arch = "arm")]
pub(crate) fn unpack(bytes: &mut [u8], mut next: impl FnMut() -> u32) {
    for chunk in bytes.chunks_mut(4) {
        let word = next().to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
}

/// Gives `bytes` to `push` as words, the first byte lowest, the last word filled with zeros.
#[cfg(target_arch = "arm")]
pub(crate) fn pack(bytes: &[u8], mut push: impl FnMut(u32)) {
    for chunk in bytes.chunks(4) {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        push(u32::from_le_bytes(word));
    }
}
