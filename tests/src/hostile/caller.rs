//! A client of socklet's behind a cable of its own, for those who mean it harm.

use super::Segment;
use super::neighbor::{asked_for, told};
use super::rig::{Answer, Stack, stamp};
use super::segment::GATEWAY_MAC;
use crate::cable::{CableEnd, CableOptions, cable};
use crate::{IpVersion, Pattern};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use smoltcp::phy::{Device, RxToken, TxToken};
use smoltcp::wire::{EthernetAddress, HardwareAddress};
use socklet::client::{Client, ClientConfig, Event};
use socklet::connection::Reason;
use socklet::smoltcp::{Config, Memory};
use socklet::stack::{Received, Sent, TcpStack};
use socklet::time::{Duration, Instant, earliest};

/// The client's hardware address.
pub(super) const CALLER_MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 3]);
/// Connections that its stack has room for.
pub(super) const SLOTS: usize = 2;
/// The client's send and receive buffer.
pub(super) const BUFFER: usize = 2048;

/// How a connection of the client's ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) reason: Reason,
    pub(super) at: Instant,
    /// When it will try again.
    pub(super) retry: Option<Instant>,
}

/// A client that sends a stream, and checks that what it receives is the same stream.
pub(super) struct Caller {
    pub(super) stack: Stack,
    pub(super) client: Client<Stack>,
    pub(super) now: Instant,
    pub(super) server: SocketAddr,
    pub(super) opened: u32,
    pub(super) ends: Vec<Ended>,
    pub(super) sent: Pattern,
    pub(super) received: Pattern,
    /// How much of the stream it sends on each connection.
    pub(super) length: u64,
    ip: IpAddr,
    far: CableEnd,
}

impl Caller {
    pub(super) fn new(version: IpVersion, config: ClientConfig, length: u64) -> Self {
        let [near, far] = cable(CableOptions { delay: Duration::ZERO, ..CableOptions::default() });
        let own = HardwareAddress::Ethernet(CALLER_MAC);
        let memory = Memory::allocate(SLOTS, BUFFER, BUFFER, 0);
        let mut stack = Stack::new(near, Config::new(own, 3), memory).expect("a stack");
        let (ip, prefix): (IpAddr, u8) = match version {
            IpVersion::V4 => (Ipv4Addr::new(10, 0, 0, 3).into(), 24),
            IpVersion::V6 => (Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 3).into(), 64),
        };
        stack.add_address(ip, prefix).expect("an address");
        let server = SocketAddr::new(version.server(), 7);
        Self {
            stack,
            client: Client::new(server, config, 4),
            now: Instant::from_secs(1),
            server,
            opened: 0,
            ends: Vec::new(),
            sent: Pattern::new(0),
            received: Pattern::new(0),
            length,
            ip,
            far,
        }
    }

    /// Its own address, while it has or makes a connection.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.client.local(&self.stack).ok()
    }

    /// A segment from the server's address, or so it says, to the client's.
    pub(super) fn forged(&self, to: SocketAddr, seq: u32) -> Segment<'static> {
        Segment { to, options: &[], ..Segment::syn(self.server, seq) }
    }

    /// Does what is to be done now; returns when it wants to be called next.
    #[track_caller]
    pub(super) fn turn(&mut self) -> Option<Instant> {
        for _ in 0..10_000 {
            while let Some(event) = self.client.poll(&mut self.stack, self.now) {
                self.take(event);
            }
            let next = earliest(self.client.deadline(), self.stack.poll(self.now));
            if next.is_none_or(|next| next > self.now) {
                return next;
            }
        }
        panic!("at {} there is always more to do", self.now)
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Opened { .. } => {
                self.opened += 1;
                (self.sent, self.received) = (Pattern::new(0), Pattern::new(0));
                self.send();
            }
            Event::Readable => self.receive(),
            Event::Writable => self.send(),
            Event::Closed { reason, retry, .. } => self.ends.push(Ended { reason, at: self.now, retry }),
        }
    }

    fn send(&mut self) {
        while let rest @ 1.. = self.length - self.sent.position() {
            let data = self.sent.next(rest.min(BUFFER as u64) as usize);
            // Whatever fails here ends the connection, which will be told of.
            let Ok(Sent::Queued(count)) = self.client.send(&mut self.stack, data) else { return };
            self.sent.advance(count);
        }
    }

    fn receive(&mut self) {
        let mut buffer = [0; BUFFER];
        loop {
            match self.client.recv(&mut self.stack, &mut buffer) {
                Ok(Received::Data(count)) => self.received.check(&buffer[..count]),
                Ok(Received::EndOfStream) => return self.client.close(&mut self.stack).unwrap_or(()),
                Ok(Received::WouldBlock) | Err(_) => return,
            }
        }
    }

    /// Puts a frame on its cable, whatever hardware address it has been for.
    pub(super) fn send_it(&mut self, mut frame: Vec<u8>) {
        frame[..6].copy_from_slice(CALLER_MAC.as_bytes());
        let token = self.far.transmit(stamp(self.now)).expect("the cable has room");
        token.consume(frame.len(), |bytes| bytes.copy_from_slice(&frame));
    }

    /// The frames that it has sent. Whomever it asks for is at the gateway's hardware address.
    pub(super) fn frames(&mut self) -> Vec<Vec<u8>> {
        let mut frames: Vec<Vec<u8>> = Vec::new();
        while let Some((rx, _)) = self.far.receive(stamp(Instant::FAR_FUTURE)) {
            rx.consume(|frame| frames.push(frame.to_vec()));
        }
        let asked: Vec<_> = frames.iter().filter_map(|frame| asked_for(frame)).collect();
        for ip in asked {
            self.send_it(told(self.ip, ip));
        }
        frames
    }

    /// The segments that it has sent, in a conversation with one who goes on at once.
    pub(super) fn segments(&mut self) -> Vec<Answer> {
        self.frames().iter().filter_map(|frame| Answer::parse(frame)).collect()
    }
}

/// A frame of the client's, such that the server takes it.
pub(super) fn readdressed(mut frame: Vec<u8>) -> Vec<u8> {
    frame[..6].copy_from_slice(super::SERVER_MAC.as_bytes());
    frame[6..12].copy_from_slice(GATEWAY_MAC.as_bytes());
    frame
}
