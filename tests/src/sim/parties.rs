//! Services for the simulator: servers and clients that talk at random, and a client that checks a user's service.

use super::SimStack;
use super::ledger::{End, Ledger, Pair};
use super::memory::counted;
use super::random::Random;
use super::talk::{Accepted, Made, Talk, Temper};
use core::fmt;
use core::net::SocketAddr;
use socklet::client::{self, Client, ClientState};
use socklet::connection::{Deadlines, Transitions};
use socklet::server::{Event, Server};
use socklet::service::Service;
use socklet::storage::Id;
use socklet::time::{Duration, Instant, earliest};

/// A service that the world can look into.
pub trait Party: Service<SimStack> {
    /// Connections that it holds a handle of; `None` if it cannot say.
    fn live(&self) -> Option<usize>;
    /// Whether it has done all that it wanted to.
    fn is_done(&self) -> bool;
    /// What it is doing, for who looks into a failure.
    fn doing(&self) -> String {
        String::new()
    }
    /// No more attempts to connect.
    fn stop(&mut self) {}
    /// The transitions that its connections have made.
    fn transitions(&self) -> Transitions {
        Transitions::NONE
    }
}

/// Events of one service at one time; more is a loop without end.
const EVENTS: usize = 20_000;

/// Counts the events of one service at one time.
#[derive(Debug, Default)]
pub(super) struct Events(usize);

impl Events {
    /// Another one, of `whose`. Says whether it is still to be taken.
    pub(super) fn count(
        &mut self,
        ledger: &Ledger,
        whose: &str,
        now: Instant,
        event: &impl fmt::Debug,
    ) -> bool {
        self.0 += 1;
        if self.0 > EVENTS {
            ledger.fail(format!("at {now}, a {whose} has had {EVENTS} events, and again {event:?}"));
        }
        self.0 <= EVENTS
    }

    fn any(&self) -> bool {
        self.0 > 0
    }
}

/// A main loop that has something else to do after each piece of work.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sluggish {
    pub(super) pause: Duration,
    until: Instant,
}

impl Sluggish {
    pub(super) const fn new(pause: Duration) -> Self {
        Self { pause, until: Instant::ZERO }
    }

    /// When it has time again, if it has none.
    fn busy_until(&self, now: Instant) -> Option<Instant> {
        (now < self.until).then_some(self.until)
    }

    /// It has done something, if `work` says so; when to come again, given when there is more to do.
    fn rest(&mut self, now: Instant, work: bool, due: Option<Instant>) -> Option<Instant> {
        if work {
            self.until = now + self.pause;
        }
        due.map(|due| due.max(self.until))
    }
}

/// A server whose every connection is a [`Talk`].
pub(super) struct TalkServer {
    pub(super) server: Server<'static, SimStack>,
    pub(super) addr: SocketAddr,
    pub(super) ledger: Ledger,
    pub(super) seed: u64,
    pub(super) temper: Temper,
    pub(super) sluggish: Sluggish,
    /// When it stops listening, and how much time it gives.
    pub(super) drains: Vec<(Instant, Duration)>,
    /// It has closed its listener, and opened another one.
    pub(super) listens_again: bool,
    /// When the latest drain ends what is left.
    pub(super) cut: Option<Instant>,
    pub(super) deadlines: Deadlines,
    pub(super) random: Random,
    pub(super) talks: Vec<Option<(Id, Talk)>>,
}

impl TalkServer {
    fn wire<'s>(server: &'s mut Server<'static, SimStack>, stack: &'s mut SimStack, id: Id) -> Accepted<'s> {
        Accepted { server, stack, id }
    }

    fn advance(&mut self, stack: &mut SimStack, id: Id, now: Instant) {
        let Some((_, talk)) = self.talks[id.index()].as_mut().filter(|(owner, _)| *owner == id) else {
            return;
        };
        talk.advance(&mut Self::wire(&mut self.server, stack, id), now);
    }

    fn take(&mut self, stack: &mut SimStack, event: Event, now: Instant) {
        match event {
            Event::Opened { id, peer } => {
                let server = self.server.local(stack, id).unwrap_or(self.addr);
                let pair = Pair { client: peer, server };
                if stack.stats().cookies_returned > 0 && self.ledger.knows(pair, End::Server) {
                    // The client has not heard of the end of the first one, and the acknowledgement that it repeats carries a cookie: to
                    // the stack, which has forgotten the first one, it completes a handshake. Cookies cannot do better.
                    self.ledger.forgotten(pair, End::Server);
                    let _ = self.server.abort(id);
                    return;
                }
                let stats = stack.stats();
                if stats.cookies_returned > 0 && (self.listens_again || stats.syns_refused > 0) {
                    // Or it was half open when the listener was closed, which resets it, or returned when there was no room, and was
                    // refused; then another segment, which was on its way, has met the new listener, or room.
                    self.ledger.may_be_reset(pair);
                }
                let talk = Talk::new(&self.ledger, self.seed, pair, End::Server, self.temper);
                self.talks[id.index()] = Some((id, talk));
                self.expect_cuts(now);
            }
            Event::Readable { id } | Event::Writable { id } => self.advance(stack, id, now),
            Event::Closed { id, reason, traffic, .. } => {
                self.ledger.count(reason);
                self.ledger.check_deadline(End::Server, reason, &self.deadlines, self.cut.is_some());
                if let Some((_, talk)) = self.talks[id.index()].take_if(|(owner, _)| *owner == id) {
                    talk.closed(reason, traffic);
                }
            }
        }
    }

    fn drain_now(&mut self, stack: &mut SimStack, now: Instant, grace: Duration) {
        self.server.drain(stack, now, grace);
        self.cut = Some(now + grace);
    }

    /// From the end of a drain's grace on, and no sooner, it may end a talk before the peer has closed.
    fn expect_cuts(&self, now: Instant) {
        if self.cut.is_some_and(|cut| cut <= now) {
            self.talks.iter().flatten().for_each(|(_, talk)| talk.may_be_cut());
        }
    }

    /// Listens again after a drain, and drains when it is time.
    fn come_and_go(&mut self, stack: &mut SimStack, now: Instant) {
        if let Some((_, grace)) = self.drains.pop_if(|(at, _)| *at <= now) {
            self.drain_now(stack, now, grace);
            // Abort what the drain may be about to end.
            for index in 0..self.talks.len() {
                if let Some(id) = self.server.id_at(index).filter(|_| self.random.chance(1_000)) {
                    if let Some((_, talk)) = &mut self.talks[index] {
                        talk.abandon();
                    }
                    let _ = self.server.abort(id);
                }
            }
        } else if self.server.is_drained()
            && self.server.local_addr(stack).is_err()
            && !self.drains.is_empty()
        {
            self.cut = None;
            self.listens_again = true;
            if let Err(error) = self.server.listen(stack, self.addr) {
                self.ledger.fail(format!("a drained server cannot listen again: {error}"));
            }
        }
    }
}

impl Service<SimStack> for TalkServer {
    fn poll(&mut self, stack: &mut SimStack, now: Instant) -> Option<Instant> {
        if let Some(until) = self.sluggish.busy_until(now) {
            return Some(until);
        }
        self.come_and_go(stack, now);
        self.expect_cuts(now);
        let mut events = Events::default();
        while let Some(event) = counted(|| self.server.poll(stack, now)) {
            if !events.count(&self.ledger, "server", now, &event) {
                break;
            }
            self.take(stack, event, now);
        }
        let mut due = earliest(self.server.deadline(), self.drains.last().map(|(at, _)| *at));
        for index in 0..self.talks.len() {
            let Some((id, talk)) = &mut self.talks[index] else { continue };
            if talk.is_due(now) {
                talk.advance(&mut Self::wire(&mut self.server, stack, *id), now);
                due = earliest(due, self.server.deadline());
            }
            due = earliest(due, talk.due());
        }
        self.sluggish.rest(now, events.any(), due)
    }

    fn drain(&mut self, stack: &mut SimStack, now: Instant, grace: Duration) {
        self.drains.clear();
        self.drain_now(stack, now, grace);
    }

    fn is_drained(&self) -> bool {
        self.server.is_drained()
    }
}

impl Party for TalkServer {
    fn live(&self) -> Option<usize> {
        Some(self.server.len())
    }

    fn is_done(&self) -> bool {
        true
    }

    fn transitions(&self) -> Transitions {
        *self.server.transitions()
    }
}

/// A client whose every connection is a [`Talk`].
pub(super) struct TalkClient {
    pub(super) client: Client<SimStack>,
    pub(super) ledger: Ledger,
    pub(super) seed: u64,
    pub(super) temper: Temper,
    pub(super) deadlines: Deadlines,
    pub(super) sluggish: Sluggish,
    /// Not before this time.
    pub(super) start: Instant,
    /// Connections to be made.
    pub(super) sessions: u32,
    pub(super) random: Random,
    pub(super) talk: Option<Talk>,
}

impl TalkClient {
    /// The talk begins before the client hears that it is connected, if it is clumsy.
    fn begin(&mut self, stack: &SimStack) {
        let Ok(local) = self.client.local(stack) else { return };
        let pair = Pair { client: local, server: self.client.remote() };
        self.talk = Some(Talk::new(&self.ledger, self.seed, pair, End::Client, self.temper));
    }

    fn advance(&mut self, stack: &mut SimStack, now: Instant) {
        if let Some(talk) = &mut self.talk {
            talk.advance(&mut Made { client: &mut self.client, stack }, now);
        }
    }

    fn act_early(&mut self, stack: &mut SimStack, now: Instant) {
        if self.client.state() != ClientState::Connecting || !self.random.chance(2_000) {
            return;
        }
        if self.talk.is_none() {
            self.begin(stack);
        }
        let mut wire = Made { client: &mut self.client, stack };
        if let Some(talk) = &mut self.talk {
            talk.blunder(&mut wire, now);
        }
    }

    fn take(&mut self, stack: &mut SimStack, event: client::Event, now: Instant) {
        match event {
            client::Event::Opened { .. } => {
                if self.talk.is_none() {
                    self.begin(stack);
                }
                self.sessions = self.sessions.saturating_sub(1);
                self.advance(stack, now);
            }
            client::Event::Readable | client::Event::Writable => self.advance(stack, now),
            client::Event::Closed { reason, traffic, .. } => {
                self.ledger.count(reason);
                self.ledger.check_deadline(End::Client, reason, &self.deadlines, false);
                if let Some(talk) = self.talk.take() {
                    talk.closed(reason, traffic);
                }
            }
        }
        if self.sessions == 0 {
            self.client.stop();
        }
    }
}

impl Service<SimStack> for TalkClient {
    fn poll(&mut self, stack: &mut SimStack, now: Instant) -> Option<Instant> {
        if now < self.start {
            return Some(self.start);
        }
        if let Some(until) = self.sluggish.busy_until(now) {
            return Some(until);
        }
        let connecting = self.client.state() == ClientState::Connecting;
        if self.temper.clumsy {
            self.act_early(stack, now);
        }
        let mut events = Events::default();
        while let Some(event) = counted(|| self.client.poll(stack, now)) {
            if !events.count(&self.ledger, "client", now, &event) {
                break;
            }
            self.take(stack, event, now);
        }
        if self.talk.as_ref().is_some_and(|talk| talk.is_due(now)) && self.client.state() == ClientState::Open
        {
            self.advance(stack, now);
        }
        // It may also look away when it has begun to connect.
        let work = events.any() || !connecting && self.client.state() == ClientState::Connecting;
        let talk = self.talk.as_ref().filter(|_| self.client.state() == ClientState::Open);
        let due = earliest(self.client.deadline(), talk.and_then(|talk| talk.due()));
        self.sluggish.rest(now, work, due)
    }
}

impl Party for TalkClient {
    fn live(&self) -> Option<usize> {
        Some(match self.client.state() {
            ClientState::Idle | ClientState::Waiting { .. } | ClientState::Stopped => 0,
            ClientState::Connecting | ClientState::Open | ClientState::Closing => 1,
        })
    }

    fn is_done(&self) -> bool {
        self.client.state() == ClientState::Stopped
    }

    fn doing(&self) -> String {
        format!("client {:?}, due {:?}, {:?}", self.client.state(), self.client.deadline(), self.talk)
    }

    fn stop(&mut self) {
        self.sessions = 0;
        self.client.stop();
    }

    fn transitions(&self) -> Transitions {
        *self.client.transitions()
    }
}
