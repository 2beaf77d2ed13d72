//! A network interface's flags, addresses and MTU.

use super::Error;
use super::sys::{self, IfReq, In6IfReq};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};
use std::io;

const IFF_UP: u16 = 1;
const AF_INET: u16 = 2;
const ARPHRD_ETHER: u16 = 1;

/// A network interface of the calling thread's network namespace.
#[derive(Debug)]
pub(crate) struct Interface {
    name: String,
    control: Socket,
}

impl Interface {
    pub(crate) fn new(name: &str) -> Result<Self, Error> {
        let control = Socket::new(Domain::IPV4, Type::DGRAM, None).map_err(|source| Error::Configure {
            name: name.into(),
            what: "open a socket for",
            source,
        })?;
        Ok(Self { name: name.into(), control })
    }

    /// Brings it up.
    pub(crate) fn up(&self) -> Result<(), Error> {
        let flags = self.flags()? | IFF_UP;
        let mut request = self.request(&flags.to_ne_bytes())?;
        self.check("bring up", sys::interface_call::<{ sys::SIOCSIFFLAGS }>(&self.control, &mut request))
    }

    /// Whether there is an interface of this name.
    pub(crate) fn exists(&self) -> bool {
        rustix::net::netdevice::name_to_index(&self.control, &self.name).is_ok()
    }

    pub(crate) fn is_up(&self) -> Result<bool, Error> {
        Ok(self.flags()? & IFF_UP != 0)
    }

    fn flags(&self) -> Result<u16, Error> {
        let mut request = self.request(&[])?;
        let result = sys::interface_call::<{ sys::SIOCGIFFLAGS }>(&self.control, &mut request);
        self.check("read the state of", result)?;
        Ok(u16::from_ne_bytes([request.value[0], request.value[1]]))
    }

    /// The longest IP packet, in bytes.
    pub(crate) fn mtu(&self) -> Result<usize, Error> {
        let mut request = self.request(&[])?;
        self.check(
            "read the MTU of",
            sys::interface_call::<{ sys::SIOCGIFMTU }>(&self.control, &mut request),
        )?;
        let [a, b, c, d, ..] = request.value;
        Ok(usize::try_from(i32::from_ne_bytes([a, b, c, d])).unwrap_or(0))
    }

    pub(crate) fn set_mtu(&self, mtu: u16) -> Result<(), Error> {
        let mut request = self.request(&i32::from(mtu).to_ne_bytes())?;
        self.check("set the MTU of", sys::interface_call::<{ sys::SIOCSIFMTU }>(&self.control, &mut request))
    }

    /// Sets the hardware address, before it is up.
    pub(crate) fn set_mac(&self, mac: [u8; 6]) -> Result<(), Error> {
        let mut value = [0; 8];
        value[..2].copy_from_slice(&ARPHRD_ETHER.to_ne_bytes());
        value[2..].copy_from_slice(&mac);
        let mut request = self.request(&value)?;
        self.check(
            "set the hardware address of",
            sys::interface_call::<{ sys::SIOCSIFHWADDR }>(&self.control, &mut request),
        )
    }

    /// Adds an IPv6 address, or replaces the IPv4 address.
    pub(crate) fn add_address(&self, address: IpAddr, prefix_len: u8) -> Result<(), Error> {
        self.check(
            "set the address of",
            match address {
                IpAddr::V4(address) => self.set_ipv4(address, prefix_len),
                IpAddr::V6(address) => self.add_ipv6(address, prefix_len),
            },
        )
    }

    fn set_ipv4(&self, address: Ipv4Addr, prefix_len: u8) -> Result<(), Errno> {
        let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix_len.into())).unwrap_or(0);
        let call = |address: Ipv4Addr| {
            let mut sockaddr = [0; 8];
            sockaddr[..2].copy_from_slice(&AF_INET.to_ne_bytes());
            sockaddr[4..].copy_from_slice(&address.octets());
            self.request(&sockaddr).map_err(|_| Errno::INVAL)
        };
        sys::interface_call::<{ sys::SIOCSIFADDR }>(&self.control, &mut call(address)?)?;
        sys::interface_call::<{ sys::SIOCSIFNETMASK }>(&self.control, &mut call(mask.into())?)
    }

    fn add_ipv6(&self, address: Ipv6Addr, prefix_len: u8) -> Result<(), Errno> {
        let socket = Socket::new(Domain::IPV6, Type::DGRAM, None)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::AFNOSUPPORT))?;
        let index = rustix::net::netdevice::name_to_index(&self.control, &self.name)?;
        let request = In6IfReq { addr: address.octets(), prefix_len: prefix_len.into(), index };
        sys::add_ipv6(&socket, request)
    }

    fn request(&self, value: &[u8]) -> Result<IfReq, Error> {
        Ok(IfReq::new(&self.name).ok_or_else(|| Error::Name(self.name.clone()))?.with(value))
    }

    fn check(&self, what: &'static str, result: Result<(), Errno>) -> Result<(), Error> {
        result.map_err(|errno| Error::Configure {
            name: self.name.clone(),
            what,
            source: io::Error::from(errno),
        })
    }
}
