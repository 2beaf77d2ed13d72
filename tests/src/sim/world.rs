//! Hosts in virtual time.

use super::exchange::{Exchange, Opaque};
use super::faults::{Change, OUTAGES, Weather, random_weather};
use super::ledger::Ledger;
use super::memory::{counted, take_count};
use super::network::{FrameCounts, Network, Port, mac};
use super::parties::Party;
use super::pcap::Tape;
use super::plan::Limits;
use super::random::Random;
use super::{Outcome, SimStack};
use core::cell::RefCell;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use smoltcp::wire::HardwareAddress;
use socklet::connection::Transitions;
use socklet::service::Service;
use socklet::smoltcp::{Config, Memory, SmoltcpStack};
use socklet::stack::TcpStack;
use socklet::time::{Duration, Instant, earliest};
use std::rc::Rc;

/// A host's memory.
#[derive(Debug, Clone, Copy)]
pub struct HostOptions {
    /// Connections that its stack has room for.
    pub connections: usize,
    /// Octets of receive buffer of each.
    pub rx: usize,
    /// Octets of send buffer of each.
    pub tx: usize,
}

/// 8 connections with 2 KiB each way.
impl Default for HostOptions {
    fn default() -> Self {
        Self { connections: 8, rx: 2048, tx: 2048 }
    }
}

/// What holds for a whole world.
#[derive(Debug, Clone, Copy)]
pub struct WorldOptions {
    /// Where everything random comes from.
    pub seed: u64,
    /// The longest IP packet, in octets.
    pub mtu: usize,
    /// Whether the hosts have IPv6 addresses, rather than IPv4.
    pub ipv6: bool,
    /// When all faults heal.
    pub heal: Instant,
    /// Whether frames are recorded.
    pub record: bool,
}

struct Host {
    stack: SimStack,
    ip: IpAddr,
    parties: Vec<Box<dyn Party>>,
    weather: Weather,
    due: Option<Instant>,
}

/// Hosts that run services on the smoltcp backend, each with a bad cable to one switch.
pub struct World {
    network: Rc<RefCell<Network>>,
    hosts: Vec<Host>,
    options: WorldOptions,
    /// What is left out of a user's world.
    limits: Limits,
    exchanges: u64,
    now: Instant,
    steps: u64,
    /// Frames so far when one was seen last, and the steps since.
    quiet: (FrameCounts, u64),
    pub(super) ledger: Ledger,
}

/// Names a host of a [`World`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostId(usize);

/// Rounds of one host at one time; more is a loop without end.
const ROUNDS: usize = 20_000;

/// Steps in which no frame moves; more is a waste. A host without a link tries once in a millisecond, for a second; all four may be without
/// one in turn, each as often as it gets.
const QUIET: u64 = 4 * 1_000 * OUTAGES;

/// How many steps lie between two looks at the slots.
const AUDIT: u64 = 64;

impl World {
    /// An empty world at time zero.
    pub fn new(options: WorldOptions) -> Self {
        let tape = options.record.then(Tape::default);
        let network = Network::new(Random::new(options.seed, 1), tape);
        let ledger = Ledger::default();
        Self {
            network: Rc::new(RefCell::new(network)),
            hosts: Vec::new(),
            options,
            limits: Limits::default(),
            exchanges: 0,
            now: Instant::ZERO,
            steps: 0,
            quiet: Default::default(),
            ledger,
        }
    }

    /// Leaves out kinds of fault and exchanges.
    pub(super) fn heed(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// A new host in random weather.
    pub fn host(&mut self, options: HostOptions) -> HostId {
        let mut random = Random::new(self.options.seed, 1000 + self.hosts.len() as u64);
        let weather = random_weather(&mut random, self.options.heal);
        self.host_in(weather, options)
    }

    /// A new host, with what will happen to its cable.
    pub fn host_in(&mut self, weather: Weather, options: HostOptions) -> HostId {
        let index = self.network.borrow_mut().add();
        let number = index as u8 + 1;
        let ip: IpAddr = if self.options.ipv6 {
            Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()).into()
        } else {
            Ipv4Addr::new(10, 0, 0, number).into()
        };
        let port = Port::new(Rc::clone(&self.network), index, self.options.mtu);
        let seed = Random::new(self.options.seed, 2000 + index as u64).bits();
        let config = Config::new(HardwareAddress::Ethernet(mac(index)), seed);
        let memory = Memory::allocate(options.connections, options.rx, options.tx, 4);
        let mut stack = SmoltcpStack::new(port, config, memory).expect("a stack");
        stack.add_address(ip, if self.options.ipv6 { 64 } else { 24 }).expect("an address");
        let due = Some(Instant::ZERO);
        let mut weather = weather;
        self.limits.apply(&mut weather);
        weather.reverse();
        self.hosts.push(Host { stack, ip, parties: Vec::new(), weather, due });
        HostId(index)
    }

    /// The address of a host.
    pub fn ip(&self, host: HostId) -> IpAddr {
        self.hosts[host.0].ip
    }

    /// The stack of a host: to listen, say.
    pub fn stack(&mut self, host: HostId) -> &mut SimStack {
        &mut self.hosts[host.0].stack
    }

    /// Runs a service on a host.
    pub fn run_service(&mut self, host: HostId, service: impl Service<SimStack> + 'static) {
        self.add(host, Opaque(service));
    }

    /// Runs a client on a host, which sends `request` to `server`, closes its write side, and wants exactly `reply`, and the end of the
    /// stream. It tries again, with backoff, until it has succeeded once.
    ///
    /// A replay with [`Limits::clients`] leaves those out that come after so many.
    pub fn exchange(&mut self, host: HostId, server: SocketAddr, request: Vec<u8>, reply: Vec<u8>) {
        if self.limits.clients.is_some_and(|most| self.exchanges >= most) {
            return;
        }
        self.exchanges += 1;
        let seed = Random::new(self.options.seed, 3000 + self.hosts[host.0].parties.len() as u64).bits();
        let exchange = Exchange::new(server, request, reply, seed, &self.ledger);
        self.add(host, exchange);
    }

    pub(super) fn add(&mut self, host: HostId, party: impl Party + 'static) {
        self.hosts[host.0].parties.push(Box::new(party));
    }

    /// Lets time pass until all clients have done their work, services are drained, and slots are free again.
    ///
    /// Clients stop trying to connect after `patience` from the healing of the faults, and all of it must be over after `bound`.
    ///
    /// # Errors
    /// A sentence on the first promise that was not kept.
    pub fn run(&mut self, patience: Duration, bound: Duration) -> Result<Outcome, String> {
        take_count();
        let result = self.run_to_the_end(patience, bound);
        let allocations = take_count();
        result?;
        if allocations > 0 {
            return Err(format!("core has allocated memory {allocations} times after the start"));
        }
        for host in self.hosts.iter().filter(|host| host.stack.stats().time_waits_reclaimed > 0) {
            self.ledger.forgets(host.ip);
        }
        self.ledger.settle();
        self.ledger.failure().map_or(Ok(()), Err)?;
        Ok(self.outcome())
    }

    fn run_to_the_end(&mut self, patience: Duration, bound: Duration) -> Result<(), String> {
        let heal = self.options.heal;
        let stop = heal + patience;
        let all_done = |world: &Self| world.parties().all(Party::is_done);
        if !self.advance_until(stop, all_done)? {
            self.parties_mut().for_each(|party| party.stop());
            self.wake_all();
            self.finish(heal + bound, "clients are done", all_done)?;
        }
        let grace = Duration::from_secs(1);
        for host in &mut self.hosts {
            host.parties.iter_mut().for_each(|party| party.drain(&mut host.stack, self.now, grace));
        }
        self.wake_all();
        let drained = |world: &Self| world.parties().all(|party| party.is_drained());
        self.finish(self.now + DRAINED, "services are drained", drained)?;
        let free = |world: &Self| world.hosts.iter().all(|host| host.stack.slots().0 == host.stack.slots().1);
        self.finish(self.now.max(heal) + FREED, "every slot is free again", free)?;
        self.audit()
    }

    fn finish(&mut self, until: Instant, what: &str, done: impl Fn(&Self) -> bool) -> Result<(), String> {
        if self.advance_until(until, done)? {
            return Ok(());
        }
        Err(format!(
            "at {}, {} after the faults had healed, it is still not so that {what}: {:?}",
            self.now,
            secs(self.now.since(self.options.heal)),
            self
        ))
    }

    /// Says whether it was done in time.
    fn advance_until(&mut self, until: Instant, done: impl Fn(&Self) -> bool) -> Result<bool, String> {
        loop {
            self.change_weather();
            for index in 0..self.hosts.len() {
                if self.due(index).is_some_and(|due| due <= self.now) {
                    self.step(index)?;
                }
            }
            self.steps += 1;
            self.notice_idle_work()?;
            if self.steps.is_multiple_of(AUDIT) {
                self.audit()?;
            }
            if let Some(failure) = self.ledger.failure() {
                return Err(failure);
            }
            if done(self) {
                return Ok(true);
            }
            let weather = self.hosts.iter().filter_map(|host| host.weather.last().map(|(at, _)| *at)).min();
            let due = (0..self.hosts.len()).filter_map(|index| self.due(index)).min();
            let Some(next) = earliest(due, weather) else {
                return Err(format!("at {} nothing is going to happen any more: {self:?}", self.now));
            };
            if next > until {
                self.now = until;
                return Ok(false);
            }
            self.now = self.now.max(next);
        }
    }

    /// Hosts that are polled again and again while nothing moves have a deadline that comes too soon.
    fn notice_idle_work(&mut self) -> Result<(), String> {
        let frames = self.frames();
        let steps = if frames == self.quiet.0 { self.quiet.1 + 1 } else { 0 };
        self.quiet = (frames, steps);
        if steps > QUIET {
            return Err(format!("at {}, {steps} steps without a frame: {self:?}", self.now));
        }
        Ok(())
    }

    fn due(&self, index: usize) -> Option<Instant> {
        earliest(self.hosts[index].due, self.network.borrow().next_arrival(index))
    }

    fn wake_all(&mut self) {
        self.hosts.iter_mut().for_each(|host| host.due = Some(self.now));
    }

    fn change_weather(&mut self) {
        for (index, host) in self.hosts.iter_mut().enumerate() {
            while let Some((_, change)) = host.weather.pop_if(|(at, _)| *at <= self.now) {
                self.network.borrow_mut().change(index, change);
                host.due = Some(self.now);
                if change == Change::GivenUp {
                    self.ledger.link_lost(host.ip);
                    host.stack.link_lost();
                }
            }
        }
    }

    /// The loop of a driver, until there is nothing more to do at this time.
    fn step(&mut self, index: usize) -> Result<(), String> {
        let (host, now) = (&mut self.hosts[index], self.now);
        for _ in 0..ROUNDS {
            let services = host
                .parties
                .iter_mut()
                .fold(None, |due, party| earliest(due, party.poll(&mut host.stack, now)));
            let stack = counted(|| host.stack.poll(now));
            host.due = earliest(services, stack);
            if host.due.is_none_or(|due| due > now) {
                return Ok(());
            }
        }
        Err(format!("at {now}, host {index} has been polled {ROUNDS} times and wants more: {:?}", host.stack))
    }

    /// Slots in use by owners equal live connections.
    fn audit(&self) -> Result<(), String> {
        for (index, host) in self.hosts.iter().enumerate() {
            let Some(live) = host.parties.iter().map(|party| party.live()).sum::<Option<usize>>() else {
                continue;
            };
            let owned = host.stack.owned();
            if owned != live {
                return Err(format!(
                    "at {}, host {index} has {owned} slots in use, and {live} live connections",
                    self.now
                ));
            }
        }
        Ok(())
    }

    fn parties(&self) -> impl Iterator<Item = &dyn Party> {
        self.hosts.iter().flat_map(|host| &host.parties).map(Box::as_ref)
    }

    fn parties_mut(&mut self) -> impl Iterator<Item = &mut Box<dyn Party>> {
        self.hosts.iter_mut().flat_map(|host| &mut host.parties)
    }

    fn outcome(&self) -> Outcome {
        let (connections, verified, reasons) = self.ledger.totals();
        let mut transitions = Transitions::NONE;
        self.parties().for_each(|party| transitions.merge(&party.transitions()));
        let frames = self.frames();
        Outcome {
            connections,
            verified,
            reasons,
            transitions,
            frames,
            elapsed: self.now.since(Instant::ZERO),
        }
    }

    /// What has become of frames so far.
    pub fn frames(&self) -> FrameCounts {
        self.network.borrow().counts
    }

    /// The packet trace, if there is one.
    pub fn tape(&self) -> Option<Tape> {
        self.network.borrow().tape.clone()
    }
}

/// From a drain with a second of grace until every connection is over.
const DRAINED: Duration = Duration::from_secs(5);

/// From then until every slot is free: linger (20 s), and TIME-WAIT (8 s) after it.
const FREED: Duration = Duration::from_secs(40);

fn secs(duration: Duration) -> String {
    format!("{}.{:03} s", duration.as_secs(), duration.subsec_millis())
}

impl core::fmt::Debug for World {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for (index, host) in self.hosts.iter().enumerate() {
            let (slots, free) = host.stack.slots();
            let busy = host.parties.iter().filter(|party| !party.is_done()).count();
            write!(
                f,
                "[host {index} {}: {busy} of {} parties busy, {} of {slots} slots in use, {} owned, next deadline {:?}, next frame {:?}] ",
                host.ip,
                host.parties.len(),
                slots - free,
                host.stack.owned(),
                host.due,
                self.network.borrow().next_arrival(index),
            )?;
            for party in host.parties.iter().filter(|party| !party.is_done()).take(3) {
                write!(f, "[{}] ", party.doing())?;
            }
        }
        Ok(())
    }
}
