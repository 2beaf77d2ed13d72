//! What joins the two TAPs: the simulator's faults, in real time, from a seed.

use super::party::PORT;
use core::cmp::Reverse;
use core::mem;
use core::net::{Ipv4Addr, SocketAddrV4};
use rustix::event::{PollFd, PollFlags, poll};
use smoltcp::phy::{Device, RxToken as _, TxToken as _};
use smoltcp::wire::{EthernetFrame, EthernetProtocol, Ipv4Packet, TcpPacket};
use socklet::time::{Duration, Instant};
use socklet_hosted::sandbox::{Network, STACK_MAC};
use socklet_hosted::tap::Tap;
use socklet_tests::hostile::Segment;
use socklet_tests::sim::{Faults, Lane, Random, corrupt};
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, PoisonError};

const ETHERNET_HEADER: usize = 14;

/// Frames on the way in one direction; more are dropped.
const QUEUE: usize = 1024;

/// A change is seen after this.
const TICK: Duration = Duration::from_millis(20);

/// A segment with data, SYN or FIN that follows so long a silence of such segments in its direction is carried as it is, and so is one without
/// them. A sender waits twice as long after each loss: without this a trial in sixty took more than a minute, and no limit would be one. Losses
/// without end are for the simulator, whose time costs nothing.
const SILENCE: Duration = Duration::from_secs(3);

/// A flood comes in pieces of this length.
const PIECE: Duration = Duration::from_millis(1);

/// What has become of frames, in both directions.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Frames {
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    pub(crate) twice: u64,
    /// Overtaken by others.
    pub(crate) late: u64,
    pub(crate) corrupt: u64,
    /// Dropped because the plug was out.
    pub(crate) unplugged: u64,
    /// SYNs of a flood.
    pub(crate) flooded: u64,
}

/// What the test sets, and what it reads.
#[derive(Debug, Default)]
pub(crate) struct Control {
    pub(crate) faults: Faults,
    pub(crate) unplugged: bool,
    /// SYNs per second from random sources, sent to socklet.
    pub(crate) flood: u64,
    pub(crate) stop: bool,
    pub(crate) frames: Frames,
}

pub(crate) type Shared = Arc<Mutex<Control>>;

/// The control, also after a panic of the relay: the test fails by itself then.
pub(crate) fn lock(control: &Shared) -> std::sync::MutexGuard<'_, Control> {
    control.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One direction.
struct Way {
    lane: Lane,
    /// When the last segment entered it without data, SYN or FIN, and the last with them.
    last: [Instant; 2],
    under_way: BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>>,
}

/// Carries frames until it is told to stop.
pub(crate) fn run(mut taps: [Tap; 2], seed: u64, control: &Shared) {
    let start = std::time::Instant::now();
    let mut random = Random::new(seed, 0);
    let way = || Way { lane: Lane::default(), last: [Instant::ZERO; 2], under_way: BinaryHeap::new() };
    let mut ways = [way(), way()];
    let mut order = 0;
    let mut flooded = Instant::ZERO;
    loop {
        let longest;
        let now = Instant::ZERO + start.elapsed();
        {
            let mut control = lock(control);
            if control.stop {
                return;
            }
            for (from, way) in ways.iter_mut().enumerate() {
                while let Some(frame) = receive(&mut taps[from]) {
                    order += 1;
                    way.put(frame, now, order, &mut random, &mut control);
                }
                way.deliver(&mut taps[1 - from], now, control.unplugged);
            }
            // What is left of a second when it is divided into pieces is left out.
            while control.flood > 0 && flooded + PIECE <= now {
                flooded = flooded + PIECE;
                for _ in 0..control.flood / 1000 {
                    send(&mut taps[1], &random_syn(&mut random));
                    control.frames.flooded += 1;
                }
            }
            if control.flood == 0 {
                flooded = now;
            }
            longest = if control.flood > 0 { PIECE } else { TICK };
        }
        let next = ways.iter().filter_map(|way| way.under_way.peek()).map(|Reverse((due, ..))| *due).min();
        let wait = next.map_or(longest, |due| due.since(Instant::ZERO + start.elapsed()).min(longest));
        let mut fds = [PollFd::new(&taps[0], PollFlags::IN), PollFd::new(&taps[1], PollFlags::IN)];
        poll(&mut fds, Some(&wait.try_into().expect("a short time"))).expect("wait for frames");
    }
}

impl Way {
    fn put(&mut self, frame: Vec<u8>, now: Instant, order: u64, random: &mut Random, control: &mut Control) {
        let frames = &mut control.frames;
        frames.sent += 1;
        if control.unplugged {
            frames.unplugged += 1;
            return;
        }
        let faults = control.faults;
        self.lane.faults = faults;
        if self.spares(&frame, now) {
            self.lane.faults = Faults { delay: faults.delay, ..Faults::default() };
        }
        let passages = self.lane.pass(now, frame.len(), random);
        frames.lost += u64::from(passages == [None; 2]);
        frames.twice += u64::from(passages[1].is_some());
        for passage in passages.into_iter().flatten() {
            let mut copy = frame.clone();
            if passage.corrupt {
                frames.corrupt += 1;
                corrupt(&mut copy, ETHERNET_HEADER, random);
            }
            frames.late += u64::from(passage.due.since(now) > faults.delay + faults.jitter);
            if self.under_way.len() < QUEUE {
                self.under_way.push(Reverse((passage.due, order, copy)));
            }
        }
    }

    /// Whether the frame is to be carried as it is. ARP always is: it has no checksum, and Linux gives up after three requests.
    fn spares(&mut self, frame: &[u8], now: Instant) -> bool {
        let Some(ip) = EthernetFrame::new_checked(frame)
            .ok()
            .filter(|frame| frame.ethertype() == EthernetProtocol::Ipv4)
        else {
            return true;
        };
        let counts = Ipv4Packet::new_checked(ip.payload()).and_then(|packet| {
            TcpPacket::new_checked(packet.payload()).map(|segment| segment.segment_len() > 0)
        });
        let last = &mut self.last[usize::from(counts == Ok(true))];
        now.since(mem::replace(last, now)) >= SILENCE
    }

    fn deliver(&mut self, to: &mut Tap, now: Instant, unplugged: bool) {
        while self.under_way.peek().is_some_and(|Reverse((due, ..))| *due <= now) {
            let Some(Reverse((_, _, frame))) = self.under_way.pop() else { return };
            if !unplugged {
                send(to, &frame);
            }
        }
    }
}

/// A SYN to socklet's server from anywhere on the Internet.
fn random_syn(random: &mut Random) -> Vec<u8> {
    let from = Ipv4Addr::from(0x2000_0000 + random.below(0x4000_0000) as u32);
    let from = SocketAddrV4::new(from, random.bits() as u16 | 1024);
    let to = SocketAddrV4::new(Network::default().stack_v4, PORT).into();
    let mut frame = Segment { to, ..Segment::syn(from, random.bits() as u32) }.frame();
    frame[..6].copy_from_slice(&STACK_MAC);
    frame
}

fn send(tap: &mut Tap, frame: &[u8]) {
    if let Some(token) = tap.transmit(smoltcp::time::Instant::ZERO) {
        token.consume(frame.len(), |room| room.copy_from_slice(frame));
    }
}

fn receive(tap: &mut Tap) -> Option<Vec<u8>> {
    let (frame, _) = tap.receive(smoltcp::time::Instant::ZERO)?;
    Some(frame.consume(<[u8]>::to_vec))
}
