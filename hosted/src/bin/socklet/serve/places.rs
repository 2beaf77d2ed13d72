//! Where each stack listens.

use super::{Place, serve};
use crate::args::{ServeArgs, ServiceKind, StackKind};
use crate::failure::Failure;
use crate::output::Background;
use crate::stacks;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use socklet_hosted::os::OsOptions;
use std::sync::Arc;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    args.refuse_what_no_stack_can()?;
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
            serve(&mut stack, Place::direct(bind, "the operating system's sockets")?, args).map(drop)
        }
        StackKind::Nal => {
            args.refuse_tap_options()?;
            args.refuse_what_nal_cannot()?;
            let mut stack = stacks::nal(connections);
            let bind = SocketAddr::new(args.bind.unwrap_or(Ipv6Addr::UNSPECIFIED.into()), args.port);
            let mut place = Place::direct(bind, "std-embedded-nal, at every address")?;
            // One to connect to.
            let loopback = match args.bind {
                Some(IpAddr::V6(_)) => Ipv6Addr::LOCALHOST.into(),
                Some(IpAddr::V4(_)) | None => LOCALHOST,
            };
            place.reached_at = Some(SocketAddr::new(loopback, args.port));
            serve(&mut stack, place, args).map(drop)
        }
    }
}

impl ServeArgs {
    fn refuse_what_no_stack_can(&self) -> Result<(), Failure> {
        match self.bind {
            _ if self.reply.is_some() && self.service != ServiceKind::Reply => {
                Err(Failure::usage("--reply needs --service reply"))
            }
            Some(bind) if bind.is_multicast() || bind == IpAddr::V4(Ipv4Addr::BROADCAST) => {
                Err(Failure::usage(format_args!(
                    "--bind {bind} is not that of one host, and TCP needs one: give another"
                )))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn refuse_tap_options(&self) -> Result<(), Failure> {
        match () {
            () if self.tap.is_some() => Err(Failure::usage("--tap needs --stack tap")),
            () if self.pcap.is_some() => {
                Err(Failure::usage("--pcap needs --stack tap: only there are frames to capture"))
            }
            () if self.workers > 1 => Err(Failure::usage("--workers needs --stack tap")),
            () if self.refuse => Err(Failure::usage("--refuse needs --stack tap")),
            () => Ok(()),
        }
    }

    fn refuse_what_nal_cannot(&self) -> Result<(), Failure> {
        match () {
            () if self.rx_buffer.is_some() => {
                Err(Failure::usage("--stack nal has no buffer sizes: leave out --rx-buffer"))
            }
            () if self.tx_buffer.is_some() => {
                Err(Failure::usage("--stack nal has no buffer sizes: leave out --tx-buffer"))
            }
            () if self.bind.is_some_and(|bind| !bind.is_unspecified()) => {
                Err(Failure::usage("--stack nal listens at every address: leave out --bind"))
            }
            () if self.port == 0 => {
                Err(Failure::usage("--stack nal cannot choose a port: give one with --port"))
            }
            () => Ok(()),
        }
    }

    /// How many connections each worker serves.
    pub(super) fn share(&self) -> usize {
        usize::from(self.connections).div_ceil(self.workers.into())
    }
}

impl Place {
    /// What the stack sees is what there is.
    fn direct(bind: SocketAddr, stack: &'static str) -> Result<Self, Failure> {
        let out = Background::start()?;
        Ok(Self { bind, reached_at: None, stack, out, true_address: Arc::new(|seen| seen), worker: 0 })
    }
}

#[cfg(target_os = "linux")]
mod on_tap {
    use super::*;
    use crate::args::Cidr;
    use crate::serve::stats::Carrier;
    use crate::serve::{sum_up, work};
    use core::time::Duration;
    use smoltcp::phy::Device;
    use socklet::smoltcp::{Memory, SmoltcpStack};
    use socklet::stack::ErrorKind;
    use socklet_hosted::driver::{Descriptor, End};
    use socklet_hosted::pcap;
    use socklet_hosted::relay::{self, Relay};
    use socklet_hosted::tap::Tap;
    use std::net::TcpListener;
    use std::os::fd::AsFd;
    use std::panic::resume_unwind;
    use std::{io, thread};

    const BUFFER: usize = 64 << 10;
    /// How long the relay may take to pass on the last bytes.
    const REST: Duration = Duration::from_secs(1);

    impl ServeArgs {
        fn refuse_what_workers_cannot(&self) -> Result<(), Failure> {
            match () {
                () if self.workers == 1 => Ok(()),
                () if self.pcap.is_some() => {
                    Err(Failure::usage("--pcap takes one queue: leave out --workers"))
                }
                () if self.service == ServiceKind::Chat => {
                    Err(Failure::usage("--service chat needs all clients in one place: leave out --workers"))
                }
                () => Ok(()),
            }
        }
    }

    impl ServeArgs {
        /// With its `own` address.
        fn refuse_what_an_interface_cannot(&self, own: Cidr) -> Result<(), Failure> {
            let ip = own.ip;
            if self.port == 0 {
                return Err(Failure::usage("--tap cannot choose a port: give one with --port"));
            }
            if !own.is_one_host() {
                return Err(Failure::usage(format_args!(
                    "--address {ip}/{} is not that of one host on a network: give another, as in 192.168.69.2/24",
                    own.prefix
                )));
            }
            if let Some(bind) = self.bind
                && bind != ip
                && !(bind.is_unspecified() && bind.is_ipv4() == ip.is_ipv4())
            {
                return Err(Failure::usage(format_args!(
                    "--bind {bind} is not the server's address on --tap, which is {ip}: leave out --bind"
                )));
            }
            match self.gateway {
                None => Ok(()),
                Some(gateway) if gateway == ip => Err(Failure::usage(format_args!(
                    "--gateway {gateway} is the server's own address: give the one at this machine's end"
                ))),
                Some(gateway) if gateway.is_ipv4() != ip.is_ipv4() => Err(Failure::usage(format_args!(
                    "--gateway {gateway} and --address {ip} are not of one family: give both in IPv4 or both in IPv6"
                ))),
                Some(gateway) if own.contains(gateway) && !(Cidr { ip: gateway, ..own }).is_one_host() => {
                    Err(Failure::usage(format_args!(
                        "--gateway {gateway} is not that of one host in --address {ip}/{}: give another",
                        own.prefix
                    )))
                }
                Some(gateway) if !own.contains(gateway) => Err(Failure::usage(format_args!(
                    "--gateway {gateway} is outside of --address {ip}/{}: give one inside",
                    own.prefix
                ))),
                Some(_) => Ok(()),
            }
        }
    }

    impl Cidr {
        /// Whether it names one host, which others can reach; in IPv4, not the network or all of its hosts (RFC 1122, section 3.2.1.3).
        fn is_one_host(self) -> bool {
            let (own, host) = (bits(self.ip), self.host_bits());
            let of_network = self.ip.is_ipv4() && host > 1 && [0, host].contains(&(own & host));
            !(self.ip.is_multicast() || self.ip.is_unspecified() || self.ip.is_loopback() || of_network)
                && self.ip != IpAddr::V4(Ipv4Addr::BROADCAST)
        }

        /// The bits that tell hosts apart.
        fn host_bits(self) -> u128 {
            let len = if self.ip.is_ipv4() { 32 } else { 128 };
            let host = len - u32::from(self.prefix).min(len);
            1_u128.checked_shl(host).map_or(u128::MAX, |bit| bit - 1)
        }

        /// Whether `ip`, of the same family, is in the network.
        fn contains(self, ip: IpAddr) -> bool {
            (bits(self.ip) ^ bits(ip)) & !self.host_bits() == 0
        }

        /// An address for another host of the network; `None` if there is room for one only.
        fn neighbor(self) -> Option<IpAddr> {
            let (own, host) = (bits(self.ip), self.host_bits());
            let network = own & !host;
            let other = match host {
                0 => return None,
                1 => own ^ 1,
                _ if own == network | 1 => network | 2,
                _ => network | 1,
            };
            Some(match self.ip {
                IpAddr::V4(_) => Ipv4Addr::from(u32::try_from(other).ok()?).into(),
                IpAddr::V6(_) => Ipv6Addr::from(other).into(),
            })
        }
    }

    fn bits(ip: IpAddr) -> u128 {
        match ip {
            IpAddr::V4(ip) => u32::from(ip).into(),
            IpAddr::V6(ip) => ip.into(),
        }
    }

    pub(super) fn run(args: &ServeArgs) -> Result<(), Failure> {
        args.refuse_what_workers_cannot()?;
        match &args.tap {
            Some(name) => on_interface(name, args),
            None => in_sandbox(args),
        }
    }

    fn in_sandbox(args: &ServeArgs) -> Result<(), Failure> {
        let (sandbox, queues) = stacks::sandbox_with(args.workers)
            .map_err(|error| Failure::failed(format_args!("{error}; or use --stack os")))?;
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
            out: Background::start()?,
            true_address: Arc::new(move |seen| peers.client(seen).unwrap_or(seen)),
            worker: 0,
        };
        let end = on_queues(queues, (inside.ip(), network.prefix_v4), None, place, args)?;
        if end == End::Drained {
            relay.finish(REST);
        }
        Ok(())
    }

    fn on_interface(name: &str, args: &ServeArgs) -> Result<(), Failure> {
        let Some(own) = args.address else {
            return Err(Failure::usage("--tap needs --address"));
        };
        args.refuse_what_an_interface_cannot(own)?;
        let options = stacks::interface(name, args.workers);
        let open = |_| Tap::open_or_make(&options, args.gateway.map(|ip| (ip, own.prefix)));
        let queues: Vec<Tap> =
            (0..args.workers).map(open).collect::<Result<_, _>>().map_err(Failure::failed)?;
        if args.gateway.is_none()
            && queues.iter().any(Tap::made)
            && let Some(ip) = own.neighbor()
        {
            log::warn!(
                "{name} is new, and has no address at this machine's end: to reach the server, give one with --gateway, \
                 or with `ip address add {ip}/{} dev {name}`",
                own.prefix
            );
        }
        let any = match own.ip {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let bind = SocketAddr::new(args.bind.unwrap_or(any), args.port);
        let mut place = Place::direct(bind, "smoltcp over TAP")?;
        place.reached_at = Some(SocketAddr::new(own.ip, args.port));
        on_queues(queues, (own.ip, own.prefix), args.gateway, place, args).map(drop)
    }

    /// One thread for each queue, with a stack of its own and nothing in common.
    ///
    /// The kernel keeps a flow on the queue that last sent for it, and finds the first queue by a hash over how many there are. So all
    /// are open before the first listens and until the last has ended: none of them ever sees a segment of another's connection.
    fn on_queues(
        mut queues: Vec<Tap>,
        (ip, prefix): (IpAddr, u8),
        gateway: Option<IpAddr>,
        place: Place,
        args: &ServeArgs,
    ) -> Result<End, Failure> {
        if args.workers == 1
            && let Some(tap) = queues.pop()
        {
            return with_capture(tap, (ip, prefix), gateway, place, args);
        }
        let no_descriptor =
            |error| Failure::failed(format_args!("no descriptor is left ({error}): raise `ulimit -n`"));
        let kept: Result<Vec<_>, _> = queues.iter().map(|tap| tap.as_fd().try_clone_to_owned()).collect();
        let kept = kept.map_err(no_descriptor)?;
        // One after the other, for each must find what the others have left.
        let memories = queues.iter().map(|_| memory(args)).collect::<Result<Vec<_>, _>>()?;
        let served: Vec<_> = thread::scope(|scope| {
            let start = |((tap, memory), worker)| {
                let place = Place { worker, ..place.clone() };
                scope.spawn(move || {
                    let mut stack = stack_on(tap, memory, (ip, prefix), gateway)?;
                    work(&mut stack, place, args)
                })
            };
            let threads: Vec<_> = queues.into_iter().zip(memories).zip(0..).map(start).collect();
            let join = |thread: thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|panic| resume_unwind(panic))
            };
            threads.into_iter().map(join).collect::<Result<_, _>>()
        })?;
        drop(kept);
        sum_up(served)
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
                let name = path.display();
                let (device, loss) = pcap::capture(tap, path).map_err(|error| {
                    Failure::failed(format_args!(
                        "the capture {name} cannot be written ({error}): choose another with --pcap"
                    ))
                })?;
                let end = on_device(device, (ip, prefix), gateway, place, args)?;
                match loss.reason() {
                    None => Ok(end),
                    Some(error) => Err(Failure::failed(format_args!(
                        "the capture {name} lacks its end ({error}): free the disk, or choose another with --pcap"
                    ))),
                }
            }
        }
    }

    fn on_device<D: Carrier + Descriptor>(
        device: D,
        (ip, prefix): (IpAddr, u8),
        gateway: Option<IpAddr>,
        place: Place,
        args: &ServeArgs,
    ) -> Result<End, Failure> {
        serve(&mut stack_on(device, memory(args)?, (ip, prefix), gateway)?, place, args)
    }

    /// For the share of one worker.
    fn memory(args: &ServeArgs) -> Result<Memory<'static>, Failure> {
        let (rx, tx) = (args.rx_buffer.unwrap_or(BUFFER), args.tx_buffer.unwrap_or(BUFFER));
        Memory::try_allocate(args.share(), rx, tx, 1).map_err(|_| {
            let connections = args.share() * usize::from(args.workers);
            let gib = connections as f64 * (rx as f64 + tx as f64) / f64::from(1 << 30);
            Failure::failed(format_args!(
                "{connections} connections with buffers of {rx} and {tx} bytes take {gib:.1} GiB, \
                 which this machine does not give: lower --connections, --rx-buffer or --tx-buffer"
            ))
        })
    }

    fn stack_on<D: Device>(
        device: D,
        memory: Memory<'static>,
        (ip, prefix): (IpAddr, u8),
        gateway: Option<IpAddr>,
    ) -> Result<SmoltcpStack<'static, D>, Failure> {
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
        Ok(stack)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_network_has_its_hosts_and_no_others() {
            let cidr = |text: &str| text.parse::<Cidr>().unwrap();
            let ip = |text: &str| text.parse::<IpAddr>().unwrap();
            assert!(cidr("10.9.0.2/24").contains(ip("10.9.0.1")));
            assert!(!cidr("10.9.0.2/24").contains(ip("10.9.1.1")));
            assert!(cidr("fd00::2/64").contains(ip("fd00::1:0:0:1")));
            assert!(!cidr("fd00::2/64").contains(ip("fd01::1")));
            assert!(cidr("fd00::2/0").contains(ip("::1")) && cidr("10.9.0.2/0").contains(ip("1.1.1.1")));
            for one in
                ["10.9.0.2/24", "10.9.0.0/31", "10.9.0.1/31", "10.9.0.0/32", "fd00::/64", "10.9.0.255/16"]
            {
                assert!(cidr(one).is_one_host(), "{one}");
            }
            for other in
                ["10.9.0.0/24", "10.9.0.255/24", "127.0.0.1/8", "::1/64", "224.0.0.1/4", "255.255.255.255/32"]
            {
                assert!(!cidr(other).is_one_host(), "{other}");
            }
            for (own, other) in [
                ("10.9.0.2/24", Some("10.9.0.1")),
                ("10.9.0.1/24", Some("10.9.0.2")),
                ("10.9.0.4/31", Some("10.9.0.5")),
                ("10.9.0.4/32", None),
                ("fd00::1/64", Some("fd00::2")),
                ("fd00::1/128", None),
            ] {
                assert_eq!(cidr(own).neighbor(), other.map(ip), "{own}");
            }
        }
    }
}
