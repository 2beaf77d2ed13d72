//! A rig with honest guests on its network, and a line of limited rate before it.

use super::neighbor::{asked_for, neighbor};
use super::rig::{Rig, stamp};
use crate::cable::{CableEnd, CableOptions, cable};
use crate::{IpVersion, Pattern};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use smoltcp::phy::{Device, RxToken, TxToken};
use smoltcp::wire::{EthernetAddress, HardwareAddress};
use socklet::smoltcp::{Config, ConnectionHandle, Memory, SmoltcpStack};
use socklet::stack::{ConnectOptions, Received, Sent, TcpStack};
use socklet::time::{Duration, Instant};
use std::collections::VecDeque;

/// The world's step, and the time that a frame of an attack at 10,000 a second has.
pub(super) const TICK: Duration = Duration::from_micros(100);
/// 100 Mbit/s.
const OCTETS_PER_TICK: usize = 1250;
/// Frames that wait before the line.
const QUEUE: usize = 256;

/// An honest host with smoltcp behind its own cable.
#[derive(Debug)]
pub struct Guest {
    /// Its stack.
    pub stack: SmoltcpStack<'static, CableEnd>,
    far: CableEnd,
    mac: EthernetAddress,
    server: SocketAddr,
    streams: Vec<Stream>,
}

/// A connection that sends a stream without end and checks its echo.
#[derive(Debug)]
struct Stream {
    connection: ConnectionHandle,
    sent: Pattern,
    echoed: Pattern,
}

impl Guest {
    /// Host number `number`, with buffers of 2 KiB.
    pub fn new(number: u8, version: IpVersion) -> Self {
        let [near, far] = cable(CableOptions { delay: Duration::ZERO, ..CableOptions::default() });
        let mac = EthernetAddress([2, 0, 0, 0, 0, number]);
        let config = Config::new(HardwareAddress::Ethernet(mac), number.into());
        let mut stack = SmoltcpStack::new(near, config, Memory::allocate(8, 2048, 2048, 0)).expect("a stack");
        let (ip, prefix): (IpAddr, u8) = match version {
            IpVersion::V4 => (Ipv4Addr::new(10, 0, 0, number).into(), 24),
            IpVersion::V6 => (Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()).into(), 64),
        };
        stack.add_address(ip, prefix).expect("an address");
        Self { stack, far, mac, server: SocketAddr::new(version.server(), 7), streams: Vec::new() }
    }

    /// Opens a connection to the server.
    pub fn connect(&mut self) -> ConnectionHandle {
        self.stack.connect(self.server, &ConnectOptions::default()).expect("a connection")
    }

    /// Opens one more connection that carries a stream.
    pub fn start_stream(&mut self) {
        let connection = self.connect();
        let seed = self.streams.len() as u64;
        self.streams.push(Stream { connection, sent: Pattern::new(seed), echoed: Pattern::new(seed) });
    }

    /// Bytes that all streams together have had echoed, and checked.
    pub fn echoed(&self) -> u64 {
        self.streams.iter().map(|stream| stream.echoed.position()).sum()
    }

    fn turn(&mut self, now: Instant) {
        for _ in 0..16 {
            for Stream { connection, sent, echoed } in &mut self.streams {
                while let Ok(Sent::Queued(count)) = self.stack.send(*connection, sent.next(2048)) {
                    sent.advance(count);
                }
                let mut buffer = [0; 2048];
                while let Ok(Received::Data(count)) = self.stack.recv(*connection, &mut buffer) {
                    echoed.check(&buffer[..count]);
                }
            }
            if self.stack.poll(now).is_none_or(|next| next > now) {
                break;
            }
        }
    }
}

/// The rig, its guests, and the line between them.
#[derive(Debug)]
pub struct Lan {
    /// The server.
    pub rig: Rig,
    /// The honest hosts.
    pub guests: Vec<Guest>,
    waiting: VecDeque<Vec<u8>>,
    credit: usize,
}

impl Lan {
    /// With one guest.
    pub fn new(rig: Rig, guest: Guest) -> Self {
        Self { rig, guests: vec![guest], waiting: VecDeque::new(), credit: 0 }
    }

    /// One tick: `attack` arrives among the guests' frames.
    pub fn tick(&mut self, attack: Option<Vec<u8>>) {
        self.rig.now = self.rig.now + TICK;
        let now = self.rig.now;
        self.waiting.extend(attack);
        for guest in &mut self.guests {
            guest.turn(now);
            while let Some((rx, _)) = guest.far.receive(stamp(now)) {
                rx.consume(|frame| self.waiting.push_back(frame.to_vec()));
            }
        }
        self.waiting.truncate(QUEUE);
        self.credit = (self.credit + OCTETS_PER_TICK).min(2 * OCTETS_PER_TICK);
        while let Some(frame) = self.waiting.pop_front_if(|frame| frame.len() <= self.credit) {
            self.credit -= frame.len();
            self.rig.send(&frame);
        }
        self.rig.turn();
        self.deliver(now);
    }

    /// Takes what the server sent to where it goes. What goes to the router is lost: nobody has those addresses.
    fn deliver(&mut self, now: Instant) {
        let router = self.rig.version.peer();
        let mut asks_for_router = false;
        while let Some((rx, _)) = self.rig.far.receive(stamp(now)) {
            rx.consume(|frame| {
                let to = EthernetAddress::from_bytes(&frame[..6]);
                asks_for_router |= asked_for(frame) == Some(router);
                for guest in self.guests.iter_mut().filter(|guest| to.is_multicast() || to == guest.mac) {
                    if let Some(token) = guest.far.transmit(stamp(now)) {
                        token.consume(frame.len(), |bytes| bytes.copy_from_slice(frame));
                    }
                }
            });
        }
        if asks_for_router {
            self.waiting.push_back(neighbor(router));
        }
    }
}
