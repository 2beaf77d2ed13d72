//! The address from a DHCP server.

use super::SmoltcpStack;
use ::smoltcp::phy::Device;
use ::smoltcp::socket::{Socket, dhcpv4};
use core::net::{IpAddr, Ipv4Addr};

/// What a DHCP server has given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// The length of its network's prefix.
    pub prefix: u8,
    /// The default route.
    pub gateway: Option<Ipv4Addr>,
    /// Servers for names, the first to be asked first.
    pub dns_servers: [Option<Ipv4Addr>; 3],
}

/// A DHCP client (RFC 2131): gives the stack the address and the default route of its lease, and takes them away when it ends.
///
/// smoltcp's own client does the talking: a `smoltcp::socket::dhcpv4::Socket` among the [sockets](SmoltcpStack::with_sockets) beside the
/// connections. Listeners at `0.0.0.0` stay through a change of address; connections of an address that goes end with `NoAddress`.
///
/// ```
/// use smoltcp::{iface::{SocketSet, SocketStorage}, phy::Device, socket::dhcpv4};
/// use socklet::{smoltcp::{Dhcp, SmoltcpStack}, stack::TcpStack, time::Instant};
///
/// fn main_loop<'a, D: Device>(
///     stack: SmoltcpStack<'a, D>,
///     storage: &'a mut [SocketStorage<'a>; 1], // a static, as for the connections
///     now: impl Fn() -> Instant,
///     sleep: impl Fn(Option<Instant>),
/// ) {
///     let mut sockets = SocketSet::new(&mut storage[..]);
///     sockets.add(dhcpv4::Socket::new());
///     let mut stack = stack.with_sockets(sockets);
///     let mut dhcp = Dhcp::NEW;
///     loop {
///         let due = stack.poll(now());
///         if dhcp.poll(&mut stack) {
///             println!("{:?}", dhcp.lease());
///         }
///         sleep(due);
/// #       break;
///     }
/// }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Dhcp {
    lease: Option<Lease>,
}

impl Dhcp {
    /// A client that has no lease.
    pub const NEW: Self = Self { lease: None };

    /// The lease, if there is one.
    pub const fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// Looks whether the lease has changed: to be called after each poll of the stack. Says whether it has.
    pub fn poll<D: Device>(&mut self, stack: &mut SmoltcpStack<'_, D>) -> bool {
        let Some(lease) = stack.news_of_lease() else { return false };
        if lease == self.lease {
            return false;
        }
        // A lease that is prolonged with other servers or another gateway keeps its address, and the connections of that.
        let network = |lease: &Option<Lease>| lease.map(|lease| (lease.address, lease.prefix));
        let gateway = |lease: &Option<Lease>| lease.and_then(|lease| lease.gateway);
        if network(&self.lease) != network(&lease) {
            if let Some((address, _)) = network(&self.lease) {
                stack.remove_address(address.into());
            }
            if let Some((address, prefix)) = network(&lease) {
                // Without room, or with an address that is none, the stack is unreachable, as it is without a lease.
                let _ = stack.add_address(address.into(), prefix);
            }
        }
        match (gateway(&self.lease), gateway(&lease)) {
            (_, Some(new)) => {
                let _ = stack.set_gateway(new.into());
            }
            (Some(_), None) => stack.remove_route(ANYWHERE, 0),
            (None, None) => {}
        }
        self.lease = lease;
        true
    }
}

const ANYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

impl<D: Device> SmoltcpStack<'_, D> {
    /// What smoltcp's client has to tell since it was last asked: a lease, or that there is none.
    fn news_of_lease(&mut self) -> Option<Option<Lease>> {
        let client = self.engine.others.iter_mut().find_map(|(_, socket)| match socket {
            Socket::Dhcpv4(client) => Some(client),
            _ => None,
        })?;
        Some(match client.poll()? {
            dhcpv4::Event::Deconfigured => None,
            dhcpv4::Event::Configured(config) => {
                let mut dns_servers = [None; 3];
                for (known, server) in dns_servers.iter_mut().zip(config.dns_servers) {
                    *known = Some(server);
                }
                Some(Lease {
                    address: config.address.address(),
                    prefix: config.address.prefix_len(),
                    gateway: config.router,
                    dns_servers,
                })
            }
        })
    }
}
