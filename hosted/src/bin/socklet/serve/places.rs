//! Where each stack listens.

use super::{Place, serve};
use crate::args::{ServeArgs, StackKind};
use crate::failure::Failure;
use crate::stacks;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use socklet_hosted::os::OsOptions;
use std::rc::Rc;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    let connections = usize::from(args.connections);
    match args.stack {
        #[cfg(target_os = "linux")]
        StackKind::Tap => on_tap::run(args),
        StackKind::Os => {
            args.refuse_tap_options()?;
            let options = OsOptions::default()
                .with_connections(connections)
                .with_buffers(args.tx_buffer, args.rx_buffer);
            let mut stack = stacks::os(options)?;
            let bind = SocketAddr::new(args.bind.unwrap_or(LOCALHOST), args.port);
            serve(&mut stack, Place::direct(bind, "the operating system's sockets"), args).map(drop)
        }
        StackKind::Nal => {
            args.refuse_tap_options()?;
            if args.rx_buffer.is_some() || args.tx_buffer.is_some() {
                return Err(Failure::usage(
                    "--stack nal has no buffer sizes: leave out --rx-buffer and --tx-buffer",
                ));
            }
            let mut stack = stacks::nal(connections);
            let bind = SocketAddr::new(args.bind.unwrap_or(Ipv6Addr::UNSPECIFIED.into()), args.port);
            serve(&mut stack, Place::direct(bind, "std-embedded-nal"), args).map(drop)
        }
    }
}

impl ServeArgs {
    fn refuse_tap_options(&self) -> Result<(), Failure> {
        match () {
            () if self.tap.is_some() => Err(Failure::usage("--tap needs --stack tap")),
            () if self.pcap.is_some() => {
                Err(Failure::usage("--pcap needs --stack tap: only there are frames to capture"))
            }
            () => Ok(()),
        }
    }
}

impl Place {
    /// What the stack sees is what there is.
    fn direct(bind: SocketAddr, stack: &'static str) -> Self {
        Self { bind, reached_at: None, stack, true_address: Rc::new(|seen| seen) }
    }
}

#[cfg(target_os = "linux")]
mod on_tap {
    use super::*;
    use core::time::Duration;
    use smoltcp::phy::Device;
    use socklet::smoltcp::Memory;
    use socklet::stack::ErrorKind;
    use socklet_hosted::driver::{Descriptor, End};
    use socklet_hosted::pcap;
    use socklet_hosted::relay::{self, Relay};
    use socklet_hosted::tap::{Options, Tap};
    use std::io;
    use std::net::TcpListener;

    const BUFFER: usize = 64 << 10;
    /// How long the relay may take to pass on the last bytes.
    const REST: Duration = Duration::from_secs(1);

    pub(super) fn run(args: &ServeArgs) -> Result<(), Failure> {
        match &args.tap {
            Some(name) => on_interface(name, args),
            None => in_sandbox(args),
        }
    }

    fn in_sandbox(args: &ServeArgs) -> Result<(), Failure> {
        let (sandbox, tap) =
            stacks::sandbox().map_err(|error| Failure::failed(format_args!("{error}; or use --stack os")))?;
        let bind = SocketAddr::new(args.bind.unwrap_or(LOCALHOST), args.port);
        let listener = TcpListener::bind(bind).map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::AddrInUse => ErrorKind::AddressInUse,
                io::ErrorKind::AddrNotAvailable => ErrorKind::NoAddress,
                _ => ErrorKind::Other,
            };
            stacks::cannot_listen(bind, kind, format_args!("cannot listen on {bind}: {error}"))
        })?;
        let reached_at = listener.local_addr().unwrap_or(bind);
        let network = *sandbox.network();
        let inside = SocketAddr::new(network.stack_v4.into(), reached_at.port());
        let options = relay::Options::default();
        let relay = sandbox.run(move || Relay::spawn([(listener, inside)], options)).map_err(|error| {
            Failure::failed(format_args!("no relay into the sandbox ({error}): raise `ulimit -n`"))
        })?;
        let peers = relay.peers();
        let place = Place {
            bind: inside,
            reached_at: Some(reached_at),
            stack: "smoltcp over TAP, in a sandbox",
            true_address: Rc::new(move |seen| peers.client(seen).unwrap_or(seen)),
        };
        let end = with_capture(tap, (inside.ip(), network.prefix_v4), None, place, args)?;
        if end == End::Drained {
            relay.finish(REST);
        }
        Ok(())
    }

    fn on_interface(name: &str, args: &ServeArgs) -> Result<(), Failure> {
        let Some(own) = args.address else {
            return Err(Failure::usage("--tap needs --address"));
        };
        let tap = Tap::open_or_make(&Options::tap(name), args.gateway.map(|ip| (ip, own.prefix)))
            .map_err(Failure::failed)?;
        let any = match own.ip {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let bind = SocketAddr::new(args.bind.unwrap_or(any), args.port);
        let mut place = Place::direct(bind, "smoltcp over TAP");
        place.reached_at = Some(SocketAddr::new(own.ip, args.port));
        with_capture(tap, (own.ip, own.prefix), args.gateway, place, args).map(drop)
    }

    fn with_capture(
        tap: Tap,
        (ip, prefix): (IpAddr, u8),
        gateway: Option<IpAddr>,
        place: Place,
        args: &ServeArgs,
    ) -> Result<End, Failure> {
        match &args.pcap {
            None => on_device(tap, (ip, prefix), gateway, place, args),
            Some(path) => {
                let device = pcap::capture(tap, path).map_err(|error| {
                    let path = path.display();
                    Failure::failed(format_args!(
                        "the capture {path} cannot be written ({error}): choose another with --pcap"
                    ))
                })?;
                on_device(device, (ip, prefix), gateway, place, args)
            }
        }
    }

    fn on_device<D: Device + Descriptor>(
        device: D,
        (ip, prefix): (IpAddr, u8),
        gateway: Option<IpAddr>,
        place: Place,
        args: &ServeArgs,
    ) -> Result<End, Failure> {
        let (rx, tx) = (args.rx_buffer.unwrap_or(BUFFER), args.tx_buffer.unwrap_or(BUFFER));
        let memory = Memory::allocate(args.connections.into(), rx, tx, 1);
        let mut stack = stacks::on_device(device, 2, memory)?;
        stack.add_address(ip, prefix).map_err(|error| {
            Failure::failed(format_args!(
                "smoltcp cannot have the address {ip}/{prefix}: {error}; give another with --address"
            ))
        })?;
        if let Some(gateway) = gateway {
            stack.set_gateway(gateway).map_err(|error| {
                Failure::failed(format_args!(
                    "smoltcp cannot route by {gateway}: {error}; give another with --gateway"
                ))
            })?;
        }
        serve(&mut stack, place, args)
    }
}
