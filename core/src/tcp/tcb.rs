//! A connection: its states, the calls of its user, and its clocks.

use super::header::{Flags, Header, Timestamp};
use super::path::Path;
use super::plan::SLACK;
use super::reassembly::Hole;
use super::receiver::{Receiver, scale_for};
use super::scoreboard::Run;
use super::sender::{Agreed, Sender};
use super::statistics::Statistics;
use super::{Micros, NEVER, Options, Seq};
use crate::storage::ManagedSlice;
use crate::time::{Duration, Instant, micros};

/// The states of RFC 9293, section 3.3.2. LISTEN is the backend's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum State {
    /// No connection: not yet, or not any more.
    Closed,
    /// The SYN has left, or is about to.
    SynSent,
    /// Both SYNs have come, or were sent; the peer has not acknowledged ours.
    SynReceived,
    /// Data flows both ways.
    Established,
    /// This side has ended its stream; the FIN is not acknowledged.
    FinWait1,
    /// This side's FIN is acknowledged; the peer may still send.
    FinWait2,
    /// The peer has ended its stream; this side may still send.
    CloseWait,
    /// Both FINs have crossed; ours is not acknowledged.
    Closing,
    /// The peer has ended first, then this side; our FIN is not acknowledged.
    LastAck,
    /// Both streams are over; the peer's repeated FIN is still answered. The machine has no clock for this state, nor for FIN-WAIT-2: how
    /// long they last is the caller's.
    TimeWait,
}

/// Why a connection is over. It is set when the state becomes CLOSED or TIME-WAIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum End {
    /// Both sides have ended their streams, and everything was acknowledged.
    Finished,
    /// The peer has reset the connection.
    Reset,
    /// The peer has answered the SYN with a reset.
    Refused,
    /// The peer could not be reached while connecting.
    Unreachable,
    /// The peer acknowledges nothing, or does not answer keep-alive probes.
    TimedOut,
    /// This side has reset the connection.
    Aborted,
}

/// The memory of a connection.
#[derive(Debug)]
pub struct Memory<'a> {
    /// The receive buffer: at most 1 GiB is used.
    pub receive: ManagedSlice<'a, u8>,
    /// The send buffer.
    pub send: ManagedSlice<'a, u8>,
    /// One for each range that may be received beyond a hole; without any, what comes out of order is dropped.
    pub holes: ManagedSlice<'a, Hole>,
    /// For what is known of the bytes in flight: 4 or more; 12 for buffers of some segments, one for each segment in flight on long paths.
    pub runs: ManagedSlice<'a, Run>,
}

impl<'a> Memory<'a> {
    /// Borrows memory from the caller: on firmware, statics.
    pub fn borrow(
        receive: &'a mut [u8],
        send: &'a mut [u8],
        holes: &'a mut [Hole],
        runs: &'a mut [Run],
    ) -> Self {
        Self {
            receive: ManagedSlice::Borrowed(receive),
            send: ManagedSlice::Borrowed(send),
            holes: ManagedSlice::Borrowed(holes),
            runs: ManagedSlice::Borrowed(runs),
        }
    }
}

#[cfg(feature = "alloc")]
impl Memory<'static> {
    /// Allocates memory: bytes to receive and to send, holes, and runs.
    pub fn allocate(receive: usize, send: usize, holes: usize, runs: usize) -> Self {
        extern crate alloc;
        use alloc::vec;
        Self {
            receive: vec![0; receive].into(),
            send: vec![0; send].into(),
            holes: vec![Hole::EMPTY; holes].into(),
            runs: vec![Run::EMPTY; runs].into(),
        }
    }
}

/// What a SYN cookie remembers of the peer's SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct CookieOffer {
    /// The peer's maximum segment size, rounded down.
    pub mss: u16,
    /// The peer's window scale, if it offered one.
    pub scale: Option<u8>,
    /// The peer permitted SACK.
    pub sack: bool,
    /// The peer offered timestamps.
    pub timestamps: bool,
}

/// Kinds of segments that anyone could have sent, each with a budget of its own: one forger starves no honest peer of another kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Challenge {
    /// An old timestamp.
    Timestamp,
    /// Outside the window, without data.
    Window,
    Reset,
    Syn,
    /// An acknowledgement of what was never sent.
    Acknowledgement,
}

/// Kinds of challenges.
const CHALLENGES: usize = 5;

/// Answers of one kind in one second.
const CHALLENGES_A_SECOND: u8 = 5;

/// Unanswered keep-alive probes are counted while nothing is in flight.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeepAliveClock {
    pub(super) at: Micros,
    unanswered: u8,
    pub(super) due: bool,
}

impl KeepAliveClock {
    const STOPPED: Self = Self { at: NEVER, unanswered: 0, due: false };
}

/// One connection: the transmission control block (RFC 9293, section 3.3.1) with its buffers.
///
/// It stays where it is and is used again: [`connect`](Self::connect), [`accept`](Self::accept) and
/// [`accept_cookie`](Self::accept_cookie) make everything new. [The module](super) has an example.
pub struct Tcb<'a> {
    pub(super) state: State,
    pub(super) end: Option<End>,
    pub(super) options: Options,
    pub(super) agreed: Agreed,
    pub(super) sender: Sender<'a>,
    pub(super) receiver: Receiver<'a>,
    pub(super) path: Path,
    pub(super) iss: Seq,
    pub(super) irs: Seq,
    /// What our timestamps count from: of each connection its own, so that they do not tell how long this host runs.
    timestamp_offset: u32,
    /// Our SYN is not acknowledged.
    pub(super) syn_open: bool,
    pub(super) syn_due: bool,
    /// How often the SYN was repeated.
    pub(super) syn_repeats: u8,
    /// The number of a reset to send.
    pub(super) reset: Option<Seq>,
    /// The user has closed; what still comes is refused.
    gone: bool,
    /// Something was refused: the peer is to be told by a reset (RFC 1122, section 4.2.2.13).
    refused: bool,
    /// A router has marked a packet of the peer's, and the peer has not said that it knows (RFC 3168, section 6.1.3).
    pub(super) echo_mark: bool,
    pub(super) keep_alive: KeepAliveClock,
    challenged: [u8; CHALLENGES],
    challenged_since: Micros,
    pub(super) segments_received: u32,
    pub(super) segments_sent: u32,
    pub(super) duplicates: u32,
    pub(super) out_of_order: u32,
    challenges: u32,
}

impl<'a> Tcb<'a> {
    /// Makes a connection in CLOSED.
    pub fn new(memory: Memory<'a>) -> Self {
        Self {
            state: State::Closed,
            end: None,
            options: Options::new(536),
            agreed: Agreed { sack: false, timestamps: false, scaling: false, ecn: false },
            sender: Sender::new(memory.send, memory.runs),
            receiver: Receiver::new(memory.receive, memory.holes),
            path: Path::NEW,
            iss: Seq(0),
            irs: Seq(0),
            timestamp_offset: 0,
            syn_open: false,
            syn_due: false,
            syn_repeats: 0,
            reset: None,
            gone: false,
            refused: false,
            echo_mark: false,
            keep_alive: KeepAliveClock::STOPPED,
            challenged: [0; CHALLENGES],
            challenged_since: 0,
            segments_received: 0,
            segments_sent: 0,
            duplicates: 0,
            out_of_order: 0,
            challenges: 0,
        }
    }

    // ---- opening ----------------------------------------------------------------------------------------

    fn begin(&mut self, state: State, iss: Seq, timestamp_offset: u32, options: &Options) {
        self.forget();
        (self.state, self.iss, self.timestamp_offset) = (state, iss, timestamp_offset);
        self.options = *options;
        self.options.mss = self.options.mss.max(48);
        self.agreed =
            Agreed { sack: options.sack, timestamps: options.timestamps, scaling: true, ecn: options.ecn };
        self.path.begin(&self.options);
        self.sender.begin(iss);
        self.receiver.begin(self.options.mss.into(), options.delayed_ack);
        (self.syn_open, self.syn_due) = (true, true);
    }

    /// Opens a connection: SYN-SENT. The SYN leaves with the next [`poll_transmit`](Self::poll_transmit).
    ///
    /// Choose `iss` and `timestamp_offset` so that nobody can foretell them (RFC 6528; RFC 7323, section 7.1).
    pub fn connect(&mut self, iss: Seq, timestamp_offset: u32, options: &Options) {
        self.begin(State::SynSent, iss, timestamp_offset, options);
    }

    /// Answers a SYN that came to a listener: SYN-RECEIVED. The SYN|ACK leaves with the next [`poll_transmit`](Self::poll_transmit).
    ///
    /// What the SYN carries beside its options is not taken; the peer sends it again (RFC 9293, section 3.10.7.2).
    pub fn accept(&mut self, now: Instant, iss: Seq, timestamp_offset: u32, options: &Options, syn: &Header) {
        self.begin(State::SynReceived, iss, timestamp_offset, options);
        self.learn_syn(now.as_micros(), syn);
    }

    /// Makes a connection as it was when the SYN|ACK of a cookie left: SYN-RECEIVED.
    ///
    /// Give `ack`, the segment that returned the cookie, to [`on_segment`](Self::on_segment) next, as any other.
    pub fn accept_cookie(
        &mut self,
        now: Instant,
        iss: Seq,
        timestamp_offset: u32,
        options: &Options,
        offer: &CookieOffer,
        ack: &Header,
    ) {
        self.begin(State::SynReceived, iss, timestamp_offset, options);
        let timestamp = ack.timestamp.filter(|_| offer.timestamps);
        let syn = Header {
            seq: ack.seq - 1,
            flags: Flags::SYN,
            window: ack.window,
            mss: Some(offer.mss),
            scale: offer.scale,
            sack_permitted: offer.sack,
            timestamp: timestamp.map(|timestamp| Timestamp { value: timestamp.value, echo: 0 }),
            ..Header::default()
        };
        self.learn_syn(now.as_micros(), &syn);
        self.receiver.assume_offered();
        self.syn_due = false;
    }

    /// Returns the SYN|ACK that answers `syn` without keeping anything of it: a cookie (RFC 4987, section 3.6).
    ///
    /// `iss` and `timestamp` are the caller's, for they have to remember the peer's offer. It offers what [`accept`](Self::accept) would.
    pub fn cookie_reply(
        iss: Seq,
        options: &Options,
        syn: &Header,
        receive_buffer: usize,
        timestamp: u32,
    ) -> Header {
        let echo = syn.timestamp.filter(|_| options.timestamps).map(|timestamp| timestamp.value);
        Header {
            seq: iss,
            ack: syn.seq + 1,
            flags: Flags::SYN.with(Flags::ACK),
            window: receive_buffer.min(65_535) as u16,
            mss: Some(options.mss),
            scale: syn.scale.map(|_| scale_for(receive_buffer.min(1 << 30))),
            sack_permitted: options.sack && syn.sack_permitted,
            timestamp: echo.map(|echo| Timestamp { value: timestamp, echo }),
            ..Header::default()
        }
    }

    /// Becomes CLOSED without a word to the peer, with empty buffers.
    pub fn forget(&mut self) {
        (self.state, self.end, self.reset) = (State::Closed, None, None);
        (self.syn_open, self.syn_due, self.syn_repeats) = (false, false, 0);
        (self.gone, self.refused, self.echo_mark) = (false, false, false);
        (self.challenged, self.challenged_since, self.challenges) = ([0; CHALLENGES], 0, 0);
        (self.segments_received, self.segments_sent) = (0, 0);
        (self.duplicates, self.out_of_order) = (0, 0);
        self.keep_alive = KeepAliveClock::STOPPED;
        self.sender.begin(Seq(0));
        self.receiver.begin(536, true);
    }

    /// Takes what the peer's SYN offers.
    pub(super) fn learn_syn(&mut self, now: Micros, syn: &Header) {
        self.irs = syn.seq;
        self.receiver.synchronize(syn.seq);
        self.agreed.sack &= syn.sack_permitted;
        self.agreed.scaling &= syn.scale.is_some();
        self.agreed.timestamps &= syn.timestamp.is_some();
        // RFC 3168, section 6.1.1: a SYN says both, its answer only ECE.
        let (ece, cwr) = (syn.flags.has(Flags::ECE), syn.flags.has(Flags::CWR));
        self.agreed.ecn &= ece && cwr != syn.flags.has(Flags::ACK);
        let scale = if self.agreed.scaling { syn.scale.unwrap_or(0).min(14) } else { 0 };
        if !self.agreed.scaling {
            self.receiver.do_not_scale();
        }
        if let Some(timestamp) = syn.timestamp.filter(|_| self.agreed.timestamps) {
            self.receiver.first_timestamp(now, timestamp);
        }
        self.sender.learn(syn, scale);
    }

    // ---- the user ---------------------------------------------------------------------------------------

    /// Returns the state.
    pub const fn state(&self) -> State {
        self.state
    }

    /// Returns why the connection is over, if it is.
    pub const fn end(&self) -> Option<End> {
        self.end
    }

    /// Returns `true` if bytes may still be queued, be it before the handshake is complete.
    pub fn may_send(&self) -> bool {
        match self.state {
            State::SynSent | State::SynReceived | State::Established | State::CloseWait => !self.sender.ended,
            State::Closed
            | State::FinWait1
            | State::FinWait2
            | State::Closing
            | State::LastAck
            | State::TimeWait => false,
        }
    }

    /// Returns `true` if the peer may still send.
    pub fn may_receive(&self) -> bool {
        match self.state {
            State::SynSent | State::SynReceived | State::Established | State::FinWait1 | State::FinWait2 => {
                true
            }
            State::Closed | State::CloseWait | State::Closing | State::LastAck | State::TimeWait => false,
        }
    }

    /// Copies bytes into the send buffer, as many as have room. Returns their number.
    pub fn send(&mut self, mut data: &[u8]) -> usize {
        let before = data.len();
        // Twice if the ring wraps.
        for _ in 0..2 {
            let count = self.send_with(|room| {
                let count = room.len().min(data.len());
                if let (Some(room), Some(data)) = (room.get_mut(..count), data.get(..count)) {
                    room.copy_from_slice(data);
                }
                count
            });
            data = data.get(count..).unwrap_or(&[]);
        }
        before - data.len()
    }

    /// Lends the longest contiguous piece that is free in the send buffer; `fill` returns how many bytes it has written at its start.
    ///
    /// Returns that number; 0, without a call of `fill`, if there is no room or the stream is over.
    pub fn send_with(&mut self, fill: impl FnOnce(&mut [u8]) -> usize) -> usize {
        if !self.may_send() || self.sender.ring.free() == 0 {
            return 0;
        }
        let room = self.sender.ring.room();
        let count = fill(room).min(room.len());
        self.sender.ring.commit(count);
        count
    }

    /// Returns the number of bytes that the send buffer has room for; 0 if the stream is over.
    pub fn send_room(&self) -> usize {
        if self.may_send() { self.sender.ring.free() } else { 0 }
    }

    /// Returns the size of the send buffer in bytes.
    pub fn send_capacity(&self) -> usize {
        self.sender.ring.capacity()
    }

    /// Returns the number of bytes that are queued and not acknowledged.
    pub fn send_queue(&self) -> usize {
        self.sender.ring.len()
    }

    /// Returns the number of bytes that are queued and not acknowledged, and one for a FIN that is not: 0 says that the peer has everything.
    pub fn unacknowledged(&self) -> usize {
        let fin = self.sender.ended && self.end.is_none() && !self.sender.is_drained();
        self.sender.ring.len() + usize::from(fin)
    }

    /// Copies received bytes into `buffer`. Returns their number.
    pub fn recv(&mut self, buffer: &mut [u8]) -> usize {
        let mut total = 0;
        // Twice if the ring wraps.
        for _ in 0..2 {
            let left = buffer.get_mut(total..).unwrap_or(&mut []);
            total += self
                .recv_with(|bytes| {
                    let count = bytes.len().min(left.len());
                    if let (Some(left), Some(bytes)) = (left.get_mut(..count), bytes.get(..count)) {
                        left.copy_from_slice(bytes);
                    }
                    (count, count)
                })
                .unwrap_or(0);
        }
        total
    }

    /// Lends the received bytes up to where the ring wraps; `take` returns how many it is done with, and a value.
    ///
    /// Returns that value; `None`, without a call of `take`, if nothing has come.
    pub fn recv_with<R>(&mut self, take: impl FnOnce(&[u8]) -> (usize, R)) -> Option<R> {
        let bytes = self.receiver.ring().front();
        if bytes.is_empty() {
            return None;
        }
        let (count, value) = take(bytes);
        let count = count.min(bytes.len());
        let synchronized = !self.syn_open && self.may_receive();
        self.receiver.consume(count, synchronized);
        Some(value)
    }

    /// Returns the number of received bytes that the user has not taken.
    pub fn recv_queue(&self) -> usize {
        self.receiver.ring().len()
    }

    /// Returns the size of the receive buffer in bytes.
    pub fn recv_capacity(&self) -> usize {
        self.receiver.ring().capacity()
    }

    /// Returns `true` if the peer has ended its stream, and the user has taken everything before that.
    pub fn at_end_of_stream(&self) -> bool {
        self.receiver.is_finished() && self.recv_queue() == 0
    }

    /// Moves up to `most` bytes from the receive buffer to the send buffer, as an echo does, and shows them to `tap`.
    ///
    /// Returns the number of bytes moved.
    pub fn turn_round(&mut self, most: usize, mut tap: impl FnMut(&[u8])) -> usize {
        let mut moved = 0;
        while moved < most && self.may_send() {
            let bytes = self.receiver.ring().front();
            let room = self.sender.ring.room();
            let count = bytes.len().min(room.len()).min(most - moved);
            let (Some(bytes), Some(room)) = (bytes.get(..count), room.get_mut(..count)) else { break };
            if count == 0 {
                break;
            }
            room.copy_from_slice(bytes);
            tap(bytes);
            self.sender.ring.commit(count);
            let synchronized = !self.syn_open && self.may_receive();
            self.receiver.consume(count, synchronized);
            moved += count;
        }
        moved
    }

    /// Ends this side's stream after what is queued. Does nothing while the SYN is unanswered, and when done again.
    pub fn shutdown(&mut self) {
        if !self.may_send() {
            return;
        }
        self.state = match self.state {
            State::SynReceived | State::Established => State::FinWait1,
            State::CloseWait => State::LastAck,
            State::SynSent
            | State::Closed
            | State::FinWait1
            | State::FinWait2
            | State::Closing
            | State::LastAck
            | State::TimeWait => return,
        };
        self.sender.ended = true;
    }

    /// Gives the connection up: what is queued is delivered, then the FIN; what the peer still sends is dropped.
    ///
    /// Unread bytes, and bytes that come later, are answered by a reset once everything queued is acknowledged (RFC 1122, section
    /// 4.2.2.13; RFC 9293, section 3.6.1, SHLD-3). In SYN-SENT the connection is over at once.
    pub fn close(&mut self) {
        if self.state == State::SynSent {
            return self.finish(End::Aborted);
        }
        self.shutdown();
        self.refused |= self.recv_queue() > 0;
        self.gone = true;
        self.receiver.discard();
    }

    /// Ends the connection with a reset, which the next [`poll_transmit`](Self::poll_transmit) gives; without one before the handshake and
    /// after the end.
    pub fn abort(&mut self) {
        let synchronized = match self.state {
            State::Closed | State::SynSent | State::TimeWait => false,
            State::SynReceived
            | State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck => true,
        };
        if synchronized {
            self.reset = Some(self.sender.board.end());
        }
        self.finish(End::Aborted);
    }

    /// Returns how the connection behaves.
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// Changes what may change in mid-connection: Nagle, delayed acknowledgements, keep-alive, the user timeout. The controller of
    /// congestion changes with the next timeout. The rest stays.
    pub fn set_options(&mut self, now: Instant, options: &Options) {
        self.options.nagle = options.nagle;
        self.options.delayed_ack = options.delayed_ack;
        self.options.keep_alive = options.keep_alive;
        self.options.user_timeout = options.user_timeout;
        self.options.congestion = options.congestion;
        self.receiver.set_delayed(options.delayed_ack);
        self.keep_alive = KeepAliveClock::STOPPED;
        self.heard(now.as_micros());
    }

    /// Returns the counters, and where the connection stands.
    pub fn statistics(&self) -> Statistics {
        let Self { sender, .. } = self;
        let counters = sender.counters;
        let micros = |micros: u32| Duration::from_micros(micros.into());
        Statistics {
            segments_received: self.segments_received,
            segments_sent: self.segments_sent,
            retransmitted: counters.retransmitted + u32::from(self.syn_repeats),
            timeouts: counters.timeouts,
            recoveries: counters.recoveries,
            tail_probes: counters.tail_probes,
            window_probes: counters.window_probes,
            spurious: counters.spurious,
            undone: counters.undone,
            sack_blocks: counters.sack_blocks,
            marks: counters.marks,
            duplicates: self.duplicates,
            out_of_order: self.out_of_order,
            challenges: self.challenges,
            round_trip: micros(sender.rtt.smoothed()),
            round_trip_variation: micros(sender.rtt.variation()),
            timeout: micros(sender.rtt.timeout()),
            congestion_window: sender.congestion.window(),
            slow_start_threshold: sender.congestion.threshold(),
            in_flight: sender.board.in_flight(),
            peer_window: sender.window(),
            segment_size: sender.segment(&self.options, &self.agreed),
        }
    }

    /// Returns the next sequence number that is expected: RCV.NXT.
    pub fn receive_next(&self) -> Seq {
        self.receiver.next()
    }

    /// Returns a number that changes whenever the peer has acknowledged something new, or sent something in order: it makes progress.
    pub fn progress(&self) -> u32 {
        self.sender.board.start().0.wrapping_add(self.receiver.next().0)
    }

    // ---- news from routers ------------------------------------------------------------------------------

    /// A router says that the path takes `mss` bytes of payload (without options), of a packet that began with `seq`.
    ///
    /// What was longer goes again, cut. Returns `true` if the message was believed: it is about a segment in flight (RFC 5927, section 4.1).
    pub fn on_path_limit(&mut self, now: Instant, seq: Seq, mss: u16) -> bool {
        let in_flight = self.sender.board.start() <= seq && seq < self.sender.board.end();
        if self.syn_open || !in_flight {
            return false;
        }
        if let Some(mss) = self.path.too_big(now.as_micros(), self.options.mss, mss) {
            self.options.mss = mss;
            self.sender.shorten(&self.options, &self.agreed);
        }
        true
    }

    /// A router or the peer's host says that it cannot be reached, of a packet that began with `seq`. Returns `true` if that was believed.
    ///
    /// Only an attempt to connect ends by it (RFC 5461): of a connection, anyone could say so (RFC 5927).
    pub fn on_unreachable(&mut self, seq: Seq) -> bool {
        let believed = self.state == State::SynSent && seq == self.iss;
        if believed {
            self.finish(End::Unreachable);
        }
        believed
    }

    /// The next hop does not answer, or there is no route: an attempt to connect is over, a connection goes on trying.
    pub fn no_neighbor(&mut self) {
        if self.state == State::SynSent {
            self.finish(End::Unreachable);
        }
    }

    // ---- clocks -----------------------------------------------------------------------------------------

    /// Returns when [`poll_transmit`](Self::poll_transmit) has something to do, if nothing comes and the user does nothing before.
    ///
    /// Call it after `poll_transmit` has given `None`.
    pub fn next_deadline(&self) -> Option<Instant> {
        let acknowledgement = if self.may_acknowledge() { self.receiver.due_at() } else { NEVER };
        let earliest = self.sender.deadline(SLACK).min(acknowledgement).min(self.keep_alive.at);
        (earliest != NEVER).then(|| Instant::from_micros(earliest))
    }

    pub(super) fn may_acknowledge(&self) -> bool {
        match self.state {
            State::SynSent => false,
            State::SynReceived => !self.syn_open || !self.syn_due,
            // The last acknowledgement of a connection that has ended.
            State::Closed => self.end == Some(End::Finished),
            State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck
            | State::TimeWait => true,
        }
    }

    /// Does what the clocks have made due.
    pub(super) fn expire(&mut self, now: Micros) {
        if self.sender.deadline(0) <= now {
            let timeouts = self.sender.counters.timeouts;
            let goes_on = if self.syn_open {
                self.syn_due = true;
                self.sender.expire_syn(now, &self.options)
            } else {
                self.sender.expire(now, &self.options)
            };
            if !goes_on {
                return self.time_out();
            }
            if self.sender.counters.timeouts != timeouts {
                self.suspect_path(now);
            }
        }
        if self.keep_alive.at <= now {
            self.keep_alive.at = NEVER;
            self.expire_keep_alive(now);
        }
    }

    /// A path that drops full segments without a word looks like this (RFC 4821, section 7.7; RFC 8899, section 3).
    fn suspect_path(&mut self, now: Micros) {
        let timeouts = self.sender.rtt.backoff();
        let full = self.sender.limit(&self.options) >= u32::from(self.options.mss);
        if full && let Some(mss) = self.path.silent(now, self.options.mss, timeouts) {
            self.options.mss = mss;
            self.sender.shorten(&self.options, &self.agreed);
        }
    }

    fn time_out(&mut self) {
        if self.state != State::SynSent {
            self.reset = Some(self.sender.board.end());
        }
        self.finish(End::TimedOut);
    }

    /// RFC 9293, section 3.8.4.
    fn expire_keep_alive(&mut self, now: Micros) {
        let Some(keep_alive) = self.options.keep_alive else { return };
        if !self.sender.is_drained() {
            // The other timer finds out.
            return self.heard(now);
        }
        if self.keep_alive.unanswered >= keep_alive.count.max(1) {
            return self.time_out();
        }
        self.keep_alive.unanswered += 1;
        self.keep_alive.due = true;
        self.keep_alive.at = now + micros(keep_alive.interval).max(1_000_000);
    }

    /// The peer lives.
    pub(super) fn heard(&mut self, now: Micros) {
        let Some(keep_alive) = self.options.keep_alive else { return };
        let runs = match self.state {
            State::Established | State::FinWait1 | State::FinWait2 | State::CloseWait => true,
            State::Closed
            | State::SynSent
            | State::SynReceived
            | State::Closing
            | State::LastAck
            | State::TimeWait => false,
        };
        let at = if runs { now + micros(keep_alive.idle).max(1_000_000) } else { NEVER };
        self.keep_alive = KeepAliveClock { at, unanswered: 0, due: false };
    }

    // ---- ends -------------------------------------------------------------------------------------------

    pub(super) fn finish(&mut self, end: End) {
        self.state = State::Closed;
        self.end.get_or_insert(end);
        (self.syn_open, self.syn_due) = (false, false);
        self.sender.stop();
        self.keep_alive = KeepAliveClock::STOPPED;
    }

    pub(super) fn enter_time_wait(&mut self) {
        self.state = State::TimeWait;
        self.end.get_or_insert(End::Finished);
        self.sender.stop();
        self.keep_alive = KeepAliveClock::STOPPED;
    }

    /// The user reads no more, and something has come for it.
    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    pub(super) fn refuse(&mut self) {
        self.refused |= self.gone;
    }

    /// What was refused is answered once everything that was queued is delivered.
    pub(super) fn settle_refusal(&mut self) {
        if self.refused && self.sender.ring.len() == 0 && !self.syn_open {
            self.refused = false;
            self.abort();
        }
    }

    /// Returns the value of our timestamps.
    pub(super) fn clock(&self, now: Micros) -> u32 {
        ((now >> 10) as u32).wrapping_add(self.timestamp_offset)
    }

    /// Returns how long ago a segment left whose timestamp has come back, in microseconds; `None` for what cannot be.
    pub(super) fn echoed(&self, now: Micros, header: &Header) -> Option<u32> {
        let timestamp =
            header.timestamp.filter(|_| self.agreed.timestamps && header.flags.has(Flags::ACK))?;
        let age = self.clock(now).wrapping_sub(timestamp.echo);
        (age < 60_000).then_some(age << 10)
    }

    /// Answers a segment that anyone could have sent (RFC 5961, section 7): each kind a few times a second.
    pub(super) fn challenge(&mut self, now: Micros, kind: Challenge) {
        if now.saturating_sub(self.challenged_since) >= 1_000_000 {
            (self.challenged_since, self.challenged) = (now, [0; CHALLENGES]);
        }
        self.challenges = self.challenges.wrapping_add(1);
        if let Some(count) =
            self.challenged.get_mut(kind as usize).filter(|count| **count < CHALLENGES_A_SECOND)
        {
            *count += 1;
            self.receiver.acknowledge_now();
        }
    }
}

impl core::fmt::Debug for Tcb<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Tcb")
            .field("state", &self.state)
            .field("end", &self.end)
            .field("send_queue", &self.send_queue())
            .field("recv_queue", &self.recv_queue())
            .finish_non_exhaustive()
    }
}
