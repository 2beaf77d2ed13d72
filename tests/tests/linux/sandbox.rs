//! A service on smoltcp in a sandbox, with relays to and from the caller's network.
//!
//! It has a `main` of its own, because a process without privileges can enter the sandbox only while it has one thread.

use core::net::SocketAddr;
use core::time::Duration;
use libtest_mimic::{Arguments, Trial};
use smoltcp::wire::{EthernetAddress, HardwareAddress};
use socklet::server::{Server, ServerConfig};
use socklet::service::{Echo, Serve, Service};
use socklet::smoltcp::{Config, Memory, SmoltcpStack};
use socklet::stack::{ConnectOptions, Received, Sent, TcpStack};
use socklet::time::Instant;
use socklet_hosted::driver::{Driver, End, Stopper};
use socklet_hosted::relay::{self, Relay};
use socklet_hosted::sandbox::{STACK_MAC, Sandbox};
use socklet_hosted::tap::{Options, Tap};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

const LIMIT: Duration = Duration::from_secs(200);

type Stack = SmoltcpStack<'static, Tap>;

pub(crate) fn main() {
    let arguments = Arguments::from_args();
    if let Err(error) = Sandbox::new().and_then(|sandbox| sandbox.open_tap(&Options::tap("socklet0"))) {
        eprintln!("{error}");
        std::process::exit(1);
    }
    let trials = vec![
        trial("the_caller_reaches_a_server_in_the_sandbox_over_ipv4", || reach_in(false)),
        trial("the_caller_reaches_a_server_in_the_sandbox_over_ipv6", || reach_in(true)),
        trial("a_port_where_nobody_listens_resets_the_callers_client", refused),
        trial("a_client_in_the_sandbox_reaches_the_caller", reach_out),
        trial("an_idle_server_sleeps", idle),
        trial("the_private_network_is_not_the_callers", private),
        trial("jobs_give_results_and_panics_back", jobs),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn trial(name: &str, body: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, || {
        body();
        Ok(())
    })
}

fn stack_in(sandbox: &Sandbox, buffer: usize) -> Stack {
    let tap = sandbox.open_tap(&Options::tap("socklet0")).unwrap();
    let config = Config::new(HardwareAddress::Ethernet(EthernetAddress(STACK_MAC)), 0x5eed);
    let mut stack = SmoltcpStack::new(tap, config, Memory::allocate(16, buffer, buffer, 4)).unwrap();
    let network = sandbox.network();
    stack.add_address(network.stack_v4.into(), network.prefix_v4).unwrap();
    stack.add_address(network.stack_v6.into(), network.prefix_v6).unwrap();
    stack
}

/// Runs an echo server on port 7 while `body` runs.
fn while_serving(sandbox: &Sandbox, ipv6: bool, body: impl FnOnce(&Stopper) + Send) -> usize {
    let mut stack = stack_in(sandbox, 1 << 20);
    let storage: Vec<_> = (0..16).map(|_| Default::default()).collect();
    let mut server = Server::new(storage, ServerConfig::default());
    let local = if ipv6 { "[::]:7" } else { "0.0.0.0:7" };
    server.listen(&mut stack, local.parse().unwrap()).unwrap();
    let mut service = Serve::new(server, Echo);
    let mut driver = Driver::new().unwrap();
    let stopper = driver.stopper().unwrap();
    let mut rounds = 0;
    thread::scope(|scope| {
        scope.spawn(move || {
            // Also when `body` panics.
            let stop = StopOnDrop(stopper);
            body(&stop.0);
        });
        let end = driver.run_until(&mut stack, &mut service, |_, _, _| {
            rounds += 1;
            false
        });
        assert_eq!(end.unwrap(), End::Drained);
    });
    rounds
}

struct StopOnDrop(Stopper);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

fn relay_in(sandbox: &Sandbox, ipv6: bool, port: u16) -> (Relay, SocketAddr) {
    let network = *sandbox.network();
    let (local, target) = if ipv6 {
        ("[::1]:0", SocketAddr::from((network.stack_v6, port)))
    } else {
        ("127.0.0.1:0", SocketAddr::from((network.stack_v4, port)))
    };
    let listener = TcpListener::bind(local).unwrap();
    let address = listener.local_addr().unwrap();
    let relay = sandbox.run(move || Relay::spawn([(listener, target)], relay::Options::default())).unwrap();
    (relay, address)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, LIMIT).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Sends 8 MiB, half-closes, and wants them back.
fn exchange(address: SocketAddr, seed: u32) {
    let mut client = connect(address);
    let mut writer = client.try_clone().unwrap();
    let sent: Vec<u8> =
        (0..8_u32 << 20).map(|i| (i.wrapping_mul(0x9e37_79b9) >> 13) as u8 ^ seed as u8).collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(&sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut echoed = Vec::new();
        client.read_to_end(&mut echoed).unwrap();
        assert!(echoed == sent, "{} bytes came back", echoed.len());
    });
}

fn reach_in(ipv6: bool) {
    let sandbox = Sandbox::new().unwrap();
    while_serving(&sandbox, ipv6, |_| {
        let (relay, address) = relay_in(&sandbox, ipv6, 7);
        thread::scope(|scope| {
            for seed in 0..8 {
                scope.spawn(move || exchange(address, seed));
            }
        });
        relay.finish(LIMIT);
    });
}

fn refused() {
    let sandbox = Sandbox::new().unwrap();
    while_serving(&sandbox, false, |_| {
        let (_relay, address) = relay_in(&sandbox, false, 9);
        let error = connect(address).read(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    });
}

/// A client that sends a line and reads what comes until the end.
struct Question {
    connection: <Stack as TcpStack>::Connection,
    asked: bool,
    answer: Vec<u8>,
    done: bool,
}

impl Service<Stack> for Question {
    fn poll(&mut self, stack: &mut Stack, _: Instant) -> Option<Instant> {
        if !self.asked && stack.send(self.connection, b"question") == Ok(Sent::Queued(8)) {
            self.asked = true;
            stack.shutdown(self.connection).unwrap();
        }
        let mut buffer = [0; 64];
        loop {
            match stack.recv(self.connection, &mut buffer).unwrap() {
                Received::Data(len) => self.answer.extend(&buffer[..len]),
                Received::WouldBlock => return None,
                Received::EndOfStream => {
                    self.done = true;
                    return None;
                }
            }
        }
    }
}

fn reach_out() {
    let sandbox = Sandbox::new().unwrap();
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = {
        let target = target.try_clone().unwrap();
        thread::spawn(move || {
            let mut peer = target.accept().unwrap().0;
            let mut question = String::new();
            peer.read_to_string(&mut question).unwrap();
            peer.write_all(format!("{question}? yes").as_bytes()).unwrap();
        })
    };
    let mut stack = stack_in(&sandbox, 4096);
    let host = sandbox.network().host_v4;
    let listener = sandbox.run(move || TcpListener::bind((host, 0))).unwrap();
    let remote = listener.local_addr().unwrap();
    let target = target.local_addr().unwrap();
    let _relay = Relay::spawn([(listener, target)], relay::Options::default()).unwrap();

    let connection = stack.connect(remote, &ConnectOptions::default()).unwrap();
    let mut question = Question { connection, asked: false, answer: Vec::new(), done: false };
    let mut driver = Driver::new().unwrap();
    let deadline = driver.now() + LIMIT;
    let end = driver.run_until(&mut stack, &mut question, |_, question, now| question.done || deadline < now);
    assert_eq!(end.unwrap(), End::Finished);
    assert_eq!(question.answer, b"question? yes");
    server.join().unwrap();
}

fn idle() {
    let sandbox = Sandbox::new().unwrap();
    let rounds = while_serving(&sandbox, false, |_| {
        let (_relay, address) = relay_in(&sandbox, false, 7);
        let mut client = connect(address);
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        thread::sleep(Duration::from_secs(1));
    });
    assert!(rounds < 100, "{rounds} rounds in a second");
}

fn private() {
    let sandbox = Sandbox::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    TcpStream::connect(address).unwrap();
    let inside = sandbox.run(move || TcpStream::connect(address).map(drop));
    assert_eq!(inside.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    let other = Sandbox::new().unwrap();
    let listener = sandbox.run(|| TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    assert!(other.run(move || TcpStream::connect(address).map(drop)).is_err());
    let here = sandbox.spawn("inner", move || TcpStream::connect(address).map(drop)).unwrap();
    here.join().unwrap().unwrap();
}

fn jobs() {
    let sandbox = Sandbox::new().unwrap();
    assert_eq!(sandbox.run(|| 1 + 1), 2);
    let panicked =
        std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| sandbox.run(|| panic!("on purpose"))));
    assert!(panicked.is_err());
    assert_eq!(sandbox.run(|| 3), 3);
}
