//! The sending half of a connection: the buffer, what is in flight, the peer's window, loss recovery, and the clocks of all that.
//!
//! What to send next is decided in [`plan`](super::plan); this file draws the conclusions of what arrives and of what time passes.

use super::congestion::{Congestion, Phase};
use super::header::{Flags, Header};
use super::ring::Ring;
use super::rtt::Rtt;
use super::scoreboard::{Arrived, Run, Scoreboard};
use super::statistics::Counters;
use super::{Micros, NEVER, Options, Seq};
use crate::storage::ManagedSlice;

/// RFC 8985, section 7.2: a segment that is alone may wait for a delayed acknowledgement.
const LONE_SEGMENT: Micros = 200_000;
/// A tail probe and a reordering timer are at least this much later than the round trip says.
const GRAIN: Micros = 2_000;
/// RFC 9293, section 3.8.6.2.1: a small window is used after this time.
const OVERRIDE: Micros = 200_000;
/// RFC 8985, section 6.2: after so many recoveries without a false one, reordering is forgotten.
const REORDERING_LIFE: u8 = 16;
/// How long sent data may stay unacknowledged, unless the user says (RFC 9293, section 3.8.3: at least 100 s).
const USER_TIMEOUT: Micros = 300_000_000;

/// A clock that is finer than the retransmission timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Soft {
    Stopped,
    /// RFC 8985, section 7: the tail may be lost.
    TailProbe {
        at: Micros,
    },
    /// RFC 8985, section 6.3: what is below this number is lost if it has not arrived by then.
    Reordering {
        at: Micros,
        below: Seq,
    },
}

impl Soft {
    fn at(self) -> Micros {
        match self {
            Self::Stopped => NEVER,
            Self::TailProbe { at } | Self::Reordering { at, .. } => at,
        }
    }
}

/// What is to leave although no window asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probe {
    None,
    /// The tail, or new data, whatever the congestion window says.
    Tail,
    /// One byte into a closed window.
    Window,
    /// What a small window takes.
    Small,
}

/// A tail probe whose fate is not known (RFC 8985, section 7.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) end: Seq,
    pub(super) again: bool,
    /// When the probed segment left first, if it was timed; then how long its acknowledgement took, which is a sample if the probe was needless.
    pub(super) first: Option<Micros>,
    pub(super) sample: Option<u32>,
}

/// What was sent again since the window was reduced: to find out whether that was a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Episode {
    /// Segments sent again, and of these those that the peer had already (RFC 2883).
    pub(super) again: u16,
    pub(super) needless: u16,
    /// The end of the first of them, and our clock in timestamps when it left (RFC 3522).
    pub(super) first: Option<(Seq, u32)>,
}

/// What the connection has agreed with its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Agreed {
    pub(super) sack: bool,
    pub(super) timestamps: bool,
    pub(super) scaling: bool,
    pub(super) ecn: bool,
}

pub(super) struct Sender<'a> {
    pub(super) ring: Ring<'a>,
    pub(super) board: Scoreboard<'a>,
    pub(super) congestion: Congestion,
    pub(super) rtt: Rtt,
    /// The number of the first byte in the buffer.
    pub(super) base: Seq,
    /// The user has ended the stream.
    pub(super) ended: bool,
    /// The peer may acknowledge up to here: a byte into a closed window is not on the scoreboard.
    pub(super) furthest: Seq,
    window: u32,
    pub(super) widest: u32,
    window_seq: Seq,
    window_ack: Seq,
    scale: u8,
    peer_mss: u16,
    duplicates: u8,
    /// One segment may leave whatever the congestion window says.
    pub(super) urgent: bool,
    pub(super) probe: Probe,
    pub(super) tail: Option<Tail>,
    pub(super) episode: Episode,
    /// One segment, sent once, whose acknowledgement is a sample: its end, and when it left.
    pub(super) timed: Option<(Seq, Micros)>,
    pub(super) last_sent: Micros,
    /// When the next segment may leave, were all to leave evenly.
    pub(super) pace_at: Micros,
    pub(super) paced: bool,
    /// Segments that may leave without pacing, and whether the next one is the second of a pair.
    pub(super) unpaced: u8,
    pub(super) second: bool,
    retransmit_at: Micros,
    soft: Soft,
    /// Since when nothing new was acknowledged; [`NEVER`] while nothing has to be.
    stalled_since: Micros,
    /// Probes of a closed window since it closed.
    persisted: u8,
    /// How many quarters of a round trip reordering may take, and after how many recoveries that is forgotten.
    patience: u8,
    patience_life: u8,
    /// The window was reduced because a router marked a packet: the peer is to be told (RFC 3168, section 6.1.2).
    pub(super) reduced: bool,
    pub(super) counters: Counters,
}

/// What an acknowledgement did, for the connection's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Acknowledged {
    /// The FIN is acknowledged, and everything before it.
    pub(super) fin: bool,
}

impl<'a> Sender<'a> {
    pub(super) const fn new(bytes: ManagedSlice<'a, u8>, runs: ManagedSlice<'a, Run>) -> Self {
        Self {
            ring: Ring::new(bytes),
            board: Scoreboard::new(runs),
            congestion: Congestion::NEW,
            rtt: Rtt::NEW,
            base: Seq(0),
            ended: false,
            furthest: Seq(0),
            window: 0,
            widest: 0,
            window_seq: Seq(0),
            window_ack: Seq(0),
            scale: 0,
            peer_mss: 536,
            duplicates: 0,
            urgent: false,
            probe: Probe::None,
            tail: None,
            episode: Episode { again: 0, needless: 0, first: None },
            timed: None,
            last_sent: 0,
            pace_at: 0,
            paced: false,
            unpaced: 10,
            second: false,
            retransmit_at: NEVER,
            soft: Soft::Stopped,
            stalled_since: NEVER,
            persisted: 0,
            patience: 1,
            patience_life: 0,
            reduced: false,
            counters: Counters::NEW,
        }
    }

    /// Makes everything new, for a connection whose SYN has the number `iss`.
    pub(super) fn begin(&mut self, iss: Seq) {
        self.ring.clear();
        self.board.begin(iss + 1);
        self.congestion = Congestion::NEW;
        self.rtt = Rtt::NEW;
        (self.base, self.furthest) = (iss + 1, iss + 1);
        (self.ended, self.urgent, self.paced, self.second, self.reduced) =
            (false, false, false, false, false);
        (self.window, self.widest, self.scale, self.peer_mss) = (0, 0, 0, 536);
        (self.window_seq, self.window_ack, self.duplicates) = (Seq(0), Seq(0), 0);
        (self.probe, self.tail, self.timed, self.episode) = (Probe::None, None, None, Episode::default());
        (self.last_sent, self.pace_at, self.unpaced) = (0, 0, 10);
        (self.patience, self.patience_life, self.persisted) = (1, 0, 0);
        self.counters = Counters::NEW;
        self.stop();
    }

    /// Takes what the peer's SYN offers: its window, its segment size, its scale.
    pub(super) fn learn(&mut self, syn: &Header, scale: u8) {
        self.peer_mss = syn.mss.unwrap_or(536).max(64);
        self.scale = scale;
        self.set_window(syn, syn.window.into());
    }

    /// The handshake is complete: data may flow.
    pub(super) fn open(&mut self, options: &Options, agreed: &Agreed, lost_syn: bool) {
        self.congestion.begin(options.congestion, self.segment(options, agreed), lost_syn);
        self.unpaced = 10;
        self.stop();
    }

    fn set_window(&mut self, header: &Header, window: u32) {
        self.window = window;
        self.widest = self.widest.max(window);
        (self.window_seq, self.window_ack) = (header.seq, header.ack);
    }

    /// Returns the payload of a full segment without SACK blocks.
    pub(super) fn segment(&self, options: &Options, agreed: &Agreed) -> u32 {
        self.limit(options) - if agreed.timestamps { 12 } else { 0 }
    }

    /// Returns the payload of a full segment without any option.
    pub(super) fn limit(&self, options: &Options) -> u32 {
        u32::from(self.peer_mss.min(options.mss.max(48)))
    }

    /// Returns SND.WND.
    pub(super) fn window(&self) -> u32 {
        self.window
    }

    /// Returns the number of bytes that the peer's window allows from `seq` on.
    pub(super) fn window_from(&self, seq: Seq) -> u32 {
        (self.board.start() + self.window).past(seq)
    }

    /// Returns the number after the last byte that the user has given.
    pub(super) fn stream_end(&self) -> Seq {
        self.base + self.ring.len() as u32
    }

    /// Returns `true` if the FIN is on the scoreboard.
    pub(super) fn fin_was_sent(&self) -> bool {
        self.ended && self.board.end() > self.stream_end()
    }

    /// Returns `true` if there is something to send, now or when the windows allow.
    pub(super) fn has_more(&self) -> bool {
        let unsent = self.board.end() < self.stream_end() || (self.ended && !self.fin_was_sent());
        unsent || self.board.first_lost().is_some()
    }

    /// Returns `true` if the peer has acknowledged everything, the FIN included.
    pub(super) fn is_drained(&self) -> bool {
        self.board.is_empty() && !self.has_more()
    }

    /// Returns the number of bytes in flight, less what duplicates say has arrived.
    pub(super) fn in_flight(&self, size: u32) -> u32 {
        self.board.in_flight().saturating_sub(u32::from(self.duplicates) * size)
    }

    // ---- what arrives -----------------------------------------------------------------------------------

    /// Returns `true` if an acknowledgement number is neither of the future nor of the distant past (RFC 9293, section 3.10.7.4;
    /// RFC 5961, section 5.2).
    pub(super) fn is_acceptable(&self, ack: Seq) -> bool {
        ack <= self.furthest.max(self.board.end()) && self.board.start() - self.widest.max(1) <= ack
    }

    /// Takes the acknowledgement field, the SACK blocks and the window of an acceptable segment.
    pub(super) fn on_ack(
        &mut self,
        now: Micros,
        header: &Header,
        payload: usize,
        echoed: Option<u32>,
        options: &Options,
        agreed: &Agreed,
    ) -> Acknowledged {
        let (ack, una, nxt) = (header.ack, self.board.start(), self.board.end());
        let (flight, outstanding) = (self.board.in_flight(), nxt - una);
        let size = self.segment(options, agreed);
        let advanced = ack.past(una);
        let reordering = self.board.reordering();
        let mut news = Arrived::default();
        if advanced > 0 {
            news = self.board.acknowledged(ack);
            let bytes = (ack - self.base).min(self.ring.len() as u32);
            self.ring.consume(bytes as usize);
            self.base += bytes;
            self.stalled_since = now;
            self.retransmit_at = NEVER;
        }
        let needless = agreed.sack && self.take_sacks(header, &mut news);
        let window = u32::from(header.window) << self.scale;
        let plain = payload == 0 && !header.flags.has(Flags::FIN);
        let duplicate = advanced == 0 && plain && window == self.window && outstanding > 0;
        self.update_window(now, header, window);
        self.take_round_trip(now, header, advanced, echoed.filter(|_| !needless), agreed);
        self.judge_tail(now, ack, needless, outstanding);
        self.judge_reduction(header, advanced, needless, &news, agreed);
        if !agreed.sack {
            self.count_duplicates(advanced > 0, duplicate, size, outstanding);
        }
        self.control(now, header, advanced, &news, flight, outstanding, size, agreed);
        if self.board.reordering() > reordering {
            self.patience_life = REORDERING_LIFE;
        }
        if news.bytes > 0 || advanced > 0 {
            self.clear_soft(advanced > 0);
        }
        self.arm(now, size, agreed);
        Acknowledged { fin: self.fin_was_sent() && self.is_drained() }
    }

    /// Takes the SACK blocks. Returns `true` if the first reports a duplicate (RFC 2883, section 4).
    fn take_sacks(&mut self, header: &Header, news: &mut Arrived) -> bool {
        let blocks = header.sacks();
        self.counters.sack_blocks = self.counters.sack_blocks.wrapping_add(blocks.len() as u32);
        let mut needless = false;
        for (at, &(from, to)) in blocks.iter().enumerate() {
            let inside = |&(start, end): &(Seq, Seq)| start <= from && to <= end;
            if at == 0 && from < to && (to <= header.ack || blocks.get(1).is_some_and(inside)) {
                needless = true;
                self.note_needless(from);
            } else {
                news.add(self.board.sack(from, to));
            }
        }
        needless
    }

    /// The peer had a range already: reordering or a false timeout made it go twice.
    fn note_needless(&mut self, from: Seq) {
        self.counters.spurious = self.counters.spurious.wrapping_add(1);
        self.episode.needless = self.episode.needless.saturating_add(1);
        if self.episode.again > 0 {
            self.board.duplicate(from);
            // RFC 8985, section 6.2, step 4: up to a whole round trip.
            self.patience = (self.patience + 1).min(4);
            self.patience_life = REORDERING_LIFE;
        }
    }

    /// RFC 9293, section 3.10.7.4: "SND.WL1 < SEG.SEQ or ...".
    fn update_window(&mut self, now: Micros, header: &Header, window: u32) {
        let newer =
            self.window_seq < header.seq || (self.window_seq == header.seq && self.window_ack <= header.ack);
        if !newer {
            return;
        }
        let was_closed = self.window == 0;
        self.set_window(header, window);
        if window == 0 {
            // A peer that answers with a closed window lives (section 3.8.6.1: "MUST be kept open").
            self.stalled_since = now;
        } else if was_closed {
            (self.persisted, self.probe) = (0, Probe::None);
            self.retransmit_at = NEVER;
        }
    }

    /// Takes a sample of the round trip: of the segment that is timed, else of the timestamp that came back (RFC 7323, section 4).
    fn take_round_trip(
        &mut self,
        now: Micros,
        header: &Header,
        advanced: u32,
        echoed: Option<u32>,
        agreed: &Agreed,
    ) {
        let timed = self.timed.filter(|(end, _)| self.board.has_arrived(*end - 1));
        // An old echo says more of lost acknowledgements than of the path; without SACK that cannot be told from a duplicate.
        let echoed = echoed.filter(|_| advanced > 0 && (agreed.sack || self.rtt.backoff() < 2));
        let sample = match timed {
            Some((_, at)) => {
                self.timed = None;
                Some(now.saturating_sub(at).min(u32::MAX.into()) as u32)
            }
            None => echoed,
        };
        match sample {
            Some(sample) => {
                self.rtt.sample(now, sample);
                self.congestion.round_trip(sample, header.ack, self.board.end());
            }
            None if advanced > 0 && self.rtt.backoff() > 0 => self.rtt.advance(),
            None => {}
        }
    }

    /// RFC 8985, section 7.4: what a tail probe has found out.
    fn judge_tail(&mut self, now: Micros, ack: Seq, needless: bool, outstanding: u32) {
        let Some(tail) = &mut self.tail else { return };
        if ack < tail.end {
            return;
        }
        if let Some(first) = tail.first.take() {
            tail.sample = Some(now.saturating_sub(first).min(u32::MAX.into()) as u32);
        }
        let tail = *tail;
        if !tail.again {
            self.tail = None;
        } else if needless {
            self.tail = None;
            // The first transmission was not lost: the path is longer than it was.
            if let Some(sample) = tail.sample {
                self.rtt.sample(now, sample);
            }
        } else if ack > tail.end {
            // The probe has repaired a loss: it costs what a loss costs.
            self.tail = None;
            self.congestion.enter_recovery(self.board.end(), outstanding, self.board.in_flight());
        }
    }

    /// Undoes a reduction that was a mistake: what was sent again had arrived, or was on its way.
    fn judge_reduction(
        &mut self,
        header: &Header,
        advanced: u32,
        needless: bool,
        news: &Arrived,
        agreed: &Agreed,
    ) {
        if !self.congestion.can_undo() {
            return;
        }
        let in_timeout = matches!(self.congestion.phase(), Phase::Timeout { .. });
        // Eifel (RFC 3522): the first acknowledgement of what was sent again echoes a time before that.
        let eifel = match (header.timestamp, self.episode.first) {
            (Some(timestamp), Some((end, first))) if advanced > 0 && end <= header.ack => {
                self.episode.first = None;
                agreed.timestamps && Seq(timestamp.echo) < Seq(first)
            }
            _ => false,
        };
        // RFC 5682, section 3: after a timeout, something arrives that was not sent again.
        let forward = in_timeout && agreed.sack && news.was_not_lost;
        // RFC 3708: everything that was sent again was there already.
        let all_needless = needless && self.episode.again > 0 && self.episode.needless >= self.episode.again;
        if (eifel || forward || all_needless) && self.congestion.undo() {
            self.counters.undone = self.counters.undone.wrapping_add(1);
            self.board.restore_lost();
            self.episode = Episode::default();
            self.urgent = false;
        }
    }

    /// Without SACK a duplicate is all that tells of an arrival (RFC 5681, section 3.2; RFC 6582).
    fn count_duplicates(&mut self, advanced: bool, duplicate: bool, size: u32, outstanding: u32) {
        if advanced {
            self.duplicates = 0;
            // What is left of a recovery begins with the next hole.
            if matches!(self.congestion.phase(), Phase::Recovery { until } if self.board.start() < until)
                && self.board.first_lost().is_none()
                && !self.reduced
            {
                self.board.lose_first(size);
                self.urgent = true;
            }
        } else if duplicate && !matches!(self.congestion.phase(), Phase::Timeout { .. }) {
            self.duplicates = self.duplicates.saturating_add(1);
            if self.duplicates == 3 && self.congestion.phase() == Phase::Open {
                self.board.lose_first(size);
                self.start_recovery(outstanding);
            }
        }
    }

    /// Lets the congestion window follow what arrived.
    #[allow(
        clippy::too_many_arguments,
        reason = "what was true before the acknowledgement, each for one decision"
    )]
    fn control(
        &mut self,
        now: Micros,
        header: &Header,
        advanced: u32,
        news: &Arrived,
        flight: u32,
        outstanding: u32,
        size: u32,
        agreed: &Agreed,
    ) {
        if let Phase::Recovery { until } | Phase::Timeout { until } = self.congestion.phase()
            && until <= self.board.start()
        {
            self.leave_recovery();
        }
        if agreed.sack {
            let threshold = (2 * size + 1).max(self.board.reordering().min(flight));
            if self.board.find_lost(threshold, None) {
                self.start_recovery(outstanding);
            }
        }
        if agreed.ecn
            && header.flags.has(Flags::ECE)
            && self.congestion.phase() == Phase::Open
            && outstanding > 0
        {
            self.congestion.enter_recovery(self.board.end(), outstanding, self.board.in_flight());
            self.reduced = true;
            self.counters.marks = self.counters.marks.wrapping_add(1);
        }
        match self.congestion.phase() {
            Phase::Recovery { .. } => {
                let arrived = if agreed.sack || advanced > 0 { news.bytes } else { size };
                self.congestion.recover(arrived, self.in_flight(size));
            }
            Phase::Open if advanced > 0 && self.congestion.was_used(flight) => {
                self.congestion.grow(now, advanced, self.rtt.smoothed());
            }
            Phase::Timeout { .. } if advanced > 0 && news.bytes > 0 => {
                self.congestion.grow(now, news.bytes, self.rtt.smoothed());
            }
            Phase::Open | Phase::Timeout { .. } => {}
        }
    }

    fn leave_recovery(&mut self) {
        if matches!(self.congestion.phase(), Phase::Recovery { .. }) {
            self.patience_life = self.patience_life.saturating_sub(1);
            if self.patience_life == 0 {
                self.patience = 1;
                self.board.forget_reordering();
            }
        }
        self.congestion.leave_recovery();
        self.duplicates = 0;
    }

    fn start_recovery(&mut self, outstanding: u32) {
        if self.congestion.phase() == Phase::Open {
            self.counters.recoveries = self.counters.recoveries.wrapping_add(1);
            self.episode = Episode::default();
            self.congestion.enter_recovery(self.board.end(), outstanding, self.board.in_flight());
            self.urgent = true;
        }
    }

    /// The path takes no more than what `options` say now: what is in flight and longer goes again, cut; congestion is not to blame.
    pub(super) fn shorten(&mut self, options: &Options, agreed: &Agreed) {
        self.congestion.set_segment_size(self.segment(options, agreed));
        self.board.lose_all();
        (self.urgent, self.timed) = (true, None);
    }

    // ---- time -------------------------------------------------------------------------------------------

    /// Returns when something is due.
    pub(super) fn deadline(&self, slack: Micros) -> Micros {
        let paced = if self.paced { self.pace_at.saturating_sub(slack) } else { NEVER };
        self.retransmit_at.min(self.soft.at()).min(paced)
    }

    /// Stops all clocks.
    pub(super) fn stop(&mut self) {
        (self.retransmit_at, self.soft, self.paced) = (NEVER, Soft::Stopped, false);
        self.stalled_since = NEVER;
    }

    /// A retransmission timeout from now.
    pub(super) fn arm_retransmission(&mut self, now: Micros) {
        self.retransmit_at = now + Micros::from(self.rtt.timeout());
    }

    /// Starts the clock of the SYN.
    pub(super) fn syn_left(&mut self, now: Micros) {
        self.stalled_since = self.stalled_since.min(now);
        self.arm_retransmission(now);
    }

    /// Does what the clocks have made due. Returns `false` if the peer is given up.
    pub(super) fn expire(&mut self, now: Micros, options: &Options) -> bool {
        if self.soft.at() <= now {
            let soft = core::mem::replace(&mut self.soft, Soft::Stopped);
            self.expire_soft(now, soft);
        }
        if self.retransmit_at <= now {
            self.retransmit_at = NEVER;
            return self.expire_retransmission(now, options);
        }
        true
    }

    fn expire_soft(&mut self, now: Micros, soft: Soft) {
        match soft {
            Soft::Stopped => {}
            Soft::TailProbe { .. } => {
                self.probe = Probe::Tail;
                // RFC 8985, section 7.3: the timeout counts from the probe.
                self.arm_retransmission(now);
            }
            Soft::Reordering { below, .. } => {
                let outstanding = self.board.end() - self.board.start();
                if self.board.find_lost(u32::MAX, Some(below)) {
                    self.start_recovery(outstanding);
                }
            }
        }
    }

    /// The SYN was not answered in time. Returns `false` if the peer is given up.
    pub(super) fn expire_syn(&mut self, now: Micros, options: &Options) -> bool {
        self.retransmit_at = NEVER;
        self.rtt.back_off();
        !self.is_given_up(now, options)
    }

    /// RFC 9293, section 3.8.3: R2.
    fn is_given_up(&self, now: Micros, options: &Options) -> bool {
        let limit = options.user_timeout.map_or(USER_TIMEOUT, crate::time::micros);
        now.saturating_sub(self.stalled_since) >= limit
    }

    fn expire_retransmission(&mut self, now: Micros, options: &Options) -> bool {
        if self.is_given_up(now, options) {
            return false;
        }
        if self.window == 0 || self.board.is_empty() {
            self.probe = if self.window == 0 { Probe::Window } else { Probe::Small };
            self.persisted = self.persisted.saturating_add(1);
            return true;
        }
        let again = self.rtt.backoff() > 0 && matches!(self.congestion.phase(), Phase::Timeout { .. });
        let outstanding = self.board.end() - self.board.start();
        self.rtt.back_off();
        self.counters.timeouts = self.counters.timeouts.wrapping_add(1);
        self.board.lose_all();
        if !again {
            self.episode = Episode::default();
        }
        self.congestion.enter_timeout(self.board.end(), outstanding, again);
        self.congestion.set_kind(options.congestion);
        (self.timed, self.tail, self.duplicates, self.urgent) = (None, None, 0, true);
        true
    }

    /// Something has arrived: the fine clocks begin anew, or stop.
    fn clear_soft(&mut self, advanced: bool) {
        match self.soft {
            Soft::Stopped => {}
            Soft::TailProbe { .. } => self.soft = Soft::Stopped,
            Soft::Reordering { below, .. } => {
                if !self.board.is_overtaken() || (advanced && below <= self.board.start()) {
                    self.soft = Soft::Stopped;
                }
            }
        }
    }

    /// Something has left: the tail is another one.
    pub(super) fn restart_tail(&mut self) {
        if let Soft::TailProbe { .. } = self.soft {
            self.soft = Soft::Stopped;
        }
    }

    /// Sets the clocks by what is unacknowledged and unsent: there is a deadline as long as there is either (RFC 6298, section 5).
    pub(super) fn arm(&mut self, now: Micros, size: u32, agreed: &Agreed) {
        if self.is_drained() {
            return self.stop();
        }
        if self.stalled_since == NEVER {
            self.stalled_since = now;
        }
        if self.retransmit_at == NEVER {
            self.retransmit_at = now + self.patience_of_timer();
        }
        if self.soft != Soft::Stopped
            || !agreed.sack
            || self.board.in_flight() == 0
            || self.rtt.smoothed() == 0
        {
            return;
        }
        let rtt = Micros::from(self.rtt.smoothed());
        if self.board.is_overtaken() {
            let quarter = Micros::from(self.rtt.minimum()) / 4;
            let at = now + (quarter * Micros::from(self.patience)).min(rtt) + GRAIN / 2;
            self.soft = Soft::Reordering { at, below: self.board.highest_sacked() };
        } else if self.congestion.phase() == Phase::Open && self.tail.is_none() && self.window > 0 {
            let alone = self.board.in_flight() <= size;
            let at = now + 2 * rtt + if alone { LONE_SEGMENT } else { GRAIN };
            // RFC 8985, section 7.2: never later than the timeout.
            self.soft = Soft::TailProbe { at: at.min(self.retransmit_at) };
        }
    }

    /// Returns how long to wait for an acknowledgement, or for a window.
    fn patience_of_timer(&self) -> Micros {
        if self.window == 0 {
            // RFC 9293, section 3.8.6.1: exponentially.
            Micros::from(self.rtt.timeout_after(self.persisted))
        } else if self.board.is_empty() {
            OVERRIDE
        } else {
            Micros::from(self.rtt.timeout())
        }
    }
}
