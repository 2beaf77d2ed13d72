//! A cable in memory that costs next to nothing: two rings of frames, shared by two ends.

use core::cell::RefCell;
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use std::rc::Rc;

const FRAMES: usize = 128;
const MTU: usize = 1514;

struct Ring {
    frames: Box<[[u8; MTU]; FRAMES]>,
    lengths: [usize; FRAMES],
    first: usize,
    count: usize,
}

impl Ring {
    fn new() -> Shared {
        let frames = vec![[0; MTU]; FRAMES].into_boxed_slice().try_into().expect("as many as asked for");
        Rc::new(RefCell::new(Self { frames, lengths: [0; FRAMES], first: 0, count: 0 }))
    }
}

type Shared = Rc<RefCell<Ring>>;

/// One end.
pub(crate) struct End {
    rx: Shared,
    tx: Shared,
}

pub(crate) fn pair() -> (End, End) {
    let (a, b) = (Ring::new(), Ring::new());
    (End { rx: a.clone(), tx: b.clone() }, End { rx: b, tx: a })
}

impl End {
    pub(crate) fn waiting(&self) -> usize {
        self.rx.borrow().count
    }
}

pub(crate) struct Rx<'a>(&'a Shared);
pub(crate) struct Tx<'a>(&'a Shared);

impl RxToken for Rx<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let mut ring = self.0.borrow_mut();
        let at = ring.first;
        ring.first = (at + 1) % FRAMES;
        ring.count -= 1;
        f(&ring.frames[at][..ring.lengths[at]])
    }
}

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut ring = self.0.borrow_mut();
        let at = (ring.first + ring.count) % FRAMES;
        ring.count += 1;
        ring.lengths[at] = length;
        f(&mut ring.frames[at][..length])
    }
}

impl Device for End {
    type RxToken<'a> = Rx<'a>;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Rx<'_>, Tx<'_>)> {
        (self.waiting() > 0 && self.tx.borrow().count < FRAMES).then_some((Rx(&self.rx), Tx(&self.tx)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        (self.tx.borrow().count < FRAMES).then_some(Tx(&self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut caps = DeviceCapabilities::default();
        caps.medium = Medium::Ethernet;
        caps.max_transmission_unit = MTU;
        caps
    }
}
