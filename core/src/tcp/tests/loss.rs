//! Losses: how they are found, what they cost, and what undoes a mistake.

use super::script::{Out, Script, options, ranges, segments, syn};
use super::*;

/// RFC 6298, section 5: while anything is unacknowledged there is a deadline. RFC 2018, section 8: what a receiver SACKed
/// and threw away goes again.
#[test]
fn a_receiver_that_takes_back_what_it_sacked_gets_it_again() {
    let mut s = Script::open(100);
    assert_eq!(ranges(&s.sends(10_000)), segments(1, 10));
    s.pass(100);
    s.sacks(1, &[1_001..10_001]);
    assert_eq!(ranges(&s.pass(50)), segments(1, 1));
    s.acks(1_001);
    assert!(s.within(2_000), "a clock runs while 9,000 bytes are unacknowledged");
    let mut again: Vec<Out> = Vec::new();
    for _ in 0..40 {
        let more = s.pass(500);
        let reached = more.iter().map(|out| out.bytes.end).max().unwrap_or(0);
        again.extend(more);
        if reached > s.ack {
            s.acks(reached);
        }
    }
    assert_eq!(again.iter().map(|out| out.bytes.end).max(), Some(10_001));
    assert_eq!(s.tcb.unacknowledged(), 0);
}

/// The same by a hostile peer that SACKs everything and acknowledges nothing: it is given up.
#[test]
fn a_peer_that_sacks_everything_and_acknowledges_nothing_is_given_up() {
    let mut s = Script::open(100);
    s.sends(3_000);
    for _ in 0..400 {
        s.sacks(1, &[1..3_001]);
        s.pass(1_000);
        if s.tcb.end().is_some() {
            break;
        }
        assert!(s.tcb.next_deadline().is_some());
    }
    assert_eq!(s.tcb.end(), Some(End::TimedOut));
}

/// RFC 5681, section 3.2; RFC 6937: the window falls before the first retransmission, and what leaves is bound by what arrived.
#[test]
fn losses_found_by_the_reordering_timer_leave_one_at_a_time() {
    let mut s = Script::open(100);
    grow_to(&mut s, 20_000);
    let una = s.ack;
    let mut sent = s.sends(20_000);
    sent.extend(s.pass(100));
    assert_eq!(ranges(&sent).len(), 20);
    s.sacks(una, &[una + 19_000..una + 20_000]);
    let again = s.pass(60);
    assert_eq!(ranges(&again), segments(una, 1), "no more without a new acknowledgement");
    assert!(s.tcb.statistics().congestion_window < 3_000);
}

/// RFC 5681, section 3.2, step 1.
#[test]
fn duplicates_never_raise_the_window_and_the_third_sets_the_threshold() {
    let mut s = Script::open(100);
    s.sends(20_000);
    s.pass(100);
    for blocks in 1..=2u32 {
        s.sacks(1, &[1_001..1_001 + blocks * 1_000]);
        assert_eq!(s.tcb.statistics().congestion_window, 10_000);
    }
    s.sacks(1, &[1_001..4_001]);
    assert_eq!(s.tcb.statistics().slow_start_threshold, 7_000);
    assert_eq!(ranges(&s.out()).first(), Some(&(1..1_001)));
}

/// The same without SACK, by three duplicates.
#[test]
fn three_duplicates_are_a_loss_where_there_is_no_sack() {
    let mut s = Script::with(100, &options(), &Header { sack_permitted: false, ..syn() }, 1 << 20);
    s.sends(10_000);
    s.pass(100);
    for _ in 0..2 {
        s.acks(1);
        assert!(ranges(&s.out()).is_empty());
    }
    s.acks(1);
    assert_eq!(ranges(&s.out()), segments(1, 1));
    assert_eq!(s.tcb.statistics().slow_start_threshold, 7_000);
    s.acks(10_001);
    assert_eq!((s.tcb.unacknowledged(), s.tcb.statistics().timeouts), (0, 0));
}

/// RFC 8985, section 7: lost tails of one to three segments are repaired without a timeout.
#[test]
fn a_lost_tail_is_repaired_without_a_timeout() {
    for rtt in [10, 20, 50, 90, 100, 120, 200, 400] {
        for lost in 1..=3u32 {
            let mut s = Script::open(rtt);
            s.sends(5_000);
            let mut peer = Honest::new(&mut s, rtt, (1..5_001).start);
            peer.lose(5_001 - lost * 1_000..5_001);
            peer.run(&mut s, 20 * rtt + 2_000);
            let statistics = s.tcb.statistics();
            assert_eq!(s.tcb.unacknowledged(), 0, "RTT {rtt}, {lost} lost");
            assert_eq!(statistics.timeouts, 0, "RTT {rtt}, {lost} lost: {statistics:?}");
            assert!(statistics.congestion_window > 1_000, "RTT {rtt}, {lost} lost");
        }
    }
}

/// RFC 8985, section 7.2: a probe never comes later than the timeout would, and the timeout counts from the probe.
#[test]
fn a_tail_probe_of_a_lone_segment_comes_before_the_timeout() {
    let mut s = Script::open(100);
    s.sends(1_000);
    let out = s.pass(500);
    assert_eq!(ranges(&out), segments(1, 1));
    assert_eq!(s.tcb.statistics().tail_probes, 1);
    assert!(s.tcb.statistics().timeouts <= 1);
}

/// RFC 6298, section 3 (Karn): a longer path is learnt, with and without timestamps, after a few needless segments.
#[test]
fn a_path_that_becomes_longer_is_learnt() {
    for timestamps in [false, true] {
        for rtt in [300, 700, 1_500, 5_000] {
            let mut offer = syn();
            offer.timestamp = timestamps.then_some(Timestamp { value: 1, echo: 0 });
            let mut option = options();
            option.timestamps = timestamps;
            let mut s = Script::with(20, &option, &offer, 1 << 20);
            let mut needless = Vec::new();
            for _ in 0..20 {
                let before = s.tcb.statistics().retransmitted;
                let mut peer = Honest::new(&mut s, rtt, 0);
                s.tcb.send(&[1; 500]);
                peer.run(&mut s, 3 * rtt);
                needless.push(s.tcb.statistics().retransmitted - before);
            }
            assert_eq!(s.tcb.unacknowledged(), 0);
            let (first, rest) = needless.split_at(8);
            assert!(first.iter().sum::<u32>() <= 10, "RTT {rtt}, timestamps {timestamps}: {needless:?}");
            assert!(rest.iter().all(|count| *count == 0), "RTT {rtt}, timestamps {timestamps}: {needless:?}");
        }
    }
}

/// RFC 3522, RFC 5682: a timeout that was a mistake costs nothing for good.
#[test]
fn a_delay_without_a_loss_is_undone() {
    for timestamps in [false, true] {
        let mut offer = syn();
        offer.timestamp = timestamps.then_some(Timestamp { value: 1, echo: 0 });
        let mut option = options();
        option.timestamps = timestamps;
        let mut s = Script::with(100, &option, &offer, 1 << 20);
        let first = s.sends(10_000);
        let again = s.pass(600);
        assert!(s.tcb.statistics().timeouts >= 1 && !again.is_empty());
        for (at, out) in first.iter().enumerate() {
            s.echo = out.header.timestamp.map_or(0, |timestamp| timestamp.value);
            s.acks(out.bytes.end);
            if at == 1 {
                assert_eq!(s.tcb.statistics().undone, 1, "timestamps {timestamps}");
            }
        }
        let statistics = s.tcb.statistics();
        assert!(
            statistics.congestion_window >= 10_000 && statistics.slow_start_threshold > 10_000,
            "{statistics:?}"
        );
        assert!(statistics.retransmitted <= 3, "{statistics:?}");
    }
}

/// RFC 8985, section 6.2, step 4: needless retransmissions stop when a path reorders.
#[test]
fn a_path_that_reorders_is_learnt() {
    for late in [25, 50, 75] {
        let mut s = Script::open(100);
        let mut needless = Vec::new();
        for round in 0..20u32 {
            let una = s.ack;
            s.sends(3_000);
            s.pass(100);
            s.sacks(una, &[una + 1_000..una + 3_000]);
            let again = ranges(&s.pass(late));
            if !again.is_empty() {
                needless.push(round);
                // The first has arrived late, its repetition is reported.
                s.sacks(una + 3_000, &[una..una + 1_000]);
            } else {
                s.acks(una + 3_000);
            }
            s.pass(200);
        }
        assert!(
            needless.len() <= 5 && needless.iter().all(|round| *round < 16),
            "late by {late} ms: {needless:?}"
        );
    }
}

/// RFC 5681, section 3.1; RFC 6298, section 5.7.
#[test]
fn after_a_lost_syn_ack_one_segment_leaves() {
    let mut s = Script::half_open(&options(), &syn(), 1 << 20);
    let twice = s.pass(1_500);
    assert_eq!(twice.len(), 2, "SYN|ACK twice: {twice:?}");
    s.acks(1);
    assert_eq!(ranges(&s.sends(10_000)), segments(1, 1));
    assert_eq!(s.tcb.statistics().timeout.as_millis(), 3_000);
}

/// Grows the congestion window to `bytes`.
fn grow_to(s: &mut Script, bytes: u32) {
    while s.tcb.statistics().congestion_window < bytes {
        let count = s.tcb.statistics().congestion_window.min(bytes) as usize / 1_000 * 1_000;
        s.sends(count);
        let out = s.pass(100);
        drop(out);
        let end = s.ack + count as u32;
        s.acks(end);
    }
}

/// A peer that acknowledges what it gets, half a round trip later, with SACK and D-SACK.
struct Honest {
    rtt: u64,
    received: Vec<core::ops::Range<u32>>,
    lost: Option<core::ops::Range<u32>>,
    next: u32,
}

impl Honest {
    fn new(s: &mut Script, rtt: u64, _: u32) -> Self {
        Self { rtt, received: Vec::new(), lost: None, next: s.ack }
    }

    /// First transmissions of these bytes do not arrive; they have left already.
    fn lose(&mut self, bytes: core::ops::Range<u32>) {
        self.lost = Some(bytes);
    }

    fn run(&mut self, s: &mut Script, millis: u64) {
        // What left before this began.
        let mut flying: Vec<(u64, core::ops::Range<u32>, u32)> = Vec::new();
        if let Some(lost) = self.lost.clone() {
            let at = s.now + self.rtt * 1_000;
            flying.extend(
                segments(self.next, (lost.start - self.next) / 1_000).into_iter().map(|r| (at, r, 0)),
            );
        }
        let end = s.now + millis * 1_000;
        while s.now < end {
            for out in s.out() {
                if !out.bytes.is_empty() {
                    let stamp = out.header.timestamp.map_or(0, |timestamp| timestamp.value);
                    flying.push((s.now + self.rtt * 1_000, out.bytes, stamp));
                }
            }
            let arrival = flying.iter().map(|flight| flight.0).min().unwrap_or(u64::MAX);
            let due = s.tcb.next_deadline().map_or(u64::MAX, Instant::as_micros);
            s.now = arrival.min(due).max(s.now + 1).min(end);
            while let Some(at) = flying.iter().position(|flight| flight.0 <= s.now) {
                let (_, bytes, stamp) = flying.remove(at);
                self.arrives(s, bytes, stamp);
            }
        }
    }

    fn arrives(&mut self, s: &mut Script, bytes: core::ops::Range<u32>, stamp: u32) {
        let known = bytes.end <= self.next || self.received.contains(&bytes);
        if !known {
            if bytes.start <= self.next {
                s.echo = stamp;
            }
            self.received.push(bytes.clone());
        }
        while let Some(at) =
            self.received.iter().position(|range| range.start <= self.next && self.next < range.end)
        {
            self.next = self.received.remove(at).end;
        }
        self.received.retain(|range| range.end > self.next);
        let mut ranges = Vec::new();
        if known {
            ranges.push(bytes);
        }
        ranges.extend(self.received.iter().rev().take(2).cloned());
        s.sacks(self.next, &ranges);
    }
}
