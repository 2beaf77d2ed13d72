//! The backend's core: frames to slots, slots to lists, lists to deadlines. No call here knows about handles.

use super::config::{Config, Stats};
use super::flow::{Flow, FlowTable};
use super::frame::{self, Frame, Segment};
use super::listener::ListenerSlot;
use super::ports::Ports;
use super::slot::{End, Life, LifeList, Limit, Slot, Snapshot, Work, WorkList};
use super::token::{Egress, OneFrame, Sent, Watch, WatchedTx};
use crate::stack::Backpressure;
use crate::storage::{Deadlines, List, ManagedSlice};
use crate::time::{Duration, Instant};
use ::smoltcp::iface::{Interface, PollResult, SocketSet};
use ::smoltcp::phy::{Device, PacketMeta, RxToken, TxToken};
use ::smoltcp::wire::IpListenEndpoint;

/// Segments that one connection sends in one poll at most; then the others have their turn.
const BURST: usize = 64;

/// How long to leave a device alone that had no room for a frame.
const DEVICE_PAUSE: Duration = Duration::from_millis(1);

pub(super) struct Engine<'a> {
    pub(super) iface: Interface,
    /// No sockets: what belongs to no connection is processed against this.
    pub(super) control: SocketSet<'a>,
    pub(super) slots: ManagedSlice<'a, Slot<'a>>,
    pub(super) listeners: ManagedSlice<'a, ListenerSlot>,
    pub(super) flows: FlowTable,
    pub(super) free: List<LifeList>,
    pub(super) time_wait: List<LifeList>,
    pub(super) dirty: List<WorkList>,
    pub(super) awaiting_neighbor: List<WorkList>,
    pub(super) deadlines: Deadlines,
    pub(super) ports: Ports,
    pub(super) config: Config,
    pub(super) stats: Stats,
    pub(super) now: Instant,
    /// Octets before the IP header.
    pub(super) link: usize,
    /// Whether smoltcp computes TCP checksums, rather than the device.
    pub(super) checksummed: bool,
    /// The interface itself has something to send (multicast reports).
    pub(super) control_due: bool,
    /// Something changed in this poll that its owner should look at.
    pub(super) woke: bool,
    /// The device had more frames than the last poll took.
    pub(super) busy: bool,
    /// The device had no room for a frame.
    pub(super) device_full: bool,
    pub(super) run: Option<Run>,
}

/// Consecutive segments of one connection: looked up once, and settled once.
pub(super) struct Run {
    index: u16,
    key: Option<frame::Key>,
    before: Snapshot,
    watch: Watch,
    reset: bool,
}

/// Whom a segment is for.
enum Target {
    /// The connection of the run.
    Run,
    /// No connection: smoltcp answers with a reset, if it may.
    Nobody,
    Dropped,
}

/// smoltcp's time; half of its range is plenty, and leaves room to add to.
pub(super) fn stamp(now: Instant) -> ::smoltcp::time::Instant {
    ::smoltcp::time::Instant::from_micros(now.as_micros().min(1 << 62) as i64)
}

fn instant(stamp: ::smoltcp::time::Instant) -> Instant {
    Instant::from_micros(stamp.total_micros().max(0) as u64)
}

impl<'a> Engine<'a> {
    pub(super) fn poll<D: Device>(&mut self, device: &mut D, now: Instant) -> Option<Instant> {
        self.now = now;
        self.woke = false;
        self.device_full = false;
        self.expire();
        self.egress(device);
        self.ingress(device);
        if !self.woke {
            // Nobody will answer in a moment, so acknowledgements need not wait for company.
            self.egress(device);
        }
        if self.woke || self.busy {
            return Some(now);
        }
        let pause = (self.device_full && !self.dirty.is_empty()).then(|| now + DEVICE_PAUSE);
        let rest = (!self.dirty.is_empty() && pause.is_none()).then_some(now);
        let timer = self.deadlines.earliest(&self.slots).map(|(_, at)| at);
        [pause, rest, timer].into_iter().flatten().min()
    }

    // ---- the way in -------------------------------------------------------------------------------------

    /// Takes frames: after a sleep up to the first that wakes somebody, so that its answer leaves at once; then in batches.
    fn ingress<D: Device>(&mut self, device: &mut D) {
        for _ in 0..self.config.frames_per_poll {
            let Some((rx, tx)) = device.receive(stamp(self.now)) else {
                self.finish_run();
                self.busy = false;
                return;
            };
            let meta = rx.meta();
            rx.consume(|frame| self.receive(frame, meta, tx));
            if !self.busy {
                self.finish_run();
                if self.woke {
                    break;
                }
            }
        }
        self.finish_run();
        self.busy = true;
    }

    fn receive(&mut self, frame: &[u8], meta: PacketMeta, answer: impl TxToken) {
        self.stats.frames_received += 1;
        let key = frame::plain_key(frame, self.link);
        if key.is_some() && self.run.as_ref().is_some_and(|run| run.key == key) {
            return self.feed(frame, meta, answer);
        }
        match frame::parse(frame, self.link) {
            Frame::Segment(segment) => match self.target(&segment) {
                Target::Run => self.feed_first(key, &segment, frame, meta, answer),
                Target::Nobody => self.process_control(frame, meta, answer),
                Target::Dropped => {}
            },
            Frame::Other => {
                self.process_control(frame, meta, answer);
                self.control_due = true;
                while let Some(index) = self.awaiting_neighbor.first() {
                    self.set_work(index, Work::Dirty);
                }
            }
            Frame::Fragment => self.stats.frames_dropped += 1,
        }
    }

    /// Whom a segment is for that does not continue the run; if a connection, then a new run begins.
    fn target(&mut self, segment: &Segment) -> Target {
        self.finish_run();
        if let Some(index) = self.flows.find(&self.slots, &segment.flow) {
            if !self.reopens(index, segment) {
                return self.begin_run(index);
            }
            // TIME-WAIT keeps nobody out. The owner, if any, keeps its data.
            match self.slots.get(usize::from(index)).map(|slot| slot.life) {
                Some(Life::Owned { .. }) => self.unfile(index),
                Some(Life::HalfOpen { .. } | Life::Queued { .. } | Life::Lingering | Life::TimeWait) => {
                    self.release(index);
                }
                Some(Life::Free) | None => {}
            }
        }
        self.target_of_newcomer(segment)
    }

    /// Whether the peer uses the port of an ended connection again (RFC 9293, section 3.6.1).
    fn reopens(&self, index: u16, segment: &Segment) -> bool {
        let ended = self.slots.get(usize::from(index)).filter(|slot| slot.end == Some(End::Finished));
        segment.opens() && ended.is_some_and(|slot| segment.seq.wrapping_sub(slot.sent.ack) < 1 << 31)
    }

    /// A segment of no connection: a newcomer, or a stray that smoltcp answers with a reset.
    fn target_of_newcomer(&mut self, segment: &Segment) -> Target {
        let Flow { local, remote, .. } = segment.flow;
        if !remote.is_unicast() || self.is_own(remote.ip()) || !self.is_own(local.ip()) {
            self.stats.frames_dropped += 1;
            return Target::Dropped;
        }
        let listener = if segment.opens() { self.listener_for(&segment.flow) } else { None };
        let Some(listener) = listener else { return Target::Nobody };
        if let Some(index) = self.admit(listener, segment.flow) {
            return self.begin_run(index);
        }
        match self.listeners.get(usize::from(listener)).map(|listener| listener.backpressure) {
            Some(Backpressure::Refuse) => {
                self.stats.syns_refused += 1;
                Target::Nobody
            }
            Some(Backpressure::Defer) | None => {
                self.stats.syns_deferred += 1;
                Target::Dropped
            }
        }
    }

    fn begin_run(&mut self, index: u16) -> Target {
        let watch = self.watch(index);
        let socket = self.slots.get(usize::from(index)).and_then(Slot::socket);
        self.run =
            socket.map(|socket| Run { index, key: None, before: Snapshot::of(socket), watch, reset: false });
        if self.run.is_some() { Target::Run } else { Target::Dropped }
    }

    /// The first segment of a run; one that opens or ends something is also the last.
    fn feed_first(
        &mut self,
        key: Option<frame::Key>,
        segment: &Segment,
        frame: &[u8],
        meta: PacketMeta,
        answer: impl TxToken,
    ) {
        if let Some(run) = &mut self.run {
            run.key = key;
            run.reset = segment.is_reset();
        }
        self.feed(frame, meta, answer);
        if key.is_none() {
            self.finish_run();
        }
    }

    /// Lets smoltcp process a segment against the run's connection alone.
    #[inline]
    fn feed(&mut self, frame: &[u8], meta: PacketMeta, answer: impl TxToken) {
        let Some(run) = &mut self.run else { return };
        let Some(set) = self.slots.get_mut(usize::from(run.index)).and_then(|slot| slot.set.as_mut()) else {
            return;
        };
        let mut one = OneFrame::new(frame, meta, WatchedTx { token: answer, watch: &mut run.watch });
        self.iface.poll_ingress_single(stamp(self.now), &mut one, set);
    }

    /// Draws the consequences of the run.
    fn finish_run(&mut self) {
        let Some(run) = self.run.take() else { return };
        self.stats.segments_sent += u64::from(run.watch.segments);
        if let Some(slot) = self.slots.get_mut(usize::from(run.index)) {
            slot.sent = run.watch.sent;
        }
        self.set_work(run.index, Work::Dirty);
        self.settle(run.index, run.before, run.reset);
    }

    fn process_control(&mut self, frame: &[u8], meta: PacketMeta, answer: impl TxToken) {
        let mut one = OneFrame::new(frame, meta, answer);
        self.iface.poll_ingress_single(stamp(self.now), &mut one, &mut self.control);
    }

    // ---- newcomers --------------------------------------------------------------------------------------

    fn listener_for(&self, flow: &Flow) -> Option<u8> {
        let serves = |listener: &ListenerSlot| listener.serves(flow.local, flow.local_port);
        self.listeners.iter().position(serves).map(|index| index as u8)
    }

    /// A slot for a newcomer, listening for exactly this flow; `None` when there is no room.
    fn admit(&mut self, listener: u8, flow: Flow) -> Option<u16> {
        let place = self.listeners.get(usize::from(listener))?;
        if place.waiting() >= place.backlog && !self.reclaim_half_open(listener) {
            return None;
        }
        let index = self.vacate()?;
        let slot = self.slots.get_mut(usize::from(index))?;
        let endpoint = IpListenEndpoint { addr: super::address(flow.local.ip()), port: flow.local_port };
        slot.socket_mut()?.listen(endpoint).ok()?;
        self.occupy(index, flow, Life::HalfOpen { listener });
        self.set_limit(index, Limit::At(self.now + self.config.half_open));
        self.stats.syns_admitted += 1;
        Some(index)
    }

    /// A free slot, at the cost of the oldest TIME-WAIT or of a half-open connection that does not answer.
    ///
    /// TIME-WAIT goes first: nobody waits for it, while a half-open connection may be a client that is about to be served.
    pub(super) fn vacate(&mut self) -> Option<u16> {
        if let Some(index) = self.free.first() {
            return Some(index);
        }
        if let Some(index) = self.time_wait.first() {
            self.stats.time_waits_reclaimed += 1;
            self.release(index);
            return self.free.first();
        }
        let listeners = 0..self.listeners.len() as u8;
        listeners.into_iter().find(|listener| self.reclaim_half_open(*listener))?;
        self.free.first()
    }

    /// Gives up the oldest half-open connection of `listener`, if it has had time to answer.
    fn reclaim_half_open(&mut self, listener: u8) -> bool {
        let oldest =
            self.listeners.get(usize::from(listener)).and_then(|listener| listener.half_open.first());
        let Some(index) = oldest else { return false };
        let Some(slot) = self.slots.get(usize::from(index)) else { return false };
        let Limit::At(deadline) = slot.limit else { return false };
        let left = deadline.since(self.now);
        let age = self.config.half_open.saturating_sub(left);
        if age < self.config.half_open_reclaim {
            return false;
        }
        self.stats.half_open_dropped += 1;
        self.release(index);
        true
    }

    // ---- the way out ------------------------------------------------------------------------------------

    fn egress<D: Device>(&mut self, device: &mut D) {
        if core::mem::take(&mut self.control_due) {
            self.iface.poll_egress(stamp(self.now), device, &mut self.control);
        }
        // Those that become dirty again meanwhile wait for the next poll: bounded work.
        for _ in 0..self.dirty.len() {
            let Some(index) = self.dirty.first() else { return };
            self.set_work(index, Work::None);
            self.run(index, device);
        }
    }

    /// Sends what a connection has to send, and starts its timer.
    fn run<D: Device>(&mut self, index: u16, device: &mut D) {
        let Some(slot) = self.slots.get_mut(usize::from(index)) else { return };
        if let Limit::In(after) = slot.limit {
            slot.limit = Limit::At(self.now + after);
        }
        if !slot.chain.is_filed() {
            // Its end has been told; smoltcp's timers have nothing to add.
            return self.set_timer(index, None);
        }
        let Some(before) = slot.socket().map(Snapshot::of) else { return };
        let due = self.send(index, device);
        self.settle(index, before, false);
        self.set_timer(index, due);
    }

    /// Sends at most a burst of segments; returns when smoltcp wants to be called next.
    fn send<D: Device>(&mut self, index: u16, device: &mut D) -> Option<Instant> {
        let now = stamp(self.now);
        let mut watch = self.watch(index);
        let slot = self.slots.get_mut(usize::from(index))?;
        let set = slot.set.as_mut()?;
        let mut due = self.iface.poll_at(now, set);
        for _ in 0..BURST {
            if due.is_none_or(|at| at > now) {
                break;
            }
            let result = self.iface.poll_egress(now, &mut Egress { device, watch: &mut watch }, set);
            // After a large segment there is probably another: asking would cost more than trying.
            if result == PollResult::None || !watch.large {
                due = self.iface.poll_at(now, set);
            }
            if result == PollResult::None {
                break;
            }
        }
        slot.sent = watch.sent;
        self.stats.segments_sent += u64::from(watch.segments);
        if watch.refused > 0 {
            self.device_full = true;
            self.set_work(index, Work::Dirty);
            return None;
        }
        if watch.others > 0 {
            self.set_work(index, Work::AwaitsNeighbor);
        } else if due.is_some_and(|at| at <= now) {
            self.set_work(index, Work::Dirty);
            return None;
        }
        due.map(instant)
    }

    fn watch(&self, index: u16) -> Watch {
        let slot = self.slots.get(usize::from(index));
        Watch {
            sent: slot.map_or(Sent::NOTHING, |slot| slot.sent),
            segments: 0,
            others: 0,
            refused: 0,
            large: false,
            link: self.link,
            trim_window: slot
                .and_then(Slot::socket)
                .is_some_and(|socket| socket.recv_capacity() > usize::from(u16::MAX)),
            checksummed: self.checksummed,
        }
    }

    /// Resets a connection at once, and frees its slot.
    pub(super) fn reset<D: Device>(&mut self, index: u16, device: &mut D) {
        let Some(slot) = self.slots.get_mut(usize::from(index)) else { return };
        if slot.chain.is_filed() {
            if let Some(socket) = slot.socket_mut() {
                socket.abort();
            }
            self.send(index, device);
        }
        self.release(index);
    }

    pub(super) fn is_own(&self, ip: core::net::IpAddr) -> bool {
        super::address(ip).is_some_and(|ip| self.iface.has_ip_addr(ip))
    }
}
