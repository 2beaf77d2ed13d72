//! A simulated cable: an Ethernet link in memory.

use core::cell::RefCell;
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::time::Instant;
use std::collections::VecDeque;
use std::rc::Rc;

/// Frames on the way at once, in each direction; above that the sender waits.
const FRAMES: usize = 512;
const FRAME: usize = 1514;

/// One direction: frames on the way, and the memory of those that have arrived.
#[derive(Debug, Default)]
struct Lane {
    frames: VecDeque<Vec<u8>>,
    spare: Vec<Vec<u8>>,
}

/// One end of a cable.
#[derive(Debug)]
pub(super) struct Plug {
    incoming: Rc<RefCell<Lane>>,
    outgoing: Rc<RefCell<Lane>>,
}

impl Plug {
    /// Both ends of a new cable.
    pub(super) fn pair() -> [Self; 2] {
        let (there, back) = (Rc::<RefCell<Lane>>::default(), Rc::<RefCell<Lane>>::default());
        let near = Self { incoming: Rc::clone(&back), outgoing: Rc::clone(&there) };
        [near, Self { incoming: there, outgoing: back }]
    }

    /// Whether a frame has come.
    pub(super) fn has_frame(&self) -> bool {
        !self.incoming.borrow().frames.is_empty()
    }
}

impl Device for Plug {
    type RxToken<'a> = RxToken<'a>;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, _: Instant) -> Option<(RxToken<'_>, TxToken<'_>)> {
        let frame = self.incoming.borrow_mut().frames.pop_front()?;
        Some((RxToken { frame, lane: &self.incoming }, TxToken { lane: &self.outgoing }))
    }

    fn transmit(&mut self, _: Instant) -> Option<TxToken<'_>> {
        let has_room = self.outgoing.borrow().frames.len() < FRAMES;
        has_room.then_some(TxToken { lane: &self.outgoing })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME;
        capabilities
    }
}

pub(super) struct RxToken<'a> {
    frame: Vec<u8>,
    lane: &'a RefCell<Lane>,
}

impl phy::RxToken for RxToken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        let result = read(&self.frame);
        self.lane.borrow_mut().spare.push(self.frame);
        result
    }
}

pub(super) struct TxToken<'a> {
    lane: &'a RefCell<Lane>,
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut frame = self.lane.borrow_mut().spare.pop().unwrap_or_else(|| Vec::with_capacity(FRAME));
        frame.resize(len, 0);
        let result = write(&mut frame);
        self.lane.borrow_mut().frames.push_back(frame);
        result
    }
}
