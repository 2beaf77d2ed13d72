//! Congestion control: the window, slow start (RFC 5681 with HyStart++, RFC 9406), recovery by proportional rate reduction (RFC 6937), and
//! what undoes a reduction that was a mistake. How the window grows in congestion avoidance, CUBIC or NewReno, is in a file of its own.

mod cubic;
mod hystart;

use super::{Micros, Seq};
use crate::stack::CongestionControl;
use cubic::Cubic;
use hystart::HyStart;

/// Why the window is not growing freely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// Losses were inferred, or a router marked a packet; until everything sent before has arrived.
    Recovery {
        until: Seq,
    },
    /// The retransmission timer has expired; until the same.
    Timeout {
        until: Seq,
    },
}

/// Proportional rate reduction (RFC 6937, section 3).
#[derive(Clone, Copy, Default)]
struct Reduction {
    delivered: u32,
    sent: u32,
    /// The share of what is delivered that may leave, in 1,024ths.
    share: u32,
}

pub(super) struct Congestion {
    window: u32,
    threshold: u32,
    mss: u32,
    phase: Phase,
    kind: CongestionControl,
    /// Bytes acknowledged towards the next step in congestion avoidance.
    credit: u32,
    reduction: Reduction,
    cubic: Cubic,
    start: HyStart,
    /// Window and threshold before the last reduction, while it can be undone.
    before: Option<(u32, u32)>,
}

impl Congestion {
    /// A controller that [`begin`](Self::begin) makes ready.
    pub(super) const NEW: Self = Self {
        window: 0,
        threshold: u32::MAX,
        mss: 536,
        phase: Phase::Open,
        kind: CongestionControl::DEFAULT,
        credit: 0,
        reduction: Reduction { delivered: 0, sent: 0, share: 0 },
        cubic: Cubic::NEW,
        start: HyStart::NEW,
        before: None,
    };

    /// Starts anew with the initial window of RFC 6928, or with one segment after a lost SYN (RFC 5681, section 3.1).
    pub(super) fn begin(&mut self, kind: CongestionControl, mss: u32, lost_syn: bool) {
        *self = Self { kind, mss, ..Self::NEW };
        self.window = if lost_syn { mss } else { self.initial_window() };
    }

    /// RFC 6928, section 2.
    fn initial_window(&self) -> u32 {
        (10 * self.mss).min(14_600.max(2 * self.mss))
    }

    /// Changes the way in which the window grows.
    pub(super) fn set_kind(&mut self, kind: CongestionControl) {
        self.kind = kind;
    }

    pub(super) fn window(&self) -> u32 {
        self.window
    }

    /// Returns the payload of a full segment.
    pub(super) fn segment(&self) -> u32 {
        self.mss
    }

    pub(super) fn threshold(&self) -> u32 {
        self.threshold
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// The path takes shorter segments only.
    pub(super) fn set_segment_size(&mut self, mss: u32) {
        self.mss = mss;
        self.window = self.window.max(2 * mss);
    }

    /// Nothing was in flight for a timeout: the path may have changed (RFC 5681, section 4.1).
    pub(super) fn restart_after_idle(&mut self) {
        self.window = self.window.min(self.initial_window());
    }

    pub(super) fn in_slow_start(&self) -> bool {
        self.window < self.threshold
    }

    /// Returns the time between segments in microseconds if a window is spread over a round trip.
    ///
    /// It is shorter than that by a half in slow start and by a sixth else, so that the window decides and not this.
    pub(super) fn pace(&self, rtt: u32) -> u32 {
        let spread = rtt / (self.window / self.mss.max(1)).max(1);
        if self.in_slow_start() && self.phase == Phase::Open { spread / 2 } else { spread / 6 * 5 }
    }

    /// Returns the number of bytes that may leave now.
    pub(super) fn space(&self, in_flight: u32) -> u32 {
        self.window.saturating_sub(in_flight)
    }

    /// Returns `true` if so much in flight shows that the window held the sender back; only then it may grow (RFC 7661, section 4.1).
    pub(super) fn was_used(&self, flight: u32) -> bool {
        let slack = if self.in_slow_start() { flight } else { self.mss };
        flight.saturating_add(slack) >= self.window
    }

    pub(super) fn sent(&mut self, bytes: u32) {
        self.reduction.sent = self.reduction.sent.saturating_add(bytes);
    }

    /// New data was cumulatively acknowledged while the window held the sender back.
    pub(super) fn grow(&mut self, now: Micros, acknowledged: u32, rtt: u32) {
        if self.in_slow_start() {
            let step = self.start.step(acknowledged);
            self.window = self.window.saturating_add(step).min(self.threshold.max(self.window));
            return;
        }
        self.credit = self.credit.saturating_add(acknowledged);
        let need = match self.kind {
            CongestionControl::Cubic | CongestionControl::Model => {
                self.cubic.need(now, acknowledged, rtt, self.window, self.mss)
            }
            CongestionControl::NewReno => Some(self.window),
        };
        let Some(need) = need else {
            self.credit = 0;
            return;
        };
        let need = need.max(1);
        // Two steps at most: more on one acknowledgement overflow a queue of two packets.
        for _ in 0..2 {
            if self.credit >= need {
                self.credit -= need;
                self.window = self.window.saturating_add(self.mss);
            }
        }
        self.credit = self.credit.min(need);
    }

    /// Takes a round trip's length: slow start ends when round trips get longer (RFC 9406).
    pub(super) fn round_trip(&mut self, rtt: u32, acknowledged: Seq, next: Seq) {
        if self.in_slow_start() && self.start.round_trip(rtt, acknowledged, next) {
            self.threshold = self.window;
        }
    }

    /// The window's target after a loss: of what was in flight, less what limited transmit added (RFC 5681, section 3.2).
    fn reduce(&mut self, outstanding: u32) {
        self.before.get_or_insert((self.window, self.threshold));
        let base = self.window.min(outstanding);
        let target = match self.kind {
            CongestionControl::Cubic | CongestionControl::Model => self.cubic.reduce(base),
            CongestionControl::NewReno => base / 2,
        };
        self.threshold = target.max(2 * self.mss);
    }

    /// Losses were found: reduces the window, in proportion to what arrives. To be called with what was `outstanding` and is `in_flight`
    /// after the losses were marked, and before the first retransmission.
    pub(super) fn enter_recovery(&mut self, until: Seq, outstanding: u32, in_flight: u32) {
        match self.phase {
            Phase::Open => {}
            Phase::Recovery { .. } | Phase::Timeout { .. } => return,
        }
        self.before = None;
        self.reduce(outstanding);
        self.phase = Phase::Recovery { until };
        let share = (u64::from(self.threshold) << 10) / u64::from(outstanding.max(1));
        self.reduction = Reduction { delivered: 0, sent: 0, share: share.min(1 << 10) as u32 };
        // The first retransmission leaves whatever the window says; what follows waits for arrivals.
        self.window = in_flight;
    }

    /// The retransmission timer has expired; `again` if nothing has arrived since it did before (RFC 5681, section 3.1).
    pub(super) fn enter_timeout(&mut self, until: Seq, outstanding: u32, again: bool) {
        if !again {
            if self.phase == Phase::Open {
                self.before = None;
            }
            self.reduce(outstanding);
        }
        self.phase = Phase::Timeout { until };
        self.window = self.mss;
        self.credit = 0;
    }

    /// In recovery: `arrived` bytes more are known to be there (RFC 6937, section 3).
    pub(super) fn recover(&mut self, arrived: u32, in_flight: u32) {
        let reduction = &mut self.reduction;
        reduction.delivered = reduction.delivered.saturating_add(arrived);
        let send = if in_flight > self.threshold {
            let due = (u64::from(reduction.delivered) * u64::from(reduction.share)) >> 10;
            (due as u32).saturating_sub(reduction.sent)
        } else {
            let limit = reduction.delivered.saturating_sub(reduction.sent).max(arrived) + self.mss;
            limit.min(self.threshold - in_flight)
        };
        self.window = in_flight.saturating_add(send);
    }

    /// Everything that was sent before the loss has arrived (RFC 6937, section 3: the window is the threshold; pacing keeps it from being a burst).
    pub(super) fn leave_recovery(&mut self) {
        match self.phase {
            Phase::Open => return,
            Phase::Recovery { .. } => self.window = self.threshold,
            Phase::Timeout { .. } => {}
        }
        self.phase = Phase::Open;
        self.credit = 0;
    }

    /// The reduction was a mistake: nothing was lost (RFC 4015, section 3.2; RFC 3708).
    ///
    /// Returns `true` if there was one to undo.
    pub(super) fn undo(&mut self) -> bool {
        let Some((window, threshold)) = self.before.take() else { return false };
        self.window = self.window.max(window);
        self.threshold = threshold;
        self.phase = Phase::Open;
        self.credit = 0;
        self.cubic.forget_reduction();
        true
    }

    /// Returns `true` while a reduction can be undone.
    pub(super) fn can_undo(&self) -> bool {
        self.before.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn controller(mss: u32) -> Congestion {
        let mut control = Congestion::NEW;
        control.begin(CongestionControl::Cubic, mss, false);
        control
    }

    #[test]
    fn initial_and_restart_windows_follow_rfc_6928_for_every_segment_size() {
        for (mss, window) in [(64, 640), (536, 5_360), (1_460, 14_600), (8_960, 17_920), (65_495, 130_990)] {
            let mut control = controller(mss);
            assert_eq!(control.window(), window);
            control.window = 1 << 20;
            control.restart_after_idle();
            assert_eq!(control.window(), window);
            control.begin(CongestionControl::NewReno, mss, true);
            assert_eq!(control.window(), mss, "one segment after a lost SYN");
        }
    }

    #[test]
    fn a_loss_costs_three_tenths_by_cubic_and_a_half_by_new_reno() {
        for (kind, threshold) in [(CongestionControl::Cubic, 7_000), (CongestionControl::NewReno, 5_000)] {
            let mut control = Congestion::NEW;
            control.begin(kind, 1_000, false);
            control.enter_recovery(Seq(10_000), 12_000, 9_000);
            assert_eq!(control.threshold(), threshold, "of the window: limited transmit does not count");
            assert_eq!(control.space(9_000), 0, "nothing leaves by the window before something arrives");
        }
    }

    #[test]
    fn what_leaves_in_recovery_is_in_proportion_to_what_arrives() {
        let mut control = controller(1_000);
        control.window = 20_000;
        control.enter_recovery(Seq(0), 20_000, 16_000);
        let (mut flight, mut left) = (16_000, 0);
        for _ in 0..16 {
            flight -= 1_000;
            control.recover(1_000, flight);
            while control.space(flight) >= 1_000 {
                control.sent(1_000);
                flight += 1_000;
                left += 1_000;
            }
        }
        assert!((9_000..=14_000).contains(&left), "{left}: about 0.7 of 16,000");
        assert!(flight <= 14_000);
    }

    #[test]
    fn an_undone_reduction_leaves_no_trace() {
        let mut control = controller(1_000);
        control.enter_timeout(Seq(10_000), 10_000, false);
        assert_eq!(control.window(), 1_000);
        control.enter_timeout(Seq(10_000), 10_000, true);
        assert!(control.undo());
        assert_eq!((control.window(), control.threshold(), control.phase()), (10_000, u32::MAX, Phase::Open));
        assert!(!control.undo());
    }
}
