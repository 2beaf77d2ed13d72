//! The three stacks, ready to be used by a command.

use crate::failure::Failure;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use smoltcp::phy::{Device, Medium};
use smoltcp::wire::{EthernetAddress, HardwareAddress};
use socklet::smoltcp::{Config, Memory, SmoltcpStack};
use socklet::stack::ErrorKind;
use socklet_hosted::nal_std::{NalStd, nal_std};
use socklet_hosted::os::{OsOptions, OsStack};
#[cfg(target_os = "linux")]
use socklet_hosted::{
    sandbox::{self, Sandbox},
    tap::{self, Tap},
};

/// How often std-embedded-nal's sockets are tried.
const NAL_INTERVAL: Duration = Duration::from_millis(2);

pub(crate) fn os(options: OsOptions) -> Result<OsStack, Failure> {
    OsStack::new(options).map_err(|error| {
        Failure::failed(format_args!("the system gives no descriptor ({error}): raise `ulimit -n`"))
    })
}

pub(crate) fn nal(connections: usize) -> NalStd {
    nal_std(1, connections, NAL_INTERVAL)
}

/// A number that nobody can foretell.
pub(crate) fn seed() -> Result<u64, Failure> {
    getrandom::u64()
        .map_err(|error| Failure::failed(format_args!("the system gives no random numbers ({error})")))
}

/// Why nobody can connect to `address`; the error's text counts where its kind says nothing.
pub(crate) fn cannot_listen(address: SocketAddr, kind: ErrorKind, error: impl fmt::Display) -> Failure {
    let remedy = match kind {
        ErrorKind::AddressInUse => "choose another with --port, or end the program that has it",
        ErrorKind::NoAddress => "it is not an address of this host; give one of its own with --bind",
        ErrorKind::Unsupported => "use --stack tap",
        // There is room for the one listener.
        ErrorKind::NoSlot => {
            return Failure::failed(format_args!(
                "no descriptor is left to listen on {address}: raise `ulimit -n`"
            ));
        }
        ErrorKind::InvalidState => "this stack cannot choose a port; give one with --port",
        _ if address.port() < 1024 => "ports below 1024 may need root; choose another with --port",
        _ => "choose another with --port or --bind",
    };
    match kind {
        ErrorKind::Other => Failure::failed(format_args!("{error}; {remedy}")),
        kind => Failure::failed(format_args!("cannot listen on {address}: {kind}; {remedy}")),
    }
}

/// A private network, and smoltcp's end of the interface in it. To be called before any thread is started.
#[cfg(target_os = "linux")]
pub(crate) fn sandbox() -> Result<(Sandbox, Tap), sandbox::Error> {
    let (sandbox, mut queues) = sandbox_with(1)?;
    // There is one.
    let tap = queues.remove(0);
    Ok((sandbox, tap))
}

/// An interface with so many queues; several are a TUN's, for which nobody asks for hardware addresses: an answer would reach one queue only.
#[cfg(target_os = "linux")]
pub(crate) fn interface(name: &str, queues: u16) -> tap::Options {
    match queues {
        1 => tap::Options::tap(name),
        _ => tap::Options { multi_queue: true, ..tap::Options::tun(name) },
    }
}

/// The same with so many queues of the interface.
#[cfg(target_os = "linux")]
pub(crate) fn sandbox_with(queues: u16) -> Result<(Sandbox, Vec<Tap>), sandbox::Error> {
    let sandbox = Sandbox::new()?;
    let options = interface("socklet0", queues);
    let queues = (0..queues).map(|_| sandbox.open_tap(&options)).collect::<Result<_, _>>()?;
    Ok((sandbox, queues))
}

/// smoltcp, the host of this number on its link, without an IP address.
pub(crate) fn on_device<D: Device>(
    device: D,
    number: u8,
    memory: Memory<'static>,
) -> Result<SmoltcpStack<'static, D>, Failure> {
    let address = match device.capabilities().medium {
        // Locally administered, unicast.
        Medium::Ethernet => HardwareAddress::Ethernet(EthernetAddress([2, b's', b'o', b'c', b'k', number])),
        Medium::Ip => HardwareAddress::Ip,
    };
    SmoltcpStack::new(device, Config::new(address, seed()?), memory).map_err(|error| {
        Failure::failed(format_args!(
            "smoltcp cannot use the interface ({error}): its MTU must be at least 576"
        ))
    })
}
