use super::*;
use crate::connection::mock::{Mock, ROOM, Release};
use crate::stack::{ErrorKind, Sent};
use crate::time::Duration;
use std::vec::Vec;

const PEER: &str = "198.51.100.1:80";

struct World {
    client: Client<Mock>,
    stack: Mock,
    now: Instant,
}

impl World {
    fn new(config: ClientConfig) -> Self {
        Self {
            client: Client::new(PEER.parse().unwrap(), config, 1),
            stack: Mock::new(),
            now: Instant::from_secs(100),
        }
    }

    fn events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.client.poll(&mut self.stack, self.now) {
            events.push(event);
            assert!(events.len() < 100, "a round does not end: {events:?}");
        }
        events
    }

    /// Opens the connection with this handle.
    #[track_caller]
    fn open(&mut self, handle: u64) {
        assert_eq!(self.events(), []);
        assert_eq!(self.client.state(), ClientState::Connecting);
        self.stack.peer_accepts(handle);
        let events = self.events();
        assert!(matches!(events[..], [Event::Opened { local: Some(_), .. }]), "{events:?}");
    }

    /// Lets time pass until the connection is over.
    #[track_caller]
    fn expect_closed(&mut self, expected: Reason) -> Option<Instant> {
        for _ in 0..1000 {
            for event in self.events() {
                if let Event::Closed { reason, retry, .. } = event {
                    assert_eq!(reason, expected);
                    return retry;
                }
            }
            self.now = self.now.max(self.client.deadline().expect("a deadline"));
        }
        panic!("the deadline does not move on: {:?}", self.client.deadline());
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new(ClientConfig::default())
    }
}

#[test]
fn what_was_received_before_it_heard_of_the_opening_is_counted() {
    let mut world = World::default();
    assert_eq!(world.events(), []);
    world.stack.peer_accepts(0);
    world.stack.peer_sends(0, b"hi");
    assert_eq!(world.client.recv(&mut world.stack, &mut [0; 8]), Ok(Received::Data(2)));
    world.client.abort().unwrap();
    let events = world.events();
    assert!(
        matches!(events[..], [Event::Closed { traffic: Traffic { received: 2, sent: 0 }, .. }]),
        "{events:?}"
    );
}

#[test]
fn a_closing_client_sleeps_until_the_peer_does_something() {
    let mut world = World::default();
    world.open(0);
    world.client.close(&mut world.stack).unwrap();
    assert_eq!(world.events(), []);
    assert!(world.client.deadline() > Some(world.now), "{:?}", world.client.deadline());
}

#[test]
fn it_connects_talks_and_closes() {
    let mut world = World::default();
    world.open(0);
    assert_eq!(world.client.send(&mut world.stack, b"hello"), Ok(Sent::Queued(5)));
    world.stack.peer_acknowledges(0, 5);
    world.stack.peer_sends(0, b"hi");
    assert_eq!(world.events(), [Event::Readable]);
    assert_eq!(world.client.recv(&mut world.stack, &mut [0; 8]), Ok(Received::Data(2)));
    assert_eq!(world.events(), []);
    world.client.stop();
    world.client.close(&mut world.stack).unwrap();
    assert_eq!(world.client.state(), ClientState::Closing);
    world.stack.peer_closes(0);
    assert_eq!(world.expect_closed(Reason::Finished), None);
    assert_eq!((world.client.state(), world.client.deadline()), (ClientState::Stopped, None));
    assert_eq!(world.stack[0].released, Some(Release::Closed));
    assert_eq!(world.stack[0].delivered, b"hello");
}

#[test]
fn the_peer_s_end_of_stream_is_reported_once_received() {
    let mut world = World::default();
    world.open(0);
    world.stack.peer_closes(0);
    assert_eq!(world.events(), [Event::Readable]);
    assert_eq!(world.client.recv(&mut world.stack, &mut [0; 8]), Ok(Received::EndOfStream));
    assert_eq!(world.events(), []);
    world.client.shutdown(&mut world.stack).unwrap();
    assert!(world.expect_closed(Reason::PeerClosed).is_some());
}

#[test]
fn a_refused_attempt_is_made_again_with_growing_waits() {
    let mut world = World::default();
    let backoff = Backoff::DEFAULT;
    for attempt in 0..12 {
        world.events();
        world.stack.peer_fails(attempt, ErrorKind::Refused);
        let before = world.now;
        let retry = world.expect_closed(Reason::Refused).expect("another attempt");
        assert!(retry.since(before) <= backoff.limit(attempt as u32));
        assert_eq!(world.client.state(), ClientState::Waiting { until: retry, attempt: attempt as u32 + 1 });
        assert_eq!(world.client.deadline(), Some(retry));
        world.now = retry;
    }
    assert_eq!(backoff.limit(2), Duration::from_secs(4));
    assert_eq!(backoff.limit(u32::MAX), Duration::from_secs(60));
}

#[test]
fn waits_have_full_jitter() {
    let mut random = Random::new(0);
    let waits: Vec<_> = (0..1000).map(|_| Backoff::DEFAULT.wait(3, &mut random).as_secs_f64()).collect();
    let mean = waits.iter().sum::<f64>() / 1000.0;
    assert!((3.7..4.3).contains(&mean), "{mean}");
    assert!(waits.iter().all(|wait| *wait <= 8.0));
    let endless = Backoff { first: Duration::MAX, cap: Duration::MAX, reset_after: Duration::ZERO };
    endless.wait(u32::MAX, &mut random);
}

#[test]
fn a_connection_that_lasted_resets_the_waits() {
    let mut world = World::default();
    for (handle, lasts, attempt) in [(0, 1, 1), (1, 1, 2), (2, 10, 1)] {
        world.open(handle);
        world.now = world.now + Duration::from_secs(lasts);
        world.stack.peer_fails(handle, ErrorKind::Reset);
        let retry = world.expect_closed(Reason::Reset).expect("another attempt");
        assert_eq!(world.client.state(), ClientState::Waiting { until: retry, attempt });
        world.now = retry;
    }
}

#[test]
fn a_silent_peer_passes_the_connect_deadline() {
    let mut world = World::default();
    world.expect_closed(Reason::TimedOut(Deadline::Connect));
    assert_eq!(world.now, Instant::from_secs(130));
    assert_eq!(world.stack[0].released, Some(Release::Aborted));
}

#[test]
fn a_stack_that_cannot_even_begin_is_asked_again_later() {
    let mut world = World::default();
    world.stack.connects = Err(ErrorKind::NoSlot);
    let retry = world.expect_closed(Reason::Failed(ErrorKind::NoSlot)).expect("another attempt");
    assert_eq!(world.events(), []);
    world.stack.connects = Ok(());
    world.now = retry;
    world.open(0);
    assert_eq!(world.stack.connect_calls, 2);
}

#[test]
fn stopped_it_stays_so_until_it_is_started() {
    let mut world = World::default();
    world.open(0);
    world.client.stop();
    assert_eq!(world.client.state(), ClientState::Open, "an open connection stays open");
    world.stack.peer_fails(0, ErrorKind::Reset);
    assert_eq!(world.expect_closed(Reason::Reset), None);
    assert_eq!(world.events(), []);
    assert_eq!(world.client.send(&mut world.stack, b"x"), Err(crate::connection::Error::NotConnected));
    world.client.start();
    world.open(1);
}

#[test]
fn closed_while_it_connects_it_was_aborted() {
    let mut world = World::default();
    world.events();
    world.client.close(&mut world.stack).unwrap();
    world.expect_closed(Reason::Aborted);
    assert_eq!(world.stack[0].released, Some(Release::Aborted));
}

#[test]
fn writable_comes_after_a_send_that_was_cut_short() {
    let mut world = World::default();
    world.open(0);
    assert_eq!(world.client.send(&mut world.stack, &[0; ROOM + 1]), Ok(Sent::Queued(ROOM)));
    assert_eq!(world.events(), [], "there is no room yet");
    world.stack.peer_acknowledges(0, 10);
    assert_eq!(world.events(), [Event::Writable]);
    assert_eq!(world.events(), []);
}

#[test]
fn idle_and_stalled_connections_end() {
    let mut world = World::default();
    world.open(0);
    world.expect_closed(Reason::TimedOut(Deadline::Idle));
    assert_eq!(world.now, Instant::from_secs(400));

    let mut world = World::default();
    world.open(0);
    world.client.send(&mut world.stack, b"x").unwrap();
    world.expect_closed(Reason::TimedOut(Deadline::WriteStall));
}

#[test]
fn without_half_close_the_stack_closes_at_once() {
    let mut world = World::default();
    world.stack.capabilities = crate::stack::Capabilities::CLIENT_ONLY;
    world.open_without_looking();
    world.client.close(&mut world.stack).unwrap();
    world.expect_closed(Reason::Finished);
    assert_eq!(world.stack[0].released, Some(Release::Closed));
}

impl World {
    fn open_without_looking(&mut self) {
        self.events();
        self.stack.peer_accepts(0);
        let events = self.events();
        assert!(matches!(events[..], [Event::Opened { .. }, Event::Readable]), "{events:?}");
    }
}

#[test]
fn a_clock_that_goes_back_holds_no_attempt_up() {
    let mut world = World { now: Instant::from_secs(100_000), ..World::default() };
    assert_eq!(world.events(), []);
    world.stack.peer_fails(0, ErrorKind::Refused);
    let retry = world.expect_closed(Reason::Refused).expect("it will try again");
    let wait = retry.since(world.now);
    world.now = Instant::from_secs(10);
    assert_eq!(world.events(), []);
    let due = world.client.deadline().expect("the next attempt");
    assert_eq!(due.since(world.now), wait, "it does not wait for the clock to catch up");
    world.now = due;
    assert_eq!(world.events(), []);
    assert_eq!(world.client.state(), ClientState::Connecting);
}
