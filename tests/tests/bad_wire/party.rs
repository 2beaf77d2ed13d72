//! One end of the wire: a server or a client, on socklet or on Linux's own sockets. It says on its output what happens.

use super::exchange::Exchange;
use super::wire::INTERFACE;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use rustix::event::{PollFd, PollFlags, poll};
use smoltcp::phy::{Medium, RawSocket};
use smoltcp::wire::{EthernetAddress, HardwareAddress};
use socklet::client::{self, Client, ClientConfig};
use socklet::connection::{Deadlines, Error, Reason, Traffic};
use socklet::server::{Server, ServerConfig, ServerSlot};
use socklet::service::{Next, Observer, Protocol, Serve, Service};
use socklet::smoltcp::{Config, Memory, SmoltcpStack};
use socklet::stack::{ConnectOptions, ErrorKind, Received, Sent, TcpStack};
use socklet::storage::Id;
use socklet::time::{Duration, Instant, earliest};
use socklet_hosted::sandbox::{Network, STACK_MAC};
use std::collections::HashMap;
use std::io::{ErrorKind as IoErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::thread;

pub(crate) const PORT: u16 = 7007;

/// Bytes that socklet's buffers hold.
const BUFFER: usize = 32 * 1024;

/// What a party does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Server,
    Client,
}

impl Role {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Server => Self::Client,
            Self::Client => Self::Server,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }
}

/// This program as a party, in the network that it was started in.
pub(crate) fn main(arguments: &[String]) {
    thread::spawn(|| {
        // The test is over when its end of this is closed.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |word: &str| word.parse::<u64>().expect("a number");
    let address = |word: &str| word.parse::<SocketAddr>().expect("an address");
    match words[..] {
        ["linux", "server", _] => linux_server(),
        ["linux", "client", to, bytes, seed] => linux_client(address(to), number(bytes), number(seed)),
        ["socklet", "server", _] => socklet_server(),
        ["socklet", "client", to, bytes, seed] => socklet_client(address(to), number(bytes), number(seed)),
        _ => panic!("no party {words:?}"),
    }
}

fn linux_server() {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).expect("listen");
    println!("ready");
    for stream in listener.incoming() {
        let stream = stream.expect("accept");
        thread::spawn(move || talk(stream, Exchange::as_server()));
    }
}

fn linux_client(to: SocketAddr, bytes: u64, seed: u64) {
    match TcpStream::connect(to) {
        Ok(stream) => talk(stream, Exchange::as_client(bytes, seed)),
        Err(error) => println!("end {error}"),
    }
    // The test reads on.
    thread::park();
}

/// Both directions at once, until both have ended.
fn talk(mut stream: TcpStream, mut exchange: Exchange) {
    let result = (|| -> std::io::Result<()> {
        stream.set_nonblocking(true)?;
        let (mut receiving, mut sending) = (true, true);
        let mut buffer = vec![0; 64 * 1024];
        while receiving || sending {
            while receiving {
                match stream.read(&mut buffer) {
                    Ok(0) => {
                        exchange.ended();
                        receiving = false;
                    }
                    Ok(count) => exchange.take(&buffer[..count]),
                    Err(error) if error.kind() == IoErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            while sending && !exchange.next().is_empty() {
                match stream.write(exchange.next()) {
                    Ok(count) => exchange.sent(count),
                    Err(error) if error.kind() == IoErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            if sending && (exchange.all_sent() || !receiving && exchange.next().is_empty()) {
                stream.shutdown(Shutdown::Write)?;
                sending = false;
            }
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, receiving);
            flags.set(PollFlags::OUT, sending && !exchange.next().is_empty());
            if receiving || sending {
                poll(&mut [PollFd::new(&stream, flags)], None)?;
            }
        }
        Ok(())
    })();
    match result {
        Ok(()) => println!("end in good order"),
        Err(error) => println!("end {error}"),
    }
}

type Stack = SmoltcpStack<'static, RawSocket>;

/// smoltcp on a packet socket, at the far end of the TAP that the relay holds.
fn stack() -> Stack {
    let device = RawSocket::new(INTERFACE, Medium::Ethernet).expect("a packet socket");
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    let config = Config::new(HardwareAddress::Ethernet(EthernetAddress(STACK_MAC)), clock.as_nanos() as u64);
    let mut stack =
        SmoltcpStack::new(device, config, Memory::allocate(8, BUFFER, BUFFER, 1)).expect("a stack");
    let network = Network::default();
    stack.add_address(IpAddr::V4(network.stack_v4), network.prefix_v4).expect("an address");
    stack.set_gateway(IpAddr::V4(network.host_v4)).expect("a gateway");
    stack
}

/// Only what the peer or the network does is to end a connection.
const DEADLINES: Deadlines = Deadlines::NONE;

/// Runs a service for ever.
fn drive(mut stack: Stack, mut service: impl Service<Stack>) {
    let start = std::time::Instant::now();
    loop {
        let now = Instant::ZERO + start.elapsed();
        let due = earliest(service.poll(&mut stack, now), stack.poll(now));
        if due.is_none_or(|due| due > now) {
            let wait = due.map_or(Duration::from_secs(1), |due| due.since(now).min(Duration::from_secs(1)));
            smoltcp::phy::wait(stack.device().as_raw_fd(), Some(wait.into())).expect("wait for frames");
        }
    }
}

fn socklet_server() {
    let mut stack = stack();
    let config = ServerConfig::default().with_deadlines(DEADLINES);
    let mut server = Server::new((0..8).map(|_| ServerSlot::<Stack>::EMPTY).collect::<Vec<_>>(), config);
    server.listen(&mut stack, (Ipv4Addr::UNSPECIFIED, PORT).into()).expect("listen");
    println!("ready");
    drive(stack, Serve::new(server, Exchanges::default()).observed_by(Tell));
}

#[derive(Default)]
struct Exchanges(HashMap<Id, (Exchange, bool)>);

struct Tell;

impl Observer for Tell {
    fn closed(&mut self, _: Id, _: SocketAddr, reason: Reason, _: Traffic) {
        println!("end {reason}");
    }
}

impl Protocol<Stack> for Exchanges {
    fn advance(
        &mut self,
        server: &mut Server<'_, Stack>,
        stack: &mut Stack,
        id: Id,
        _: &mut impl Observer,
    ) -> Result<Next, Error<ErrorKind>> {
        let (exchange, ended) = self.0.entry(id).or_insert_with(|| (Exchange::as_server(), false));
        while !*ended {
            let received = server.recv_with(stack, id, |bytes| {
                exchange.take(bytes);
                (bytes.len(), ())
            });
            match received? {
                Received::Data(()) => {}
                Received::WouldBlock => break,
                Received::EndOfStream => {
                    *ended = true;
                    exchange.ended();
                }
            }
        }
        while !exchange.next().is_empty() {
            match server.send(stack, id, exchange.next())? {
                Sent::Queued(count) => exchange.sent(count),
                Sent::WouldBlock => break,
            }
        }
        if exchange.all_sent() || *ended && exchange.next().is_empty() {
            server.shutdown(stack, id)?;
        }
        Ok(Next::Wait)
    }
}

fn socklet_client(to: SocketAddr, bytes: u64, seed: u64) {
    let connect = ConnectOptions::default().with_timeout(Some(Duration::from_secs(80)));
    let config = ClientConfig::default().with_connect(connect).with_deadlines(DEADLINES).with_retry(None);
    let client = Client::new(to, config, seed);
    drive(stack(), OneExchange { client, exchange: Exchange::as_client(bytes, seed), ended: false });
}

struct OneExchange {
    client: Client<Stack>,
    exchange: Exchange,
    ended: bool,
}

impl OneExchange {
    fn advance(&mut self, stack: &mut Stack) -> Result<(), Error<ErrorKind>> {
        let Self { client, exchange, ended } = self;
        while !*ended {
            let received = client.recv_with(stack, |bytes| {
                exchange.take(bytes);
                (bytes.len(), ())
            });
            match received? {
                Received::Data(()) => {}
                Received::WouldBlock => break,
                Received::EndOfStream => {
                    *ended = true;
                    exchange.ended();
                }
            }
        }
        while !exchange.next().is_empty() {
            match client.send(stack, exchange.next())? {
                Sent::Queued(count) => exchange.sent(count),
                Sent::WouldBlock => break,
            }
        }
        if exchange.all_sent() {
            client.shutdown(stack)?;
        }
        Ok(())
    }
}

impl Service<Stack> for OneExchange {
    fn poll(&mut self, stack: &mut Stack, now: Instant) -> Option<Instant> {
        while let Some(event) = self.client.poll(stack, now) {
            match event {
                client::Event::Opened { .. } | client::Event::Readable | client::Event::Writable => {
                    // `Closed` has the reason.
                    let _ = self.advance(stack);
                }
                client::Event::Closed { reason, .. } => println!("end {reason}"),
            }
        }
        self.client.deadline()
    }

    fn drain(&mut self, _: &mut Stack, _: Instant, _: Duration) {}

    fn is_drained(&self) -> bool {
        false
    }
}
