use super::os::os_stack;
use super::real::RealTime;
use super::{CLIENT_SLOTS, SERVER_SLOTS};
use crate::{Facts, Host, IpVersion, Side, Stack, World, stream_bytes};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use smoltcp::wire::{EthernetAddress, HardwareAddress};
use socklet::smoltcp::{Config, Memory, SmoltcpStack};
use socklet::time::{Duration, Instant};
use socklet_hosted::sandbox::{STACK_MAC, Sandbox};
use socklet_hosted::tap::{Options, Tap};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};

/// smoltcp on a TAP interface on one side, the Linux kernel on the other, in a private network of their own, in real time.
///
/// The thread that makes it moves into that network and stays there.
#[expect(missing_debug_implementations, reason = "a host need not have it")]
pub struct TapWorld {
    server: Box<dyn Host>,
    client: Box<dyn Host>,
    facts: Facts,
    time: RealTime,
    port: u16,
    _sandbox: Sandbox,
}

impl TapWorld {
    /// A new world in which smoltcp is at `side`.
    ///
    /// # Panics
    /// Where the system allows no private network. The text says what to do.
    pub fn new(version: IpVersion, side: Side) -> Self {
        let sandbox = Sandbox::new().unwrap_or_else(|error| panic!("{error}"));
        let tap = sandbox.open_tap(&Options::tap("socklet0")).unwrap_or_else(|error| panic!("{error}"));
        enter(&sandbox);
        let network = *sandbox.network();
        let [linux_ip, stack_ip]: [IpAddr; 2] = match version {
            IpVersion::V4 => [network.host_v4.into(), network.stack_v4.into()],
            IpVersion::V6 => [network.host_v6.into(), network.stack_v6.into()],
        };
        let (tap_slots, linux_slots) = match side {
            Side::Server => (SERVER_SLOTS, CLIENT_SLOTS),
            Side::Client => (CLIENT_SLOTS, SERVER_SLOTS),
        };
        let tap_descriptor = tap.as_fd().as_raw_fd();
        let smoltcp = Stack::new(on_tap(tap, stack_ip, tap_slots));
        let linux = os_stack(linux_slots);
        let time = RealTime::new(&[tap_descriptor, linux.as_raw_fd()]);
        let linux = Stack::new(linux);
        let (server, client): (Box<dyn Host>, Box<dyn Host>) = match side {
            Side::Server => (Box::new(smoltcp), Box::new(linux)),
            Side::Client => (Box::new(linux), Box::new(smoltcp)),
        };
        let [server_ip, client_ip] =
            if side == Side::Server { [stack_ip, linux_ip] } else { [linux_ip, stack_ip] };
        let facts = Facts {
            server_ip,
            client_ip,
            silent: Some(SocketAddr::new(neighbour(stack_ip), 7)),
            server_slots: Some(SERVER_SLOTS),
            client_slots: Some(CLIENT_SLOTS),
            settle: Duration::from_millis(20),
            stream: stream_bytes(16 << 20),
            churn: 100,
        };
        Self { server, client, facts, time, port: 1000, _sandbox: sandbox }
    }
}

/// Moves the calling thread into the sandbox.
fn enter(sandbox: &Sandbox) {
    let namespace = sandbox.run(|| File::open("/proc/thread-self/ns/net")).expect("the sandbox's network");
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .expect("enter the sandbox");
}

fn on_tap(tap: Tap, ip: IpAddr, connections: usize) -> SmoltcpStack<'static, Tap> {
    let mac = HardwareAddress::Ethernet(EthernetAddress(STACK_MAC));
    let memory = Memory::allocate(connections, 16 * 1024, 16 * 1024, 4);
    let mut stack = SmoltcpStack::new(tap, Config::new(mac, 7), memory).expect("a stack");
    stack.add_address(ip, if ip.is_ipv4() { 16 } else { 64 }).expect("an address");
    stack
}

/// An address of the same network that nobody has.
fn neighbour(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() + 97).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() + 97).into(),
    }
}

impl World for TapWorld {
    fn host(&mut self, side: Side) -> &mut dyn Host {
        match side {
            Side::Server => &mut *self.server,
            Side::Client => &mut *self.client,
        }
    }

    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn now(&self) -> Instant {
        self.time.now()
    }

    fn wait(&mut self, deadline: Option<Instant>) {
        self.time.wait(deadline);
    }

    fn unused_port(&mut self) -> u16 {
        self.port += 1;
        self.port
    }
}
