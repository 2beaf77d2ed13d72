use super::*;
use crate::connection::Progress;

#[test]
fn a_peer_that_sends_nothing_passes_the_first_byte_deadline() {
    let mut world = World::with_limits(|limits| limits.with_first_byte(secs(5)));
    let (_, id) = world.open();
    world.send(id, b"hello");
    let (at, events) = world.wait(100);
    assert!(
        matches!(events[..], [Event::Closed { reason: Reason::TimedOut(Deadline::FirstByte), .. }]),
        "{events:?}"
    );
    assert_eq!(at, 5);
}

#[test]
fn the_first_byte_ends_the_first_byte_deadline() {
    let mut world = World::with_limits(|limits| limits.with_first_byte(secs(5)));
    let (peer, id) = world.open();
    world.stack.peer_sends(peer, b"x");
    world.events();
    world.recv(id);
    assert_eq!(world.wait(100), (100, Vec::new()));
}

#[test]
fn the_idle_deadline_moves_with_every_byte() {
    let mut world = World::with_limits(|limits| limits.with_idle(secs(10)));
    let (peer, id) = world.open();
    for at in [4, 8, 12] {
        assert_eq!(world.wait(at).1, []);
        world.stack.peer_sends(peer, b"x");
        assert_eq!(world.events(), [Event::Readable { id }]);
        world.recv(id);
    }
    assert_eq!(world.wait(16).1, []);
    world.send(id, b"x");
    assert_eq!(world.wait(25).1, []);
    world.expect_closed(Reason::TimedOut(Deadline::Idle));
    assert_eq!(world.now, Instant::from_secs(26));
}

#[test]
fn a_peer_that_acknowledges_nothing_stalls() {
    let mut world = World::with_limits(|limits| limits.with_write_stall(secs(8)));
    let (peer, id) = world.open();
    world.send(id, b"12");
    assert_eq!(world.wait(7).1, []);
    world.stack.peer_acknowledges(peer, 1);
    assert_eq!(world.wait(14).1, []);
    world.expect_closed(Reason::TimedOut(Deadline::WriteStall));
    assert!(world.now >= Instant::from_secs(15) && world.now <= Instant::from_secs(17), "{}", world.now);
}

#[test]
fn nothing_unacknowledged_is_no_stall() {
    let mut world = World::with_limits(|limits| limits.with_write_stall(secs(8)));
    let (peer, id) = world.open();
    for at in [3, 10, 11, 30] {
        assert_eq!(world.wait(at).1, []);
        world.send(id, b"x");
        assert_eq!(world.wait(at + 1).1, []);
        world.stack.peer_acknowledges(peer, 1);
    }
    assert_eq!(world.wait(1000).1, []);
    assert_eq!(world.server.deadline(), None, "an idle connection costs no wake-ups");
}

#[test]
fn too_few_bytes_in_a_period_are_no_progress() {
    let progress = Progress { bytes: 3, period: Duration::from_secs(10) };
    let mut world = World::with_limits(|limits| limits.with_progress(Some(progress)));
    let (peer, id) = world.open();
    for (at, data) in [(5, &b"abc"[..]), (7, b"d"), (18, b"efg"), (27, b"h")] {
        assert_eq!(world.wait(at).1, []);
        world.stack.peer_sends(peer, data);
        world.events();
        world.recv(id);
    }
    let (at, _) = world.wait(100);
    assert_eq!(at, 35, "periods begin at 5, 15 and 25");
}

#[test]
fn a_drain_that_lost_bytes_is_a_timeout() {
    let mut world = World::default();
    let (peer, id) = world.open();
    world.send(id, b"never acknowledged");
    world.server.close(&mut world.stack, id).unwrap();
    world.expect_closed(Reason::TimedOut(Deadline::Drain));
    assert_eq!(world.now, Instant::from_secs(10));
    assert_eq!(world.stack[peer].released, Some(Release::Aborted));
}

#[test]
fn a_drain_that_lost_nothing_leaves_the_rest_to_the_stack() {
    let mut world = World::default();
    let (peer, id) = world.open();
    world.send(id, b"acknowledged");
    world.server.close(&mut world.stack, id).unwrap();
    world.stack.peer_acknowledges(peer, 12);
    world.expect_closed(Reason::Finished);
    assert_eq!(world.now, Instant::from_secs(10));
    assert_eq!(world.stack[peer].released, Some(Release::Closed));
}

#[test]
fn a_time_that_stands_still_or_goes_back_ends_nothing() {
    let mut world = World { now: Instant::from_secs(1_000), ..World::default() };
    let (_, id) = world.open();
    world.now = Instant::from_secs(1);
    world.server.wake(id);
    for _ in 0..5 {
        world.events();
    }
    assert_eq!(world.server.state(id), Some(State::Open));
}

#[test]
fn periods_of_no_length_do_not_hang() {
    let nothing = Some(Duration::ZERO);
    let progress = Some(Progress { bytes: 0, period: Duration::ZERO });
    let mut world = World::with_limits(|limits| limits.with_progress(progress).with_write_stall(nothing));
    let (peer, id) = world.open();
    world.stack.peer_sends(peer, b"x");
    world.events();
    world.recv(id);
    world.events();
    world.now = Instant::FAR_FUTURE;
    world.events();
}

#[test]
fn what_is_done_between_rounds_counts_from_the_next_one() {
    let mut world = World::with_limits(|limits| limits.with_write_stall(secs(8)).with_idle(secs(100)));
    let (peer, id) = world.open();
    world.events();
    world.now = Instant::from_secs(99);
    world.send(id, b"x");
    assert_eq!(world.wait(106).1, []);
    world.stack.peer_acknowledges(peer, 1);
    assert_eq!(world.wait(198).1, []);
    world.expect_closed(Reason::TimedOut(Deadline::Idle));
    assert_eq!(world.now, Instant::from_secs(199));
}

#[test]
fn a_clock_that_goes_back_holds_no_deadline_up() {
    let mut world = World::with_limits(|limits| limits.with_idle(secs(10)).with_write_stall(secs(20)));
    world.now = Instant::from_secs(100_000);
    let (_, quiet) = world.open();
    let (_, deaf) = world.open();
    world.send(deaf, b"12");
    assert_eq!(world.wait(100_005).1, []);
    world.now = Instant::from_secs(1_000);
    let (at, events) = world.wait(2_000);
    assert_eq!(at, 1_005, "five seconds were gone, five are left");
    let ends: Vec<_> = events.iter().chain(&world.events()).copied().collect();
    let idle =
        |event: &Event| matches!(event, Event::Closed { reason: Reason::TimedOut(Deadline::Idle), .. });
    assert!(ends.len() == 2 && ends.iter().all(idle), "{ends:?}");
    assert!(world.server.state(quiet).is_none() && world.server.state(deaf).is_none());
}

#[test]
fn a_clock_that_goes_back_holds_no_drain_up() {
    let mut world = World::with_limits(|limits| limits);
    world.now = Instant::from_secs(100_000);
    world.open();
    world.server.drain(&mut world.stack, world.now, Duration::from_secs(5));
    assert_eq!(world.wait(100_001).1, []);
    assert_eq!(world.events(), []);
    world.now = Instant::ZERO;
    let (at, events) = world.wait(100);
    assert!(at == 4 && matches!(events[..], [Event::Closed { .. }]), "{at} {events:?}");
}
