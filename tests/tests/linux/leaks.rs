//! Connections opened and ended in every way, on ordinary sockets and on TAP: descriptors, slots and memory are as before.
//!
//! It has a `main` of its own, because a process without privileges can enter the sandbox only while it has one thread.

#[path = "outgoing.rs"]
mod outgoing;

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use libtest_mimic::{Arguments, Trial};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use smoltcp::wire::{EthernetAddress, HardwareAddress};
use socket2::{Domain, SockRef, Socket, Type};
use socklet::connection::{Deadline, Deadlines, Reason, Traffic};
use socklet::server::{Server, ServerConfig, ServerStats};
use socklet::service::{Echo, Observer, Serve};
use socklet::smoltcp::{Config, Memory, SmoltcpStack};
use socklet::stack::{ErrorKind, ListenOptions, TcpStack};
use socklet::storage::Id;
use socklet_hosted::driver::{Driver, Stopper, Wait};
use socklet_hosted::os::{OsOptions, OsStack};
use socklet_hosted::sandbox::{STACK_MAC, Sandbox};
use socklet_hosted::tap::Options;
use socklet_tests::hostile::leaks::{descriptors, resident};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;

const SLOTS: usize = 64;
const ROUNDS: usize = 2500;
/// Ways to end, one connection each in a round.
const WAYS: usize = 4;
const LIMIT: Duration = Duration::from_secs(200);

pub(crate) fn main() {
    let arguments = Arguments::from_args();
    if let Err(error) = Sandbox::new().and_then(|sandbox| sandbox.open_tap(&Options::tap("socklet0"))) {
        eprintln!("{error}");
        std::process::exit(1);
    }
    let trial = |name, run: fn()| {
        Trial::test(name, move || {
            run();
            Ok(())
        })
    };
    let trials = vec![
        trial("ten_thousand_ends_on_ordinary_sockets_leave_nothing", on_os),
        trial("ten_thousand_ends_from_here_on_ordinary_sockets_leave_nothing", outgoing::on_os),
        trial("ten_thousand_ends_on_tap_leave_nothing_though_the_link_fails", on_tap),
    ];
    // One after the other: descriptors and memory are the process's.
    let arguments = Arguments { test_threads: Some(1), ..arguments };
    libtest_mimic::run(&arguments, trials).exit();
}

fn on_os() {
    let mut stack = OsStack::new(OsOptions::default().with_connections(SLOTS)).unwrap();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut injected = 0;
    let stats = serve(&mut stack, address, |address, round| {
        visit(|| connect(address));
        if round % 500 == 250 {
            injected += 1;
            wait_for_a_descriptor(address);
        }
    });
    assert_eq!((injected, stats.accept_error), (5, Some(ErrorKind::NoSlot)));
    // It tries again every 100 ms.
    assert!((injected..20 * injected).contains(&stats.accept_errors), "{stats:?}");
}

/// A client that comes while the process has no descriptor to accept it with: it is served as soon as there is one.
fn wait_for_a_descriptor(address: SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let limit = Limit::no_more_descriptors();
    socket.connect_timeout(&address.into(), LIMIT).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(b"x").unwrap();
    thread::sleep(Duration::from_millis(250));
    drop(limit);
    stream.read_exact(&mut [0]).unwrap();
}

/// The limit on the process's descriptors, which comes back at the end.
struct Limit(Rlimit);

impl Limit {
    fn no_more_descriptors() -> Self {
        let usual = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(3), maximum: usual.maximum }).unwrap();
        Self(usual)
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        setrlimit(Resource::Nofile, self.0).unwrap();
    }
}

/// Fails if resident memory has grown since it was `settled`.
fn check_growth(settled: u64, connections: usize, since: usize) {
    let grown = resident().unwrap().saturating_sub(settled) / 1024;
    println!("{connections} connections: {grown} KiB gained");
    assert!(grown <= 1024, "{grown} KiB more than after {since} connections");
}

fn on_tap() {
    let sandbox = Sandbox::new().unwrap();
    let tap = sandbox.open_tap(&Options::tap("socklet0")).unwrap();
    let network = *sandbox.network();
    let own = HardwareAddress::Ethernet(EthernetAddress(STACK_MAC));
    let mut stack =
        SmoltcpStack::new(tap, Config::new(own, 0x5eed), Memory::allocate(SLOTS, 2048, 2048, 1)).unwrap();
    stack.add_address(network.stack_v4.into(), network.prefix_v4).unwrap();
    serve(&mut stack, SocketAddr::from((network.stack_v4, 7)), |address, round| {
        // An I/O error for every frame that the server sends meanwhile.
        let fails = round % 500 == 250;
        sandbox.run(move || {
            visit(|| {
                let stream = connect(address)?;
                if fails {
                    link("down");
                    let _ = (&stream).write_all(b"into the void");
                    thread::sleep(Duration::from_millis(50));
                    link("up");
                }
                Ok(stream)
            });
        });
    });
    let deadline = std::time::Instant::now() + LIMIT;
    while stack.slots().1 < SLOTS {
        let _ = stack.poll(socklet::time::Instant::from_secs(1_000_000));
        assert!(std::time::Instant::now() < deadline, "slots: {:?}", stack.slots());
    }
}

fn link(state: &str) {
    let set = Command::new("ip").args(["link", "set", "socklet0", state]).status();
    assert!(set.is_ok_and(|status| status.success()), "ip link set socklet0 {state} (package iproute2)");
}

/// Ends one connection in each way. The server may be faster: its deadline is short.
fn visit(connect: impl Fn() -> io::Result<TcpStream>) {
    let ways: [fn(TcpStream) -> io::Result<()>; WAYS] = [
        |mut closes_first| {
            closes_first.write_all(b"x")?;
            closes_first.read_exact(&mut [0])?;
            closes_first.shutdown(std::net::Shutdown::Write)?;
            closes_first.read(&mut [0]).map(drop)
        },
        |mut resets_in_mid_stream| {
            resets_in_mid_stream.write_all(b"x")?;
            resets_in_mid_stream.read_exact(&mut [0])?;
            // The server may fail to send its echo.
            resets_in_mid_stream.write_all(b"y")?;
            SockRef::from(&resets_in_mid_stream).set_linger(Some(Duration::ZERO))
        },
        |resets_at_once| SockRef::from(&resets_at_once).set_linger(Some(Duration::ZERO)),
        // Until the server's deadline ends it.
        |mut says_nothing| says_nothing.read(&mut [0]).map(drop),
    ];
    for way in ways {
        if let Err(error) = connect().and_then(way) {
            let kinds =
                [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe, io::ErrorKind::NotConnected];
            assert!(kinds.contains(&error.kind()), "{error}");
        }
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    Ok(stream)
}

/// Serves while `client` makes its rounds. Gives what the server has counted.
fn serve<S: TcpStack + Wait>(
    stack: &mut S,
    address: SocketAddr,
    mut client: impl FnMut(SocketAddr, usize) + Send,
) -> ServerStats {
    let before = descriptors();
    let deadlines = Deadlines::SERVER.with_first_byte(Some(Duration::from_millis(5)));
    let config = ServerConfig::default().with_listen(ListenOptions::backlog(32)).with_deadlines(deadlines);
    let storage: Vec<_> = (0..SLOTS).map(|_| Default::default()).collect();
    // For the system's sockets, which have no buffer to look into.
    let mut server = Server::new(storage, config).with_holdback(vec![0; SLOTS * 256]);
    server.listen(stack, address).unwrap();
    let address = server.local_addr(stack).unwrap();
    let mut service = Serve::new(server, Echo).observed_by(Ends::default());
    let mut driver = Driver::new().unwrap().with_grace(Duration::from_secs(15));
    let stopper = driver.stopper().unwrap();
    thread::scope(|scope| {
        let clients = scope.spawn(move || {
            let stop = StopOnDrop(stopper);
            let mut settled = 0;
            for round in 0..ROUNDS {
                client(address, round);
                if round == ROUNDS / 5 {
                    settled = resident().unwrap();
                }
            }
            drop(stop);
            check_growth(settled, ROUNDS * WAYS, ROUNDS / 5 * WAYS);
        });
        driver.run(stack, &mut service).unwrap();
        clients.join().unwrap();
    });
    let (stats, ends) = (service.server.stats(), service.observer);
    drop((service.server, driver));
    let accepted = stats.accepted as usize;
    // One that is reset at once may be gone before it is accepted.
    assert!(accepted >= ROUNDS * WAYS / 2, "{accepted} of {}", ROUNDS * WAYS);
    assert_eq!(descriptors(), before, "descriptors");
    // On a busy machine a deadline may be faster than a client.
    for reason in [Reason::PeerClosed, Reason::Reset, Reason::TimedOut(Deadline::FirstByte)] {
        let count = ends.0.get(&reason).copied().unwrap_or(0);
        assert!(count >= ROUNDS / 2, "{count} ended with {reason:?}, of {ends:?}");
    }
    stats
}

/// How many connections ended for which reason.
#[derive(Debug, Default)]
struct Ends(HashMap<Reason, usize>);

impl Observer for Ends {
    fn closed(&mut self, _: Id, _: SocketAddr, reason: Reason, _: Traffic) {
        *self.0.entry(reason).or_default() += 1;
    }
}

struct StopOnDrop(Stopper);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}
