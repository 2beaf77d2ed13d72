//! The servers that are compared, and the peer that keeps them busy.

use crate::cable::{self, End};
use core::fmt;
use core::str::FromStr;
use smoltcp::iface::{Config as IfaceConfig, Interface, SocketHandle, SocketSet, SocketStorage};
use smoltcp::socket::tcp;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};
use socklet::connection::Error;
use socklet::server::{ServerConfig, ServerSlot};
use socklet::service::{Discard, Echo, Next, Observer, Protocol, Serve, Service};
use socklet::smoltcp::{Config, Memory, SmoltcpStack};
use socklet::stack::{ConnectOptions, ErrorKind, ListenOptions, Received, Sent, TcpStack};
use socklet::storage::Id;
use socklet::time::{Duration, Instant, earliest};

const PORT: u16 = 7;
const BULK: usize = 65_536;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Case {
    /// smoltcp alone, with one socket.
    Raw,
    /// Core's layer, with so many connections open.
    Layer(usize),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Workload {
    Echo,
    Receive,
    Send,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raw => f.write_str("raw"),
            Self::Layer(open) => write!(f, "{open}"),
        }
    }
}

impl FromStr for Case {
    type Err = core::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "raw" { Ok(Self::Raw) } else { text.parse().map(Self::Layer) }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Echo, Self::Receive, Self::Send]
            .into_iter()
            .find(|workload| workload.to_string() == text)
            .ok_or_else(|| format!("no workload {text}"))
    }
}

/// A server that is given the time, and does what there is to do.
trait Server {
    fn turn(&mut self, now: Instant);
}

/// What callgrind counts.
#[inline(never)]
fn server_turn(server: &mut impl Server, now: Instant) {
    server.turn(now);
}

/// Opens the connections, then lets the last one work for so many rounds.
pub(crate) fn run(case: Case, workload: Workload, rounds: u32) {
    let (ours, theirs) = cable::pair();
    match case {
        Case::Raw => drive(Raw::new(ours, workload), theirs, 1, workload, rounds),
        Case::Layer(open) => match workload {
            Workload::Echo => drive(Layer::new(ours, open, Echo), theirs, open, workload, rounds),
            Workload::Receive => drive(Layer::new(ours, open, Discard), theirs, open, workload, rounds),
            Workload::Send => drive(Layer::new(ours, open, Flood), theirs, open, workload, rounds),
        },
    }
}

fn mac(last: u8) -> HardwareAddress {
    HardwareAddress::Ethernet(EthernetAddress([2, 0, 0, 0, 0, last]))
}

fn stack(end: End, last: u8, slots: usize, buffer: usize) -> SmoltcpStack<'static, End> {
    let memory = Memory::allocate(slots, buffer, buffer, 1);
    let mut stack = SmoltcpStack::new(end, Config::new(mac(last), 7), memory).expect("the cable fits");
    stack.add_address([10, 0, 0, last].into(), 8).expect("room for an address");
    stack
}

fn buffer(open: usize) -> usize {
    if open == 1 { 65_535 } else { 512 }
}

fn drive(mut server: impl Server, end: End, open: usize, workload: Workload, rounds: u32) {
    let mut peer = stack(end, 1, open, buffer(open));
    let mut now = Instant::from_secs(1);
    let mut last = None;
    // Ten at a time, so that the backlog and the cable have room.
    for batch in 0..open.div_ceil(10) {
        for _ in 0..(open - batch * 10).min(10) {
            let to = ([10, 0, 0, 2], PORT).into();
            last = Some(peer.connect(to, &ConnectOptions::default()).expect("a slot"));
        }
        for _ in 0..6 {
            now = now + Duration::from_micros(10);
            let _ = peer.poll(now);
            server.turn(now);
        }
    }
    // What belongs to the opening (a first question for a neighbour's address delays some by a second) is not to be counted.
    for _ in 0..50 {
        now = now + Duration::from_millis(100);
        settle(&mut peer, now);
        server.turn(now);
    }
    let connection = last.expect("at least one connection");
    let mut chunk = vec![0; BULK];
    for _ in 0..rounds {
        let mut left = if workload == Workload::Echo { 1 } else { BULK };
        let mut unsent = if workload == Workload::Send { 0 } else { left };
        while left > 0 {
            now = now + Duration::from_micros(50);
            if unsent > 0
                && let Ok(Sent::Queued(count)) = peer.send(connection, &chunk[..unsent])
            {
                unsent -= count;
            }
            settle(&mut peer, now);
            if peer.device().waiting() == 0 {
                server_turn(&mut server, now);
            }
            settle(&mut peer, now);
            match workload {
                Workload::Receive => left = unsent + peer.unsent(connection).unwrap_or(0),
                Workload::Echo | Workload::Send => {
                    while let Ok(Received::Data(count)) = peer.recv(connection, &mut chunk[..left]) {
                        left -= count;
                        if left == 0 {
                            break;
                        }
                    }
                }
            }
            now = now + Duration::from_millis(11);
        }
    }
}

fn settle(peer: &mut SmoltcpStack<'static, End>, now: Instant) {
    while peer.poll(now).is_some_and(|at| at <= now) {}
}

struct Raw {
    end: End,
    iface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    workload: Workload,
    chunk: Vec<u8>,
}

impl Raw {
    fn new(mut end: End, workload: Workload) -> Self {
        let mut config = IfaceConfig::new(mac(2));
        config.random_seed = 7;
        let mut iface = Interface::new(config, &mut end, smoltcp::time::Instant::ZERO);
        iface.update_ip_addrs(|addrs| {
            addrs.push(IpCidr::new(IpAddress::v4(10, 0, 0, 2), 8)).expect("room for an address");
        });
        let size = buffer(1);
        let buffer = || tcp::SocketBuffer::new(vec![0; size]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        socket.listen(PORT).expect("a port");
        let mut sockets = SocketSet::new([SocketStorage::EMPTY]);
        let socket = sockets.add(socket);
        Self { end, iface, sockets, socket, workload, chunk: vec![0; 2048] }
    }
}

impl Server for Raw {
    fn turn(&mut self, now: Instant) {
        let now = smoltcp::time::Instant::from_micros(now.as_micros() as i64);
        self.iface.poll(now, &mut self.end, &mut self.sockets);
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.socket);
        match self.workload {
            Workload::Echo => {
                while socket.can_recv() {
                    let count = socket.recv_slice(&mut self.chunk).expect("it can receive");
                    socket.send_slice(&self.chunk[..count]).expect("it can send");
                }
            }
            Workload::Receive => {
                while socket.can_recv() {
                    socket.recv(|bytes| (bytes.len(), ())).expect("it can receive");
                }
            }
            Workload::Send => {
                while socket.can_send() {
                    socket.send(|bytes| (bytes.len(), ())).expect("it can send");
                }
            }
        }
        self.iface.poll(now, &mut self.end, &mut self.sockets);
        core::hint::black_box(self.iface.poll_at(now, &self.sockets));
    }
}

type Stack = SmoltcpStack<'static, End>;

/// The layer as a service uses it: [`Serve`] over the smoltcp backend.
struct Layer<P> {
    stack: Stack,
    service: Serve<'static, Stack, P>,
}

impl<P: Protocol<Stack>> Layer<P> {
    fn new(end: End, open: usize, protocol: P) -> Self {
        let mut stack = stack(end, 2, open, buffer(open));
        let slots: Vec<ServerSlot<Stack>> = (0..open).map(|_| ServerSlot::<Stack>::EMPTY).collect();
        let config = ServerConfig::default().with_listen(ListenOptions::backlog(64));
        let mut server = socklet::server::Server::new(slots, config);
        server.listen(&mut stack, ([0, 0, 0, 0], PORT).into()).expect("a listener");
        Self { stack, service: Serve::new(server, protocol) }
    }
}

impl<P: Protocol<Stack>> Server for Layer<P> {
    fn turn(&mut self, now: Instant) {
        // What woke it is the network: as the driver does, the stack first.
        let _ = self.stack.poll(now);
        loop {
            let service = self.service.poll(&mut self.stack, now);
            let stack = self.stack.poll(now);
            match earliest(service, stack) {
                Some(at) if at <= now => {}
                later => {
                    core::hint::black_box(later);
                    return;
                }
            }
        }
    }
}

/// Sends as much as there is room for.
struct Flood;

impl Protocol<Stack> for Flood {
    fn advance(
        &mut self,
        server: &mut socklet::server::Server<'_, Stack>,
        stack: &mut Stack,
        id: Id,
        _: &mut impl Observer,
    ) -> Result<Next, Error<ErrorKind>> {
        while let Sent::Queued(_) = server.send_with(stack, id, |room| room.len())? {}
        Ok(Next::Wait)
    }
}
