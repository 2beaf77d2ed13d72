//! Hosts, each with a cable to a switch: Ethernet in memory, in virtual time.

use super::faults::{Change, Direction, Faults, Lane, Passage, corrupt};
use super::memory::uncounted;
use super::pcap::Tape;
use super::random::Random;
use core::cell::RefCell;
use core::cmp::Reverse;
use core::fmt;
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::wire::EthernetAddress;
use socklet::time::Instant;
use std::collections::BinaryHeap;
use std::rc::Rc;

pub(super) const ETHERNET_HEADER: usize = 14;

/// Frames on the way to one host; more are dropped.
const INBOX: usize = 1024;

/// What has become of frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrameCounts {
    /// Sent by hosts.
    pub sent: u64,
    /// Received by hosts, copies included.
    pub received: u64,
    /// Lost on a lane at random, or dropped from its queue.
    pub lost: u64,
    /// Doubled on a lane.
    pub duplicated: u64,
    /// Overtaken on a lane.
    pub reordered: u64,
    /// Delivered with wrong bits.
    pub corrupted: u64,
    /// Put on a lane that is cut, or a cable that is unplugged.
    pub cut: u64,
}

impl FrameCounts {
    /// Adds what has become of other frames.
    pub const fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupted += other.corrupted;
        self.cut += other.cut;
    }

    /// What each kind of fault has done, by its name.
    pub const fn faults(&self) -> [(&'static str, u64); 5] {
        let Self { sent: _, received: _, lost, duplicated, reordered, corrupted, cut } = *self;
        [
            ("lost", lost),
            ("duplicated", duplicated),
            ("reordered", reordered),
            ("corrupted", corrupted),
            ("cut", cut),
        ]
    }

    /// Notes what a lane has made of a frame.
    fn note(&mut self, faults: Faults, passages: [Option<Passage>; 2]) {
        self.cut += u64::from(faults.cut);
        self.lost += u64::from(!faults.cut && passages == [None; 2]);
        self.duplicated += u64::from(passages[1].is_some());
        self.reordered += passages.iter().flatten().filter(|passage| passage.late).count() as u64;
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Arrival {
    due: Instant,
    /// Of those that arrive at once, the one that was sent first is first.
    order: u64,
    octets: Vec<u8>,
}

#[derive(Debug)]
struct Plug {
    up: Lane,
    down: Lane,
    linked: bool,
    inbox: BinaryHeap<Reverse<Arrival>>,
}

/// All cables, and the switch between them.
#[derive(Debug)]
pub(super) struct Network {
    plugs: Vec<Plug>,
    random: Random,
    unused: Vec<Vec<u8>>,
    order: u64,
    pub(super) counts: FrameCounts,
    pub(super) tape: Option<Tape>,
}

/// The hardware address of a host.
pub(super) fn mac(host: usize) -> EthernetAddress {
    EthernetAddress([2, 0, 0, 0, 0, host as u8])
}

impl Network {
    pub(super) fn new(random: Random, tape: Option<Tape>) -> Self {
        let counts = FrameCounts::default();
        Self { plugs: Vec::new(), random, unused: Vec::new(), order: 0, counts, tape }
    }

    pub(super) fn add(&mut self) -> usize {
        let (up, down) = (Lane::default(), Lane::default());
        self.plugs.push(Plug { up, down, linked: true, inbox: BinaryHeap::new() });
        self.plugs.len() - 1
    }

    pub(super) fn change(&mut self, host: usize, change: Change) {
        let plug = &mut self.plugs[host];
        match change {
            Change::Faults(Direction::Up, faults) => plug.up.faults = faults,
            Change::Faults(Direction::Down, faults) => plug.down.faults = faults,
            Change::Link(linked) => {
                plug.linked = linked;
                if !linked {
                    plug.inbox.clear();
                }
            }
            Change::GivenUp => {}
        }
    }

    pub(super) fn next_arrival(&self, host: usize) -> Option<Instant> {
        self.plugs[host].inbox.peek().map(|arrival| arrival.0.due)
    }

    fn receive(&mut self, host: usize, now: Instant) -> Option<Vec<u8>> {
        let inbox = &mut self.plugs[host].inbox;
        if inbox.peek()?.0.due > now {
            return None;
        }
        let octets = inbox.pop()?.0.octets;
        self.counts.received += 1;
        if let Some(tape) = &mut self.tape {
            tape.record(host, Direction::Down, now, &octets);
        }
        Some(octets)
    }

    fn send(&mut self, from: usize, now: Instant, octets: Vec<u8>) {
        self.counts.sent += 1;
        if let Some(tape) = &mut self.tape {
            tape.record(from, Direction::Up, now, &octets);
        }
        if self.plugs[from].linked {
            let lane = &mut self.plugs[from].up;
            let passages = lane.pass(now, octets.len(), &mut self.random);
            self.counts.note(lane.faults, passages);
            for up in passages.into_iter().flatten() {
                for to in (0..self.plugs.len()).filter(|to| *to != from) {
                    if octets[0] & 1 == 1 || octets[..6] == mac(to).0 {
                        self.deliver(to, &octets, up.due, up.corrupt);
                    }
                }
            }
        }
        self.unused.push(octets);
    }

    fn deliver(&mut self, to: usize, octets: &[u8], at: Instant, is_corrupt: bool) {
        let plug = &mut self.plugs[to];
        let passages = plug.down.pass(at, octets.len(), &mut self.random);
        self.counts.note(plug.down.faults, passages);
        for down in passages.into_iter().flatten() {
            if !plug.linked || plug.inbox.len() >= INBOX {
                self.counts.cut += u64::from(!plug.linked);
                continue;
            }
            let mut copy = self.unused.pop().unwrap_or_default();
            copy.clear();
            copy.extend_from_slice(octets);
            // ARP has no checksum: what the frame check sequence would find there is not to be let through.
            let checked = octets[12..14] != [0x08, 0x06];
            if is_corrupt || down.corrupt {
                if !checked {
                    continue;
                }
                // Only once: two bursts can cancel each other out in the sum.
                corrupt(&mut copy, ETHERNET_HEADER, &mut self.random);
                self.counts.corrupted += u64::from(copy != octets);
            }
            self.order += 1;
            plug.inbox.push(Reverse(Arrival { due: down.due, order: self.order, octets: copy }));
        }
    }
}

/// The device of a host.
pub struct Port {
    network: Rc<RefCell<Network>>,
    host: usize,
    mtu: usize,
}

impl Port {
    pub(super) fn new(network: Rc<RefCell<Network>>, host: usize, mtu: usize) -> Self {
        Self { network, host, mtu }
    }

    fn token(&self, timestamp: smoltcp::time::Instant) -> TxToken {
        TxToken { network: Rc::clone(&self.network), host: self.host, now: instant(timestamp) }
    }
}

fn instant(timestamp: smoltcp::time::Instant) -> Instant {
    Instant::from_micros(timestamp.total_micros().max(0) as u64)
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port").field("host", &self.host).field("mtu", &self.mtu).finish_non_exhaustive()
    }
}

impl Device for Port {
    type RxToken<'a> = RxToken;
    type TxToken<'a> = TxToken;

    fn receive(&mut self, timestamp: smoltcp::time::Instant) -> Option<(RxToken, TxToken)> {
        let octets = uncounted(|| self.network.borrow_mut().receive(self.host, instant(timestamp)))?;
        Some((RxToken { octets, network: Rc::clone(&self.network) }, self.token(timestamp)))
    }

    fn transmit(&mut self, timestamp: smoltcp::time::Instant) -> Option<TxToken> {
        self.network.borrow().plugs[self.host].linked.then(|| self.token(timestamp))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = ETHERNET_HEADER + self.mtu;
        capabilities
    }
}

/// A frame that has arrived.
#[derive(Debug)]
pub struct RxToken {
    octets: Vec<u8>,
    network: Rc<RefCell<Network>>,
}

impl phy::RxToken for RxToken {
    fn consume<R, F: FnOnce(&[u8]) -> R>(mut self, read: F) -> R {
        let result = read(&self.octets);
        uncounted(|| self.network.borrow_mut().unused.push(core::mem::take(&mut self.octets)));
        result
    }
}

/// Leave to send a frame.
#[derive(Debug)]
pub struct TxToken {
    network: Rc<RefCell<Network>>,
    host: usize,
    now: Instant,
}

impl phy::TxToken for TxToken {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut octets = self.network.borrow_mut().unused.pop().unwrap_or_default();
        uncounted(|| {
            octets.clear();
            octets.resize(len, 0);
        });
        let result = write(&mut octets);
        uncounted(|| self.network.borrow_mut().send(self.host, self.now, octets));
        result
    }
}
