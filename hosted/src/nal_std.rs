//! [`TcpStack`](socklet::stack::TcpStack) on std-embedded-nal, through core's adapter: the proof on a host that a stack of the
//! embedded-nal kind serves.
//!
//! What std-embedded-nal lacks is mended where a descriptor allows it: accepted sockets are made non-blocking; `close` lingers, as in
//! [`os`], instead of resetting what is on its way; a reset or a timeout is not taken for the end of the stream; peers that come to
//! the `[::]` that it binds over IPv4 have their IPv4 address; `connect`, which blocks, does so on a thread of its own, because its sockets have no
//! descriptor before it has returned. An attempt that is given up goes on there until the system gives it up too, after about two minutes on
//! Linux (`net.ipv4.tcp_syn_retries`); should it succeed, that connection is closed.
//!
//! What remains: it listens on every address only, and needs IPv6 for that.

mod attempt;
#[cfg(test)]
mod tests;

use crate::os;
use attempt::Attempt;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use embedded_nal::{TcpClientStack, TcpErrorKind, TcpFullStack, nb};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::SockRef;
use socklet::nal::{FromNal, FullStack, NalOptions, OnZero};
use socklet::storage::SlabSlot;
use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;
use std_embedded_nal::Stack;

type TcpSocket = <Stack as TcpClientStack>::TcpSocket;
type TcpError = <Stack as TcpClientStack>::Error;

/// A `TcpStack` on std-embedded-nal.
pub type NalStd = FromNal<'static, StdNal, FullStack>;

/// How long a closed connection may take to end in order before it is reset.
const LINGER: Duration = Duration::from_secs(30);

/// How often all sockets are tried where their descriptors are watched: should the system have refused to watch one.
const WATCHED_INTERVAL: Duration = Duration::from_millis(50);

/// Events taken from the system in one wait; those that find no room come in the next.
const EVENTS: usize = 64;

/// What is watched.
const SOCKET: Token = Token(0);
const WAKE: Token = Token(1);

/// A stack for so many listeners and connections, whose sockets are tried once in each `interval`: that is the price in latency, and, for
/// short ones, in processor time.
///
/// Between polls, sleep until the time that `poll` gave. A [`Driver`](crate::driver::Driver) watches the descriptors instead: it sleeps until one
/// has something, and tries all of them at once then.
pub fn nal_std(listeners: usize, connections: usize, interval: Duration) -> NalStd {
    let options = NalOptions::new(OnZero::EndOfStream)
        .with_interval(interval)
        .with_classify(|error: &StdError| os::kind_of(&error.0));
    let watch = Watch::new().ok();
    let stack = StdNal {
        inner: Stack,
        lingering: VecDeque::new(),
        most: connections,
        threads: Arc::default(),
        watch,
    };
    FromNal::full(stack, slots(listeners), slots(connections), options).with_drive(StdNal::linger)
}

fn slots<T>(count: usize) -> Vec<SlabSlot<T>> {
    (0..count).map(|_| SlabSlot::EMPTY).collect()
}

/// An error of the operating system.
pub struct StdError(io::Error);

/// The text alone.
impl fmt::Debug for StdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl embedded_nal::TcpError for StdError {
    fn kind(&self) -> TcpErrorKind {
        match self.0.kind() {
            io::ErrorKind::BrokenPipe => TcpErrorKind::PipeClosed,
            _ => TcpErrorKind::Other,
        }
    }
}

fn own(error: TcpError) -> StdError {
    StdError(error.0)
}

/// Says when a socket has something. A descriptor leaves it by being closed.
struct Watch {
    poll: Poll,
    events: Events,
    /// For attempts to connect, which have no descriptor.
    waker: Arc<Waker>,
}

impl Watch {
    fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), SOCKET)?);
        Ok(Self { poll, events: Events::with_capacity(EVENTS), waker })
    }

    /// A socket that the system refuses to watch is tried at each interval all the same.
    fn add(&self, socket: &TcpSocket, interest: Interest) {
        if let Some(descriptor) = socket.as_raw_fd() {
            let _ = self.poll.registry().register(&mut SourceFd(&descriptor), SOCKET, interest);
        }
    }

    /// Sleeps until something comes, and returns whether a socket has it.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(error) => Err(error),
            Ok(()) => Ok(self.events.iter().any(|event| event.token() == SOCKET)),
        }
    }
}

/// Watches `wake` beside the sockets, which are tried only now and then from here on.
pub(crate) fn watch(stack: &mut NalStd, wake: BorrowedFd<'_>) -> io::Result<()> {
    let Some(watch) = &stack.stack().watch else { return Ok(()) };
    watch.poll.registry().register(&mut SourceFd(&wake.as_raw_fd()), WAKE, Interest::READABLE)?;
    stack.set_interval(WATCHED_INTERVAL);
    Ok(())
}

/// Sleeps until something comes, and lets the next poll look if a socket has it. `None` if nothing is watched.
pub(crate) fn wait(stack: &mut NalStd, timeout: Option<Duration>) -> Option<io::Result<()>> {
    let waited = stack.stack_mut().watch.as_mut()?.wait(timeout);
    if matches!(waited, Ok(true)) {
        stack.look();
    }
    Some(waited.map(drop))
}

/// std-embedded-nal with its gaps mended.
pub struct StdNal {
    inner: Stack,
    /// Closed, and waiting for the peer to close too; the one that has waited longest first.
    lingering: VecDeque<(TcpSocket, Instant)>,
    most: usize,
    /// Held by each thread that connects.
    threads: Arc<()>,
    /// `None` if the system had no descriptor for it.
    watch: Option<Watch>,
}

impl fmt::Debug for StdNal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdNal").field("lingering", &self.lingering.len()).finish_non_exhaustive()
    }
}

/// A socket of [`StdNal`].
pub struct StdSocket(State);

impl fmt::Debug for StdSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StdSocket").finish_non_exhaustive()
    }
}

enum State {
    Connecting(Attempt),
    /// Also one that is not connected, or listens.
    Plain(TcpSocket),
}

impl StdSocket {
    fn plain(&mut self) -> io::Result<&mut TcpSocket> {
        match &mut self.0 {
            State::Connecting(_) => Err(io::ErrorKind::NotConnected.into()),
            State::Plain(socket) => Ok(socket),
        }
    }
}

/// Does what std-embedded-nal has no call for.
#[expect(unsafe_code, reason = "std-embedded-nal gives the bare number of the descriptor")]
fn with<T>(socket: &TcpSocket, act: impl FnOnce(SockRef<'_>) -> io::Result<T>) -> io::Result<T> {
    let descriptor = socket.as_raw_fd().ok_or(io::ErrorKind::NotConnected)?;
    // SAFETY: `socket` owns the descriptor, and is borrowed for as long as this is used.
    let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
    act(SockRef::from(&descriptor))
}

impl StdNal {
    fn watch(&self, socket: &TcpSocket, interest: Interest) {
        if let Some(watch) = &self.watch {
            watch.add(socket, interest);
        }
    }

    /// Goes on with the lingering connections. Returns whether there are any.
    fn linger(&mut self) -> bool {
        let Self { inner, lingering, .. } = self;
        lingering.retain_mut(|(socket, since)| {
            let waiting = discard(inner, socket);
            let late = since.elapsed() > LINGER;
            if waiting && late {
                let _ = with(socket, |socket| socket.set_linger(Some(Duration::ZERO)));
            }
            waiting && !late
        });
        !lingering.is_empty()
    }
}

/// Reads and forgets. Returns whether the peer may send more.
fn discard(stack: &mut Stack, socket: &mut TcpSocket) -> bool {
    let mut scratch = [0; 16 * 1024];
    for _ in 0..16 {
        match stack.receive(socket, &mut scratch) {
            Ok(1..) => {}
            Ok(0) | Err(nb::Error::Other(_)) => return false,
            Err(nb::Error::WouldBlock) => return true,
        }
    }
    true
}

impl TcpClientStack for StdNal {
    type TcpSocket = StdSocket;
    type Error = StdError;

    fn socket(&mut self) -> Result<StdSocket, StdError> {
        self.inner.socket().map(|socket| StdSocket(State::Plain(socket))).map_err(own)
    }

    fn connect(&mut self, socket: &mut StdSocket, remote: SocketAddr) -> nb::Result<(), StdError> {
        let State::Connecting(attempt) = &socket.0 else {
            let waker = self.watch.as_ref().map(|watch| Arc::clone(&watch.waker));
            let attempt = Attempt::start(remote, &self.threads, self.most, waker).map_err(StdError)?;
            socket.0 = State::Connecting(attempt);
            return Err(nb::Error::WouldBlock);
        };
        let connected = attempt.outcome().ok_or(nb::Error::WouldBlock)?.map_err(StdError)?;
        let _ = with(&connected, |socket| socket.set_tcp_nodelay(true));
        self.watch(&connected, Interest::READABLE | Interest::WRITABLE);
        socket.0 = State::Plain(connected);
        Ok(())
    }

    fn send(&mut self, socket: &mut StdSocket, buffer: &[u8]) -> nb::Result<usize, StdError> {
        self.inner.send(socket.plain().map_err(StdError)?, buffer).map_err(|error| error.map(own))
    }

    fn receive(&mut self, socket: &mut StdSocket, buffer: &mut [u8]) -> nb::Result<usize, StdError> {
        let socket = socket.plain().map_err(StdError)?;
        let count = self.inner.receive(socket, buffer).map_err(|error| error.map(own))?;
        if count == 0 && !buffer.is_empty() && with(socket, |socket| socket.peer_addr()).is_err() {
            // No peer any more, although this side has not closed: it failed. Of a timeout std-embedded-nal said "would block".
            let error = with(socket, |socket| socket.take_error()).ok().flatten();
            return Err(nb::Error::Other(StdError(error.unwrap_or(io::ErrorKind::TimedOut.into()))));
        }
        Ok(count)
    }

    fn close(&mut self, socket: StdSocket) -> Result<(), StdError> {
        // An attempt is given up by being dropped.
        let StdSocket(State::Plain(socket)) = socket else { return Ok(()) };
        // Only a connection can; a listener has no peer, and is closed by being dropped.
        let shut = with(&socket, |socket| socket.peer_addr().and_then(|_| socket.shutdown(Shutdown::Write)));
        if shut.is_ok() {
            if self.lingering.len() >= self.most {
                self.lingering.pop_front();
            }
            self.lingering.push_back((socket, Instant::now()));
        }
        Ok(())
    }
}

impl TcpFullStack for StdNal {
    fn bind(&mut self, socket: &mut StdSocket, local_port: u16) -> Result<(), StdError> {
        let socket = socket.plain().map_err(StdError)?;
        self.inner.bind(socket, local_port).map_err(own)?;
        self.watch(socket, Interest::READABLE);
        Ok(())
    }

    fn listen(&mut self, socket: &mut StdSocket) -> Result<(), StdError> {
        self.inner.listen(socket.plain().map_err(StdError)?).map_err(own)
    }

    fn accept(&mut self, socket: &mut StdSocket) -> nb::Result<(StdSocket, SocketAddr), StdError> {
        let socket = socket.plain().map_err(StdError)?;
        loop {
            match self.inner.accept(socket) {
                Ok((accepted, peer)) if is_whole(&accepted) => {
                    with(&accepted, |socket| {
                        socket.set_nonblocking(true)?;
                        socket.set_tcp_nodelay(true)
                    })
                    .map_err(StdError)?;
                    self.watch(&accepted, Interest::READABLE | Interest::WRITABLE);
                    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                    return Ok((StdSocket(State::Plain(accepted)), peer));
                }
                Ok(_) => {}
                Err(nb::Error::Other(error)) if error.0.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error.map(own)),
            }
        }
    }
}

/// Linux hands out connections that were reset in the backlog.
fn is_whole(socket: &TcpSocket) -> bool {
    with(socket, |socket| socket.take_error()).is_ok_and(|error| error.is_none())
}
