//! Segments of any content in any order: no panic, no endless burst, and a clock as long as anything is owed.

use super::*;

/// xorshift64*
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

fn near(random: &mut Random, base: Seq) -> Seq {
    let step = random.below(6_000) as u32;
    match random.below(10) {
        0..=3 => base,
        4..=6 => base + step,
        7..=8 => base - step,
        _ => Seq(random.next() as u32),
    }
}

#[test]
fn any_segments_in_any_order_do_no_harm() {
    for seed in 1..400u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let sizes = [0, 1, 64, 1_000, 5_000, 70_000];
        let mut size = || sizes[random.below(6) as usize];
        let (receive, send) = (size(), size());
        let mut tcb = Tcb::new(memory(receive, send, random.below(5) as usize, random.below(20) as usize));
        let mut options = Options::new(random.below(2_000) as u16);
        options.timestamps = random.below(2) == 0;
        options.ecn = random.below(2) == 0;
        options.nagle = random.below(2) == 0;
        let mut now = 1_000_000u64;
        tcb.connect(Seq(random.next() as u32), random.next() as u32, &options);
        for _ in 0..600 {
            let (una, next) = (tcb.sender.board.start(), tcb.receive_next());
            let mut header = Header {
                seq: near(&mut random, next),
                ack: near(&mut random, una),
                flags: Flags(if random.below(4) == 0 { random.next() as u8 } else { 0x10 }),
                window: if random.below(3) == 0 { random.below(3) as u16 } else { random.next() as u16 },
                ..Header::default()
            };
            if header.flags.has(Flags::RST) && random.below(10) > 0 {
                header.flags = Flags::ACK;
            }
            if tcb.state() == State::SynSent && random.below(2) == 0 {
                header.flags = Flags::SYN.with(Flags::ACK);
                header.ack = tcb.iss + 1;
                header.mss = (random.below(2) == 0).then(|| random.next() as u16);
                header.scale = (random.below(2) == 0).then(|| random.next() as u8);
                header.sack_permitted = random.below(4) > 0;
            }
            if random.below(3) > 0 {
                let echo = if random.below(2) == 0 { tcb.clock(now) } else { random.next() as u32 };
                header.timestamp = Some(Timestamp { value: (now >> 10) as u32, echo });
            }
            for _ in 0..random.below(4) {
                let start = near(&mut random, una);
                let end = if random.below(5) == 0 {
                    near(&mut random, una)
                } else {
                    start + random.below(3_000) as u32
                };
                header.push_sack(start, end);
            }
            let payload = vec![0; [0, 0, 1, 500, 3_000][random.below(5) as usize]];
            let at = Instant::from_micros(now);
            tcb.on_segment(at, &header, &payload, Ecn::CongestionExperienced);
            match random.below(12) {
                0 => drop(tcb.send(&[1; 3_000])),
                1 => drop(tcb.recv(&mut [0; 700])),
                2 if random.below(20) == 0 => tcb.shutdown(),
                3 if random.below(40) == 0 => tcb.close(),
                4 => drop(tcb.on_path_limit(at, near(&mut random, una), random.next() as u16)),
                5 => drop(tcb.on_unreachable(near(&mut random, una))),
                _ => {}
            }
            let most = [1, 100, 1_460, 65_000][random.below(4) as usize];
            let mut burst = 0;
            while tcb.poll_transmit(at, most, |out| out.header.header_len()).is_some() {
                burst += 1;
                assert!(burst < 80_000, "seed {seed}: sends without end: {tcb:?} {:?}", tcb.statistics());
            }
            let owes = tcb.unacknowledged() > 0 && tcb.end().is_none() && send > 0;
            let can_send = tcb.state() != State::SynSent || tcb.syn_open;
            assert!(!owes || !can_send || tcb.next_deadline().is_some(), "seed {seed}: no clock in {tcb:?}");
            if tcb.state() == State::Closed {
                tcb.connect(Seq(random.next() as u32), random.next() as u32, &options);
            }
            now = match random.below(8) {
                0 => now + random.below(10_000_000),
                1 => now.saturating_sub(random.below(1_000)),
                2 => tcb.next_deadline().map_or(now, |at| at.as_micros().max(now)),
                _ => now + random.below(10_000),
            };
        }
    }
}
