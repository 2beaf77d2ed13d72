use super::{Deadline, State, Traffic, UNKNOWN_TIME};
use crate::time::{Duration, Instant, earliest, micros};

/// How much must move, and in what time, lest a connection count as too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// At least so many bytes, received and sent together,
    pub bytes: u32,
    /// in each period of this length.
    pub period: Duration,
}

/// How long a connection may take over what. `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deadlines {
    /// From the opening to the first byte of the peer. 60 seconds for a server, none for a client.
    pub first_byte: Option<Duration>,
    /// Without a byte received, or queued to be sent. 5 minutes.
    pub idle: Option<Duration>,
    /// With bytes queued, none of which the peer acknowledges. 30 seconds; noticed up to a quarter later.
    ///
    /// Needs [`Capabilities::unsent`](crate::stack::Capabilities::unsent).
    pub write_stall: Option<Duration>,
    /// From the first byte on, at least so much must move (against a peer that sends a byte now and then to hold its slot).
    /// None: what is slow depends on the protocol.
    pub progress: Option<Progress>,
    /// From a close until the peer has acknowledged all bytes and closed too. 10 seconds.
    ///
    /// With `None` a peer that never closes its side holds the connection for ever (FIN-WAIT-2 of RFC 9293 has no end of its own).
    pub drain: Option<Duration>,
}

impl Deadlines {
    /// What a server starts with.
    pub const SERVER: Self = Self {
        first_byte: Some(Duration::from_secs(60)),
        idle: Some(Duration::from_secs(300)),
        write_stall: Some(Duration::from_secs(30)),
        progress: None,
        drain: Some(Duration::from_secs(10)),
    };

    /// What a client starts with.
    pub const CLIENT: Self = Self { first_byte: None, ..Self::SERVER };

    /// No limits at all.
    pub const NONE: Self =
        Self { first_byte: None, idle: None, write_stall: None, progress: None, drain: None };

    /// The same with another [`first_byte`](Self::first_byte).
    #[must_use]
    pub const fn with_first_byte(mut self, limit: Option<Duration>) -> Self {
        self.first_byte = limit;
        self
    }

    /// The same with another [`idle`](Self::idle).
    #[must_use]
    pub const fn with_idle(mut self, limit: Option<Duration>) -> Self {
        self.idle = limit;
        self
    }

    /// The same with another [`write_stall`](Self::write_stall).
    #[must_use]
    pub const fn with_write_stall(mut self, limit: Option<Duration>) -> Self {
        self.write_stall = limit;
        self
    }

    /// The same with another [`progress`](Self::progress).
    #[must_use]
    pub const fn with_progress(mut self, limit: Option<Progress>) -> Self {
        self.progress = limit;
        self
    }

    /// The same with another [`drain`](Self::drain).
    #[must_use]
    pub const fn with_drain(mut self, limit: Option<Duration>) -> Self {
        self.drain = limit;
        self
    }
}

/// What a connection remembers so that deadlines can be computed when they are looked at, not whenever a byte moves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    /// When a byte moved last; in `Closing`, when that began.
    activity: Instant,
    /// When it was opened; from the first byte on, when the current period of `progress` began.
    since: Instant,
    /// While bytes that were queued may not be acknowledged: when it was last seen that the peer acknowledged something, or there was
    /// nothing to acknowledge. Otherwise [`ALL_ACKNOWLEDGED`].
    stalled: Instant,
    /// How many bytes the peer had acknowledged then (the low half).
    acknowledged: u32,
    /// How many bytes had moved at `since` (the low half).
    moved: u32,
}

/// No moment: every byte that was queued is acknowledged.
const ALL_ACKNOWLEDGED: Instant = Instant::from_micros(u64::MAX - 1);

impl Clock {
    pub(super) const fn new(now: Instant) -> Self {
        Self { activity: now, since: now, stalled: ALL_ACKNOWLEDGED, acknowledged: 0, moved: 0 }
    }

    /// The time is known again: it is that of what happened since the last round.
    pub(super) fn catch_up(&mut self, now: Instant) {
        for time in [&mut self.activity, &mut self.since, &mut self.stalled] {
            if *time == UNKNOWN_TIME {
                *time = now;
            }
        }
    }

    /// `Opened`, or `Closing` begins: what follows is counted from here.
    pub(super) fn restart(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    /// Bytes were received. Says whether to look at the connection: they are the first, or the time is unknown.
    pub(super) fn received(&mut self, now: Instant, before: &Traffic) -> bool {
        self.activity = now;
        let first = before.received == 0;
        if first {
            self.since = now;
            self.moved = before.moved();
        }
        first || now == UNKNOWN_TIME
    }

    /// Bytes were queued. Says whether to look at the connection: `write_stall` begins, or the time is unknown.
    pub(super) fn sent(&mut self, now: Instant, before: &Traffic) -> bool {
        self.activity = now;
        let first = !self.in_flight();
        if first {
            self.stalled = now;
            self.acknowledged = before.sent as u32;
        }
        first || now == UNKNOWN_TIME
    }

    fn in_flight(&self) -> bool {
        self.stalled != ALL_ACKNOWLEDGED
    }

    /// Whether [`observe_unsent`](Self::observe_unsent) is worth asking the stack for.
    pub(super) fn wants_unsent(&self, deadlines: &Deadlines) -> bool {
        self.in_flight() && deadlines.write_stall.is_some()
    }

    /// The stack has so many bytes that the peer has not acknowledged (`None`: it cannot say).
    pub(super) fn observe_unsent(&mut self, now: Instant, unsent: Option<usize>, traffic: &Traffic) {
        let Some(unsent @ 1..) = unsent else {
            self.stalled = ALL_ACKNOWLEDGED;
            return;
        };
        let acknowledged = (traffic.sent as u32).wrapping_sub(unsent as u32);
        if acknowledged != self.acknowledged {
            self.acknowledged = acknowledged;
            self.stalled = now;
        }
    }

    /// A period of `progress` that was long enough is followed by the next one.
    pub(super) fn next_period(&mut self, now: Instant, deadlines: &Deadlines, traffic: &Traffic) {
        let Some(progress) = deadlines.progress else { return };
        let enough = traffic.moved().wrapping_sub(self.moved) >= progress.bytes;
        if traffic.received > 0 && enough && self.since + progress.period <= now {
            self.since = now;
            self.moved = traffic.moved();
        }
    }

    /// The deadline that has passed, or when to look again.
    pub(super) fn check(
        &self,
        now: Instant,
        state: State,
        deadlines: &Deadlines,
        traffic: &Traffic,
    ) -> Result<Option<Instant>, Deadline> {
        let mut limits = Limits { now, next: None };
        match state {
            State::Opening | State::Closed(_) => {}
            State::Closing(_) => limits.add(self.activity, deadlines.drain, Deadline::Drain)?,
            State::Open | State::PeerClosed | State::WriteClosed => {
                if traffic.received > 0 {
                    limits.add(self.since, deadlines.progress.map(|p| p.period), Deadline::Progress)?;
                } else if state != State::PeerClosed {
                    limits.add(self.since, deadlines.first_byte, Deadline::FirstByte)?;
                }
                if self.in_flight() {
                    limits.add(self.stalled, deadlines.write_stall, Deadline::WriteStall)?;
                }
                limits.add(self.activity, deadlines.idle, Deadline::Idle)?;
            }
        }
        let mut next = limits.next;
        if self.in_flight() {
            next = earliest(next, deadlines.write_stall.map(|stall| a_quarter_after(now, stall)));
        }
        // Not at once again, however short the period: a look that changes nothing must not be repeated at the same time.
        Ok(next.map(|at| at.max(now + Duration::from_millis(1))).filter(|at| *at > now))
    }
}

/// The limits that a state sets, looked at one by one.
struct Limits {
    now: Instant,
    /// When the first of them will be reached.
    next: Option<Instant>,
}

impl Limits {
    #[cfg_attr(target_arch = "arm", inline(never))]
    fn add(&mut self, since: Instant, limit: Option<Duration>, deadline: Deadline) -> Result<(), Deadline> {
        let Some(limit) = limit else { return Ok(()) };
        let at = since + limit;
        self.next = earliest(self.next, Some(at));
        if at <= self.now { Err(deadline) } else { Ok(()) }
    }
}

/// A quarter of it after `now`, without a 64-bit division.
fn a_quarter_after(now: Instant, duration: Duration) -> Instant {
    Instant::from_micros(now.as_micros().saturating_add(micros(duration) >> 2))
}
