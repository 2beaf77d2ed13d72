use super::neighbor::{asked_for, neighbor};
use super::segment::{SERVER_MAC, Segment, flag};
use crate::IpVersion;
use crate::cable::{CableEnd, CableOptions, cable};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use smoltcp::phy::{Device, RxToken, TxToken};
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, HardwareAddress, IpAddress, IpProtocol, Ipv4Packet, Ipv6Packet,
    TcpOption, TcpPacket,
};
use socklet::connection::{Reason, Traffic};
use socklet::server::{Server, ServerConfig};
use socklet::service::{Echo, Observer, Serve, Service};
use socklet::smoltcp::{Config, Memory, SmoltcpStack};
use socklet::stack::TcpStack;
use socklet::storage::Id;
use socklet::time::{Duration, Instant, earliest};

/// The stack under attack.
pub type Stack = SmoltcpStack<'static, CableEnd>;

/// What the server told of its connections.
#[derive(Debug, Default)]
pub struct Journal {
    /// Opened so far.
    pub opened: u64,
    /// Closed so far.
    pub closed: u64,
    /// The last of these, at most 64.
    pub ends: std::collections::VecDeque<(SocketAddr, Reason, Traffic)>,
}

impl Observer for Journal {
    fn opened(&mut self, _: Id, _: SocketAddr) {
        self.opened += 1;
    }

    fn closed(&mut self, _: Id, peer: SocketAddr, reason: Reason, traffic: Traffic) {
        if reason != Reason::Rejected {
            self.closed += 1;
        }
        self.ends.truncate(63);
        self.ends.push_front((peer, reason, traffic));
    }
}

/// An echo server on port 7, on the smoltcp backend, at one end of a cable; the test holds the other end.
#[derive(Debug)]
pub struct Rig {
    /// The backend.
    pub stack: Stack,
    /// The server on it.
    pub service: Serve<'static, Stack, Echo, Journal>,
    /// The far end.
    pub far: CableEnd,
    /// The virtual time.
    pub now: Instant,
    /// What it is attacked over.
    pub version: IpVersion,
    /// ICMP errors that have come to the far end.
    pub errors: u64,
}

impl Rig {
    /// So many connections with buffers of so many octets each way, over IPv4.
    pub fn new(connections: usize, buffer: usize, config: ServerConfig) -> Self {
        Self::over(IpVersion::V4, connections, buffer, config)
    }

    /// The same over one or the other.
    pub fn over(version: IpVersion, connections: usize, buffer: usize, config: ServerConfig) -> Self {
        Self::seeded(version, 0x5eed, connections, buffer, config, Duration::ZERO)
    }

    /// The same from another seed, and with a cable that takes this time.
    pub fn seeded(
        version: IpVersion,
        seed: u64,
        connections: usize,
        buffer: usize,
        config: ServerConfig,
        delay: Duration,
    ) -> Self {
        let [near, far] = cable(CableOptions { capacity: 4096, delay, ..CableOptions::default() });
        let memory = Memory::allocate(connections, buffer, buffer, 2);
        let own = HardwareAddress::Ethernet(SERVER_MAC);
        let mut stack = Stack::new(near, Config::new(own, seed), memory).expect("a stack");
        let (any, prefix): (IpAddr, u8) = match version {
            IpVersion::V4 => (Ipv4Addr::UNSPECIFIED.into(), 24),
            IpVersion::V6 => (Ipv6Addr::UNSPECIFIED.into(), 64),
        };
        stack.add_address(version.server(), prefix).expect("an address");
        stack.set_gateway(version.peer()).expect("a route");
        let storage: Vec<_> = (0..connections).map(|_| Default::default()).collect();
        let mut server = Server::new(storage, config);
        server.listen(&mut stack, SocketAddr::new(any, 7)).expect("port 7");
        let service = Serve::new(server, Echo).observed_by(Journal::default());
        let mut rig = Self { stack, service, far, now: Instant::from_secs(1), version, errors: 0 };
        rig.send(&neighbor(version.peer()));
        rig.turn();
        rig
    }

    /// Puts a frame on the cable.
    pub fn send(&mut self, frame: &[u8]) {
        let token = self.far.transmit(stamp(self.now)).expect("the cable has room");
        token.consume(frame.len(), |bytes| bytes.copy_from_slice(frame));
    }

    /// The server and its stack do what is to be done now; returns when they want to be called next.
    #[track_caller]
    pub fn turn(&mut self) -> Option<Instant> {
        for _ in 0..10_000 {
            let service = self.service.poll(&mut self.stack, self.now);
            let stack = self.stack.poll(self.now);
            match earliest(service, stack) {
                Some(at) if at <= self.now => {}
                later => return later,
            }
        }
        panic!("at {} there is always more to do", self.now)
    }

    /// Lets time pass, from deadline to deadline. What the stack sends is dropped, but for what it asks its neighbours.
    #[track_caller]
    pub fn pass(&mut self, time: Duration) {
        self.pass_and_see(time, |_| {});
    }

    /// The same, with a look at what the stack sends.
    #[track_caller]
    pub fn pass_and_see(&mut self, time: Duration, mut see: impl FnMut(Answer)) {
        let until = self.now + time;
        loop {
            let next = self.turn();
            self.answers().into_iter().for_each(&mut see);
            match next {
                Some(next) if next < until => self.now = next,
                Some(_) | None => break,
            }
        }
        self.now = until;
        self.turn();
    }

    /// The segment arrives; what the stack answers at once.
    #[track_caller]
    pub fn arrives(&mut self, segment: Segment<'_>) -> Vec<Answer> {
        self.arrives_as(&segment.frame())
    }

    /// The frame arrives; what the stack answers at once.
    #[track_caller]
    pub fn arrives_as(&mut self, frame: &[u8]) -> Vec<Answer> {
        self.send(frame);
        self.turn();
        self.answers()
    }

    /// The segments that have come to the far end, or are on their way there. Questions for neighbours are answered.
    pub fn answers(&mut self) -> Vec<Answer> {
        let mut answers = Vec::new();
        let mut asked = Vec::new();
        while let Some((rx, _)) = self.far.receive(stamp(Instant::FAR_FUTURE)) {
            rx.consume(|frame| {
                answers.extend(Answer::parse(frame));
                asked.extend(asked_for(frame));
                self.errors += u64::from(is_icmp_error(frame));
            });
        }
        if !asked.is_empty() {
            for ip in asked {
                self.send(&neighbor(ip));
            }
            self.turn();
            answers.extend(self.answers());
        }
        answers
    }

    /// A port of the peer.
    pub fn peer(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.version.peer(), port)
    }

    /// The peer opens a connection from `port`.
    #[track_caller]
    pub fn open(&mut self, port: u16) -> Peer {
        let address = self.peer(port);
        let mut answers = self.arrives(Segment::syn(address, 1000));
        answers.retain(|answer| answer.to == address);
        let [Answer { flags, seq, ack: 1001, .. }] = answers[..] else {
            panic!("no SYN|ACK but {answers:?}")
        };
        assert_eq!(flags, flag::SYN | flag::ACK);
        let peer = Peer { address, seq: 1001, ack: seq.wrapping_add(1) };
        let answers = self.arrives(peer.segment(b""));
        assert_eq!(answers, []);
        peer
    }

    /// Connections that the server has open; those, and no others, hold a handle of the stack's.
    #[track_caller]
    pub fn open_connections(&self) -> usize {
        let server = &self.service.server;
        assert_eq!(server.len(), self.stack.owned(), "server and stack do not agree");
        let journal = &self.service.observer;
        assert_eq!(server.len() as u64, journal.opened - journal.closed);
        server.len()
    }

    /// Slots of the backend that nobody uses.
    pub fn free(&self) -> usize {
        self.stack.slots().1
    }

    /// Why the last connection ended.
    pub fn last_end(&self) -> Option<Reason> {
        self.service.observer.ends.front().map(|end| end.1)
    }
}

/// smoltcp's form of a time.
pub(super) fn stamp(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(now.as_micros().min(1 << 62) as i64)
}

/// Destination unreachable and its kind (RFC 792); all types below 128 (RFC 4443, section 2.1).
fn is_icmp_error(frame: &[u8]) -> bool {
    match frame[12..] {
        [0x08, 0x00, ref ip @ ..] => ip[9] == 1 && matches!(ip[20], 3..=5 | 11 | 12),
        [0x86, 0xdd, ref ip @ ..] => ip[6] == 58 && ip[40] < 128,
        _ => false,
    }
}

/// The peer's side of a connection, as far as a test must know it.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// The next sequence number to send.
    pub seq: u32,
    /// The next one expected.
    pub ack: u32,
}

impl Peer {
    /// The next segment, with this payload. It does not count as sent.
    pub fn segment<'a>(&self, payload: &'a [u8]) -> Segment<'a> {
        let syn = Segment::syn(self.address, self.seq);
        Segment { flags: flag::ACK, ack: self.ack, payload, options: &[], ..syn }
    }

    /// Sends a few bytes and wants them back.
    #[track_caller]
    pub fn echo(&mut self, rig: &mut Rig, bytes: &[u8]) {
        let mut answers = rig.arrives(self.segment(bytes));
        self.seq = self.seq.wrapping_add(bytes.len() as u32);
        let mut echoed = Vec::new();
        while !answers.is_empty() {
            for answer in answers {
                if answer.seq == self.ack {
                    self.ack = self.ack.wrapping_add(answer.payload.len() as u32);
                    echoed.extend(answer.payload);
                }
            }
            answers = rig.arrives(self.segment(b""));
        }
        assert_eq!(echoed, bytes, "the echo on {}", self.address);
    }
}

/// A segment that the stack sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of the headers")]
pub struct Answer {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub flags: u8,
    pub seq: u32,
    pub ack: u32,
    pub window: u16,
    pub mss: Option<u16>,
    pub payload: Vec<u8>,
}

impl Answer {
    /// Whether all these flags are set.
    pub const fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// Checks that the frame is well-formed, and reads it; `None` if it is not TCP.
    pub(super) fn parse(frame: &[u8]) -> Option<Self> {
        let ethernet = EthernetFrame::new_checked(frame).expect("Ethernet");
        match ethernet.ethertype() {
            EthernetProtocol::Ipv4 => {
                let ip = Ipv4Packet::new_checked(ethernet.payload()).expect("IPv4");
                assert!(ip.verify_checksum());
                let is_tcp = ip.next_header() == IpProtocol::Tcp;
                is_tcp.then(|| Self::read(ip.payload(), ip.src_addr().into(), ip.dst_addr().into()))
            }
            EthernetProtocol::Ipv6 => {
                let ip = Ipv6Packet::new_checked(ethernet.payload()).expect("IPv6");
                let is_tcp = ip.next_header() == IpProtocol::Tcp;
                is_tcp.then(|| Self::read(ip.payload(), ip.src_addr().into(), ip.dst_addr().into()))
            }
            _ => None,
        }
    }

    fn read(segment: &[u8], from: IpAddress, to: IpAddress) -> Self {
        let tcp = TcpPacket::new_checked(segment).expect("TCP");
        assert!(tcp.verify_checksum(&from, &to));
        let mss = match TcpOption::parse(tcp.options()) {
            Ok((_, TcpOption::MaxSegmentSize(mss))) => Some(mss),
            _ => None,
        };
        Self {
            from: SocketAddr::new(from.into(), tcp.src_port()),
            to: SocketAddr::new(to.into(), tcp.dst_port()),
            flags: segment[13],
            seq: tcp.seq_number().0 as u32,
            ack: tcp.ack_number().0 as u32,
            window: tcp.window_len(),
            mss,
            payload: tcp.payload().to_vec(),
        }
    }
}
