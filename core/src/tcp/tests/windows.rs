//! Windows of both sides, acknowledgements, and the limits of segments.

use super::script::{Script, options, ranges, segments, syn};
use super::*;

/// RFC 9293, section 3.8.6.1 (SHLD-30): probes of a closed window are further and further apart while they are answered.
#[test]
fn probes_of_a_closed_window_back_off_and_the_connection_lives() {
    let mut s = Script::open(100);
    s.window = 0;
    s.acks(1);
    s.sends(5_000);
    let mut at = Vec::new();
    for _ in 0..3_600 {
        for probe in s.pass(1_000) {
            assert_eq!(probe.bytes, 1..2, "one byte");
            at.push(probe.at);
            s.acks(1);
        }
    }
    assert_eq!(s.tcb.end(), None, "an hour later");
    let gaps: Vec<u64> = at.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(gaps.windows(2).all(|two| two[1] >= two[0] * 19 / 10 || two[1] >= 59_000), "{gaps:?}");
    assert!((60..80).contains(&at.len()), "{} probes", at.len());
    s.window = 32_000;
    s.acks(1);
    assert_eq!(ranges(&s.out()).first(), Some(&(1..1_001)), "a full segment at once");
}

/// RFC 9293, section 3.8.3: R2.
#[test]
fn a_peer_that_answers_no_probe_is_given_up() {
    let mut s = Script::open(100);
    s.window = 0;
    s.acks(1);
    s.sends(5_000);
    let probes = s.pass(400_000);
    assert_eq!(s.tcb.end(), Some(End::TimedOut));
    assert!(probes.len() < 20 && probes.last().unwrap().flags.has(Flags::RST));
}

/// A probed byte may be taken by the peer: it is acknowledged once.
#[test]
fn the_byte_of_a_probe_counts_when_the_peer_takes_it() {
    let mut s = Script::open(100);
    s.window = 0;
    s.acks(1);
    s.sends(3_000);
    assert_eq!(ranges(&s.pass(400)), [1..2]);
    s.window = 32_000;
    s.acks(2);
    assert_eq!(ranges(&s.out()), [2..1_002, 1_002..2_002, 2_002..3_001]);
    s.acks(3_001);
    assert_eq!(s.tcb.unacknowledged(), 0);
}

/// RFC 9293, section 3.8.6.2.1: a small window is used after the override timeout, and moves what it holds.
#[test]
fn a_small_window_moves_its_size_each_time() {
    for window in [1u16, 10, 100] {
        let mut s = Script::open(100);
        s.window = window / 2;
        s.acks(1);
        s.tcb.send(&[1; 1_000]);
        let window = u32::from(window / 2) * 2;
        let mut moved = 1;
        for _ in 0..10 {
            let Some(out) = s.pass(1_200).into_iter().next_back() else { continue };
            assert!(out.bytes.end - out.bytes.start <= window.max(1));
            moved = out.bytes.end;
            s.acks(moved);
        }
        assert!(moved > 5 * window, "window {window}: {moved}");
    }
}

/// no window update of its own but where it doubles what the peer knows of.
#[test]
fn window_updates_are_few() {
    let mut s = Script::with(100, &options(), &Header { scale: None, ..syn() }, 1 << 20);
    for _ in 0..20 {
        s.data(1_000);
        s.out();
    }
    let mut sent = 0;
    for _ in 0..10 {
        s.data(1_000);
        let read = s.tcb.recv(&mut [0; 100_000]);
        assert!(read > 0);
        sent += s.out().len();
    }
    assert_eq!(sent, 5, "each second segment is acknowledged, and nothing else is said");
}

/// RFC 9293, section 3.8.6.2.2: a full buffer opens by half of it or by a segment, not by a byte.
#[test]
fn a_window_does_not_open_by_a_byte() {
    let mut s = Script::with(100, &options(), &syn(), 4_000);
    for _ in 0..4 {
        s.data(1_000);
    }
    assert_eq!(s.pass(100).last().unwrap().window, 0);
    let mut updates = Vec::new();
    for _ in 0..4_000 {
        s.tcb.recv(&mut [0]);
        updates.extend(s.out().iter().map(|out| out.window));
    }
    assert_eq!(updates, [1_000, 2_000, 4_000], "each doubles what the peer knows of");
}

/// RFC 7323, section 4.3: the earliest segment that is not acknowledged is echoed.
#[test]
fn a_delayed_acknowledgement_echoes_the_earliest_timestamp() {
    let offer = Header { timestamp: Some(Timestamp { value: 400, echo: 0 }), ..syn() };
    let mut option = options();
    option.timestamps = true;
    let mut s = Script::with(100, &option, &offer, 1 << 20);
    for _ in 0..18 {
        s.data(10);
        s.out();
    }
    s.pass(100);
    let stamped = |s: &mut Script, value| {
        let header = Header { timestamp: Some(Timestamp { value, echo: s.echo }), ..s.header(Flags::ACK) };
        s.give(header, &[7; 10]);
        s.seq += 10;
    };
    let base = (s.now >> 10) as u32 + 500;
    stamped(&mut s, base);
    s.now += 10_000;
    stamped(&mut s, base + 100);
    let out = s.pass(60);
    assert_eq!(out[0].header.timestamp.unwrap().echo, base);
}

/// RFC 7323, section 5: an old timestamp is answered and dropped, a missing one dropped, after 24 days any is new.
#[test]
fn old_timestamps_are_refused_for_24_days() {
    let offer = Header { timestamp: Some(Timestamp { value: 900, echo: 0 }), ..syn() };
    let mut option = options();
    option.timestamps = true;
    let mut s = Script::with(100, &option, &offer, 1 << 20);
    s.data(10);
    s.out();
    let old =
        |s: &Script| Header { timestamp: Some(Timestamp { value: 1, echo: s.echo }), ..s.header(Flags::ACK) };
    s.give(old(&s), &[7; 10]);
    assert_eq!((s.tcb.recv_queue(), s.out().len()), (10, 1));
    s.timestamps = false;
    s.give(s.header(Flags::ACK), &[7; 10]);
    assert_eq!((s.tcb.recv_queue(), s.out().len()), (10, 0), "without the option that was agreed");
    s.now += 25 * 86_400 * 1_000_000;
    s.give(old(&s), &[7; 10]);
    assert_eq!(s.tcb.recv_queue(), 20);
}

/// no packet is longer than the peer's MSS, with all options, whatever the device takes.
#[test]
fn no_packet_exceeds_the_peers_segment_size() {
    for most in [1, 100, 536, 1_460, 65_535] {
        let offer = Header { mss: Some(536), timestamp: Some(Timestamp::default()), ..syn() };
        let mut tcb = Tcb::new(memory(10_000, 10_000, 4, 12));
        let now = Instant::from_secs(1);
        tcb.accept(now, Seq(0), 0, &Options::new(1_460), &offer);
        tcb.poll_transmit(now, most, |_| ());
        let stamp = Some(Timestamp { value: 1, echo: 0 });
        let ack = Header {
            seq: offer.seq + 1,
            ack: Seq(1),
            flags: Flags::ACK,
            window: 60_000,
            timestamp: stamp,
            ..offer
        };
        let ack = Header { mss: None, scale: None, sack_permitted: false, ..ack };
        tcb.on_segment(now, &ack, b"", Ecn::NotCapable);
        for hole in 1..4 {
            let header = Header { seq: ack.seq + hole * 1_000, ..ack };
            tcb.on_segment(now, &header, &[1; 100], Ecn::NotCapable);
        }
        tcb.send(&[1; 10_000]);
        let mut checked = 0;
        while let Some((len, segment, header)) = tcb.poll_transmit(now, most, |out| {
            (out.payload[0].len() + out.payload[1].len(), out.segment, out.header.header_len())
        }) {
            let packet = len.min(segment);
            assert!(
                packet + header - 20 <= 536 && len <= most.max(segment),
                "{len} of {segment} and {header} at {most}"
            );
            checked += 1;
        }
        assert!(checked > 0);
    }
}

/// RFC 9293, section 3.7.4.
#[test]
fn nagle_holds_a_small_segment_back_until_the_one_before_is_acknowledged() {
    let mut option = options();
    option.nagle = true;
    let mut s = Script::with(100, &option, &syn(), 1 << 20);
    assert_eq!(ranges(&s.sends(10)), [1..11]);
    assert_eq!(ranges(&s.sends(10)), []);
    s.acks(11);
    assert_eq!(ranges(&s.out()), [11..21]);
    assert_eq!(ranges(&s.sends(1_000)), segments(21, 1));
}

/// A request in two small segments is acknowledged at once while a connection is young.
#[test]
fn the_first_segments_are_acknowledged_at_once_and_later_ones_in_pairs() {
    let mut s = Script::open(100);
    let mut at_once = 0;
    for _ in 0..16 {
        s.data(100);
        at_once += s.out().len();
    }
    assert_eq!(at_once, 16);
    s.data(100);
    assert!(s.out().is_empty());
    let delayed = s.pass(100);
    assert_eq!((delayed.len(), delayed[0].is_pure_ack()), (1, true));
    s.pass(5_000);
    s.data(100);
    assert_eq!(s.out().len(), 1, "after idleness at once again");
}

/// RFC 1191; RFC 5927, section 4.1: a limit is believed for a segment in flight, and costs no congestion window.
#[test]
fn a_shorter_path_cuts_what_is_in_flight() {
    let mut s = Script::open(100);
    s.sends(3_000);
    let window = s.tcb.statistics().congestion_window;
    let seq = |s: &Script, at: u32| s.tcb.sender.board.start() + (at - s.ack);
    assert!(!s.tcb.on_path_limit(s.now(), seq(&s, 4_000), 600), "not in flight");
    assert!(s.tcb.on_path_limit(s.now(), seq(&s, 1), 600));
    let again = ranges(&s.pass(50));
    assert_eq!(again.iter().map(|range| range.end - range.start).max(), Some(600));
    assert_eq!(again.last().unwrap().end, 3_001);
    assert!(s.tcb.statistics().congestion_window >= window);
    assert!(s.tcb.on_path_limit(s.now(), seq(&s, 1), 1));
    assert_eq!(s.tcb.options().mss, 488, "nobody cuts a connection to pieces");
}

/// RFC 4821, section 7.7: a path that drops full segments without a word carries everything all the same, within 3 s.
#[test]
fn a_path_that_is_silent_about_its_limit_is_found_out() {
    let mut option = options();
    option.mss = 1_460;
    let mut s = Script::with(20, &option, &Header { mss: Some(1_460), ..syn() }, 1 << 20);
    s.most = 1_460;
    let mut arrived = 1;
    let mut flying = s.sends(20_000);
    for _ in 0..60 {
        for out in flying.drain(..) {
            if out.bytes.start <= arrived && out.bytes.end - out.bytes.start <= 1_240 {
                arrived = arrived.max(out.bytes.end);
            }
        }
        if arrived > s.ack {
            s.acks(arrived);
        }
        flying = s.pass(50);
    }
    assert!(arrived > 14_600, "{arrived} bytes in 3 s");
}
