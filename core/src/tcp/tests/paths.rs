//! Goodput over modelled paths, in virtual time: one sender with a buffer of 1 MiB, a drop-tail queue, seeded loss.

use super::*;
use crate::stack::CongestionControl;
use core::cmp::Reverse;
use std::collections::BinaryHeap;

/// A path: the rate of its narrowest link, its round trip, its queue, and packets lost at random.
#[derive(Debug, Clone, Copy)]
struct Path {
    /// Bytes a second.
    rate: u64,
    rtt_ms: u64,
    queue_bytes: u64,
    /// Of a million.
    loss: u64,
    /// Packets of a thousand that come 10 ms late.
    late: u64,
}

/// Headers of each packet: Ethernet, IPv4, TCP with timestamps.
const HEADERS: u64 = 14 + 20 + 32;

struct Run {
    path: Path,
    ends: [Tcb<'static>; 2],
    wire: BinaryHeap<Reverse<(u64, u64, usize)>>,
    frames: Vec<(usize, Header, Vec<u8>)>,
    /// Until when the link is busy.
    busy_until: u64,
    random: u64,
    now: u64,
}

impl Run {
    fn new(path: Path, buffer: usize, runs: usize, congestion: CongestionControl, seed: u64) -> Self {
        let mut options = Options::new(1_460);
        options.congestion = congestion;
        let mut sender = Tcb::new(memory(4_096, buffer, 4, runs));
        sender.connect(Seq(1), 0, &options);
        Self {
            path,
            ends: [sender, Tcb::new(memory(4 << 20, 4_096, 64, 16))],
            wire: BinaryHeap::new(),
            frames: Vec::new(),
            busy_until: 0,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            now: 1_000_000,
        }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8) % limit
    }

    /// Puts a packet on its way; data goes through the queue of the narrow link.
    fn put(&mut self, to: usize, header: Header, payload: Vec<u8>) {
        let mut at = self.now + self.path.rtt_ms * 500;
        if to == 1 {
            let time = (payload.len() as u64 + HEADERS) * 1_000_000 / self.path.rate;
            let start = self.busy_until.max(self.now);
            let queued = (start - self.now) * self.path.rate / 1_000_000;
            if queued > self.path.queue_bytes || self.below(1_000_000) < self.path.loss {
                return;
            }
            self.busy_until = start + time;
            at += self.busy_until - self.now;
            if self.below(1_000) < self.path.late {
                at += 10_000;
            }
        }
        self.frames.push((to, header, payload));
        self.wire.push(Reverse((at, self.frames.len() as u64, self.frames.len() - 1)));
    }

    /// Bytes a second that arrive in `seconds`.
    fn goodput(mut self, seconds: u64) -> (u64, Statistics) {
        let (end, mut arrived) = (self.now + seconds * 1_000_000, 0u64);
        while self.now < end {
            for from in 0..2 {
                if from == 0 {
                    while self.ends[0].state() != State::SynSent && self.ends[0].send(&[0x55; 16_384]) > 0 {}
                }
                let now = Instant::from_micros(self.now);
                while let Some((header, payload)) =
                    self.ends[from].poll_transmit(now, 1_460, |out| (out.header, out.payload.concat()))
                {
                    self.put(1 - from, header, payload);
                }
            }
            let arrival = self.wire.peek().map_or(u64::MAX, |next| next.0.0);
            let deadlines = self.ends.iter().filter_map(Tcb::next_deadline).map(Instant::as_micros);
            self.now = deadlines.fold(arrival, u64::min).max(self.now + 1);
            while self.wire.peek().is_some_and(|next| next.0.0 <= self.now) {
                let Some(Reverse((_, _, at))) = self.wire.pop() else { break };
                let (to, header, payload) = core::mem::take(&mut self.frames[at]);
                let now = Instant::from_micros(self.now);
                if to == 1 && self.ends[1].state() == State::Closed {
                    self.ends[1].accept(now, Seq(9), 0, &Options::new(1_460), &header);
                } else {
                    self.ends[to].on_segment(now, &header, &payload, Ecn::NotCapable);
                }
                while let Some(count) = self.ends[1].recv_with(|bytes| (bytes.len(), bytes.len())) {
                    arrived += count as u64;
                }
            }
        }
        (arrived / seconds, self.ends[0].statistics())
    }
}

const RATE: u64 = 1_250_000;

fn path(rtt_ms: u64, queue_percent_of_bdp: u64, loss: u64) -> Path {
    let queue_bytes = (RATE * rtt_ms / 1_000 * queue_percent_of_bdp / 100).max(3_000);
    Path { rate: RATE, rtt_ms, queue_bytes, loss, late: 0 }
}

/// The share of what the link can carry, in percent: the median of three seeds.
fn share(path: Path, buffer: usize, runs: usize, seconds: u64) -> u64 {
    let mut all: Vec<u64> = (1..=3)
        .map(|seed| {
            let (goodput, statistics) =
                Run::new(path, buffer, runs, CongestionControl::Cubic, seed).goodput(seconds);
            if std::env::var("SOCKLET_PATHS_VERBOSE").is_ok() {
                println!("{path:?} {buffer} {runs}: {goodput} {statistics:?}");
            }
            goodput * 100 * (1_448 + HEADERS) / 1_448 / path.rate
        })
        .collect();
    all.sort_unstable();
    all[1]
}

/// What a link of 10 Mbit/s carries, in percent of what it can.
#[test]
fn goodput_is_near_the_rate_of_the_link() {
    let buffer = 1 << 20;
    let rows = [
        (path(20, 100, 0), 95),
        (path(20, 10, 0), 70),
        (path(100, 100, 0), 90),
        (path(100, 10, 0), 66),
        (path(300, 100, 0), 75),
        (path(300, 10, 0), 70),
        (path(20, 100, 1_000), 92),
        (path(20, 100, 10_000), 60),
        (path(20, 100, 30_000), 30),
        (path(100, 100, 1_000), 42),
        (path(100, 100, 10_000), 11),
        (path(100, 100, 30_000), 6),
    ];
    let mut report = String::new();
    let mut good = true;
    for (path, least) in rows {
        let share = share(path, buffer, 1_024, 20);
        good &= share >= least;
        report += &format!("{path:?}: {share} % (at least {least})\n");
    }
    println!("{report}");
    assert!(good, "{report}");
}

/// A path that keeps packets in order gives no reason to take a reduction back.
#[test]
fn on_a_path_in_order_no_reduction_is_undone() {
    for (rtt, queue) in [(20, 100), (100, 100), (100, 10), (300, 100)] {
        let run = Run::new(path(rtt, queue, 1_000), 1 << 20, 1_024, CongestionControl::Cubic, 4);
        let (_, statistics) = run.goodput(20);
        assert!(statistics.recoveries > 0, "{statistics:?}");
        assert_eq!(
            (statistics.undone, statistics.spurious, statistics.timeouts),
            (0, 0, 0),
            "{statistics:?}"
        );
    }
}

/// 24 kB/s with half a second of queue; 3 % of the packets late by 10 ms; and few runs to remember what is in flight.
#[test]
fn slow_reordering_and_poor_paths_are_used_too() {
    let slow = Path { rate: 24_000, rtt_ms: 50, queue_bytes: 12_000, loss: 0, late: 0 };
    let reordering = Path { late: 30, ..path(20, 100, 0) };
    let rows = [
        ("slow", share(slow, 64 << 10, 64, 60), 90),
        ("reordering", share(reordering, 1 << 20, 1_024, 20), 85),
        ("12 runs", share(path(20, 100, 10_000), 64 << 10, 12, 20), 40),
    ];
    for (name, share, least) in rows {
        println!("{name}: {share} % (at least {least})");
    }
    assert!(rows.iter().all(|(_, share, least)| share >= least), "{rows:?}");
}
