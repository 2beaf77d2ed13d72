//! Two hosts and what joins them, and the verbs that the behaviours are written in.

use crate::host::{ConnectionNo, Host, ListenerNo, Outcome};
use core::fmt::Debug;
use core::net::{IpAddr, SocketAddr};
use socklet::stack::{
    Capabilities, ConnectOptions, ErrorKind, ListenOptions, Readiness, Received, Sent, Status, Tag,
};
use socklet::time::{Duration, Instant, earliest};

/// The protocol that a world runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are what they say")]
pub enum IpVersion {
    V4,
    V6,
}

/// One of the two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that listens.
    Server,
    /// The one that connects.
    Client,
}

/// What a behaviour may rely on.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The server's address.
    pub server_ip: IpAddr,
    /// The address from which the client reaches the server.
    pub client_ip: IpAddr,
    /// Where a SYN from the client gets no answer at all. `None` only if the client cannot connect in the background.
    pub silent: Option<SocketAddr>,
    /// Connections that the server can have, if that is few enough to try. The client needs two more.
    pub server_slots: Option<usize>,
    /// Connections that the client can have, likewise.
    pub client_slots: Option<usize>,
    /// Within this time all that was sent has arrived.
    pub settle: Duration,
    /// Bytes each way in the long stream.
    pub stream: u64,
    /// Connections that are opened and ended one after another.
    pub churn: u32,
}

/// Bytes each way in the long stream: 100 MiB in a release build, or as many MiB as the environment's
/// `SOCKLET_STREAM_MIB` says, or else `debug`.
pub fn stream_bytes(debug: u64) -> u64 {
    match std::env::var("SOCKLET_STREAM_MIB").map(|mib| mib.parse::<u64>()) {
        Ok(Ok(mib)) => mib << 20,
        Ok(Err(_)) => panic!("SOCKLET_STREAM_MIB must be a whole number"),
        Err(_) if cfg!(debug_assertions) => debug,
        Err(_) => 100 << 20,
    }
}

/// Two hosts and what joins them: what you write to run the suite on a stack of your own.
///
/// Wrap each stack in a [`Stack`](crate::Stack).
pub trait World {
    /// One of the hosts.
    fn host(&mut self, side: Side) -> &mut dyn Host;
    /// What can be relied on.
    fn facts(&self) -> &Facts;
    /// The time, real or made.
    fn now(&self) -> Instant;
    /// Lets time pass: until one of the hosts has something to do, and no longer than to `deadline`.
    fn wait(&mut self, deadline: Option<Instant>);
    /// A port of the server that nobody uses, another one each time.
    fn unused_port(&mut self) -> u16;
}

/// A connection on one of the hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket {
    /// Where it is.
    pub side: Side,
    number: ConnectionNo,
}

/// How long a behaviour may take on its world's clock.
const WORLD_LIMIT: Duration = Duration::from_secs(600);

/// A [`World`] with verbs. Every wait ends: it panics when the behaviour has taken too long.
#[expect(missing_debug_implementations, reason = "a world need not have it")]
pub struct Testbed {
    world: Box<dyn World>,
    facts: Facts,
    world_deadline: Instant,
    real_deadline: std::time::Instant,
}

/// The calls of `TcpStack`, on the socket's own host.
#[expect(missing_docs, reason = "each is the method of TcpStack with the same name")]
impl Testbed {
    pub fn listen(&mut self, local: SocketAddr, options: &ListenOptions) -> Outcome<ListenerNo> {
        self.host(Side::Server).listen(local, options)
    }

    pub fn accept(&mut self, listener: ListenerNo) -> Outcome<Option<(Socket, SocketAddr)>> {
        let accepted = self.host(Side::Server).accept(listener)?;
        Ok(accepted.map(|(number, peer)| (Socket { side: Side::Server, number }, peer)))
    }

    pub fn listener_addr(&mut self, listener: ListenerNo) -> Outcome<SocketAddr> {
        self.host(Side::Server).listener_addr(listener)
    }

    pub fn close_listener(&mut self, listener: ListenerNo) -> Outcome<()> {
        self.host(Side::Server).close_listener(listener)
    }

    pub fn ready(&mut self, listener: ListenerNo) -> Option<(Socket, Tag, Readiness)> {
        let (number, tag, readiness) = self.host(Side::Server).ready(listener)?;
        assert!(!readiness.is_empty(), "readiness without a change");
        Some((Socket { side: Side::Server, number }, tag, readiness))
    }

    pub fn connect(&mut self, remote: SocketAddr, options: &ConnectOptions) -> Outcome<Socket> {
        let number = self.host(Side::Client).connect(remote, options)?;
        Ok(Socket { side: Side::Client, number })
    }

    pub fn status(&mut self, socket: Socket) -> Outcome<Status> {
        self.host(socket.side).status(socket.number)
    }

    pub fn set_tag(&mut self, socket: Socket, tag: Tag) -> Outcome<()> {
        self.host(socket.side).set_tag(socket.number, tag)
    }

    pub fn send(&mut self, socket: Socket, data: &[u8]) -> Outcome<Sent> {
        let sent = self.host(socket.side).send(socket.number, data);
        if let Ok(Sent::Queued(count)) = sent {
            assert!(count <= data.len(), "{count} of {} bytes queued", data.len());
            assert!(count > 0 || data.is_empty(), "nothing queued is WouldBlock, not Queued(0)");
        }
        sent
    }

    pub fn recv(&mut self, socket: Socket, buffer: &mut [u8]) -> Outcome<Received> {
        let received = self.host(socket.side).recv(socket.number, buffer);
        if let Ok(Received::Data(count)) = received {
            assert!(count <= buffer.len(), "{count} bytes received into {}", buffer.len());
            assert!(
                count > 0 || buffer.is_empty(),
                "nothing received is WouldBlock or EndOfStream, not Data(0)"
            );
        }
        received
    }

    pub fn send_with(&mut self, socket: Socket, mut fill: impl FnMut(&mut [u8]) -> usize) -> Outcome<Sent> {
        self.host(socket.side).send_with(socket.number, &mut fill)
    }

    pub fn recv_with(
        &mut self,
        socket: Socket,
        mut take: impl FnMut(&[u8]) -> usize,
    ) -> Outcome<Received<()>> {
        self.host(socket.side).recv_with(socket.number, &mut take)
    }

    pub fn shutdown(&mut self, socket: Socket) -> Outcome<()> {
        self.host(socket.side).shutdown(socket.number)
    }

    pub fn close(&mut self, socket: Socket) -> Outcome<()> {
        self.host(socket.side).close(socket.number)
    }

    pub fn abort(&mut self, socket: Socket) -> Outcome<()> {
        self.host(socket.side).abort(socket.number)
    }

    pub fn local_addr(&mut self, socket: Socket) -> Outcome<SocketAddr> {
        self.host(socket.side).local_addr(socket.number)
    }

    pub fn peer_addr(&mut self, socket: Socket) -> Outcome<SocketAddr> {
        self.host(socket.side).peer_addr(socket.number)
    }

    pub fn unsent(&mut self, socket: Socket) -> Outcome<usize> {
        self.host(socket.side).unsent(socket.number)
    }
}

/// The world.
impl Testbed {
    /// A testbed on `world` that fails after `real_limit`.
    pub fn new(world: Box<dyn World>, real_limit: Duration) -> Self {
        let facts = world.facts().clone();
        let world_deadline = world.now() + WORLD_LIMIT;
        Self { world, facts, world_deadline, real_deadline: std::time::Instant::now() + real_limit }
    }

    /// One of the hosts.
    pub fn host(&mut self, side: Side) -> &mut dyn Host {
        self.world.host(side)
    }

    /// What its stack can do.
    pub fn can(&mut self, side: Side) -> Capabilities {
        self.host(side).capabilities()
    }

    /// What can be relied on.
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The world's time.
    pub fn now(&self) -> Instant {
        self.world.now()
    }

    /// A port of the server that nobody uses.
    pub fn unused_port(&mut self) -> u16 {
        self.world.unused_port()
    }

    /// Polls both hosts once, and lets time pass until there is something to do. Gives what the server's `poll` gave.
    pub fn step(&mut self) -> Option<Instant> {
        let now = self.world.now();
        let server = self.host(Side::Server).poll(now);
        let client = self.host(Side::Client).poll(now);
        let deadline = earliest(server, client);
        if deadline.is_none_or(|deadline| deadline > now) {
            self.world.wait(deadline);
        }
        server
    }

    /// Steps until `check` gives a value. `what` is what did not happen when it never does.
    #[track_caller]
    pub fn until<T>(&mut self, what: &str, mut check: impl FnMut(&mut Self) -> Option<T>) -> T {
        let started = self.now();
        loop {
            if let Some(value) = check(self) {
                return value;
            }
            self.check_limits(what, started);
            self.step();
        }
    }

    /// The same, and it looks only when the server's `poll` has said that it is time to.
    #[track_caller]
    pub fn until_told<T>(&mut self, what: &str, mut check: impl FnMut(&mut Self) -> Option<T>) -> T {
        let started = self.now();
        let mut due = Some(started);
        loop {
            if due.is_some_and(|due| due <= self.now())
                && let Some(value) = check(self)
            {
                return value;
            }
            self.check_limits(what, started);
            due = self.step();
        }
    }

    #[track_caller]
    fn check_limits(&self, what: &str, started: Instant) {
        let waited = self.now().since(started);
        assert!(self.now() < self.world_deadline, "never: {what} (waited {waited:?} of the world's time)");
        let real = std::time::Instant::now() < self.real_deadline;
        assert!(real, "not in the real time that is given: {what} (waited {waited:?} of the world's time)");
    }

    /// Lets `duration` pass on the world's clock.
    #[track_caller]
    pub fn pass(&mut self, duration: Duration) {
        let end = self.now() + duration;
        self.until("the world's clock to go on", |t| (t.now() >= end).then_some(()));
    }

    /// Lets all that was sent arrive.
    #[track_caller]
    pub fn settle(&mut self) {
        self.pass(self.facts.settle);
    }
}

/// Asserts the error of a call.
#[track_caller]
pub fn fails<T: Debug>(outcome: Outcome<T>, kind: ErrorKind) {
    assert_eq!(outcome.map(drop), Err(kind));
}
