//! The backend's core: frames to slots, slots to lists, lists to deadlines. No call here knows about handles.

use super::arrival::Arrival;
use super::config::Config;
use super::craft::{self, Says, craft};
use super::flow::{Address, FlowTable};
use super::frame::{self, Frame, Segment};
use super::isn::{self, SequenceNumbers};
use super::listener::ListenerSlot;
use super::ports::Ports;
use super::slot::{ASKED, LifeList, Slot, Snapshot, Work, WorkList};
use super::stats::{Stats, one_more};
use super::token::{Egress, Exit, OneFrame, SECOND_COPY, Sequence, Watch};
use crate::storage::{Deadlines, List, ManagedSlice};
use crate::time::{Duration, Instant, earliest};
use ::smoltcp::iface::{Interface, PollResult, SocketSet};
use ::smoltcp::phy::{Device, DeviceCapabilities, PacketMeta, RxToken, TxToken};
use ::smoltcp::socket::{AnySocket as _, tcp};
use ::smoltcp::wire::IpCidr;
use core::net::IpAddr;

/// Segments that one connection sends in one poll at most; then the others have their turn.
pub(super) const BURST: usize = 64;

/// How long to leave a device alone that had no room for a frame.
pub(super) const DEVICE_PAUSE: Duration = Duration::from_millis(1);

pub(super) struct Engine<'a> {
    pub(super) iface: Interface,
    /// Sockets of other protocols; what belongs to no connection is processed against them.
    pub(super) others: SocketSet<'a>,
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
    /// When they, or the interface itself, may have something to send.
    pub(super) others_at: Instant,
    /// Something changed in this poll that its owner should look at.
    pub(super) woke: bool,
    /// The device has more frames, for all that is known.
    pub(super) busy: bool,
    /// The device had no room for a frame.
    pub(super) device_full: bool,
    pub(super) run: Option<Run>,
    pub(super) latest: Latest,
    pub(super) caps: DeviceCapabilities,
    pub(super) numbers: SequenceNumbers,
    /// Until when a cookie may come back.
    pub(super) cookies_until: Instant,
}

/// What to do when a frame has been taken.
enum After {
    /// Take the next, unless this one woke somebody after a sleep.
    Next,
    /// Let this connection send first: its peer waits for nothing else, and its slot may be needed for another.
    Answer(u16),
    /// Let the service have a look first, even in a batch: its peer has said all.
    Wake,
}

/// Consecutive segments of one connection: looked up once, and settled once.
pub(super) struct Run {
    index: u16,
    before: Snapshot,
    /// The next sequence number that was expected before it.
    expected: u32,
    watch: Watch,
    reset: bool,
}

/// Where the latest segment went: the next one of the same connection goes there without a search.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Latest {
    key: Option<frame::Key>,
    pub(super) index: u16,
}

/// Whether there is nothing to send but acknowledgements, one at a time.
///
/// A peer that acknowledges the FIN and keeps its window closed leaves smoltcp's timer for probes of that window running, in a state that
/// does not serve it: it is due for ever, and each look at it sends an acknowledgement.
#[cold]
fn is_fin_wait_2(set: &SocketSet<'_>) -> bool {
    let socket = set.iter().next().and_then(|(_, socket)| tcp::Socket::downcast(socket));
    socket.is_some_and(|socket| socket.state() == tcp::State::FinWait2)
}

/// smoltcp's time, which has half the range: a [`Monotonic`](crate::time::Monotonic) clock leaves a quarter of that.
pub(super) fn stamp(now: Instant) -> ::smoltcp::time::Instant {
    ::smoltcp::time::Instant::from_micros(now.as_micros() as i64)
}

pub(super) fn instant(stamp: ::smoltcp::time::Instant) -> Instant {
    Instant::from_micros(stamp.total_micros().max(0) as u64)
}

impl<'a> Engine<'a> {
    pub(super) fn poll<D: Device>(&mut self, device: &mut D, now: Instant) -> Option<Instant> {
        self.now = now;
        self.woke = false;
        self.device_full = false;
        if self.deadlines.earliest().is_some_and(|at| at <= self.now) {
            self.expire();
        }
        if self.others_at <= self.now {
            self.send_others(device);
        }
        self.egress(device);
        self.ingress(device);
        if !self.woke {
            // Nobody will answer in a moment, so acknowledgements need not wait for company.
            self.egress(device);
        }
        if self.woke || self.busy {
            return Some(now);
        }
        let mut due = self.deadlines.earliest();
        if self.others_at != Instant::FAR_FUTURE {
            due = earliest(due, Some(self.others_at));
        }
        match (self.dirty.is_empty(), self.device_full) {
            (true, _) => due,
            (false, false) => Some(now),
            (false, true) => earliest(Some(now + DEVICE_PAUSE), due),
        }
    }

    // ---- the way in -------------------------------------------------------------------------------------

    /// Takes frames: after a sleep up to the first that wakes somebody, so that its answer leaves at once; then in batches.
    ///
    /// Segments without PSH wake nobody by themselves if more frames are there: their sender has not said all (RFC 9293, section 3.9.1.2), and
    /// for acknowledgements there is no hurry.
    fn ingress<D: Device>(&mut self, device: &mut D) {
        let mut taken = 0;
        let more = loop {
            if taken == self.config.frames_per_poll {
                break true;
            }
            let Some((rx, tx)) = device.receive(stamp(self.now)) else { break false };
            taken += 1;
            let meta = rx.meta();
            match rx.consume(|frame| self.receive::<D>(frame, meta, tx)) {
                After::Next if self.busy => continue,
                After::Next | After::Wake => {}
                After::Answer(index) => {
                    self.run(index, device);
                    if self.busy {
                        continue;
                    }
                }
            }
            self.finish_run();
            if self.woke {
                break true;
            }
        };
        self.finish_run();
        self.busy = more;
        if taken > 0 {
            self.stats.frames_received += taken as u64;
        }
    }

    #[inline]
    fn receive<D: Device>(&mut self, frame: &[u8], meta: PacketMeta, answer: D::TxToken<'_>) -> After {
        let head = frame::plain(frame, self.link);
        if let (Some(head), Some(latest)) = (head, &self.latest.key)
            && frame::key(head) == latest
        {
            // A connection in full swing: no more than a look at its slot.
            self.busy |= !frame::pushes(head);
            if self.run.is_none() {
                self.begin_run(self.latest.index);
            }
            self.feed(frame, meta, answer);
            return After::Next;
        }
        let key = head.map(frame::key).copied();
        match frame::parse(frame, self.link) {
            Frame::Segment(segment) => {
                self.finish_run();
                // These can cost another connection its slot: not without a look at the checksums.
                if segment.flags & (frame::SYN | frame::RST) != 0 && !self.is_genuine(&segment, frame) {
                    return After::Next;
                }
                let fin = segment.flags & frame::FIN != 0;
                match self.arrival(&segment) {
                    Arrival::For(index) => {
                        self.take(index, key, &segment, frame, meta, answer);
                        if fin {
                            return After::Wake;
                        }
                    }
                    Arrival::Challenge(index) => self.challenge(index, &segment, frame, meta, answer),
                    Arrival::Opens { index, isn, cookie: false } => {
                        self.open::<D>(index, isn, &segment, frame);
                        return After::Answer(index);
                    }
                    Arrival::Opens { index, isn, cookie: true } => {
                        self.open_by_cookie::<D>(index, isn, &segment, frame);
                        return After::Answer(index);
                    }
                    Arrival::Returns { index, isn, mss } => {
                        self.open_again::<D>(index, isn, mss, &segment, frame);
                        self.take(index, key, &segment, frame, meta, answer);
                    }
                    Arrival::ForNobody => {
                        self.stats.for_nobody = self.stats.for_nobody.wrapping_add(1);
                        self.process_other(frame, meta, answer);
                    }
                    Arrival::Dropped => {}
                }
            }
            Frame::Other => {
                self.process_other(frame, meta, answer);
                self.others_at = Instant::ZERO;
                while let Some(index) = self.awaiting_neighbor.first() {
                    self.set_work(index, Work::Dirty);
                }
            }
            Frame::Fragment => one_more(&mut self.stats.dropped.fragments),
            Frame::Malformed => one_more(&mut self.stats.dropped.malformed),
        }
        After::Next
    }

    #[inline]
    fn begin_run(&mut self, index: u16) {
        let Some(slot) = self.slots.get(usize::from(index)) else { return };
        let Some(before) = slot.socket().map(Snapshot::of) else { return };
        let watch = Watch::on(slot, self.link, self.checksummed);
        self.run = Some(Run { index, before, expected: slot.sequence.expected, watch, reset: false });
    }

    /// The first segment of a run; one that opens or ends something (it has no key) is also the last.
    fn take(
        &mut self,
        index: u16,
        key: Option<frame::Key>,
        segment: &Segment,
        frame: &[u8],
        meta: PacketMeta,
        answer: impl TxToken,
    ) {
        self.begin_run(index);
        self.latest = Latest { key, index };
        if let Some(run) = &mut self.run {
            run.reset = segment.is_reset();
            if run.before.state == tcp::State::SynSent && segment.flags & frame::SYN != 0 {
                run.expected = segment.seq.wrapping_add(1);
            }
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
        self.stats.segments_received = self.stats.segments_received.wrapping_add(1);
        let Some(slot) = self.slots.get_mut(usize::from(run.index)) else { return };
        slot.segments_received = slot.segments_received.wrapping_add(1);
        let Some(set) = slot.set.as_mut() else { return };
        let answer = Exit::<_, false> { token: Some(answer), watch: Some(&mut run.watch) };
        let mut one = OneFrame::new(frame, meta, answer);
        self.iface.poll_ingress_single(stamp(self.now), &mut one, set);
    }

    /// Draws the consequences of the run.
    fn finish_run(&mut self) {
        let Some(run) = &self.run else { return };
        let Run { index, before, expected, reset, ref watch } = *run;
        if watch.segments > 0 {
            self.stats.add(watch);
        }
        let slot = self.slots.get_mut(usize::from(index));
        if let Some(slot) = slot
            && let Some(after) = slot.socket().map(Snapshot::of)
        {
            slot.sequence.next = watch.sequence.next;
            slot.sequence.expected = expected.wrapping_add(after.advance(&before));
            slot.set_edge(watch.edge());
            slot.segments_sent = slot.segments_sent.wrapping_add(watch.segments);
            let octets = after.octets_since(&before);
            self.stats.octets_received = self.stats.octets_received.wrapping_add(octets.into());
            self.set_work(index, Work::Dirty);
            self.settle(index, &before, &after, reset);
        }
        self.run = None;
    }

    /// Processes the segment that opens a connection, so that it gets the initial sequence number `isn`.
    fn open<D: Device>(&mut self, index: u16, isn: u32, segment: &Segment, syn: &[u8]) {
        let Some(local) = super::address(segment.flow.local.ip()) else { return };
        let Some(slot) = self.slots.get_mut(usize::from(index)) else { return };
        let Some(before) = slot.socket().map(Snapshot::of) else { return };
        let expected = segment.seq.wrapping_add(1);
        slot.sequence = Sequence { expected, next: isn };
        if let Some(set) = slot.set.as_mut() {
            let nowhere = Exit::<D::TxToken<'_>, false> { token: None, watch: None };
            let mut one = OneFrame::new(syn, PacketMeta::default(), nowhere);
            isn::with_opening(&self.caps, self.config.hardware_addr, local, isn, |iface| {
                iface.poll_ingress_single(stamp(self.now), &mut one, set);
            });
        }
        let Some(after) = slot.socket().map(Snapshot::of) else { return };
        self.set_work(index, Work::Dirty);
        self.settle(index, &before, &after, false);
    }

    /// Opens with what a cookie can remember.
    fn open_by_cookie<D: Device>(&mut self, index: u16, isn: u32, segment: &Segment, frame: &[u8]) {
        let mss = Some(isn::rounded_mss(segment.mss));
        let says = Says { flags: frame::SYN, seq: segment.seq, ack: 0, mss };
        let Some((syn, length)) = craft(frame, self.link, segment, &says) else { return self.release(index) };
        self.open::<D>(index, isn, segment, syn.get(..length).unwrap_or(&[]));
    }

    /// Makes a half-open connection again from the acknowledgement of its cookie.
    fn open_again<D: Device>(&mut self, index: u16, isn: u32, mss: u16, segment: &Segment, frame: &[u8]) {
        let first = Segment { seq: segment.seq.wrapping_sub(1), ..*segment };
        let says = Says { flags: frame::SYN, seq: first.seq, ack: 0, mss: Some(mss) };
        if !self.is_genuine(segment, frame) {
            return self.release(index);
        }
        let Some((syn, length)) = craft(frame, self.link, segment, &says) else { return self.release(index) };
        self.open::<D>(index, isn, &first, syn.get(..length).unwrap_or(&[]));
        // Its SYN|ACK left long ago.
        if let Some(set) = self.slots.get_mut(usize::from(index)).and_then(|slot| slot.set.as_mut()) {
            let mut nowhere = Egress::<D, false> { device: None, watch: None };
            self.iface.poll_egress(stamp(self.now), &mut nowhere, set);
        }
    }

    /// Lets the connection say where it stands (RFC 5961, section 7: once a second at most; smoltcp sees to that).
    fn challenge(
        &mut self,
        index: u16,
        segment: &Segment,
        frame: &[u8],
        meta: PacketMeta,
        answer: impl TxToken,
    ) {
        let Some(slot) = self.slots.get(usize::from(index)) else { return };
        // smoltcp answers so to an acknowledgement of what was never sent.
        let ack = slot.sequence.next.wrapping_add(0x6000_0000);
        let says = Says { flags: frame::ACK, seq: slot.sequence.expected, ack, mss: None };
        let Some((bytes, length)) = craft(frame, self.link, segment, &says) else { return };
        let plain = Segment { flags: frame::ACK, ..*segment };
        self.take(index, None, &plain, bytes.get(..length).unwrap_or(&[]), meta, answer);
    }

    /// Whether smoltcp would take the frame; counted if not.
    fn is_genuine(&mut self, segment: &Segment, frame: &[u8]) -> bool {
        let verified =
            craft::verify(frame, self.link, segment, self.config.hardware_addr, &self.caps.checksum);
        if let Err(flaw) = verified {
            self.stats.dropped.flawed(flaw);
        }
        verified.is_ok()
    }

    // ---- the way out ------------------------------------------------------------------------------------

    fn egress<D: Device>(&mut self, device: &mut D) {
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
        slot.limit.start(self.now);
        if !slot.chain.is_filed() {
            // Its end has been told; smoltcp's timers have nothing to add.
            return self.set_timer(index, None);
        }
        let Some(before) = slot.socket().map(Snapshot::of) else { return };
        let due = self.send(index, device, before.has_unsent());
        if let Some(after) = self.slots.get(usize::from(index)).and_then(Slot::socket).map(Snapshot::of)
            && (after.state != before.state || after.state == tcp::State::Closed)
        {
            self.settle(index, &before, &after, false);
        }
        self.set_timer(index, due);
    }

    /// Sends at most a burst of segments; returns when smoltcp wants to be called next.
    ///
    /// To ask first whether there is anything to send costs nearly as much as to try: `probably` there is.
    fn send<D: Device>(&mut self, index: u16, device: &mut D, probably: bool) -> Option<Instant> {
        let now = stamp(self.now);
        let slot = self.slots.get_mut(usize::from(index))?;
        let mut watch = Watch::on(slot, self.link, self.checksummed);
        let set = slot.set.as_mut()?;
        let mut due = if probably { Some(now) } else { self.iface.poll_at(now, set) };
        let is_due = due.is_some_and(|at| at <= now);
        let mut left = if is_due { BURST } else { 0 };
        while left > 0 {
            left -= 1;
            let mut device = Egress::<D, SECOND_COPY> { device: Some(&mut *device), watch: Some(&mut watch) };
            let result = self.iface.poll_egress(now, &mut device, set);
            // After a large segment there is probably another: asking would cost more than trying.
            if result != PollResult::None && watch.is_large() {
                continue;
            }
            due = self.iface.poll_at(now, set);
            if result == PollResult::None || due.is_none_or(|at| at > now) {
                break;
            }
            if is_fin_wait_2(set) {
                due = None;
                break;
            }
        }
        slot.sequence = watch.sequence;
        slot.set_edge(watch.edge());
        // smoltcp was sure, and sent nothing: it waits for a neighbour, for which it need not have asked just now.
        if watch.segments == 0 && (watch.others > 0 || (is_due && !probably)) {
            slot.marks |= ASKED;
        }
        if watch.repeated > 0 {
            slot.retransmitted = slot.retransmitted.saturating_add(watch.repeated.min(0xff) as u8);
        }
        if watch.segments | watch.refused > 0 {
            slot.segments_sent = slot.segments_sent.wrapping_add(watch.segments);
            self.stats.add(&watch);
        }
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

    /// Resets a connection at once, and frees its slot.
    pub(super) fn reset<D: Device>(&mut self, index: u16, device: &mut D) {
        let Some(slot) = self.slots.get_mut(usize::from(index)) else { return };
        if slot.chain.is_filed() {
            if let Some(socket) = slot.socket_mut() {
                socket.abort();
            }
            self.send(index, device, true);
        }
        self.release(index);
    }

    /// Whether the interface has this address.
    pub(super) fn is_own(&self, ip: IpAddr) -> bool {
        super::address(ip).is_some_and(|ip| self.iface.has_ip_addr(ip))
    }

    /// Whether an address can be a peer's: unicast, and not the broadcast address of an own network (RFC 1122, section 4.2.3.10).
    pub(super) fn is_peer(&self, addr: Address) -> bool {
        let is_broadcast = |cidr: &IpCidr| match cidr {
            IpCidr::Ipv4(cidr) => {
                cidr.broadcast().is_some_and(|broadcast| addr == IpAddr::V4(broadcast).into())
            }
            #[cfg(feature = "ipv6")]
            IpCidr::Ipv6(_) => false,
        };
        addr.is_unicast() && !self.iface.ip_addrs().iter().any(is_broadcast)
    }
}
