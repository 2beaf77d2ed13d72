//! The backend on smoltcp: `listen` and `accept` as sockets have them, and O(1) per packet, with smoltcp unmodified.
//!
//! smoltcp scans every socket of a set for each packet, has no backlog, and resets a SYN that finds no listening socket. Here each
//! connection has a socket set of its own with one socket in it. The backend takes a frame from the device, reads its addresses and ports,
//! finds the slot in a hash table, and lets smoltcp process the frame against that slot alone. Egress and timers run only for slots that
//! were touched or whose deadline (in a heap) has come. So:
//!
//! - An idle listener holds no slot. A SYN takes one; a repeated SYN finds the same one; established connections queue for `accept`.
//! - With no room, the listener's [`Backpressure`](crate::stack::Backpressure) decides: drop the SYN for the peer to try again, or reset it.
//! - A slot is made free for a newcomer by ending the oldest TIME-WAIT, else a half-open connection that has not answered for
//!   [`Config::half_open_reclaim`]. Established connections are never taken.
//! - In a flood of SYNs, initial sequence numbers are cookies that remember a half-open connection when its slot is needed. Their known price (RFC
//!   4987, section 3.6): for two minutes after, a client whose connection was aborted and did not hear of it can bring it back with its first bytes.
//! - A closed connection delivers what is queued, for [`Config::linger`] at most, without its owner.
//! - The work of one poll is bounded: [`Config::frames_per_poll`] received frames, and a burst of segments for each connection.
//!
//! ```
//! use socklet::smoltcp::{Config, SmoltcpStack, Storage};
//! use socklet::stack::{ListenOptions, TcpStack};
//! use socklet::time::Instant;
//! # use smoltcp::phy::{Device, DeviceCapabilities, RxToken, TxToken};
//! # struct Nic;
//! # struct Token;
//! # impl RxToken for Token { fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R { f(&[]) } }
//! # impl TxToken for Token { fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, n: usize, f: F) -> R { f(&mut vec![0; n]) } }
//! # impl Device for Nic {
//! #     type RxToken<'a> = Token; type TxToken<'a> = Token;
//! #     fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Token, Token)> { None }
//! #     fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Token> { Some(Token) }
//! #     fn capabilities(&self) -> DeviceCapabilities { let mut c = DeviceCapabilities::default(); c.max_transmission_unit = 1514; c }
//! # }
//! use smoltcp::wire::{EthernetAddress, HardwareAddress};
//!
//! // Four connections with 2 KiB each way: on firmware, a static.
//! let mut storage = Storage::<4, 2048, 2048>::new();
//! let mac = HardwareAddress::Ethernet(EthernetAddress([2, 0, 0, 0, 0, 1]));
//! let mut stack = SmoltcpStack::new(Nic, Config::new(mac, 0x1234_5678_9abc_def0), &mut storage)?;
//! stack.add_address("10.0.0.2".parse().unwrap(), 24)?;
//! let echo = stack.listen("0.0.0.0:7".parse().unwrap(), &ListenOptions::default())?;
//! let _deadline = stack.poll(Instant::from_millis(1));
//! assert_eq!(stack.accept(echo)?, None);
//! # Ok::<(), socklet::stack::ErrorKind>(())
//! ```

mod arrival;
mod calls;
mod config;
mod craft;
#[cfg(feature = "dhcp")]
mod dhcp;
mod engine;
mod flow;
mod frame;
mod hash;
mod isn;
mod life;
mod listener;
mod memory;
mod others;
mod ports;
mod slot;
mod stats;
#[cfg(test)]
mod tests;
mod token;

pub use calls::{ConnectionHandle, ListenerHandle};
pub use config::Config;
#[cfg(feature = "dhcp")]
pub use dhcp::{Dhcp, Lease};
pub use listener::ListenerSlot;
pub use memory::{Memory, Storage};
pub use slot::Slot;
pub use stats::{ConnectionStats, Drops, QueueLengths, Stats};

use crate::stack::ErrorKind;
use crate::storage::{Deadlines, List, MAX_SLOTS};
use crate::time::{Instant, Monotonic};
use ::smoltcp::iface::{Route, SocketSet};
use ::smoltcp::phy::{Device, DeviceCapabilities, Medium};
use ::smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use engine::Engine;
use flow::FlowTable;
use hash::Random;
use isn::SequenceNumbers;
use ports::Ports;
use slot::{End, Life, Limit};

/// A [`TcpStack`](crate::stack::TcpStack) on smoltcp over any [`Device`].
///
/// Addresses and routes are set with [`add_address`](Self::add_address) and [`add_route`](Self::add_route). How many there is room for is
/// smoltcp's own configuration (2 addresses and 2 routes unless its build says more). Other protocols' sockets, DHCP's say, go
/// [beside the connections](Self::with_sockets).
pub struct SmoltcpStack<'a, D> {
    device: D,
    engine: Engine<'a>,
    clock: Monotonic,
}

impl<'a, D: Device> SmoltcpStack<'a, D> {
    /// A stack over `device`, without an address yet.
    ///
    /// # Errors
    /// `InvalidState` if the hardware address does not fit the device's medium or is not unicast, if the MTU is below 576 octets
    /// (RFC 791), or if the device says that it segments but does not compute checksums: each packet that it makes needs one.
    pub fn new(device: D, config: Config, memory: impl Into<Memory<'a>>) -> Result<Self, ErrorKind> {
        let Memory { mut slots, listeners } = memory.into();
        let caps = capabilities(&device)?;
        let ethernet = caps.medium == Medium::Ethernet;
        let link = if ethernet { frame::ETHERNET_HEADER } else { 0 };
        #[allow(irrefutable_let_patterns, reason = "smoltcp has more media only if a feature says so")]
        let fits = if let HardwareAddress::Ethernet(addr) = config.hardware_addr {
            ethernet && addr.is_unicast()
        } else {
            !ethernet
        };
        if !fits || caps.max_transmission_unit < link + 576 {
            return Err(ErrorKind::InvalidState);
        }
        let mut random = Random::new(config.seed);
        let mut iface_config = ::smoltcp::iface::Config::new(config.hardware_addr);
        iface_config.random_seed = random.next();
        let iface = isn::interface(&caps, iface_config);
        let mut free = List::new();
        let usable = slots.iter().take(MAX_SLOTS).take_while(|slot| slot.set.is_some()).count();
        for index in 0..usable as u16 {
            free.push(&mut slots, index);
        }
        let engine = Engine {
            iface,
            others: SocketSet::new(&mut [][..]),
            slots,
            listeners,
            flows: FlowTable::new(random.key()),
            free,
            time_wait: List::new(),
            dirty: List::new(),
            awaiting_neighbor: List::new(),
            deadlines: Deadlines::new(),
            ports: Ports::new(&mut random),
            config,
            stats: Stats::default(),
            now: Instant::ZERO,
            link,
            checksummed: caps.checksum.tcp.tx(),
            others_at: Instant::ZERO,
            woke: false,
            busy: false,
            device_full: false,
            run: None,
            latest: Default::default(),
            caps,
            numbers: SequenceNumbers::new(&mut random),
            cookies_until: Instant::ZERO,
        };
        Ok(Self { device, engine, clock: Monotonic::default() })
    }

    /// Gives the interface an address and its network's prefix length.
    ///
    /// # Errors
    /// `InvalidState` if it is not unicast or the prefix is too long, `NoSlot` if smoltcp has no room for it, `Unsupported` for IPv6
    /// without the feature `ipv6`.
    pub fn add_address(&mut self, ip: IpAddr, prefix: u8) -> Result<(), ErrorKind> {
        let cidr = network(ip, prefix)?;
        if ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
            return Err(ErrorKind::InvalidState);
        }
        let mut added = Ok(());
        self.engine.iface.update_ip_addrs(|addrs| {
            if !addrs.contains(&cidr) {
                added = addrs.push(cidr).map_err(|_| ErrorKind::NoSlot);
            }
        });
        self.engine.others_at = Instant::ZERO;
        added
    }

    /// Takes an address away. Its connections end with `NoAddress`.
    pub fn remove_address(&mut self, ip: IpAddr) {
        let Some(addr) = address(ip) else { return };
        self.engine.iface.update_ip_addrs(|addrs| addrs.retain(|cidr| cidr.address() != addr));
        self.end_all(ErrorKind::NoAddress, |slot| slot.flow.local.ip() == ip);
    }

    /// Sends what is for the network `ip`/`prefix` by way of `gateway`; a prefix of 0 makes it the default route.
    ///
    /// # Errors
    /// `InvalidState` if the addresses do not fit together, `NoSlot` if smoltcp has no room for it, `Unsupported` as above.
    pub fn add_route(&mut self, ip: IpAddr, prefix: u8, gateway: IpAddr) -> Result<(), ErrorKind> {
        let cidr = network(ip, prefix)?;
        let via_router = address(gateway).ok_or(ErrorKind::Unsupported)?;
        if ip.is_ipv4() != gateway.is_ipv4() || gateway.is_multicast() || gateway.is_unspecified() {
            return Err(ErrorKind::InvalidState);
        }
        let route = Route { cidr, via_router, preferred_until: None, expires_at: None };
        let mut added = Ok(());
        self.engine.iface.routes_mut().update(|routes| {
            routes.retain(|route| route.cidr != cidr);
            added = routes.push(route).map_err(|_| ErrorKind::NoSlot);
        });
        added
    }

    /// Takes the route to the network `ip`/`prefix` away, if there is one.
    pub fn remove_route(&mut self, ip: IpAddr, prefix: u8) {
        let Ok(cidr) = network(ip, prefix) else { return };
        self.engine.iface.routes_mut().update(|routes| routes.retain(|route| route.cidr != cidr));
    }

    /// Makes `gateway` the default route of its family.
    ///
    /// # Errors
    /// As [`add_route`](Self::add_route).
    pub fn set_gateway(&mut self, gateway: IpAddr) -> Result<(), ErrorKind> {
        let any = match gateway {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        self.add_route(any, 0, gateway)
    }

    /// Says that the link is gone for good: every connection ends with `LinkDown`. Listeners stay.
    ///
    /// TCP bridges short interruptions by itself; call this when the cable has been out for as long as the service can wait.
    pub fn link_lost(&mut self) {
        self.end_all(ErrorKind::LinkDown, |_| true);
    }

    fn end_all(&mut self, kind: ErrorKind, concerns: impl Fn(&Slot<'_>) -> bool) {
        for index in 0..self.engine.slots.len() as u16 {
            let Some(slot) = self.engine.slots.get_mut(usize::from(index)) else { return };
            if slot.life == Life::Free || !concerns(slot) {
                continue;
            }
            if let Life::Owned { .. } = slot.life {
                slot.end = slot.end.or(Some(End::Failed(kind)));
                slot.limit = Limit::NEVER;
                self.engine.unfile(index);
                self.engine.report(index, crate::stack::Readiness { ended: true, ..Default::default() });
            } else {
                self.engine.release(index);
            }
        }
    }

    /// What the stack has counted.
    pub fn stats(&self) -> Stats {
        self.engine.stats
    }

    /// How many connections wait: counted when asked, so it costs a packet nothing.
    pub fn queue_lengths(&self) -> QueueLengths {
        let listeners = self.engine.listeners.iter();
        QueueLengths {
            half_open: listeners.clone().map(|listener| listener.half_open.len()).sum(),
            to_accept: listeners.map(|listener| listener.queue.len()).sum(),
            awaiting_neighbor: self.engine.awaiting_neighbor.len(),
            time_wait: self.engine.time_wait.len(),
        }
    }

    /// Where a connection stands.
    ///
    /// # Errors
    /// `StaleHandle`.
    pub fn connection_stats(&self, connection: ConnectionHandle) -> Result<ConnectionStats, ErrorKind> {
        let slot = self.engine.owned(connection)?;
        let socket = slot.socket().ok_or(ErrorKind::StaleHandle)?;
        Ok(ConnectionStats {
            receive_queue: socket.recv_queue(),
            receive_capacity: socket.recv_capacity(),
            send_queue: socket.send_queue(),
            send_capacity: socket.send_capacity(),
            segments_received: slot.segments_received,
            segments_sent: slot.segments_sent,
            retransmitted: slot.retransmitted,
        })
    }

    /// Slots for connections: in all, and not in use.
    ///
    /// One is in use from the SYN until its owner has closed it and, if nobody needs it sooner, for TIME-WAIT.
    pub fn slots(&self) -> (usize, usize) {
        (self.engine.slots.len().min(MAX_SLOTS), self.engine.free.len())
    }

    /// Slots whose connection has a handle out: what the callers hold.
    pub fn owned(&self) -> usize {
        self.engine.slots.iter().filter(|slot| matches!(slot.life, Life::Owned { .. })).count()
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// The device, to change it (its interrupts, say). Frames must not be taken from it behind the stack's back.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }
}

impl<D: fmt::Debug> fmt::Debug for SmoltcpStack<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmoltcpStack")
            .field("device", &self.device)
            .field("slots", &self.engine.slots.len())
            .field("free", &self.engine.free.len())
            .field("stats", &self.engine.stats)
            .finish_non_exhaustive()
    }
}

/// Returns what the device can do, as far as this crate knows of it: super-segments are sent only with the feature `segmentation-offload`,
/// whatever smoltcp was built with.
fn capabilities(device: &impl Device) -> Result<DeviceCapabilities, ErrorKind> {
    let said = device.capabilities();
    let mut caps = DeviceCapabilities::default();
    caps.medium = said.medium;
    caps.max_transmission_unit = said.max_transmission_unit;
    caps.max_burst_size = said.max_burst_size;
    #[cfg(feature = "segmentation-offload")]
    {
        let segments = said.segmentation.tcpv4.is_some() || said.segmentation.tcpv6.is_some();
        if segments && said.checksum.tcp.tx() {
            return Err(ErrorKind::InvalidState);
        }
        caps.segmentation = said.segmentation;
    }
    caps.checksum = said.checksum;
    Ok(caps)
}

/// smoltcp's form of an address; `None` for IPv6 without the feature.
fn address(ip: IpAddr) -> Option<IpAddress> {
    match ip {
        IpAddr::V4(ip) => Some(IpAddress::Ipv4(ip)),
        #[cfg(feature = "ipv6")]
        IpAddr::V6(ip) => Some(IpAddress::Ipv6(ip)),
        #[cfg(not(feature = "ipv6"))]
        IpAddr::V6(_) => None,
    }
}

fn network(ip: IpAddr, prefix: u8) -> Result<IpCidr, ErrorKind> {
    let addr = address(ip).ok_or(ErrorKind::Unsupported)?;
    if prefix > if ip.is_ipv4() { 32 } else { 128 } {
        return Err(ErrorKind::InvalidState);
    }
    Ok(IpCidr::new(addr, prefix))
}
