//! What most behaviours begin with and end with.

use crate::host::{ListenerNo, Outcome};
use crate::pattern::Pattern;
use crate::testbed::{Side, Socket, Testbed, fails};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use socklet::stack::{Backpressure, ConnectOptions, ErrorKind, ListenOptions, Received, Sent, Status};

impl Testbed {
    /// The address to listen on: the server's own, or any where the stack cannot choose.
    pub fn bind_addr(&mut self, port: u16) -> SocketAddr {
        let any: IpAddr = match self.facts().server_ip {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let ip = if self.can(Side::Server).bind_addr { self.facts().server_ip } else { any };
        SocketAddr::new(ip, port)
    }

    /// Where to connect to.
    pub const fn server_addr(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.facts().server_ip, port)
    }

    /// Listens on an unused port.
    #[track_caller]
    pub fn listening(&mut self) -> (ListenerNo, SocketAddr) {
        self.listening_with(&ListenOptions::backlog(8))
    }

    /// The same with options.
    #[track_caller]
    pub fn listening_with(&mut self, options: &ListenOptions) -> (ListenerNo, SocketAddr) {
        let port = self.unused_port();
        let local = self.bind_addr(port);
        let listener = self.listen(local, options).expect("listen on an unused port");
        (listener, self.server_addr(port))
    }

    /// The same with [`Backpressure::Refuse`]; `None` if the stack cannot, having asserted that it says so.
    #[track_caller]
    pub fn listening_refusing(&mut self, backlog: usize) -> Option<(ListenerNo, SocketAddr)> {
        let options = ListenOptions::backlog(backlog).with_backpressure(Backpressure::Refuse);
        if self.can(Side::Server).backlog {
            return Some(self.listening_with(&options));
        }
        let port = self.unused_port();
        let local = self.bind_addr(port);
        fails(self.listen(local, &options), ErrorKind::Unsupported);
        None
    }

    /// Starts to connect.
    #[track_caller]
    pub fn connecting(&mut self, remote: SocketAddr) -> Socket {
        self.connect(remote, &ConnectOptions::default()).expect("connect")
    }

    /// Waits until the handshake is over, well or not.
    #[track_caller]
    pub fn outcome(&mut self, socket: Socket) -> Status {
        self.until("the handshake to end", |t| {
            Some(t.status(socket).expect("status")).filter(|status| *status != Status::Connecting)
        })
    }

    /// Connects, and waits until that is done.
    #[track_caller]
    pub fn connected(&mut self, remote: SocketAddr) -> Socket {
        let client = self.connecting(remote);
        assert_eq!(self.outcome(client), Status::Open);
        client
    }

    /// Connects and gives how that failed, whether the stack knew it at once or later.
    #[track_caller]
    pub fn failure(&mut self, remote: SocketAddr, options: &ConnectOptions) -> ErrorKind {
        match self.connect(remote, options) {
            Err(kind) => kind,
            Ok(client) => match self.outcome(client) {
                Status::Failed(kind) => kind,
                status => panic!("connect to {remote} must fail and is {status:?}"),
            },
        }
    }

    /// Waits for a newcomer, and for a slot for it.
    #[track_caller]
    pub fn accepted(&mut self, listener: ListenerNo) -> (Socket, SocketAddr) {
        self.until("a connection to accept", |t| match t.accept(listener) {
            Err(ErrorKind::NoSlot) => None,
            accepted => accepted.expect("accept"),
        })
    }

    /// One connection: the client's end, the server's end and the listener.
    #[track_caller]
    pub fn pair(&mut self) -> (Socket, Socket, ListenerNo) {
        let (listener, addr) = self.listening();
        let (client, server) = self.pair_on(listener, addr);
        (client, server, listener)
    }

    /// One connection more.
    #[track_caller]
    pub fn pair_on(&mut self, listener: ListenerNo, addr: SocketAddr) -> (Socket, Socket) {
        let client = self.connected(addr);
        let (server, _) = self.accepted(listener);
        (client, server)
    }

    /// The same connection seen from `side` first.
    #[track_caller]
    pub fn pair_from(&mut self, side: Side) -> (Socket, Socket) {
        let (client, server, _) = self.pair();
        match side {
            Side::Client => (client, server),
            Side::Server => (server, client),
        }
    }

    /// Queues all of `data`, waiting for room.
    #[track_caller]
    pub fn send_all(&mut self, socket: Socket, mut data: &[u8]) {
        while !data.is_empty() {
            let count = self.until("room to send", |t| match t.send(socket, data).expect("send") {
                Sent::Queued(count) => Some(count),
                Sent::WouldBlock => None,
            });
            data = &data[count..];
        }
    }

    /// Receives `len` bytes.
    #[track_caller]
    pub fn recv_exactly(&mut self, socket: Socket, len: usize) -> Vec<u8> {
        let mut all = vec![0; len];
        let mut filled = 0;
        while filled < len {
            filled +=
                self.until("bytes to receive", |t| match t.recv(socket, &mut all[filled..]).expect("recv") {
                    Received::Data(count) => Some(count),
                    Received::WouldBlock => None,
                    Received::EndOfStream => panic!("end of stream after {filled} of {len} bytes"),
                });
        }
        all
    }

    /// Receives until the end of the stream.
    #[track_caller]
    pub fn recv_to_end(&mut self, socket: Socket) -> Vec<u8> {
        let mut all = Vec::new();
        let mut buffer = vec![0; 4096];
        self.until("the end of the stream", |t| {
            loop {
                match t.recv(socket, &mut buffer).expect("recv") {
                    Received::Data(count) => all.extend_from_slice(&buffer[..count]),
                    Received::WouldBlock => return None,
                    Received::EndOfStream => return Some(()),
                }
            }
        });
        all
    }

    /// Receives until that fails, and gives the reason. An end of the stream is not a failure.
    #[track_caller]
    pub fn recv_to_failure(&mut self, socket: Socket) -> ErrorKind {
        let mut buffer = [0; 4096];
        self.until("recv to fail", |t| {
            loop {
                match t.recv(socket, &mut buffer) {
                    Ok(Received::Data(_)) => {}
                    Ok(Received::WouldBlock) => return None,
                    Ok(Received::EndOfStream) => panic!("end of stream instead of a failure"),
                    Err(kind) => return Some(kind),
                }
            }
        })
    }

    /// Receives until that comes to an end, whichever it is, and gives what `recv` said then.
    #[track_caller]
    pub fn recv_to_any_end(&mut self, socket: Socket) -> Outcome<Received> {
        let mut buffer = [0; 4096];
        self.until("the connection to end", |t| {
            loop {
                match t.recv(socket, &mut buffer) {
                    Ok(Received::Data(_)) => {}
                    Ok(Received::WouldBlock) => return None,
                    end @ (Ok(Received::EndOfStream) | Err(_)) => return Some(end),
                }
            }
        })
    }

    /// Sends `message` from one end and receives it at the other.
    #[track_caller]
    pub fn carries(&mut self, from: Socket, to: Socket, message: &[u8]) {
        self.send_all(from, message);
        assert_eq!(self.recv_exactly(to, message.len()), message);
    }

    /// Sends something both ways.
    #[track_caller]
    pub fn works(&mut self, a: Socket, b: Socket) {
        self.carries(a, b, b"there");
        self.carries(b, a, b"and back");
    }

    /// Queues bytes of `pattern` until neither the stacks nor the wire between take any more, while nobody receives.
    #[track_caller]
    pub fn send_until_full(&mut self, socket: Socket, pattern: &mut Pattern) {
        loop {
            let before = pattern.position();
            while let Sent::Queued(count) = self.send(socket, pattern.next(3000)).expect("send") {
                pattern.advance(count);
                assert!(pattern.position() < 256 << 20, "send takes bytes without end while nobody receives");
            }
            if pattern.position() == before {
                return;
            }
            self.settle();
        }
    }

    /// Ends the stream in this direction, by `close` where the stack has no half-close.
    #[track_caller]
    pub fn shutdown_or_close(&mut self, socket: Socket) {
        if self.can(socket.side).half_close { self.shutdown(socket) } else { self.close(socket) }
            .expect("close");
    }

    /// Receives `len` bytes and checks them.
    #[track_caller]
    pub fn recv_pattern(&mut self, socket: Socket, pattern: &mut Pattern, len: u64) {
        let end = pattern.position() + len;
        let mut buffer = vec![0; 16 * 1024];
        while pattern.position() < end {
            let wanted = (end - pattern.position()).min(buffer.len() as u64) as usize;
            self.until("bytes to receive", |t| match t.recv(socket, &mut buffer[..wanted]).expect("recv") {
                Received::Data(count) => {
                    pattern.check(&buffer[..count]);
                    Some(())
                }
                Received::WouldBlock => None,
                Received::EndOfStream => panic!("end of stream at byte {} of {end}", pattern.position()),
            });
        }
    }
}
