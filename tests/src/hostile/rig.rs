use super::segment::{PEER, SERVER, SERVER_MAC, Segment, arp_reply, flag};
use crate::cable::{CableEnd, CableOptions, cable};
use core::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use smoltcp::phy::{Device, RxToken, TxToken};
use smoltcp::wire::{
    ArpPacket, ArpRepr, EthernetFrame, EthernetProtocol, HardwareAddress, Ipv4Packet, TcpOption, TcpPacket,
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
}

impl Rig {
    /// So many connections with buffers of so many octets each way.
    pub fn new(connections: usize, buffer: usize, config: ServerConfig) -> Self {
        Self::seeded(0x5eed, connections, buffer, config, Duration::ZERO)
    }

    /// The same from another seed, and with a cable that takes this time.
    pub fn seeded(
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
        stack.add_address(SERVER.into(), 24).expect("an address");
        stack.set_gateway(PEER.into()).expect("a route");
        let storage: Vec<_> = (0..connections).map(|_| Default::default()).collect();
        let mut server = Server::new(storage, config);
        server.listen(&mut stack, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 7))).expect("port 7");
        let service = Serve::new(server, Echo).observed_by(Journal::default());
        let mut rig = Self { stack, service, far, now: Instant::from_secs(1) };
        rig.send(&arp_reply(PEER));
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

    /// Lets time pass, from deadline to deadline. What the stack sends is dropped, but for ARP.
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

    /// The segments that have come to the far end, or are on their way there. ARP requests are answered.
    pub fn answers(&mut self) -> Vec<Answer> {
        let mut answers = Vec::new();
        let mut asked = Vec::new();
        while let Some((rx, _)) = self.far.receive(stamp(Instant::FAR_FUTURE)) {
            rx.consume(|frame| {
                answers.extend(Answer::parse(frame));
                asked.extend(asked_for(frame));
            });
        }
        if !asked.is_empty() {
            for ip in asked {
                self.send(&arp_reply(ip));
            }
            self.turn();
            answers.extend(self.answers());
        }
        answers
    }

    /// The peer opens a connection from `port`.
    #[track_caller]
    pub fn open(&mut self, port: u16) -> Peer {
        let address = SocketAddrV4::new(PEER, port);
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

/// The address that a frame asks for by ARP.
fn asked_for(frame: &[u8]) -> Option<Ipv4Addr> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    let packet = (ethernet.ethertype() == EthernetProtocol::Arp).then(|| ethernet.payload())?;
    match ArpRepr::parse(&ArpPacket::new_checked(packet).ok()?).ok()? {
        ArpRepr::EthernetIpv4 { target_protocol_addr, .. } => Some(target_protocol_addr),
        _ => None,
    }
}

/// The peer's side of a connection, as far as a test must know it.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddrV4,
    /// The next sequence number to send.
    pub seq: u32,
    /// The next one expected.
    pub ack: u32,
}

impl Peer {
    /// The next segment, with this payload. It does not count as sent.
    pub const fn segment<'a>(&self, payload: &'a [u8]) -> Segment<'a> {
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
    pub from: SocketAddrV4,
    pub to: SocketAddrV4,
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

    /// Checks that the frame is well-formed, and reads it; `None` if it is not TCP over IPv4.
    fn parse(frame: &[u8]) -> Option<Self> {
        let ethernet = EthernetFrame::new_checked(frame).expect("Ethernet");
        if ethernet.ethertype() != EthernetProtocol::Ipv4 {
            return None;
        }
        let ip = Ipv4Packet::new_checked(ethernet.payload()).expect("IPv4");
        if ip.next_header() != smoltcp::wire::IpProtocol::Tcp {
            return None;
        }
        let tcp = TcpPacket::new_checked(ip.payload()).expect("TCP");
        assert!(ip.verify_checksum() && tcp.verify_checksum(&ip.src_addr().into(), &ip.dst_addr().into()));
        let mss = match TcpOption::parse(tcp.options()) {
            Ok((_, TcpOption::MaxSegmentSize(mss))) => Some(mss),
            _ => None,
        };
        Some(Self {
            from: SocketAddrV4::new(ip.src_addr(), tcp.src_port()),
            to: SocketAddrV4::new(ip.dst_addr(), tcp.dst_port()),
            flags: ip.payload()[13],
            seq: tcp.seq_number().0 as u32,
            ack: tcp.ack_number().0 as u32,
            window: tcp.window_len(),
            mss,
            payload: tcp.payload().to_vec(),
        })
    }
}
