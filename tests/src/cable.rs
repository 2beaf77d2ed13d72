//! An Ethernet cable in memory, with a smoltcp [`Device`] at each end.
//!
//! Its memory is allocated when it is made. A frame arrives some time after it was sent, and never out of order.

use core::cell::RefCell;
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use socklet::time::{Duration, Instant};
use std::collections::VecDeque;
use std::rc::Rc;

/// How a cable is made.
#[derive(Debug, Clone, Copy)]
pub struct CableOptions {
    /// The longest IP packet, in octets. Frames have 14 more.
    pub mtu: usize,
    /// Frames on the way at once, in each direction.
    pub capacity: usize,
    /// How long a frame is on its way.
    pub delay: Duration,
}

/// 1,500 octets, 256 frames, 100 microseconds.
impl Default for CableOptions {
    fn default() -> Self {
        Self { mtu: 1500, capacity: 256, delay: Duration::from_micros(100) }
    }
}

const ETHERNET_HEADER: usize = 14;

#[derive(Debug)]
struct Frame {
    due: Instant,
    octets: Vec<u8>,
}

/// One direction.
#[derive(Debug)]
struct Lane {
    on_the_way: VecDeque<Frame>,
    unused: Vec<Vec<u8>>,
    dropped: u64,
}

impl Lane {
    fn new(options: CableOptions) -> Rc<RefCell<Self>> {
        let buffer = || Vec::with_capacity(ETHERNET_HEADER + options.mtu);
        Rc::new(RefCell::new(Self {
            on_the_way: VecDeque::with_capacity(options.capacity),
            unused: (0..options.capacity).map(|_| buffer()).collect(),
            dropped: 0,
        }))
    }

    /// What came until `now`.
    fn arrived(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.on_the_way.pop_front_if(|frame| frame.due <= now).map(|frame| frame.octets)
    }
}

/// The plug at one end.
#[derive(Debug)]
pub struct CableEnd {
    options: CableOptions,
    incoming: Rc<RefCell<Lane>>,
    outgoing: Rc<RefCell<Lane>>,
}

/// Both ends of a new cable.
pub fn cable(options: CableOptions) -> [CableEnd; 2] {
    let [there, back] = [Lane::new(options), Lane::new(options)];
    [
        CableEnd { options, incoming: Rc::clone(&back), outgoing: Rc::clone(&there) },
        CableEnd { options, incoming: there, outgoing: back },
    ]
}

impl CableEnd {
    /// When the next frame arrives at this end.
    pub fn next_arrival(&self) -> Option<Instant> {
        self.incoming.borrow().on_the_way.front().map(|frame| frame.due)
    }

    /// Frames that this end sent while the cable was full.
    pub fn dropped(&self) -> u64 {
        self.outgoing.borrow().dropped
    }
}

fn instant(timestamp: smoltcp::time::Instant) -> Instant {
    Instant::from_micros(timestamp.total_micros().max(0) as u64)
}

impl Device for CableEnd {
    type RxToken<'a> = RxToken;
    type TxToken<'a> = TxToken;

    /// The reply of a frame that is received while the other direction is full is dropped: waiting for room at both ends could last for ever.
    fn receive(&mut self, timestamp: smoltcp::time::Instant) -> Option<(RxToken, TxToken)> {
        let now = instant(timestamp);
        let octets = self.incoming.borrow_mut().arrived(now)?;
        let due = now + self.options.delay;
        let received = RxToken { octets, lane: Rc::clone(&self.incoming) };
        Some((received, TxToken { due, lane: Rc::clone(&self.outgoing) }))
    }

    fn transmit(&mut self, timestamp: smoltcp::time::Instant) -> Option<TxToken> {
        let has_room = !self.outgoing.borrow().unused.is_empty();
        let due = instant(timestamp) + self.options.delay;
        has_room.then(|| TxToken { due, lane: Rc::clone(&self.outgoing) })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = ETHERNET_HEADER + self.options.mtu;
        capabilities
    }
}

/// A frame that has arrived. Its memory goes back to the cable.
#[derive(Debug)]
pub struct RxToken {
    octets: Vec<u8>,
    lane: Rc<RefCell<Lane>>,
}

impl phy::RxToken for RxToken {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.octets)
    }
}

impl Drop for RxToken {
    fn drop(&mut self) {
        self.lane.borrow_mut().unused.push(core::mem::take(&mut self.octets));
    }
}

/// Leave to send a frame.
#[derive(Debug)]
pub struct TxToken {
    due: Instant,
    lane: Rc<RefCell<Lane>>,
}

impl phy::TxToken for TxToken {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let unused = self.lane.borrow_mut().unused.pop();
        let has_room = unused.is_some();
        let mut octets = unused.unwrap_or_default();
        octets.clear();
        octets.resize(len, 0);
        let result = write(&mut octets);
        let mut lane = self.lane.borrow_mut();
        if has_room {
            lane.on_the_way.push_back(Frame { due: self.due, octets });
        } else {
            lane.dropped += 1;
        }
        result
    }
}
