use super::{CLIENT_SLOTS, SERVER_SLOTS, private_ip};
use crate::cable::{CableEnd, CableOptions, cable};
use crate::{Facts, Host, IpVersion, Side, Stack, World, stream_bytes};
use core::net::{IpAddr, SocketAddr};
use smoltcp::wire::{EthernetAddress, HardwareAddress};
use socklet::smoltcp::{Config, Memory, SmoltcpStack};
use socklet::time::{Duration, Instant, earliest};

type OnCable = SmoltcpStack<'static, CableEnd>;

/// smoltcp at both ends of a cable in memory, in virtual time.
#[derive(Debug)]
pub struct CableWorld {
    server: Stack<OnCable>,
    client: Stack<OnCable>,
    facts: Facts,
    now: Instant,
    port: u16,
}

impl CableWorld {
    /// A new world with buffers of 8 KiB.
    pub fn new(version: IpVersion) -> Self {
        Self::with(version, CableOptions::default(), 8 * 1024)
    }

    /// The smallest of everything: buffers of 64 octets, and the shortest MTU that the protocol allows (RFC 791, RFC 8200).
    pub fn tiny(version: IpVersion) -> Self {
        let mtu = match version {
            IpVersion::V4 => 576,
            IpVersion::V6 => 1280,
        };
        let mut world = Self::with(version, CableOptions { mtu, ..CableOptions::default() }, 64);
        world.facts.stream = world.facts.stream.min(1 << 20);
        world
    }

    /// A new world with send and receive buffers of `buffer` octets.
    pub fn with(version: IpVersion, options: CableOptions, buffer: usize) -> Self {
        let [server_ip, client_ip] = [1, 2].map(|number| private_ip(version, number));
        let [near, far] = cable(options);
        let facts = Facts {
            server_ip,
            client_ip,
            silent: Some(SocketAddr::new(private_ip(version, 99), 7)),
            server_slots: Some(SERVER_SLOTS),
            client_slots: Some(CLIENT_SLOTS),
            settle: Duration::from_millis(100),
            stream: stream_bytes(100 << 20),
            churn: 1000,
        };
        let server = Stack::new(stack(near, 1, server_ip, SERVER_SLOTS, buffer));
        let client = Stack::new(stack(far, 2, client_ip, CLIENT_SLOTS, buffer));
        Self { server, client, facts, now: Instant::from_secs(1), port: 1000 }
    }
}

/// A stack with one address.
pub(super) fn stack(device: CableEnd, number: u8, ip: IpAddr, connections: usize, buffer: usize) -> OnCable {
    let mac = HardwareAddress::Ethernet(EthernetAddress([2, 0, 0, 0, 0, number]));
    let memory = Memory::allocate(connections, buffer, buffer, 4);
    let mut stack = SmoltcpStack::new(device, Config::new(mac, number.into()), memory).expect("a stack");
    stack.add_address(ip, if ip.is_ipv4() { 24 } else { 64 }).expect("an address");
    stack
}

impl World for CableWorld {
    fn host(&mut self, side: Side) -> &mut dyn Host {
        match side {
            Side::Server => &mut self.server,
            Side::Client => &mut self.client,
        }
    }

    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn wait(&mut self, deadline: Option<Instant>) {
        let arrivals = [&self.server, &self.client].map(|stack| stack.inner.device().next_arrival());
        let soon = Some(self.now + Duration::from_millis(10));
        let next = [deadline, soon].into_iter().chain(arrivals).fold(None, earliest);
        self.now = self.now.max(next.unwrap_or(self.now));
    }

    fn unused_port(&mut self) -> u16 {
        self.port += 1;
        self.port
    }
}
