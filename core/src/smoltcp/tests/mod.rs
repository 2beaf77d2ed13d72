//! Traces of segments: the peer is a puppet that sends what the test says, or a second stack.

mod connecting;
mod ending;
mod hostile;
mod listening;
mod moving;
#[cfg(feature = "dhcp")]
mod others;
#[cfg(feature = "dhcp")]
mod secrets;
mod wire;

use super::*;
use crate::stack::{Backpressure, ConnectOptions, ListenOptions, Received, Sent, Status, TcpStack};
use crate::time::Duration;
use ::smoltcp::phy::{ChecksumCapabilities, DeviceCapabilities, RxToken, TxToken};
use ::smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
    IpProtocol, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};
use core::net::SocketAddr;
use std::collections::VecDeque;
use std::vec::Vec;

const MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 2]);
const PEER_MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);
const IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

#[derive(Default)]
struct Queues {
    rx: VecDeque<Vec<u8>>,
    tx: VecDeque<Vec<u8>>,
    /// Has no room for a frame.
    full: bool,
}

struct Rx(Vec<u8>);
struct Tx<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut frame = vec![0; length];
        let result = f(&mut frame);
        self.0.push_back(frame);
        result
    }
}

impl Device for Queues {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: ::smoltcp::time::Instant) -> Option<(Rx, Tx<'_>)> {
        Some((Rx(self.rx.pop_front()?), Tx(&mut self.tx)))
    }

    fn transmit(&mut self, _: ::smoltcp::time::Instant) -> Option<Tx<'_>> {
        (!self.full).then_some(Tx(&mut self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut caps = DeviceCapabilities::default();
        caps.max_transmission_unit = 1514;
        caps
    }
}

/// A stack, and the wire that a test holds the other end of.
struct Host<'a> {
    stack: SmoltcpStack<'a, Queues>,
    now: Instant,
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

impl<'a> Host<'a> {
    fn new<const N: usize>(storage: &'a mut Storage<'a, N, 512, 512>) -> Self {
        Self::configured(storage, |_| {})
    }

    fn configured<const N: usize, const RX: usize>(
        storage: &'a mut Storage<'a, N, RX, 512>,
        configure: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = Config::new(HardwareAddress::Ethernet(MAC), 42);
        configure(&mut config);
        let mut stack = SmoltcpStack::new(Queues::default(), config, storage).unwrap();
        stack.add_address(IP.into(), 24).unwrap();
        let mut host = Self { stack, now: Instant::from_secs(1) };
        host.learn_peer();
        host
    }

    /// The peer tells its hardware address.
    fn learn_peer(&mut self) {
        let arp = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Reply,
            source_hardware_addr: PEER_MAC,
            source_protocol_addr: PEER,
            target_hardware_addr: MAC,
            target_protocol_addr: IP,
        };
        let mut frame = vec![0; 14 + arp.buffer_len()];
        let mut ethernet = EthernetFrame::new_unchecked(&mut frame[..]);
        EthernetRepr { src_addr: PEER_MAC, dst_addr: MAC, ethertype: EthernetProtocol::Arp }
            .emit(&mut ethernet);
        arp.emit(&mut ArpPacket::new_unchecked(ethernet.payload_mut()));
        self.stack.device.rx.push_back(frame);
        self.settle();
    }

    /// Polls until nothing more is due now.
    fn settle(&mut self) -> Option<Instant> {
        for _ in 0..1_000 {
            match self.stack.poll(self.now) {
                Some(at) if at <= self.now => {}
                later => return later,
            }
        }
        panic!("the stack is never done")
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.settle();
    }

    /// The peer's segment arrives; what the stack answers is returned.
    fn arrives(&mut self, segment: TcpRepr<'_>) -> Vec<Answer> {
        self.stack.device.rx.push_back(frame(PEER, segment));
        self.settle();
        self.answers()
    }

    fn answers(&mut self) -> Vec<Answer> {
        self.stack.device.tx.drain(..).filter_map(|frame| answer(&frame)).collect()
    }

    /// The peer opens a connection from `port`; the handshake completes.
    #[track_caller]
    fn open(&mut self, port: u16) -> TcpSeqNumber {
        let synack = self.arrives(syn(port));
        let [Answer { control: TcpControl::Syn, seq, ack: Some(ack), .. }] = synack[..] else {
            panic!("no SYN|ACK but {synack:?}")
        };
        assert_eq!(ack, TcpSeqNumber(1001));
        assert!(self.arrives(TcpRepr { ack_number: Some(seq + 1), ..data(port, b"") }).is_empty());
        seq + 1
    }

    fn free(&self) -> usize {
        self.stack.slots().1
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Answer {
    port: u16,
    control: TcpControl,
    seq: TcpSeqNumber,
    ack: Option<TcpSeqNumber>,
    payload: usize,
}

fn answer(frame: &[u8]) -> Option<Answer> {
    let ethernet = EthernetFrame::new_checked(frame).unwrap();
    if ethernet.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let ip = Ipv4Packet::new_checked(ethernet.payload()).unwrap();
    let tcp = TcpPacket::new_checked(ip.payload()).unwrap();
    let caps = ChecksumCapabilities::default();
    let repr = TcpRepr::parse(&tcp, &ip.src_addr().into(), &ip.dst_addr().into(), &caps).unwrap();
    Some(Answer {
        port: repr.dst_port,
        control: repr.control,
        seq: repr.seq_number,
        ack: repr.ack_number,
        payload: repr.payload.len(),
    })
}

fn frame(from: Ipv4Addr, tcp: TcpRepr<'_>) -> Vec<u8> {
    let caps = ChecksumCapabilities::default();
    let ip = Ipv4Repr {
        src_addr: from,
        dst_addr: IP,
        next_header: IpProtocol::Tcp,
        payload_len: tcp.buffer_len(),
        hop_limit: 64,
    };
    let mut frame = vec![0; 14 + ip.buffer_len() + tcp.buffer_len()];
    let mut ethernet = EthernetFrame::new_unchecked(&mut frame[..]);
    EthernetRepr { src_addr: PEER_MAC, dst_addr: MAC, ethertype: EthernetProtocol::Ipv4 }.emit(&mut ethernet);
    let mut packet = Ipv4Packet::new_unchecked(ethernet.payload_mut());
    ip.emit(&mut packet, &caps);
    tcp.emit(&mut TcpPacket::new_unchecked(packet.payload_mut()), &from.into(), &IP.into(), &caps);
    frame
}

fn syn(port: u16) -> TcpRepr<'static> {
    TcpRepr {
        src_port: port,
        dst_port: 7,
        control: TcpControl::Syn,
        seq_number: TcpSeqNumber(1000),
        ack_number: None,
        window_len: 4096,
        window_scale: None,
        max_seg_size: Some(1460),
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: b"",
    }
}

/// The peer's first segment after the handshake; its acknowledgement number is the caller's to set.
fn data(port: u16, payload: &[u8]) -> TcpRepr<'_> {
    TcpRepr {
        control: TcpControl::None,
        seq_number: TcpSeqNumber(1001),
        max_seg_size: None,
        payload,
        src_port: port,
        ..syn(port)
    }
}

fn fin(port: u16, ack: TcpSeqNumber) -> TcpRepr<'static> {
    TcpRepr { control: TcpControl::Fin, ack_number: Some(ack), ..data(port, b"") }
}

const ECHO: &str = "0.0.0.0:7";
