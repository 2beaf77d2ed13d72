//! Worlds at random: everything that a run needs, from its seed.

use super::faults::{Change, Direction, Faults, QUEUE, Weather, random_weather};
use super::parties::{Sluggish, TalkClient, TalkServer};
use super::random::{Odds, Random};
use super::talk::Temper;
use super::world::{HostId, HostOptions, World, WorldOptions};
use core::net::SocketAddr;
use socklet::client::{Backoff, Client, ClientConfig};
use socklet::connection::{Deadlines, Progress};
use socklet::server::{Server, ServerConfig, ServerSlot};
use socklet::stack::{Backpressure, ConnectOptions, ListenOptions};
use socklet::time::{Duration, Instant};

/// What a run leaves out: to find out what a failure needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Faults heal at this time at the latest, in milliseconds.
    pub heal_ms: Option<u64>,
    /// At most so many clients.
    pub clients: Option<u64>,
    /// Streams of at most so many bytes.
    pub bytes: Option<u64>,
    /// Kinds of fault that do not occur, a bit each: see [`Limits::KINDS`].
    pub without: u8,
}

impl Limits {
    /// The kinds of fault, by the bits of [`without`](Self::without).
    pub const KINDS: [&'static str; 8] =
        ["loss", "duplication", "reordering", "corruption", "jitter", "rate", "cuts", "link"];

    fn forbids(&self, kind: &str) -> bool {
        Self::KINDS.iter().position(|name| *name == kind).is_some_and(|bit| self.without >> bit & 1 == 1)
    }

    pub(super) fn apply(&self, weather: &mut Weather) {
        if self.forbids("link") {
            weather.retain(|(_, change)| !matches!(change, Change::Link(_) | Change::GivenUp));
        }
        for (_, change) in weather {
            if let Change::Faults(_, faults) = change {
                *faults = self.filtered(*faults);
            }
        }
    }

    fn filtered(&self, faults: Faults) -> Faults {
        let odds = |kind, odds| if self.forbids(kind) { 0 } else { odds };
        Faults {
            loss: odds("loss", faults.loss),
            duplication: odds("duplication", faults.duplication),
            reordering: odds("reordering", faults.reordering),
            corruption: odds("corruption", faults.corruption),
            delay: faults.delay,
            jitter: if self.forbids("jitter") { Duration::ZERO } else { faults.jitter },
            rate: faults.rate.filter(|_| !self.forbids("rate")),
            cut: faults.cut && !self.forbids("cuts"),
        }
    }
}

/// All that a cable does in a weather.
fn faults(weather: &Weather) -> impl Iterator<Item = Faults> {
    weather.iter().filter_map(|(_, change)| match change {
        Change::Faults(Direction::Up | Direction::Down, faults) => Some(*faults),
        Change::Link(_) | Change::GivenUp => None,
    })
}

/// A world at random.
#[derive(Debug)]
pub(super) struct Plan {
    seed: u64,
    world: WorldOptions,
    clients: u64,
    client_hosts: usize,
    server_memory: HostOptions,
    client_memory: HostOptions,
    config: ServerConfig,
    deadlines: Deadlines,
    drains: Vec<(Instant, Duration)>,
    temper: Temper,
    weather: Vec<Weather>,
}

/// Clients try to connect for so long after the faults have healed.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Steps that the longest stream takes through the smallest buffer.
const STEPS: u64 = 300;

/// How many worlds with fast cables move up to 4 MiB: enough to fill 64 KiB each way of 64 connections. The others move 512 KiB at most, or
/// time would go into a few worlds with long streams.
const MUCH: Odds = 1_000;

/// The longest between two retransmissions (RFC 6298, section 2.5).
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);

const PORT: u16 = 7;

impl Plan {
    pub(super) fn random(seed: u64, limits: &Limits, record: bool) -> Self {
        let random = &mut Random::new(seed, 0);
        let ipv6 = random.chance(3_000);
        let mtu = random.within(if ipv6 { 1280..=1500 } else { 576..=1500 }) as usize;
        let heal = Instant::from_micros(random.spread(1_000..=150_000_000));
        let heal = limits.heal_ms.map_or(heal, |limit| heal.min(Instant::from_millis(limit)));
        let world = WorldOptions { seed, mtu, ipv6, heal, record };
        let clients = random.spread(1..=64).min(random.spread(1..=64));
        let [server_rx, server_tx, client_rx, client_tx] =
            [(); 4].map(|()| random.spread(64..=64 * 1024) as usize);
        let smallest = server_rx.min(server_tx).min(client_rx).min(client_tx) as u64;
        let client_hosts = random.within(1..=3.min(clients)) as usize;
        let mut weather: Vec<_> = (0..=client_hosts).map(|_| random_weather(random, heal)).collect();
        let fast = weather.iter().flat_map(faults).all(|faults| faults.rate.is_none());
        let moved = if fast && random.chance(MUCH) { 4 << 20 } else { 512 << 10 };
        let longest = random.spread(0..=(STEPS * smallest).min(moved / clients));
        weather.iter_mut().for_each(|weather| limits.apply(weather));
        let clients = clients.min(limits.clients.unwrap_or(u64::MAX));
        let longest = longest.min(limits.bytes.unwrap_or(u64::MAX));
        let slots = if random.chance(7_000) { clients + 2 } else { random.within(1..=clients) };
        Self {
            seed,
            world,
            clients,
            client_hosts,
            server_memory: HostOptions { connections: slots as usize, rx: server_rx, tx: server_tx },
            client_memory: HostOptions { connections: clients as usize, rx: client_rx, tx: client_tx },
            config: server_config(random),
            deadlines: deadlines(random),
            drains: drains(random, heal),
            temper: Temper { longest, clumsy: random.chance(5_000) },
            weather,
        }
    }

    /// How long after the healing everything must be over: an idle end may have to find out about its peer by its deadline, before which
    /// each of the others may have waited for its turn to move the whole stream step by step, and slow cables take their time.
    pub(super) fn bound(&self) -> Duration {
        let idle = self.deadlines.idle.max(self.config.deadlines.idle).unwrap_or_default();
        let faults = || self.weather.iter().flat_map(faults);
        let round_trip = faults().map(|faults| faults.delay).max().unwrap_or_default() * 4;
        // smoltcp has no congestion control unless its build says so: of a window that is longer than a slow cable's queue, all but the
        // beginning is lost, again and again, and a retransmission timeout may bring no more than the queue holds.
        let queue = |rate: u64| rate * QUEUE.as_millis() as u64 / 1000;
        let slowest = faults().filter_map(|faults| faults.rate).min();
        let timeouts = slowest.map_or(0, |rate| 2 * self.clients * self.temper.longest / queue(rate));
        PATIENCE
            + idle * 2
            + (round_trip + Duration::from_millis(200)) * STEPS as u32 * 2
            + LONGEST_TIMEOUT * timeouts as u32
            + Duration::from_secs(120)
    }

    pub(super) fn build(&self) -> World {
        let random = &mut Random::new(self.seed, 4);
        let mut world = World::new(self.world);
        let host = world.host_in(self.weather[0].clone(), self.server_memory);
        let addr = SocketAddr::new(world.ip(host), PORT);
        self.add_server(&mut world, host, addr, random);
        let hosts: Vec<_> = (1..=self.client_hosts)
            .map(|index| world.host_in(self.weather[index].clone(), self.client_memory))
            .collect();
        for client in 0..self.clients as usize {
            self.add_client(&mut world, hosts[client % hosts.len()], addr, random);
        }
        world
    }

    fn add_server(&self, world: &mut World, host: HostId, addr: SocketAddr, random: &mut Random) {
        let slots = self.server_memory.connections;
        let storage: Vec<_> = (0..slots).map(|_| ServerSlot::<super::SimStack>::EMPTY).collect();
        let mut server = Server::new(storage, self.config);
        server.listen(world.stack(host), addr).expect("a new stack has room for a listener");
        let party = TalkServer {
            server,
            addr,
            ledger: world.ledger.clone(),
            seed: self.seed,
            temper: self.temper,
            sluggish: sluggish(random),
            drains: self.drains.clone(),
            listens_again: false,
            cut: None,
            deadlines: self.config.deadlines,
            random: Random::new(self.seed, 5),
            talks: (0..slots).map(|_| None).collect(),
        };
        world.add(host, party);
    }

    fn add_client(&self, world: &mut World, host: HostId, addr: SocketAddr, random: &mut Random) {
        let backoff = Backoff {
            first: Duration::from_millis(random.spread(100..=10_000)),
            cap: Duration::from_secs(random.spread(10..=60)),
            ..Backoff::DEFAULT
        };
        let timeout = Duration::from_millis(random.spread(100..=30_000));
        let config = ClientConfig::default()
            .with_deadlines(self.deadlines)
            .with_connect(ConnectOptions::default().with_timeout(Some(timeout)))
            .with_retry(random.chance(9_000).then_some(backoff));
        let party = TalkClient {
            client: Client::new(addr, config, random.bits()),
            ledger: world.ledger.clone(),
            seed: self.seed,
            temper: self.temper,
            deadlines: self.deadlines,
            sluggish: sluggish(random),
            start: Instant::ZERO + random.time(self.world.heal.since(Instant::ZERO)),
            sessions: random.within(1..=2) as u32,
            random: Random::new(random.bits(), 6),
            talk: None,
        };
        world.add(host, party);
    }
}

fn sluggish(random: &mut Random) -> Sluggish {
    let slow = random.chance(2_000);
    Sluggish::new(if slow { Duration::from_micros(random.spread(10..=100_000)) } else { Duration::ZERO })
}

fn server_config(random: &mut Random) -> ServerConfig {
    let backpressure = random.pick([Backpressure::Defer, Backpressure::Refuse]);
    let listen = ListenOptions::backlog(random.spread(1..=16) as usize).with_backpressure(backpressure);
    let per_peer = random.chance(1_500).then(|| random.spread(1..=32) as usize);
    ServerConfig::default().with_listen(listen).with_per_peer(per_peer).with_deadlines(deadlines(random))
}

fn deadlines(random: &mut Random) -> Deadlines {
    let mut limit =
        |of, low, high| random.chance(of).then(|| Duration::from_millis(random.spread(low..=high)));
    let (first_byte, write_stall) = (limit(5_000, 1_000, 60_000), limit(7_000, 1_000, 30_000));
    let (idle, drain) = (limit(10_000, 2_000, 300_000), limit(10_000, 100, 10_000));
    let progress = limit(2_000, 1_000, 30_000).map(|period| Progress { bytes: 10, period });
    Deadlines::NONE
        .with_first_byte(first_byte)
        .with_idle(idle)
        .with_write_stall(write_stall)
        .with_progress(progress)
        .with_drain(drain)
}

/// Some drains, the latest first.
fn drains(random: &mut Random, heal: Instant) -> Vec<(Instant, Duration)> {
    let times = if random.chance(3_000) { random.within(1..=3) } else { 0 };
    let until_heal = heal.since(Instant::ZERO);
    let mut drain = || {
        let grace = if random.chance(3_000) { Duration::ZERO } else { random.time(Duration::from_secs(5)) };
        (Instant::ZERO + random.time(until_heal), grace)
    };
    let mut drains: Vec<_> = (0..times).map(|_| drain()).collect();
    drains.sort_by_key(|(at, _)| core::cmp::Reverse(*at));
    drains
}
