//! 10,000 connections open at once on TAP, each echoing once and checked; the server allocates nothing after it listens.
//!
//! It has a `main` of its own, because a process without privileges can enter the sandbox only while it has one thread.

use core::net::SocketAddr;
use core::time::Duration;
use libtest_mimic::{Arguments, Trial};
use smoltcp::wire::{EthernetAddress, HardwareAddress};
use socklet::connection::Deadlines;
use socklet::server::{Server, ServerConfig};
use socklet::service::{Echo, Serve};
use socklet::smoltcp::{Config, Memory, SmoltcpStack};
use socklet::stack::ListenOptions;
use socklet_hosted::driver::{Driver, Stopper};
use socklet_hosted::sandbox::{STACK_MAC, Sandbox};
use socklet_hosted::tap::Options;
use socklet_tests::Pattern;
use socklet_tests::sim::{CountingAllocator, counted, take_count};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

/// Counts on the server's thread alone: the clients, in other threads, allocate as they like.
#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const CONNECTIONS: usize = 10_000;
const BUFFER: usize = 2048;
const LIMIT: Duration = Duration::from_secs(300);

pub(crate) fn main() {
    let arguments = Arguments::from_args();
    if let Err(error) = Sandbox::new().and_then(|sandbox| sandbox.open_tap(&Options::tap("socklet0"))) {
        eprintln!("{error}");
        std::process::exit(1);
    }
    let name = "ten_thousand_connections_echo_at_once_and_the_server_allocates_nothing";
    libtest_mimic::run(
        &arguments,
        vec![Trial::test(name, || {
            ten_thousand();
            Ok(())
        })],
    )
    .exit();
}

fn ten_thousand() {
    let sandbox = Sandbox::new().unwrap();
    let tap = sandbox.open_tap(&Options::tap("socklet0")).unwrap();
    let network = *sandbox.network();
    let own = HardwareAddress::Ethernet(EthernetAddress(STACK_MAC));
    let memory = Memory::allocate(CONNECTIONS, BUFFER, BUFFER, 1);
    let mut stack = SmoltcpStack::new(tap, Config::new(own, 0x5eed), memory).unwrap();
    stack.add_address(network.stack_v4.into(), network.prefix_v4).unwrap();
    let storage: Vec<_> = (0..CONNECTIONS).map(|_| Default::default()).collect();
    let config =
        ServerConfig::default().with_listen(ListenOptions::backlog(512)).with_deadlines(Deadlines::NONE);
    let mut server = Server::new(storage, config);
    let address = SocketAddr::from((network.stack_v4, 7));
    let mut driver = Driver::new().unwrap();
    let stopper = driver.stopper().unwrap();
    let (allocations, most) = thread::scope(|scope| {
        let clients = scope.spawn({
            let sandbox = &sandbox;
            move || {
                let stop = StopOnDrop(stopper);
                let clients = sandbox.run(move || open(address));
                echo(clients);
                drop(stop);
            }
        });
        server.listen(&mut stack, address).unwrap();
        let mut service = Serve::new(server, Echo);
        let mut most = 0;
        take_count();
        let end = counted(|| {
            driver.run_until(&mut stack, &mut service, |_, service, _| {
                most = most.max(service.server.len());
                false
            })
        });
        let allocations = take_count();
        end.unwrap();
        clients.join().unwrap();
        (allocations, most)
    });
    println!("{most} connections open at once, {allocations} allocations by the server after it listened");
    assert_eq!((most, allocations), (CONNECTIONS, 0));
}

/// All of them, one after the other, inside the sandbox.
fn open(address: SocketAddr) -> Vec<TcpStream> {
    let connect = |number| {
        let stream = TcpStream::connect_timeout(&address, LIMIT);
        let stream = stream.unwrap_or_else(|error| panic!("connection {number}: {error} (the limit on open files must be above {CONNECTIONS}: ulimit -n)"));
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    };
    (0..CONNECTIONS).map(connect).collect()
}

/// Each sends its own bytes, then each wants them back.
fn echo(mut clients: Vec<TcpStream>) {
    let mut stream = Pattern::new(1);
    for client in &mut clients {
        client.write_all(stream.next(BUFFER)).unwrap();
        stream.advance(BUFFER);
    }
    let mut expected = Pattern::new(1);
    let mut buffer = [0; BUFFER];
    for client in &mut clients {
        client.read_exact(&mut buffer).unwrap();
        expected.check(&buffer);
    }
}

struct StopOnDrop(Stopper);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}
