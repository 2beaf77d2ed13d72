//! Carries TCP connections from one network of this machine into another.
//!
//! A socket stays in the network namespace of the thread that made it. So a relay's listeners are made where its clients are, and
//! [`Relay::spawn`] is called where its targets are. Into the sandbox:
//!
//! ```no_run
//! # use socklet_hosted::{relay::{Options, Relay}, sandbox::Sandbox};
//! # fn main() -> Result<(), Box<dyn core::error::Error>> {
//! # let sandbox = Sandbox::new()?;
//! let listener = std::net::TcpListener::bind("127.0.0.1:8080")?;
//! let target = (sandbox.network().stack_v4, 8080).into();
//! let relay = sandbox.run(move || Relay::spawn([(listener, target)], Options::default()))?;
//! # Ok(()) }
//! ```
//!
//! And out of it, for a client on smoltcp that connects to `host_v4`:
//!
//! ```no_run
//! # use socklet_hosted::{relay::{Options, Relay}, sandbox::Sandbox};
//! # fn main() -> Result<(), Box<dyn core::error::Error>> {
//! # let sandbox = Sandbox::new()?;
//! let host = sandbox.network().host_v4;
//! let listener = sandbox.run(move || std::net::TcpListener::bind((host, 0)))?;
//! let port = listener.local_addr()?.port(); // for the client to connect to
//! let relay = Relay::spawn([(listener, "127.0.0.1:8080".parse()?)], Options::default())?;
//! # Ok(()) }
//! ```
//!
//! Each side's half-close reaches the other side as a half-close, and a reset as a reset; a target that refuses or is out of reach
//! resets the client. A side that does not read holds up the other, with one buffer of bytes between them.

mod link;

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use link::{Link, Next, reset};
use mio::event::Source;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use socket2::{Domain, Socket, Type};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

const WAKER: Token = Token(usize::MAX);
/// How long no connection is accepted after the system could not make one.
const PAUSE: Duration = Duration::from_millis(100);

/// How to relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Bytes of the buffer for each direction of each connection. At least 1 is used.
    pub buffer_len: usize,
    /// Connections at once; the next ones wait in the listener's backlog.
    pub max_connections: usize,
    /// How long a target may take to answer before its client is reset, with a [failure](Failures) that says `TimedOut`. `None`: as long
    /// as the system tries, which may be minutes.
    pub connect_timeout: Option<Duration>,
}

/// 16 KiB, 16,384 connections, and the system's patience.
impl Default for Options {
    fn default() -> Self {
        Self { buffer_len: 16 << 10, max_connections: 16 << 10, connect_timeout: None }
    }
}

/// Who is behind the connections that a relay makes.
#[derive(Debug, Clone, Default)]
pub struct Peers(Arc<Mutex<HashMap<(bool, u16), SocketAddr>>>);

impl Peers {
    /// The client's own address, for the address that the target sees.
    ///
    /// It stays known after the end of the connection, until the port is used again.
    pub fn client(&self, seen: SocketAddr) -> Option<SocketAddr> {
        self.lock().get(&(seen.is_ipv6(), seen.port())).copied()
    }

    fn insert(&self, seen: SocketAddr, client: SocketAddr) {
        self.lock().insert((seen.is_ipv6(), seen.port()), client);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(bool, u16), SocketAddr>> {
        // Each change is one insert.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why the last target that could not be reached could not.
#[derive(Debug, Clone, Default)]
pub struct Failures(Arc<Mutex<Option<io::Error>>>);

impl Failures {
    /// Takes it: the client that it concerns sees a reset, and cannot tell.
    pub fn take(&self) -> Option<io::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, error: io::Error) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

/// Who is told when a target was reached.
#[derive(Clone, Default)]
struct Watcher(Arc<Mutex<Option<Tell>>>);

type Tell = Box<dyn FnMut() + Send>;

impl Watcher {
    fn set(&self, tell: Tell) {
        *self.lock() = Some(tell);
    }

    fn tell(&self) {
        if let Some(tell) = &mut *self.lock() {
            tell();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Tell>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").finish_non_exhaustive()
    }
}

/// A thread that relays. Dropping it resets its connections.
#[derive(Debug)]
pub struct Relay {
    control: Arc<Control>,
    peers: Peers,
    failures: Failures,
    watcher: Watcher,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Control {
    waker: Waker,
    /// No new connections; end with the last one.
    drain: AtomicBool,
    /// End now.
    stop: AtomicBool,
}

impl Relay {
    /// Starts to relay each listener's connections to the address beside it, which is reached from the calling thread's network.
    ///
    /// # Errors
    /// The system has no descriptor or thread left.
    pub fn spawn(
        routes: impl IntoIterator<Item = (std::net::TcpListener, SocketAddr)>,
        options: Options,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let control = Arc::new(Control { waker, drain: false.into(), stop: false.into() });
        let mut listeners = Vec::new();
        for (listener, target) in routes {
            listener.set_nonblocking(true)?;
            let mut listener = TcpListener::from_std(listener);
            poll.registry().register(&mut listener, Token(listeners.len()), Interest::READABLE)?;
            listeners.push((listener, target));
        }
        let (peers, failures, watcher) = (Peers::default(), Failures::default(), Watcher::default());
        let run = Run {
            poll,
            next_token: listeners.len(),
            listeners,
            options,
            peers: peers.clone(),
            failures: failures.clone(),
            watcher: watcher.clone(),
            links: HashMap::new(),
            connecting: VecDeque::new(),
            ready: Vec::new(),
            said: false,
        };
        let watched = Arc::clone(&control);
        let body = move || {
            if let Err(error) = run.run(&watched) {
                log::error!("the relay ends: the system refuses to wait ({error})");
            }
        };
        let thread = Some(thread::Builder::new().name("relay".into()).spawn(body)?);
        Ok(Self { control, peers, failures, watcher, thread })
    }

    /// Who is behind the connections that it makes.
    pub fn peers(&self) -> Peers {
        self.peers.clone()
    }

    /// Why targets could not be reached.
    pub fn failures(&self) -> Failures {
        self.failures.clone()
    }

    /// Has `tell` called, on the relay's thread, whenever a target was reached and before anything is carried to or from it: what its
    /// client is told, it cannot see.
    pub fn on_reached(&self, tell: impl FnMut() + Send + 'static) {
        self.watcher.set(Box::new(tell));
    }

    /// Takes no new connections, lets those that are open finish within `grace`, and resets the rest.
    pub fn finish(mut self, grace: Duration) {
        self.control.drain.store(true, Ordering::Release);
        self.wake();
        let deadline = Instant::now() + grace;
        while self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        self.end();
    }

    fn wake(&self) {
        if let Err(error) = self.control.waker.wake() {
            log::warn!("the relay cannot be woken ({error})");
        }
    }

    fn end(&mut self) {
        self.control.stop.store(true, Ordering::Release);
        self.wake();
        if let Some(thread) = self.thread.take() {
            // What it panics with has been printed.
            let _ = thread.join();
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the thread owns. A link has two tokens: an even distance from the first for the client, the next for the target.
struct Run {
    poll: Poll,
    listeners: Vec<(TcpListener, SocketAddr)>,
    options: Options,
    peers: Peers,
    failures: Failures,
    watcher: Watcher,
    links: HashMap<usize, Link>,
    /// Links whose target has until then to answer, the first one first; those that it has answered go in their turn.
    connecting: VecDeque<(Instant, usize)>,
    next_token: usize,
    /// Links that have more to do.
    ready: Vec<usize>,
    /// It was said that none can be accepted, and none was since.
    said: bool,
}

impl Run {
    fn run(mut self, control: &Control) -> io::Result<()> {
        let first = self.next_token;
        let mut events = Events::with_capacity(1024);
        let mut accepting = true;
        loop {
            let late = self.give_up_late().map(|at| at.saturating_duration_since(Instant::now()));
            let timeout = match (self.ready.is_empty(), accepting) {
                (false, _) => Some(Duration::ZERO),
                (true, true) => late,
                (true, false) => Some(late.map_or(PAUSE, |late| late.min(PAUSE))),
            };
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            let mut ready = core::mem::take(&mut self.ready);
            let of_links = events.iter().map(|event| event.token().0).filter(|&token| token >= first);
            ready.extend(of_links.filter(|&token| token != WAKER.0).map(|token| token - (token - first) % 2));
            ready.sort_unstable();
            ready.dedup();
            ready.into_iter().for_each(|token| self.advance(token));

            if control.drain.load(Ordering::Acquire) {
                self.listeners.clear();
            }
            if control.stop.load(Ordering::Acquire) || self.listeners.is_empty() && self.links.is_empty() {
                self.links.into_values().for_each(Link::abort);
                return Ok(());
            }
            if !accepting || events.iter().any(|event| event.token().0 < first) {
                accepting = self.accept();
            }
        }
    }

    /// Accepts what waits. Returns `false` if some may be left.
    fn accept(&mut self) -> bool {
        for index in 0..self.listeners.len() {
            loop {
                if self.links.len() >= self.options.max_connections {
                    return false;
                }
                let (listener, target) = &self.listeners[index];
                let target = *target;
                // Its socket first: who has been accepted and cannot be passed on has to be reset, and who has not can wait.
                let socket = Socket::new(Domain::for_address(target), Type::STREAM, None);
                match socket.and_then(|socket| Ok((socket, listener.accept()?))) {
                    Ok((socket, (client, address))) => {
                        self.said = false;
                        self.open(client, address, socket, target);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // It was reset before it was accepted.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(error) => {
                        // Links that are busy make it try often.
                        if !core::mem::replace(&mut self.said, true) {
                            log::warn!(
                                "the relay cannot accept a connection now ({error}): raise `ulimit -n`"
                            );
                        }
                        return false;
                    }
                }
            }
        }
        true
    }

    fn open(&mut self, client: TcpStream, address: SocketAddr, socket: Socket, target: SocketAddr) {
        match self.connect(address, socket, target) {
            Err(error) => {
                log::debug!("{target} cannot be reached for {address} ({error})");
                self.failures.put(error);
                reset(client);
            }
            Ok(stream) => {
                let token = self.next_token;
                self.next_token += 2;
                let mut link = Link::new(client, stream, self.options.buffer_len.max(1));
                let _ = link.client.set_nodelay(true);
                let registry = self.poll.registry();
                let registered = register(registry, &mut link.client, token)
                    .and_then(|()| register(registry, &mut link.target, token + 1));
                match registered {
                    Ok(()) => {
                        let until =
                            self.options.connect_timeout.and_then(|limit| Instant::now().checked_add(limit));
                        self.connecting.extend(until.map(|until| (until, token)));
                        self.links.insert(token, link);
                    }
                    Err(_) => link.abort(),
                }
            }
        }
    }

    /// Starts to connect, from a port that [`Peers`] knows before the target does.
    fn connect(&self, client: SocketAddr, socket: Socket, target: SocketAddr) -> io::Result<TcpStream> {
        let any = match target {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.bind(&any.into())?;
        if let Some(local) = socket.local_addr()?.as_socket() {
            self.peers.insert(local, client);
        }
        match socket.connect(&target.into()) {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                Err(error)
            }
            _ => Ok(TcpStream::from_std(socket.into())),
        }
    }

    fn advance(&mut self, token: usize) {
        let Some(link) = self.links.get_mut(&token) else { return };
        let advanced = link.reach().and_then(|reached| {
            if reached {
                self.watcher.tell();
            }
            link.advance()
        });
        match advanced {
            Ok(Next::Wait) => {}
            Ok(Next::Again) => self.ready.push(token),
            Ok(Next::Finished) => drop(self.links.remove(&token)),
            Err(error) => self.fail(token, error),
        }
    }

    fn fail(&mut self, token: usize, error: io::Error) {
        if let Some(link) = self.links.remove(&token) {
            if !link.is_connected() {
                self.failures.put(error);
            }
            link.abort();
        }
    }

    /// Gives up the targets that have not answered in time. Returns when the next one is due.
    fn give_up_late(&mut self) -> Option<Instant> {
        while let Some(&(until, token)) = self.connecting.front() {
            let waits = self.links.get(&token).is_some_and(|link| !link.is_connected());
            if waits && Instant::now() < until {
                return Some(until);
            }
            self.connecting.pop_front();
            if waits {
                self.fail(token, io::ErrorKind::TimedOut.into());
            }
        }
        None
    }
}

fn register(registry: &Registry, source: &mut impl Source, token: usize) -> io::Result<()> {
    registry.register(source, Token(token), Interest::READABLE | Interest::WRITABLE)
}

#[cfg(test)]
mod tests;
