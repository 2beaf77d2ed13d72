//! Two machines over a seeded bad cable, in virtual time; every byte is compared, and both must end in good order.

use super::*;
use crate::stack::{CongestionControl, KeepAlive};
use core::cmp::Reverse;
use std::collections::BinaryHeap;

/// Numbers from a seed (xorshift64*).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..5 {
            random.next();
        }
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }
}

fn byte(key: u64, at: usize) -> u8 {
    ((at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ key).rotate_left(17) as u8 ^ (at >> 8) as u8
}

struct Side {
    tcb: Tcb<'static>,
    to_send: usize,
    sent: usize,
    received: usize,
    key: u64,
}

impl Side {
    /// What the user of this side does now and then.
    fn use_it(&mut self, random: &mut Random) {
        if !random.chance(70) {
            return;
        }
        loop {
            let (key, at, left) = (self.key, self.sent, self.to_send - self.sent);
            let count = self.tcb.send_with(|room| {
                let count = room.len().min(left);
                for (offset, place) in room[..count].iter_mut().enumerate() {
                    *place = byte(key, at + offset);
                }
                count
            });
            self.sent += count;
            if count == 0 {
                break;
            }
        }
        if self.sent == self.to_send {
            self.tcb.shutdown();
        }
        while random.chance(95) {
            let (key, at) = (!self.key, self.received);
            let most = if random.chance(20) { 1 + random.below(1_000) as usize } else { usize::MAX };
            let taken = self.tcb.recv_with(|bytes| {
                let count = bytes.len().min(most);
                for (offset, found) in bytes[..count].iter().enumerate() {
                    assert_eq!(*found, byte(key, at + offset), "byte {}", at + offset);
                }
                (count, count)
            });
            match taken {
                Some(count) => self.received += count,
                None => break,
            }
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.tcb.state(), State::Closed | State::TimeWait)
    }
}

struct Flying {
    header: Header,
    payload: Vec<u8>,
    ecn: Ecn,
}

struct World {
    random: Random,
    seed: u64,
    loss: u64,
    duplication: u64,
    jitter: u64,
    delay: u64,
    mss: u16,
    gso: usize,
    now: u64,
    serial: u64,
    wire: BinaryHeap<Reverse<(u64, u64, usize, usize)>>,
    frames: Vec<Option<Flying>>,
    sides: [Option<Side>; 2],
    amount: usize,
    verbose: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mss = random.one_of(&[536, 1_460, 100]);
        let mut world = Self {
            seed,
            loss: random.one_of(&[0, 1, 5, 15, 30]),
            duplication: random.one_of(&[0, 0, 5, 20]),
            jitter: random.one_of(&[0, 0, 500, 20_000, 100_000]),
            delay: random.one_of(&[10, 1_000, 20_000, 150_000]),
            mss,
            gso: if random.chance(30) { 65_000 } else { usize::from(mss) },
            now: 1_000_000,
            serial: 0,
            wire: BinaryHeap::new(),
            frames: Vec::new(),
            sides: [None, None],
            amount: random.one_of(&[0, 1, 5_000, 100_000, 400_000]),
            random,
            verbose: std::env::var("SOCKLET_PAIR_VERBOSE").is_ok(),
        };
        let key = world.random.next();
        let amount = world.random.one_of(&[0, 1, 5_000, 100_000, 400_000]);
        world.sides[0] = Some(world.side(amount, key, true));
        if world.random.chance(15) {
            let amount = world.amount;
            world.sides[1] = Some(world.side(amount, !key, true));
        }
        world
    }

    fn options(&mut self) -> Options {
        let random = &mut self.random;
        let mut options = Options::new(self.mss);
        options.timestamps = random.chance(50);
        options.sack = random.chance(80);
        options.ecn = random.chance(30);
        options.nagle = random.chance(30);
        options.delayed_ack = random.chance(80);
        options.congestion = random.one_of(&[CongestionControl::Cubic, CongestionControl::NewReno]);
        options.keep_alive = random
            .chance(20)
            .then(|| KeepAlive { count: 30, ..KeepAlive::after(core::time::Duration::from_secs(30)) });
        options.user_timeout = Some(core::time::Duration::from_secs(3_600));
        options
    }

    fn side(&mut self, to_send: usize, key: u64, connects: bool) -> Side {
        let options = self.options();
        let random = &mut self.random;
        let sizes = [64, 500, 1_460, 4_096, 16_384, 65_536, 300_000];
        let (receive, send) = (random.one_of(&sizes), random.one_of(&sizes));
        let (holes, runs) = (random.below(9) as usize, 4 + random.below(30) as usize);
        let mut tcb = Tcb::new(memory(receive, send, holes, runs));
        let iss = Seq(random.one_of(&[0, 0xffff_ff00, 0x7fff_ff00, 12_345]));
        let offset = random.next() as u32;
        if connects {
            tcb.connect(iss, offset, &options);
        }
        Side { tcb, to_send, sent: 0, received: 0, key }
    }

    fn put(&mut self, to: usize, frame: Flying) {
        let copies = 1 + usize::from(self.random.chance(self.duplication));
        for _ in 0..copies {
            if self.random.chance(self.loss) {
                continue;
            }
            self.serial += 1;
            let at = self.now + self.delay + self.random.below(self.jitter + 1);
            self.frames.push(Some(Flying { payload: frame.payload.clone(), ..frame }));
            self.wire.push(Reverse((at, self.serial, to, self.frames.len() - 1)));
        }
    }

    fn transmit(&mut self, from: usize) {
        let now = Instant::from_micros(self.now);
        for burst in 0.. {
            assert!(burst < 5_000, "seed {}: sends without end", self.seed);
            let Some(side) = &mut self.sides[from] else { return };
            let mut frames = Vec::new();
            let some = side.tcb.poll_transmit(now, self.gso, |segment| {
                let all: Vec<u8> = segment.payload.concat();
                let mut at = 0;
                loop {
                    let count = (all.len() - at).min(segment.segment);
                    let mut header = segment.header;
                    header.seq += at as u32;
                    if at + count < all.len() {
                        header.flags = header.flags.without(Flags::FIN.with(Flags::PSH));
                    }
                    assert!(
                        header.header_len() - 20 + count <= usize::from(self.mss),
                        "a packet beyond the MSS"
                    );
                    let mut bytes = [0; 60];
                    header.emit(Ports::default(), &mut bytes).unwrap();
                    let (_, header, _) = Header::parse(&bytes).unwrap();
                    frames.push(Flying { header, payload: all[at..at + count].to_vec(), ecn: segment.ecn });
                    at += count;
                    if at >= all.len() {
                        break;
                    }
                }
            });
            for frame in frames {
                self.put(1 - from, frame);
            }
            if some.is_none() {
                return;
            }
        }
    }

    fn deliver(&mut self) {
        while self.wire.peek().is_some_and(|next| next.0.0 <= self.now) {
            let Some(Reverse((_, _, to, at))) = self.wire.pop() else { return };
            let Some(mut frame) = self.frames[at].take() else { continue };
            if frame.ecn == Ecn::Capable && self.random.chance(2) {
                frame.ecn = Ecn::CongestionExperienced;
            }
            self.arrives(to, &frame);
            // Now and then the machine is asked after each segment, else after a batch.
            if self.random.chance(50) {
                return;
            }
        }
    }

    fn arrives(&mut self, to: usize, frame: &Flying) {
        if self.verbose {
            println!("{:>12} to {to}: {:?} {}", self.now, frame.header, frame.payload.len());
        }
        let now = Instant::from_micros(self.now);
        match &mut self.sides[to] {
            Some(side) if side.tcb.state() == State::Closed && !side.tcb.owes_segment() => {
                if let Some(header) = frame.header.reset(frame.payload.len()) {
                    self.put(1 - to, Flying { header, payload: Vec::new(), ecn: Ecn::NotCapable });
                }
            }
            Some(side) => side.tcb.on_segment(now, &frame.header, &frame.payload, frame.ecn),
            None if frame.header.flags.without(Flags::ECE.with(Flags::CWR)) == Flags::SYN => {
                let key = self.sides[0].as_ref().map_or(0, |side| !side.key);
                let amount = self.amount;
                let mut side = self.side(amount, key, false);
                let options = self.options();
                side.tcb.accept(now, Seq(4_000_000_000), self.serial as u32, &options, &frame.header);
                self.sides[1] = Some(side);
            }
            None => {}
        }
    }

    fn run(mut self) -> u64 {
        for round in 0.. {
            assert!(round < 3_000_000, "seed {}: no end\n{}", self.seed, self.describe());
            for at in 0..2 {
                if let Some(side) = &mut self.sides[at] {
                    side.use_it(&mut self.random);
                }
                self.transmit(at);
            }
            let over = |side: &Option<Side>| side.as_ref().is_some_and(Side::is_over);
            let gave_up = self.sides.iter().flatten().any(|side| side.tcb.end() == Some(End::TimedOut));
            if (over(&self.sides[0]) && over(&self.sides[1])) || gave_up {
                break;
            }
            let mut next = self.wire.peek().map_or(u64::MAX, |next| next.0.0);
            for side in self.sides.iter().flatten() {
                if let Some(deadline) = side.tcb.next_deadline() {
                    next = next.min(deadline.as_micros());
                } else if !side.is_over() {
                    assert!(
                        side.tcb.unacknowledged() == 0,
                        "seed {}: no clock\n{}",
                        self.seed,
                        self.describe()
                    );
                }
            }
            // The users come by themselves too.
            self.now = next.min(self.now + 50_000).max(self.now + 1);
            assert!(
                self.now < 40_000_000_000 || self.loss == 30,
                "seed {}: hours\n{}",
                self.seed,
                self.describe()
            );
            if self.now >= 40_000_000_000 {
                return self.now;
            }
            self.deliver();
        }
        self.judge();
        self.now
    }

    fn judge(&mut self) {
        for _ in 0..1_000 {
            for side in self.sides.iter_mut().flatten() {
                side.use_it(&mut self.random);
            }
        }
        let [Some(a), Some(b)] = &self.sides else {
            return assert_eq!(self.loss, 30, "seed {}: no connection", self.seed);
        };
        let ends = [a.tcb.end(), b.tcb.end()];
        if ends.contains(&Some(End::TimedOut)) {
            return assert_eq!(self.loss, 30, "seed {}: timed out\n{}", self.seed, self.describe());
        }
        for (this, other) in [(a, b), (b, a)] {
            // Whose last acknowledgement was lost may learn of the end by a reset; the bytes are there all the same.
            let whole = this.received == other.to_send;
            assert!(
                whole || other.tcb.end() != Some(End::Finished),
                "seed {}: {:?}\n{}",
                self.seed,
                ends,
                self.describe()
            );
            assert!(ends.contains(&Some(End::Finished)), "seed {}: {ends:?}", self.seed);
        }
    }

    fn describe(&self) -> String {
        let mut text = format!(
            "loss {} jitter {} delay {} mss {} now {}\n",
            self.loss, self.jitter, self.delay, self.mss, self.now
        );
        for side in self.sides.iter().flatten() {
            let tcb = &side.tcb;
            text += &format!(
                "{tcb:?} sent {}/{} received {} deadline {:?} {:?}\n",
                side.sent,
                side.to_send,
                side.received,
                tcb.next_deadline(),
                tcb.statistics()
            );
        }
        text
    }
}

#[test]
fn every_byte_arrives_over_any_cable() {
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (from, count) = (number("SOCKLET_PAIR_FROM", 0u64), number("SOCKLET_PAIR_SEEDS", 300));
    for seed in from..from + count {
        World::new(seed).run();
    }
}
