//! What can go wrong on a cable, and when.

use super::random::{Odds, Random};
use socklet::time::{Duration, Instant};

/// What one direction of a cable does to frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// How many are lost.
    pub loss: Odds,
    /// How many arrive twice.
    pub duplication: Odds,
    /// How many are overtaken: they take up to [`LATE`] longer.
    pub reordering: Odds,
    /// How many arrive with a burst of up to 15 wrong bits after the Ethernet header, which the Internet checksum always finds (RFC 1071).
    pub corruption: Odds,
    /// How long a frame is on its way, at least.
    pub delay: Duration,
    /// How much longer at most. Frames stay in order.
    pub jitter: Duration,
    /// Octets per second. What would have to wait for longer than [`QUEUE`] is dropped.
    pub rate: Option<u64>,
    /// Nothing passes.
    pub cut: bool,
}

/// How late a frame comes that is overtaken.
pub const LATE: Duration = Duration::from_millis(30);

/// The longest queue at a rate limit.
pub const QUEUE: Duration = Duration::from_millis(500);

impl Faults {
    /// The same cable without faults: only its delay and rate are left.
    #[must_use]
    pub fn healed(self) -> Self {
        Self { delay: self.delay, rate: self.rate, ..Self::default() }
    }

    /// Faults as the world may bring them: of some kinds, from mild to 30 % loss.
    pub fn random(random: &mut Random) -> Self {
        let mut odds =
            |of: Odds, most: u64| if random.chance(of) { random.spread(1..=most) as Odds } else { 0 };
        let (loss, duplication) = (odds(5_000, 3_000), odds(3_000, 2_000));
        let (reordering, corruption) = (odds(3_000, 2_000), odds(3_000, 1_000));
        let delay = Duration::from_micros(random.spread(0..=100_000));
        let jitter = if random.chance(3_000) { random.time(delay) } else { Duration::ZERO };
        let rate = random.chance(2_000).then(|| random.spread(20_000..=10_000_000));
        Self { loss, duplication, reordering, corruption, delay, jitter, rate, cut: false }
    }
}

/// One direction of a cable.
#[derive(Debug, Default)]
pub struct Lane {
    /// What it does from now on.
    pub faults: Faults,
    /// When the sender's queue will be empty.
    idle_at: Instant,
    /// When the latest frame arrives that was not overtaken.
    latest: Instant,
}

/// A frame that passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passage {
    /// When it arrives.
    pub due: Instant,
    /// Whether to [`corrupt`] it.
    pub corrupt: bool,
    /// Whether it comes later than one that was sent after it may come.
    pub late: bool,
}

impl Lane {
    /// What becomes of a frame of `len` octets that is put on the lane at `now`: it arrives never, once or twice.
    pub fn pass(&mut self, now: Instant, len: usize, random: &mut Random) -> [Option<Passage>; 2] {
        let faults = self.faults;
        let mut start = now;
        if let Some(rate) = faults.rate {
            start = start.max(self.idle_at);
            if start.since(now) > QUEUE {
                return [None; 2];
            }
            start = start + Duration::from_micros(len as u64 * 1_000_000 / rate.max(1));
            self.idle_at = start;
        }
        if faults.cut || random.chance(faults.loss) {
            return [None; 2];
        }
        let first = self.arrive(start, random);
        let second = random.chance(faults.duplication).then(|| self.arrive(start, random));
        [Some(first), second]
    }

    fn arrive(&mut self, start: Instant, random: &mut Random) -> Passage {
        let corrupt = random.chance(self.faults.corruption);
        let due = start + self.faults.delay + random.time(self.faults.jitter);
        if random.chance(self.faults.reordering) {
            return Passage { due: due + random.time(LATE), corrupt, late: true };
        }
        self.latest = self.latest.max(due);
        Passage { due: self.latest, corrupt, late: false }
    }
}

/// Flips up to 15 adjacent bits somewhere after the Ethernet header.
pub fn corrupt(octets: &mut [u8], header: usize, random: &mut Random) {
    let Some(payload) = octets.get_mut(header..).filter(|payload| payload.len() >= 2) else { return };
    let at = random.below(payload.len() as u64 * 8 - 15) as usize;
    let pattern = random.below((1 << 15) - 1) + 1;
    for bit in (0..15).filter(|bit| pattern >> bit & 1 == 1) {
        payload[(at + bit) / 8] ^= 0x80 >> ((at + bit) % 8);
    }
}

/// A direction of a host's cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the host.
    Up,
    /// To the host.
    Down,
}

/// What changes on a host's cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Other faults in one direction.
    Faults(Direction, Faults),
    /// The plug is pulled, or in again. What was on the way to the host is lost; the host's device takes no frame.
    Link(bool),
    /// The host's stack is told that the link is gone for good.
    GivenUp,
}

/// What happens to a host's cable, and when, in order.
pub type Weather = Vec<(Instant, Change)>;

/// The longest time that a partition lasts.
pub const LONGEST_CUT: Duration = Duration::from_secs(120);

/// How often a cable is unplugged at most: a plug that is loose goes in and out, and one outage may begin in another.
pub(super) const OUTAGES: u64 = 6;

/// Faults from time zero, partitions and unplugged cables in between; from `heal` on the cable only has its delay and rate.
pub fn random_weather(random: &mut Random, heal: Instant) -> Weather {
    let until_heal = heal.since(Instant::ZERO);
    let mut weather = Vec::new();
    for direction in [Direction::Up, Direction::Down] {
        let faults = Faults::random(random);
        weather.push((Instant::ZERO, Change::Faults(direction, faults)));
        if random.chance(2_500) {
            let from = Instant::ZERO + random.time(until_heal);
            let lasts = Duration::from_micros(random.spread(10_000..=LONGEST_CUT.as_micros() as u64));
            weather.push((from, Change::Faults(direction, Faults { cut: true, ..faults })));
            weather.push((from + lasts, Change::Faults(direction, faults)));
        }
        weather.push((heal, Change::Faults(direction, faults.healed())));
    }
    let outages = if random.chance(1_500) { random.spread(1..=OUTAGES) } else { 0 };
    for _ in 0..outages {
        let from = Instant::ZERO + random.time(until_heal);
        weather.push((from, Change::Link(false)));
        if random.chance(2_000) {
            weather.push((from + random.time(Duration::from_millis(100)), Change::GivenUp));
        }
        let lasts = Duration::from_micros(random.spread(1_000..=1_000_000));
        weather.push((from + lasts, Change::Link(true)));
    }
    weather.push((heal, Change::Link(true)));
    weather.retain(|(at, _)| *at <= heal);
    weather.sort_by_key(|(at, _)| *at);
    weather
}
