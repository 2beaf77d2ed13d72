//! The application: this very file runs on the boards, and on the host over a TAP and over the system's sockets.
//!
//! An echo server on port 7, a server on port 8080 that answers each message, and a client that keeps a connection to the host and
//! sends it a line a second.

use core::fmt::Arguments;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use socklet::client::{self, Backoff, Client, ClientConfig};
use socklet::connection::{Deadlines, Error, Reason, Traffic};
use socklet::server::{Server, ServerConfig, ServerSlot};
use socklet::service::{Echo, Observer, Reply, Serve, Service};
use socklet::stack::{ListenOptions, Received, Sent, TcpStack};
use socklet::storage::Id;
use socklet::time::{Duration, Instant, earliest};

pub const ECHO_PORT: u16 = 7;
pub const REPLY_PORT: u16 = 8080;
/// The host's port that the client connects to.
pub const HOST_PORT: u16 = 7000;

/// Connections that each server serves at once.
pub const ECHO_SLOTS: usize = 4;
pub const REPLY_SLOTS: usize = 2;
/// Connections that the stack needs: those of the servers, the client's, and one that may wait in the backlog.
pub const CONNECTIONS: usize = ECHO_SLOTS + REPLY_SLOTS + 2;

const ANSWER: &[u8] = b"Hello from socklet\n";
const LINE: &[u8] = b"still here\n";
const BETWEEN_LINES: Duration = Duration::from_secs(1);

/// Prints a line.
pub type Say = fn(Arguments<'_>);

/// The servers' memory. On a stack without zero-copy (the system's sockets) the echo needs `HOLDBACK` bytes more.
pub struct Slots<S: TcpStack, const HOLDBACK: usize = 0> {
    echo: [ServerSlot<S>; ECHO_SLOTS],
    reply: [ServerSlot<S>; REPLY_SLOTS],
    holdback: [u8; HOLDBACK],
}

impl<S: TcpStack, const HOLDBACK: usize> Slots<S, HOLDBACK> {
    /// Memory that nobody uses yet.
    pub const NEW: Self = Self {
        echo: [ServerSlot::<S>::EMPTY; ECHO_SLOTS],
        reply: [ServerSlot::<S>::EMPTY; REPLY_SLOTS],
        holdback: [0; HOLDBACK],
    };
}

/// The application.
pub struct App<'a, S: TcpStack> {
    echo: Serve<'a, S, Echo, Told>,
    reply: Serve<'a, S, Reply<&'static [u8]>, Told>,
    lines: Lines<S>,
}

impl<'a, S: TcpStack> App<'a, S> {
    /// Listens on `first_port` + 7 and + 8080, and connects to `host` from the next poll on.
    ///
    /// # Errors
    /// Those of `listen`.
    pub fn start<const HOLDBACK: usize>(
        stack: &mut S,
        slots: &'a mut Slots<S, HOLDBACK>,
        first_port: u16,
        host: SocketAddr,
        seed: u64,
        say: Say,
    ) -> Result<Self, Error<S::Error>> {
        let config = ServerConfig::DEFAULT
            .with_listen(ListenOptions::backlog(1))
            .with_deadlines(Deadlines::SERVER.with_idle(Some(Duration::from_secs(120))));
        let any = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), first_port + port);
        let mut echo = Server::new(&mut slots.echo[..], config).with_holdback(&mut slots.holdback[..]);
        echo.listen(stack, any(ECHO_PORT))?;
        let mut reply = Server::new(&mut slots.reply[..], config);
        reply.listen(stack, any(REPLY_PORT))?;
        Ok(Self {
            echo: Serve::new(echo, Echo).observed_by(Told { name: "echo", say }),
            reply: Serve::new(reply, Reply::new(ANSWER)).observed_by(Told { name: "reply", say }),
            lines: Lines::new(host, seed, say),
        })
    }

    /// Connections that are open, of each server and of the client.
    pub fn open(&self) -> (usize, usize, bool) {
        (self.echo.server.len(), self.reply.server.len(), self.lines.open)
    }
}

impl<S: TcpStack> Service<S> for App<'_, S> {
    fn poll(&mut self, stack: &mut S, now: Instant) -> Option<Instant> {
        let echo = self.echo.poll(stack, now);
        let reply = self.reply.poll(stack, now);
        let lines = self.lines.poll(stack, now);
        earliest(earliest(echo, reply), lines)
    }

    fn drain(&mut self, stack: &mut S, now: Instant, grace: Duration) {
        self.echo.drain(stack, now, grace);
        self.reply.drain(stack, now, grace);
        self.lines.drain(stack, now, grace);
    }

    fn is_drained(&self) -> bool {
        self.echo.is_drained() && self.reply.is_drained() && self.lines.is_drained()
    }
}

/// Says when a client comes, and when and why it leaves.
struct Told {
    name: &'static str,
    say: Say,
}

impl Observer for Told {
    fn opened(&mut self, _: Id, _: SocketAddr) {
        (self.say)(format_args!("{}: opened", self.name));
    }

    fn closed(&mut self, _: Id, _: SocketAddr, reason: Reason, traffic: Traffic) {
        let Traffic { received, sent, .. } = traffic;
        (self.say)(format_args!("{}: {received} bytes in, {sent} out, {reason}", self.name));
    }
}

/// Keeps a connection, and sends a line on it each second.
struct Lines<S: TcpStack> {
    client: Client<S>,
    next: Instant,
    /// What of a line is still to be sent.
    rest: &'static [u8],
    open: bool,
    say: Say,
}

impl<S: TcpStack> Lines<S> {
    fn new(host: SocketAddr, seed: u64, say: Say) -> Self {
        let retry = Backoff::DEFAULT;
        let config = ClientConfig::default().with_retry(Some(retry));
        Self { client: Client::new(host, config, seed), next: Instant::ZERO, rest: &[], open: false, say }
    }

    /// Throws away what the host says, and closes when it does.
    fn receive(&mut self, stack: &mut S) {
        loop {
            match self.client.recv(stack, &mut [0; 64]) {
                Ok(Received::Data(_)) => {}
                Ok(Received::EndOfStream) => return self.client.close(stack).unwrap_or(()),
                Ok(Received::WouldBlock) | Err(_) => return,
            }
        }
    }
}

impl<S: TcpStack> Service<S> for Lines<S> {
    fn poll(&mut self, stack: &mut S, now: Instant) -> Option<Instant> {
        while let Some(event) = self.client.poll(stack, now) {
            match event {
                client::Event::Opened { .. } => {
                    self.open = true;
                    self.next = now;
                    self.rest = &[];
                    (self.say)(format_args!("lines: opened"));
                }
                client::Event::Readable => self.receive(stack),
                client::Event::Writable => {}
                client::Event::Closed { reason, retry, .. } => {
                    self.open = false;
                    let again = if retry.is_some() { "again later" } else { "for good" };
                    (self.say)(format_args!("lines: {reason}, {again}"));
                }
            }
        }
        if self.open && self.next <= now {
            self.next = now + BETWEEN_LINES;
            if self.rest.is_empty() {
                self.rest = LINE;
            }
            // What has no room is sent with the next line's turn. An error ends the connection, and `Closed` will say so.
            if let Ok(Sent::Queued(count)) = self.client.send(stack, self.rest) {
                self.rest = self.rest.get(count..).unwrap_or_default();
            }
        }
        earliest(self.client.deadline(), self.open.then_some(self.next))
    }

    fn drain(&mut self, stack: &mut S, _: Instant, _: Duration) {
        self.client.stop();
        let _ = self.client.close(stack);
    }

    fn is_drained(&self) -> bool {
        !self.open
    }
}
