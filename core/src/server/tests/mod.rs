mod deadlines;
mod relay;

use super::*;
use crate::connection::Deadlines;
use crate::connection::mock::{Mock, ROOM, Release};
use crate::stack::{Received, Sent};
use std::vec::Vec;

const PEER: &str = "198.51.100.1:1000";

const fn secs(secs: u64) -> Option<Duration> {
    Some(Duration::from_secs(secs))
}

/// A server, its stack, the time, and events as they come.
struct World {
    server: Server<'static, Mock>,
    stack: Mock,
    now: Instant,
}

impl World {
    fn new(slots: usize, config: ServerConfig) -> Self {
        let slots: Vec<_> = (0..slots).map(|_| ServerSlot::<Mock>::EMPTY).collect();
        let mut stack = Mock::new();
        let mut server = Server::new(slots.leak(), config);
        server.listen(&mut stack, "0.0.0.0:7".parse().unwrap()).unwrap();
        Self { server, stack, now: Instant::ZERO }
    }

    /// A world without deadlines, but those that `limits` sets.
    fn with_limits(limits: impl FnOnce(Deadlines) -> Deadlines) -> Self {
        Self::new(4, ServerConfig::DEFAULT.with_deadlines(limits(Deadlines::NONE)))
    }

    /// All events that are due.
    fn events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.server.poll(&mut self.stack, self.now) {
            events.push(event);
            assert!(events.len() < 100, "a round does not end: {events:?}");
        }
        events
    }

    /// Lets time pass, from deadline to deadline; gives the first events and when they came.
    fn wait(&mut self, until: u64) -> (u64, Vec<Event>) {
        let until = Instant::from_secs(until);
        for _ in 0..10_000 {
            let events = self.events();
            if !events.is_empty() {
                return (self.now.as_micros() / 1_000_000, events);
            }
            match self.server.deadline().filter(|at| *at <= until) {
                Some(at) => self.now = self.now.max(at),
                None => {
                    self.now = until;
                    return (until.as_micros() / 1_000_000, Vec::new());
                }
            }
        }
        panic!("the deadline does not move on: {:?}", self.server.deadline());
    }

    fn open(&mut self) -> (u64, Id) {
        let handle = self.stack.peer_connects(PEER);
        let events = self.events();
        let [Event::Opened { id, peer }, Event::Readable { .. }] = events[..] else { panic!("{events:?}") };
        assert_eq!(peer, PEER.parse().unwrap());
        (handle, id)
    }

    #[track_caller]
    fn expect_closed(&mut self, expected: Reason) -> Traffic {
        let (_, events) = self.wait(1_000_000);
        let Some(Event::Closed { reason, traffic, peer, id }) = events.last() else { panic!("{events:?}") };
        assert_eq!(*reason, expected);
        assert_eq!(*peer, PEER.parse().unwrap());
        assert_eq!(self.server.state(*id), None, "the id is stale");
        *traffic
    }

    #[track_caller]
    fn recv(&mut self, id: Id) -> Vec<u8> {
        let mut buffer = [0; 64];
        match self.server.recv(&mut self.stack, id, &mut buffer) {
            Ok(Received::Data(count)) => buffer[..count].to_vec(),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn expect_end_of_stream(&mut self, id: Id) {
        assert_eq!(self.server.recv(&mut self.stack, id, &mut [0]), Ok(Received::EndOfStream));
    }

    #[track_caller]
    fn send(&mut self, id: Id, data: &[u8]) {
        assert_eq!(self.server.send(&mut self.stack, id, data), Ok(Sent::Queued(data.len())));
    }

    fn relay(&mut self, from: Id, to: Id) -> (usize, Stopped) {
        let relayed = self.server.relay(&mut self.stack, from, to).unwrap();
        (relayed.bytes, relayed.stopped)
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new(4, ServerConfig::DEFAULT)
    }
}

#[test]
fn the_peer_closes_after_its_data() {
    let mut world = World::default();
    let (peer, id) = world.open();
    world.stack.peer_sends(peer, b"abc");
    world.stack.peer_closes(peer);
    assert_eq!(world.events(), [Event::Readable { id }]);
    assert_eq!(world.recv(id), b"abc");
    world.expect_end_of_stream(id);
    world.send(id, b"de");
    world.server.close(&mut world.stack, id).unwrap();
    assert_eq!(world.events(), []);
    world.stack.peer_acknowledges(peer, 2);
    assert_eq!(world.expect_closed(Reason::PeerClosed), Traffic { received: 3, sent: 2 });
    assert_eq!(world.stack[peer].released, Some(Release::Closed));
}

#[test]
fn this_side_closes_first_and_discards_what_still_comes() {
    let mut world = World::default();
    let (peer, id) = world.open();
    world.send(id, b"bye");
    world.server.close(&mut world.stack, id).unwrap();
    assert!(world.stack[peer].fin_sent);
    world.stack.peer_sends(peer, b"too late");
    assert_eq!(world.events(), []);
    assert!(world.stack[peer].rx.is_empty(), "the peer's window is kept open");
    assert_eq!(world.server.send(&mut world.stack, id, b"x"), Err(Error::Closed));
    world.stack.peer_acknowledges(peer, 3);
    world.stack.peer_closes(peer);
    world.expect_closed(Reason::Finished);
}

#[test]
fn half_closed_on_this_side_it_still_receives() {
    let mut world = World::default();
    let (peer, id) = world.open();
    world.server.shutdown(&mut world.stack, id).unwrap();
    world.server.shutdown(&mut world.stack, id).unwrap();
    world.stack.peer_sends(peer, b"more");
    world.stack.peer_closes(peer);
    // The stack has finished, but the bytes are not lost, however long the service takes within the deadlines.
    assert_eq!(world.events(), [Event::Readable { id }]);
    assert_eq!(world.wait(50).1, []);
    assert_eq!(world.recv(id), b"more");
    world.expect_end_of_stream(id);
    world.expect_closed(Reason::Finished);
}

#[test]
fn what_came_before_a_reset_can_be_received_once() {
    let mut world = World::default();
    let (peer, id) = world.open();
    world.stack.peer_sends(peer, b"last words");
    world.stack.peer_fails(peer, ErrorKind::Reset);
    assert_eq!(world.server.poll(&mut world.stack, world.now), Some(Event::Readable { id }));
    assert_eq!(world.recv(id), b"last words");
    world.expect_closed(Reason::Reset);
    assert_eq!(world.stack[peer].released, Some(Release::Aborted));
}

#[test]
fn a_failed_call_ends_the_connection_although_the_stack_reports_nothing() {
    let mut world = World::default();
    let (peer, id) = world.open();
    world.stack[peer].status = crate::stack::Status::Failed(ErrorKind::LinkDown);
    assert_eq!(world.server.send(&mut world.stack, id, b"x"), Err(Error::Stack(ErrorKind::LinkDown)));
    world.expect_closed(Reason::LinkDown);
}

#[test]
fn an_abort_is_a_reset() {
    let mut world = World::default();
    let (peer, id) = world.open();
    world.server.abort(id).unwrap();
    assert!(world.server.deadline() <= Some(world.now), "it asks for the poll that does it");
    world.expect_closed(Reason::Aborted);
    assert_eq!(world.stack[peer].released, Some(Release::Aborted));
    assert_eq!(world.server.abort(id), Err(Error::NotConnected));
}

#[test]
fn without_half_close_the_stack_closes_at_once() {
    let mut world = World::default();
    world.stack.capabilities = crate::stack::Capabilities::CLIENT_ONLY;
    let (peer, id) = world.open();
    assert_eq!(world.server.shutdown(&mut world.stack, id), Err(Error::Stack(ErrorKind::Unsupported)));
    world.server.close(&mut world.stack, id).unwrap();
    world.expect_closed(Reason::Finished);
    assert_eq!(world.stack[peer].released, Some(Release::Closed));
}

#[test]
fn those_beyond_the_capacity_wait_in_the_backlog() {
    let mut world = World::new(1, ServerConfig::DEFAULT);
    let (_, id) = world.open();
    world.stack.peer_connects(PEER);
    assert_eq!(world.events(), []);
    assert_eq!(world.stack.backlog.len(), 1);
    world.server.abort(id).unwrap();
    let events = world.events();
    assert!(
        matches!(events[..], [Event::Closed { .. }, Event::Opened { .. }, Event::Readable { .. }]),
        "{events:?}"
    );
}

#[test]
fn one_peer_above_its_limit_is_rejected() {
    let mut world = World::new(4, ServerConfig::DEFAULT.with_per_peer(Some(1)));
    let (_, first) = world.open();
    let second = world.stack.peer_connects("198.51.100.1:1001");
    world.stack.peer_connects("198.51.100.2:1000");
    let events = world.events();
    assert!(
        matches!(
            events[..],
            [Event::Closed { reason: Reason::Rejected, .. }, Event::Opened { .. }, Event::Readable { .. }]
        ),
        "{events:?}"
    );
    assert_eq!(world.stack[second].released, Some(Release::Aborted));
    assert_eq!((world.server.stats().accepted, world.server.stats().rejected), (3, 1));
    assert!(world.server.state(first).is_some());
}

#[test]
fn readiness_of_a_slot_s_former_owner_is_not_its_new_owner_s() {
    let mut world = World::new(1, ServerConfig::DEFAULT);
    let (old, id) = world.open();
    world.server.abort(id).unwrap();
    world.expect_closed(Reason::Aborted);
    let (_, id) = world.open();
    world.stack[old].released = None;
    world.stack.peer_sends(old, b"ghost");
    assert_eq!(world.events(), []);
    assert_eq!(world.server.state(id), Some(State::Open));
}

#[test]
fn writable_comes_only_after_a_send_that_was_cut_short() {
    let mut world = World::default();
    let (peer, id) = world.open();
    world.send(id, b"x");
    world.stack.peer_acknowledges(peer, 1);
    assert_eq!(world.events(), []);
    let sent = world.server.send(&mut world.stack, id, &[0; ROOM + 1]);
    assert_eq!(sent, Ok(Sent::Queued(ROOM)));
    world.stack.peer_acknowledges(peer, 10);
    assert_eq!(world.events(), [Event::Writable { id }]);
    world.stack.peer_acknowledges(peer, 10);
    assert_eq!(world.events(), []);
}

#[test]
fn a_woken_connection_is_reported_once_a_round() {
    let mut world = World::default();
    let (_, a) = world.open();
    let (_, b) = world.open();
    world.server.wake(a);
    world.server.wake(b);
    world.server.wake(b);
    // Woken between two rounds: noted in this round, reported in the next.
    let mut woken = Vec::new();
    for _ in 0..3 {
        while let Some(event) = world.server.poll(&mut world.stack, world.now) {
            if let Event::Readable { id } = event {
                woken.push(id);
                world.server.wake(id);
            }
        }
        assert!(world.server.deadline() <= Some(world.now), "it asks for the next round");
    }
    woken.sort_by_key(|id| id.index());
    assert_eq!(woken, [a, a, b, b]);
}

#[test]
fn a_server_drains() {
    let mut world = World::default();
    let (ends, a) = world.open();
    let (idle, _) = world.open();
    let (stuck, c) = world.open();
    world.send(c, b"stuck");
    world.server.drain(&mut world.stack, world.now, Duration::from_secs(5));
    assert!(!world.stack.listening && !world.server.is_drained());

    world.stack.peer_closes(ends);
    assert_eq!(world.events(), [Event::Readable { id: a }], "accepted connections go on");
    world.expect_end_of_stream(a);
    world.server.close(&mut world.stack, a).unwrap();
    world.expect_closed(Reason::PeerClosed);

    let (at, events) = world.wait(100);
    assert_eq!(at, 5);
    let reasons: Vec<_> = events
        .iter()
        .map(|event| match event {
            Event::Closed { reason, .. } => *reason,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(reasons, [Reason::Finished, Reason::TimedOut(Deadline::Drain)]);
    assert_eq!(world.stack[idle].released, Some(Release::Closed));
    assert_eq!(world.stack[stuck].released, Some(Release::Aborted));
    assert!(world.server.is_drained());
    assert_eq!(world.server.deadline(), None);
}

/// What the stack cannot say is not held against the peer.
#[test]
fn a_drain_without_unsent_blames_only_a_peer_that_left_no_room() {
    let mut world = World::default();
    world.stack.capabilities.unsent = false;
    let (idle, _) = world.open();
    let (stuck, id) = world.open();
    let more = [0; ROOM + 1];
    assert_eq!(world.server.send(&mut world.stack, id, &more), Ok(Sent::Queued(ROOM)));
    world.server.drain(&mut world.stack, world.now, Duration::from_secs(5));
    let (at, events) = world.wait(100);
    assert_eq!(at, 5);
    let reasons = events.iter().filter_map(|event| match event {
        Event::Closed { reason, .. } => Some(*reason),
        _ => None,
    });
    assert!(reasons.eq([Reason::Finished, Reason::TimedOut(Deadline::Drain)]), "{events:?}");
    assert_eq!(world.stack[idle].released, Some(Release::Closed));
    assert_eq!(world.stack[stuck].released, Some(Release::Aborted));
}

#[test]
fn a_drained_server_can_listen_again() {
    let mut world = World::default();
    let any = "0.0.0.0:7".parse().unwrap();
    assert_eq!(world.server.listen(&mut world.stack, any), Err(Error::Listening));
    world.server.drain(&mut world.stack, world.now, Duration::ZERO);
    world.server.listen(&mut world.stack, any).unwrap();
    world.open();
}
