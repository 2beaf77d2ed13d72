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
    // Back, by a second up to the very beginning, with bytes in flight.
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
        measured: "0 connections lost going back; after a day the idle deadline ends them".into(),
        bound: "the same",
    }]
}
