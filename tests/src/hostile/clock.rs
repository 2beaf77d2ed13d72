use super::rig::Rig;
use super::{Figure, flag};
use socklet::connection::{Deadline, Reason};
use socklet::server::ServerConfig;
use socklet::time::{Duration, Instant};

/// `now` stands still, goes back, and jumps by a day.
pub(super) fn steps() -> Vec<Figure> {
    let mut rig = Rig::new(4, 2048, ServerConfig::default());
    let mut peer = rig.open(2000);
    // Still: polls at one time over and over, with and without work.
    for _ in 0..1000 {
        peer.echo(&mut rig, b"still");
    }
    // Back, by a second up to a day.
    rig.now = rig.now + Duration::from_secs(3600 * 10);
    let steps_back = [1, 60, 3600, 86_400];
    for step in steps_back {
        // Unlike a jump, an hour that passes is made of polls.
        peer = rig.open(2001 + step as u16 % 7);
        rig.now = Instant::from_micros(rig.now.as_micros().saturating_sub(step * 1_000_000));
        peer.echo(&mut rig, b"back");
        rig.pass(Duration::from_secs(5));
        peer.echo(&mut rig, b"and on");
        assert!(rig.open_connections() >= 1);
        let answers = rig.arrives(super::Segment { flags: flag::RST, ..peer.segment(b"") });
        assert_eq!(answers, []);
        assert_eq!(rig.last_end(), Some(Reason::Reset), "nothing but the reset ended it");
    }
    let waits = waits_after_a_step_back(&mut rig);
    // A day at once: what waits longer than its deadline ends with it, and says so.
    let mut peer = rig.open(3000);
    peer.echo(&mut rig, b"goodbye");
    rig.now = rig.now + Duration::from_secs(86_400);
    rig.turn();
    assert_eq!(rig.last_end(), Some(Reason::TimedOut(Deadline::Idle)));
    let mut peer = rig.open(3001);
    peer.echo(&mut rig, b"tomorrow");
    rig.now = Instant::FAR_FUTURE;
    rig.turn();
    rig.now = Instant::ZERO;
    rig.turn();
    rig.pass(Duration::from_secs(60));
    assert_eq!((rig.open_connections(), rig.free()), (0, 4));
    vec![Figure {
        scenario: "`now` stands still, goes back by 1 s to a day, jumps by a day and to the end of time",
        measured: format!(
            "0 connections lost going back, and every wait goes on: {waits}; after a day the idle deadline ends them"
        ),
        bound: "the same; within a quarter of each limit",
    }]
}

/// After a step back of ten hours: what is not acknowledged is sent again, and the deadlines come when they would have come.
fn waits_after_a_step_back(rig: &mut Rig) -> String {
    let deadlines = rig.service.server.config().deadlines;
    let mut silent = rig.open(4000);
    silent.echo(rig, b"that was all");
    step_back(rig);
    let idle = wait_for(rig, Deadline::Idle, deadlines.idle);
    assert_eq!(rig.arrives(silent.segment(b"")).len(), 1, "a reset: nobody knows it any more");
    let deaf = rig.open(4001);
    assert_eq!(rig.arrives(deaf.segment(b"deaf"))[0].payload, b"deaf");
    step_back(rig);
    let mut again = 0;
    rig.pass_and_see(Duration::from_secs(5), |answer| again += u32::from(answer.payload == b"deaf"));
    assert!(again > 0, "not sent again");
    let stall = wait_for(rig, Deadline::WriteStall, deadlines.write_stall);
    format!("idle ends after {idle} s, a write stall after {stall} s")
}

/// By ten hours.
fn step_back(rig: &mut Rig) {
    rig.now = Instant::from_micros(rig.now.as_micros().saturating_sub(36_000_000_000));
}

/// The seconds until the only connection ends with this deadline, which is its limit, or a quarter more.
#[track_caller]
fn wait_for(rig: &mut Rig, deadline: Deadline, limit: Option<Duration>) -> u64 {
    let (limit, start) = (limit.expect("the default has one"), rig.now);
    while rig.open_connections() > 0 && rig.now.since(start) < limit * 2 {
        rig.pass(Duration::from_secs(1));
    }
    let waited = rig.now.since(start);
    assert_eq!(rig.last_end(), Some(Reason::TimedOut(deadline)), "after {waited:?}");
    assert!(waited <= limit + limit / 4 + Duration::from_secs(1), "{deadline:?} after {waited:?}");
    waited.as_secs()
}
