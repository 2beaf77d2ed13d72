//! What is compared, and with what settings.

use core::fmt;
use core::str::FromStr;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CpuSet, capabilities, set_capabilities};
use socklet_hosted::sandbox::Sandbox;
use std::fs;

/// The server's port, whatever it does.
pub(crate) const PORT: u16 = 7;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Socklet,
    Smoltcp,
    Embassy,
    Lwip,
    Kernel,
}

impl Peer {
    pub(crate) const ALL: [Self; 5] = [Self::Socklet, Self::Smoltcp, Self::Embassy, Self::Lwip, Self::Kernel];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Socklet => "socklet",
            Self::Smoltcp => "smoltcp, its TunTapInterface",
            Self::Embassy => "embassy-net on tuntap",
            Self::Lwip => "lwIP",
            Self::Kernel => "Linux over veth, epoll",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Echo,
    Discard,
    /// Sends for as long as the peer takes it.
    Flood,
}

/// What a server is to do, and its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) service: Service,
    pub(crate) connections: usize,
    /// Of each receive and each send buffer, where the server has its own.
    pub(crate) buffer: usize,
}

impl Setup {
    pub(crate) const fn few(service: Service) -> Self {
        Self { service, connections: 8, buffer: 1 << 20 }
    }

    pub(crate) const fn many(connections: usize) -> Self {
        Self { service: Service::Echo, connections: connections + 8, buffer: 2048 }
    }
}

macro_rules! by_name {
    ($type:ident: $($variant:ident)*) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self, f)
            }
        }
        impl FromStr for $type {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $(stringify!($variant) => Ok(Self::$variant),)*
                    _ => Err(format!("no {} {text}", stringify!($type))),
                }
            }
        }
    };
}
by_name!(Peer: Socklet Smoltcp Embassy Lwip Kernel);
by_name!(Service: Echo Discard Flood);

/// Gives this process, and those that it starts, the rights of the sandbox, and as many descriptors as it may have.
pub(crate) fn prepare() -> Result<(), Box<dyn core::error::Error>> {
    socklet_hosted::sandbox::enter()?;
    let mut sets = capabilities(None)?;
    sets.inheritable |= sets.permitted;
    set_capabilities(None, sets)?;
    // A process that is not root's loses all others when it starts a program.
    for capability in [CapabilitySet::SYS_ADMIN, CapabilitySet::NET_ADMIN] {
        rustix::thread::configure_capability_in_ambient_set(capability, true)?;
    }
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(())
}

/// Keeps the calling thread, and those that it starts, on one core.
pub(crate) fn pin(core: usize) -> rustix::io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    rustix::thread::sched_setaffinity(None, &cores)
}

/// Makes two runs comparable: the same congestion control, ports enough, and no thousands of sockets in TIME-WAIT.
pub(crate) fn tune(sandbox: &Sandbox) {
    sandbox.run(|| {
        let settings = [
            ("tcp_congestion_control", "cubic"),
            ("ip_local_port_range", "1024 65535"),
            ("tcp_max_tw_buckets", "64"),
            ("tcp_max_syn_backlog", "4096"),
        ];
        for (name, value) in settings {
            // Kernels differ; the table says which congestion control ran.
            let _ = fs::write(format!("/proc/sys/net/ipv4/{name}"), value);
        }
    });
}
