//! A private network, made by the process itself: no sudo where the system lets users do so.
//!
//! A [`Sandbox`] is a network namespace (and, for a process without privileges, a user namespace around it) with a thread that
//! lives in it. Sockets made on that thread, and on threads that it starts, are in the private network wherever they are used
//! later; the rest of the process keeps the caller's network. A [`Tap`] that the sandbox opens joins the private network to
//! smoltcp, which may run on any thread.
//!
//! ```no_run
//! use socklet_hosted::sandbox::Sandbox;
//! use socklet_hosted::tap::Options;
//!
//! # fn main() -> Result<(), Box<dyn core::error::Error>> {
//! let sandbox = Sandbox::new()?; // first thing in `main`: the process has one thread
//! let tap = sandbox.open_tap(&Options::tap("socklet0"))?; // smoltcp is to have `sandbox.network().stack_v4`
//! let stack = (sandbox.network().stack_v4, 7);
//! let client = sandbox.run(move || std::net::TcpStream::connect(stack));
//! # Ok(()) }
//! ```
//!
//! [`crate::relay`] joins the private network to the caller's.

mod error;

pub use error::Error;

use crate::tap::{self, Interface, Tap};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::panic::AssertUnwindSafe;
use core::time::Duration;
use rustix::io::Errno;
use rustix::thread::CapabilitySet;
use std::net::UdpSocket;
use std::panic::{catch_unwind, resume_unwind};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Instant;
use std::{fs, io};

/// The hardware address for smoltcp's end of a TAP: locally administered, unicast.
pub const STACK_MAC: [u8; 6] = [0x02, b's', b'o', b'c', b'k', 0x02];
/// The hardware address of Linux's end.
const HOST_MAC: [u8; 6] = [0x02, b's', b'o', b'c', b'k', 0x01];

/// The addresses at both ends of the TAP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Linux's end.
    pub host_v4: Ipv4Addr,
    /// smoltcp's end.
    pub stack_v4: Ipv4Addr,
    /// Bits of the IPv4 prefix.
    pub prefix_v4: u8,
    /// Linux's end.
    pub host_v6: Ipv6Addr,
    /// smoltcp's end.
    pub stack_v6: Ipv6Addr,
    /// Bits of the IPv6 prefix.
    pub prefix_v6: u8,
}

/// 10.77.0.1 and 10.77.0.2 of 10.77.0.0/16; fd77::1 and fd77::2 of fd77::/64.
impl Default for Network {
    fn default() -> Self {
        Self {
            host_v4: Ipv4Addr::new(10, 77, 0, 1),
            stack_v4: Ipv4Addr::new(10, 77, 0, 2),
            prefix_v4: 16,
            host_v6: Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1),
            stack_v6: Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2),
            prefix_v6: 64,
        }
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// A private network and a thread in it.
///
/// It goes with the last of: this value, the threads started in it, and the sockets made in it.
#[derive(Debug)]
pub struct Sandbox {
    network: Network,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Sandbox {
    /// A private network with the default addresses; calls [`enter`].
    ///
    /// # Errors
    /// Each names the thing and the remedy.
    pub fn new() -> Result<Self, Error> {
        Self::with_network(Network::default())
    }

    /// The same with other addresses.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_network(network: Network) -> Result<Self, Error> {
        enter()?;
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (ready, is_ready) = mpsc::sync_channel(1);
        let live = move || {
            let set_up = set_up();
            let failed = set_up.is_err();
            // Nobody waits any more if the caller is gone.
            let _ = ready.send(set_up);
            if !failed {
                inbox.iter().for_each(|job| job());
            }
        };
        let thread = thread::Builder::new().name("sandbox".into()).spawn(live).map_err(Error::Thread)?;
        match is_ready.recv() {
            Ok(result) => result?,
            Err(_) => return Err(Error::Thread(io::ErrorKind::BrokenPipe.into())),
        }
        Ok(Self { network, jobs: Some(jobs), thread: Some(thread) })
    }

    /// The addresses.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Runs `job` in the private network and returns what it returns. Jobs run one after the other.
    ///
    /// Threads that it starts stay in the private network.
    ///
    /// # Panics
    /// If `job` panics.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (reply, result) = mpsc::sync_channel(1);
        let job = move || {
            // The caller waits for the result.
            let _ = reply.send(catch_unwind(AssertUnwindSafe(job)));
        };
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(Box::new(job)).is_ok());
        match result.recv() {
            Ok(Ok(value)) if sent => value,
            Ok(Err(panic)) => resume_unwind(panic),
            // The thread ends with `self`, and no job can make it panic.
            Ok(Ok(_)) | Err(_) => unreachable!("the sandbox thread is gone"),
        }
    }

    /// Starts a thread in the private network.
    ///
    /// # Errors
    /// When the system starts no more threads.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &str,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<T>> {
        let builder = thread::Builder::new().name(name.into());
        self.run(move || builder.spawn(body))
    }

    /// Opens a TAP or TUN in the private network, brings it up and gives Linux's end its addresses.
    ///
    /// # Errors
    /// Each names the thing and the remedy.
    pub fn open_tap(&self, options: &tap::Options) -> Result<Tap, Error> {
        let opened = options.clone();
        let tap = self.run(move || Tap::open(&opened))?;
        self.configure(&options.name, options.mode)?;
        Ok(tap)
    }

    /// Brings up an interface that is in the private network already, and gives it Linux's addresses.
    ///
    /// # Errors
    /// Each names the thing and the remedy.
    pub fn configure(&self, name: &str, mode: tap::Mode) -> Result<(), Error> {
        let (name, network) = (name.to_owned(), self.network);
        self.run(move || {
            let interface = Interface::new(&name)?;
            if mode == tap::Mode::Tap {
                interface.set_mac(HOST_MAC)?;
            }
            interface.up()?;
            interface.add_address(network.host_v4.into(), network.prefix_v4)?;
            match interface.add_address(network.host_v6.into(), network.prefix_v6) {
                Ok(()) => wait_for_address(&name, network.host_v6.into())?,
                // The second queue of the same interface.
                Err(tap::Error::Configure { source, .. })
                    if Errno::from_io_error(&source) == Some(Errno::EXIST) => {}
                Err(error) => log::warn!("{error}"),
            }
            Ok(())
        })
    }
}

/// Ends the thread once its jobs are done.
impl Drop for Sandbox {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // It cannot panic: jobs are caught.
            let _ = thread.join();
        }
    }
}

/// Gives the process the right to make private networks: a user namespace of its own, unless it has the right already.
///
/// Call it first in `main`: the kernel allows it only while the process has one thread. Doing it twice is harmless.
///
/// # Errors
/// [`Error::Threads`] if other threads run already, [`Error::UserNamespace`] if the system does not let this user have one.
pub fn enter() -> Result<(), Error> {
    let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN;
    if rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(needed)) {
        return Ok(());
    }
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    tap::unshare_user().map_err(|errno| match errno {
        Errno::INVAL => Error::Threads,
        errno => Error::UserNamespace(errno.into()),
    })?;
    // user_namespaces(7): a process without privileges may map itself, and its group once setgroups is denied.
    let maps = [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("{uid} {uid} 1")),
        ("/proc/self/gid_map", format!("{gid} {gid} 1")),
    ];
    maps.iter().try_for_each(|(path, map)| fs::write(path, map)).map_err(Error::UserNamespace)
}

/// Gives the calling thread a network of its own, with a loopback interface.
fn set_up() -> Result<(), Error> {
    tap::unshare_network().map_err(|errno| Error::NetworkNamespace(errno.into()))?;
    Interface::new("lo")?.up()?;
    // Nobody else is there to have the same address (RFC 4862, section 5.4). Without this an address is usable after a second.
    for kind in ["all", "default"] {
        let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{kind}/accept_dad"), "0");
    }
    Ok(())
}

/// Waits until sockets can use `address`.
fn wait_for_address(interface: &str, address: IpAddr) -> Result<(), Error> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match UdpSocket::bind(SocketAddr::new(address, 0)) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(10));
            }
            Err(source) => {
                let (name, what) = (interface.to_owned(), "use the IPv6 address of");
                return Err(tap::Error::Configure { name, what, source }.into());
            }
        }
    }
}
