//! States: opening, closing, resets, and segments that anyone could have sent.

use super::script::{Script, options, ranges, syn};
use super::*;
use crate::stack::KeepAlive;
use core::time::Duration;

fn client() -> (Tcb<'static>, Instant, Header) {
    let mut tcb = Tcb::new(memory(4_096, 4_096, 4, 12));
    let now = Instant::from_secs(1);
    tcb.connect(Seq(100), 0, &options());
    let syn = tcb.poll_transmit(now, 1_000, |out| out.header).unwrap();
    assert_eq!((syn.flags, syn.seq), (Flags::SYN, Seq(100)));
    (tcb, now, syn)
}

fn next(tcb: &mut Tcb<'_>, now: Instant) -> Option<Header> {
    tcb.poll_transmit(now, 1_000, |out| out.header)
}

/// RFC 9293, section 3.10.7.3.
#[test]
fn in_syn_sent_only_our_own_syn_is_acknowledged() {
    let (mut tcb, now, _) = client();
    let wrong =
        Header { seq: Seq(500), ack: Seq(300), flags: Flags::SYN.with(Flags::ACK), ..Header::default() };
    tcb.on_segment(now, &wrong, b"", Ecn::NotCapable);
    let reset = next(&mut tcb, now).unwrap();
    assert_eq!((reset.flags, reset.seq, tcb.state()), (Flags::RST, Seq(300), State::SynSent));
    let blind = Header { flags: Flags::RST, ..wrong };
    tcb.on_segment(now, &blind, b"", Ecn::NotCapable);
    assert_eq!(tcb.state(), State::SynSent, "without an acknowledgement nobody refuses");
    let refusal = Header { ack: Seq(101), flags: Flags::RST.with(Flags::ACK), ..wrong };
    tcb.on_segment(now, &refusal, b"", Ecn::NotCapable);
    assert_eq!(tcb.end(), Some(End::Refused));
}

/// RFC 9293, section 3.5, figure 8.
#[test]
fn both_may_open_at_once() {
    let (mut a, now, syn_a) = client();
    let (mut b, _, syn_b) = client();
    a.on_segment(now, &syn_b, b"", Ecn::NotCapable);
    b.on_segment(now, &syn_a, b"", Ecn::NotCapable);
    let (from_a, from_b) = (next(&mut a, now).unwrap(), next(&mut b, now).unwrap());
    assert_eq!(from_a.flags, Flags::SYN.with(Flags::ACK));
    a.on_segment(now, &from_b, b"", Ecn::NotCapable);
    b.on_segment(now, &from_a, b"", Ecn::NotCapable);
    assert_eq!((a.state(), b.state()), (State::Established, State::Established));
}

/// RFC 9293, section 3.9.2.2; RFC 5461; RFC 5927.
#[test]
fn an_attempt_ends_when_the_peer_is_unreachable_and_a_connection_does_not() {
    let (mut tcb, ..) = client();
    assert!(!tcb.on_unreachable(Seq(1)) && tcb.state() == State::SynSent);
    assert!(tcb.on_unreachable(Seq(100)));
    assert_eq!(tcb.end(), Some(End::Unreachable));
    let mut s = Script::open(10);
    s.sends(10);
    let seq = s.tcb.sender.board.start();
    assert!(!s.tcb.on_unreachable(seq));
    assert_eq!(s.tcb.state(), State::Established);
}

#[test]
fn a_syn_that_nobody_answers_is_repeated_further_and_further_apart() {
    let (mut tcb, mut now, _) = client();
    let mut gaps = Vec::new();
    while let Some(at) = tcb.next_deadline() {
        gaps.push(at.since(now).as_millis());
        now = at;
        while next(&mut tcb, now).is_some() {}
    }
    assert_eq!(gaps.get(..6), Some(&[1_000, 2_000, 4_000, 8_000, 16_000, 32_000][..]));
    assert_eq!(tcb.end(), Some(End::TimedOut));
}

/// A long path answers after the SYN was repeated: the connection opens, and the window is the initial one.
#[test]
fn a_handshake_of_twelve_seconds_succeeds() {
    let mut option = options();
    option.timestamps = true;
    let offer = Header { timestamp: Some(Timestamp { value: 9, echo: 0 }), ..syn() };
    let mut s = Script::half_open(&option, &offer, 1 << 20);
    let first = s.out();
    s.echo = first[0].header.timestamp.unwrap().value;
    assert!(s.pass(12_000).len() >= 3);
    s.acks(1);
    assert_eq!(s.tcb.state(), State::Established);
    assert_eq!(s.tcb.statistics().round_trip.as_secs(), 12);
    assert_eq!(ranges(&s.sends(20_000)).len(), 10);
}

/// RFC 9293, section 3.6, figure 12 and 13.
#[test]
fn closing_ends_in_time_wait_for_who_ends_first_or_both() {
    let mut s = Script::open(10);
    s.tcb.shutdown();
    assert_eq!((s.tcb.state(), s.out()[0].flags), (State::FinWait1, Flags::FIN.with(Flags::ACK)));
    assert_eq!(s.tcb.unacknowledged(), 1, "the FIN counts");
    s.acks(2);
    assert_eq!((s.tcb.state(), s.tcb.unacknowledged()), (State::FinWait2, 0));
    s.give(s.header(Flags::FIN.with(Flags::ACK)), b"");
    assert_eq!((s.tcb.state(), s.tcb.end(), s.out().len()), (State::TimeWait, Some(End::Finished), 1));
    for _ in 0..5 {
        s.give(s.header(Flags::FIN.with(Flags::ACK)), b"");
        assert_eq!(s.out().len(), 1, "each repeated FIN is acknowledged");
    }

    let mut s = Script::open(10);
    s.tcb.shutdown();
    s.out();
    s.give(s.header(Flags::FIN.with(Flags::ACK)), b"");
    assert_eq!(s.tcb.state(), State::Closing);
    s.seq += 1;
    s.acks(2);
    assert_eq!(s.tcb.state(), State::TimeWait);

    let mut s = Script::open(10);
    s.give(s.header(Flags::FIN.with(Flags::ACK)), b"");
    s.seq += 1;
    assert!(s.tcb.state() == State::CloseWait && s.tcb.at_end_of_stream());
    s.tcb.shutdown();
    assert_eq!(s.tcb.state(), State::LastAck);
    s.out();
    s.acks(2);
    assert_eq!((s.tcb.state(), s.tcb.end()), (State::Closed, Some(End::Finished)));
}

/// RFC 1122, section 4.2.2.13; RFC 9293, section 3.6.1 (SHLD-3).
#[test]
fn what_is_unread_or_comes_after_close_is_answered_by_a_reset_once_all_is_delivered() {
    for unread in [true, false] {
        let mut s = Script::open(10);
        if unread {
            s.data(10);
            s.out();
        }
        s.tcb.send(&[1; 500]);
        s.tcb.close();
        let out = s.out();
        assert_eq!(ranges(&out), [1..501]);
        assert!(out[0].flags.has(Flags::FIN));
        if !unread {
            s.data(10);
            assert!(
                s.out().iter().all(|out| !out.flags.has(Flags::RST)),
                "not before what was queued is there"
            );
        }
        s.acks(502);
        assert_eq!(s.out().last().unwrap().flags, Flags::RST);
        assert_eq!(s.tcb.state(), State::Closed);
    }
}

#[test]
fn close_without_anything_unread_ends_in_good_order() {
    let mut s = Script::open(10);
    s.tcb.close();
    s.out();
    s.acks(2);
    s.give(s.header(Flags::FIN.with(Flags::ACK)), b"");
    assert_eq!((s.tcb.state(), s.tcb.end()), (State::TimeWait, Some(End::Finished)));
}

/// RFC 5961, section 3.2, and section 4.2: only the exact number resets, a SYN never does.
#[test]
fn blind_resets_and_syns_are_challenged() {
    let mut s = Script::open(10);
    let reset = |s: &Script, seq| Header { seq: Seq(seq), flags: Flags::RST, ..s.header(Flags::ACK) };
    s.give(reset(&s, 10), b"");
    assert_eq!((s.tcb.state(), s.out().len()), (State::Established, 1));
    s.give(reset(&s, (1 << 20) + 1), b"");
    assert_eq!(s.out().len(), 0, "the right edge is outside");
    s.give(Header { seq: Seq(10), ..s.header(Flags::SYN) }, b"");
    assert_eq!((s.tcb.state(), s.out().len()), (State::Established, 1));
    s.give(reset(&s, 1), b"");
    assert_eq!(s.tcb.end(), Some(End::Reset));
}

/// RFC 5961, section 5.2: an acknowledgement of what was never sent acknowledges nothing.
#[test]
fn an_acknowledgement_of_the_future_is_challenged() {
    let mut s = Script::open(10);
    s.sends(5);
    s.acks(501);
    assert_eq!((s.tcb.unacknowledged(), s.out().len()), (5, 1));
    s.ack = 1;
    s.acks(6);
    assert_eq!(s.tcb.unacknowledged(), 0);
}

/// RFC 5961, section 7: the answers to one kind do not use up those to another.
#[test]
fn challenges_are_limited_by_kind() {
    let mut s = Script::open(10);
    let mut answers = 0;
    for _ in 0..1_000 {
        s.give(Header { seq: Seq(10), ..s.header(Flags::SYN) }, b"");
        answers += s.out().len();
    }
    assert_eq!(answers, 5);
    s.give(Header { seq: Seq(10), ..s.header(Flags::RST) }, b"");
    assert_eq!(s.out().len(), 1, "an honest peer that restarted is answered");
    s.now += 1_000_000;
    s.give(Header { seq: Seq(10), ..s.header(Flags::SYN) }, b"");
    assert_eq!(s.out().len(), 1);
}

/// RFC 9293, section 3.10.7.4: data in order is taken whatever old acknowledgement it bears; an old segment does not set the window.
#[test]
fn old_acknowledgements_do_no_harm() {
    let mut s = Script::open(10);
    s.sends(5);
    s.acks(6);
    s.ack = 1;
    s.data(3);
    assert_eq!(s.tcb.recv_queue(), 3);
    s.window = 0;
    s.acks(6);
    s.window = 1_000;
    s.give(Header { seq: Seq(1), ..s.header(Flags::ACK) }, &[7; 3]);
    s.tcb.send(b"hello");
    assert!(ranges(&s.out()).is_empty(), "the window is closed");
}

/// RFC 9293, section 3.8.4.
#[test]
fn keep_alive_finds_out_who_is_gone_and_leaves_the_living_alone() {
    let mut option = options();
    let keep_alive = KeepAlive { idle: Duration::from_secs(60), interval: Duration::from_secs(5), count: 3 };
    option.keep_alive = Some(keep_alive);
    let mut s = Script::with(10, &option, &syn(), 4_096);
    for _ in 0..5 {
        let probes = s.pass(60_500);
        assert_eq!(probes.len(), 1, "{probes:?}");
        assert_eq!((probes[0].bytes.start, probes[0].ack), (0, 1), "one below the next number");
        s.acks(1);
    }
    let out = s.pass(80_000);
    assert_eq!(out.len(), 4, "three probes and a reset: {out:?}");
    assert_eq!(s.tcb.end(), Some(End::TimedOut));
}

/// A user timeout (RFC 5482) is kept, not by the minute.
#[test]
fn a_user_timeout_ends_a_silent_peer() {
    let mut option = options();
    option.user_timeout = Some(Duration::from_secs(10));
    let mut s = Script::with(100, &option, &syn(), 4_096);
    s.sends(100);
    s.pass(9_000);
    assert_eq!(s.tcb.end(), None);
    s.pass(20_000);
    assert_eq!(s.tcb.end(), Some(End::TimedOut));
}

/// steps of the clock, backward and of years.
#[test]
fn any_clock_is_harmless() {
    let mut s = Script::open(100);
    let clocks = [0, 1, u64::MAX >> 3, 5_000_000, 0, 1 << 50, 1_000_000];
    for (round, clock) in clocks.iter().cycle().take(50).enumerate() {
        s.now = (*clock).max(1_000_000);
        s.tcb.send(&[1; 700]);
        s.out();
        s.sacks(1, &[701..1_401]);
        s.data(1 + round);
        s.out();
        assert!(s.tcb.end().is_some() || s.tcb.next_deadline().is_some());
    }
}
