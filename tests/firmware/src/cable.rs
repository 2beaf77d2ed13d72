//! A cable in memory between two stacks of one image. No frame is copied.

use core::cell::{Cell, RefCell};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::time::Instant;

const FRAME: usize = 1514;
const DEPTH: usize = 8;

/// Frames on their way in one direction.
pub struct Lane {
    frames: [RefCell<(usize, [u8; FRAME])>; DEPTH],
    taken: Cell<usize>,
    put: Cell<usize>,
}

impl Lane {
    pub const EMPTY: Self = Self {
        frames: [const { RefCell::new((0, [0; FRAME])) }; DEPTH],
        taken: Cell::new(0),
        put: Cell::new(0),
    };

    fn waiting(&self) -> usize {
        self.put.get().wrapping_sub(self.taken.get())
    }
}

/// One end of a cable.
pub struct End<'a> {
    pub incoming: &'a Lane,
    pub outgoing: &'a Lane,
}

impl<'a> Device for End<'a> {
    type RxToken<'t>
        = Taken<'a>
    where
        Self: 't;
    type TxToken<'t>
        = Put<'a>
    where
        Self: 't;

    fn receive(&mut self, _: Instant) -> Option<(Taken<'a>, Put<'a>)> {
        let both = self.incoming.waiting() > 0 && self.outgoing.waiting() < DEPTH;
        both.then_some((Taken(self.incoming), Put(self.outgoing)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Put<'a>> {
        (self.outgoing.waiting() < DEPTH).then_some(Put(self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME;
        capabilities
    }
}

/// The oldest frame.
pub struct Taken<'a>(&'a Lane);

impl phy::RxToken for Taken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        let at = self.0.taken.get();
        let frame = self.0.frames[at % DEPTH].borrow();
        let result = read(&frame.1[..frame.0]);
        self.0.taken.set(at.wrapping_add(1));
        result
    }
}

/// Room for the next frame.
pub struct Put<'a>(&'a Lane);

impl phy::TxToken for Put<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let at = self.0.put.get();
        let mut frame = self.0.frames[at % DEPTH].borrow_mut();
        frame.0 = length.min(FRAME);
        let result = fill(&mut frame.1[..length.min(FRAME)]);
        self.0.put.set(at.wrapping_add(1));
        result
    }
}
