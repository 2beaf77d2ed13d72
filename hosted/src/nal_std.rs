//! [`TcpStack`](socklet::stack::TcpStack) on std-embedded-nal, through core's adapter: the proof on a host that a stack of the
//! embedded-nal kind serves.
//!
//! What std-embedded-nal lacks is mended where a descriptor allows it: accepted sockets are made non-blocking; `close` lingers, as in
//! [`os`], instead of resetting what is on its way; a reset or a timeout is not taken for the end of the stream; peers that come to
//! the `[::]` that it binds over IPv4 have their IPv4 address.
//!
//! What remains: it listens on every address only, and needs IPv6 for that. Its `connect` blocks the thread until the handshake is over, and
//! the connect timeout has no effect: the system alone bounds it, at about two minutes on Linux (`net.ipv4.tcp_syn_retries`).
//! That cannot be mended here: its sockets have no descriptor before `connect` has returned, and none can be made of a connected one.

use crate::os;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use embedded_nal::{TcpClientStack, TcpErrorKind, TcpFullStack, nb};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;
use socklet::nal::{FromNal, FullStack, NalOptions, OnZero};
use socklet::storage::SlabSlot;
use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, BorrowedFd};
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
        .with_blocking_connect()
        .with_classify(|error: &StdError| os::kind_of(&error.0));
    let watch = Watch::new().ok();
    let stack = StdNal { inner: Stack, lingering: VecDeque::new(), most: connections, watch };
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
}

impl Watch {
    fn new() -> io::Result<Self> {
        Ok(Self { poll: Poll::new()?, events: Events::with_capacity(EVENTS) })
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
    /// `None` if the system had no descriptor for it.
    watch: Option<Watch>,
}

impl fmt::Debug for StdNal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdNal").field("lingering", &self.lingering.len()).finish_non_exhaustive()
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
    type TcpSocket = TcpSocket;
    type Error = StdError;

    fn socket(&mut self) -> Result<TcpSocket, StdError> {
        self.inner.socket().map_err(own)
    }

    fn connect(&mut self, socket: &mut TcpSocket, remote: SocketAddr) -> nb::Result<(), StdError> {
        self.inner.connect(socket, remote).map_err(|error| error.map(own))?;
        let _ = with(socket, |socket| socket.set_tcp_nodelay(true));
        self.watch(socket, Interest::READABLE | Interest::WRITABLE);
        Ok(())
    }

    fn send(&mut self, socket: &mut TcpSocket, buffer: &[u8]) -> nb::Result<usize, StdError> {
        self.inner.send(socket, buffer).map_err(|error| error.map(own))
    }

    fn receive(&mut self, socket: &mut TcpSocket, buffer: &mut [u8]) -> nb::Result<usize, StdError> {
        let count = self.inner.receive(socket, buffer).map_err(|error| error.map(own))?;
        if count == 0 && !buffer.is_empty() && with(socket, |socket| socket.peer_addr()).is_err() {
            // No peer any more, although this side has not closed: it failed. Of a timeout std-embedded-nal said "would block".
            let error = with(socket, |socket| socket.take_error()).ok().flatten();
            return Err(nb::Error::Other(StdError(error.unwrap_or(io::ErrorKind::TimedOut.into()))));
        }
        Ok(count)
    }

    fn close(&mut self, socket: TcpSocket) -> Result<(), StdError> {
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
    fn bind(&mut self, socket: &mut TcpSocket, local_port: u16) -> Result<(), StdError> {
        self.inner.bind(socket, local_port).map_err(own)?;
        self.watch(socket, Interest::READABLE);
        Ok(())
    }

    fn listen(&mut self, socket: &mut TcpSocket) -> Result<(), StdError> {
        self.inner.listen(socket).map_err(own)
    }

    fn accept(&mut self, socket: &mut TcpSocket) -> nb::Result<(TcpSocket, SocketAddr), StdError> {
        loop {
            match self.inner.accept(socket) {
                Ok((accepted, peer)) if is_whole(&accepted) => {
                    with(&accepted, |socket| {
                        socket.set_nonblocking(true)?;
                        socket.set_tcp_nodelay(true)
                    })
                    .map_err(StdError)?;
                    self.watch(&accepted, Interest::READABLE | Interest::WRITABLE);
                    return Ok((accepted, SocketAddr::new(peer.ip().to_canonical(), peer.port())));
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

#[cfg(test)]
mod tests {
    use super::*;
    use socklet::stack::{ErrorKind, ListenOptions, Received, Sent, StackError, TcpStack};
    use std::io::{Read, Write};
    use std::net::TcpStream;

    /// A stack with a listener on a port that was free a moment ago.
    fn listening() -> (NalStd, socklet::nal::NalListener, SocketAddr) {
        let mut stack = nal_std(2, 4, Duration::from_millis(1));
        for _ in 0..100 {
            let free = std::net::TcpListener::bind("[::]:0").unwrap().local_addr().unwrap();
            if let Ok(listener) = stack.listen(free, &ListenOptions::default()) {
                return (stack, listener, SocketAddr::new([127, 0, 0, 1].into(), free.port()));
            }
        }
        panic!("no free port");
    }

    #[track_caller]
    fn until<T>(stack: &mut NalStd, mut found: impl FnMut(&mut NalStd) -> Option<T>) -> T {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            if let Some(found) = found(stack) {
                return found;
            }
            let _ = stack.poll(socklet::time::Instant::ZERO + start.elapsed());
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("nothing came in 10 s");
    }

    #[test]
    fn an_accepted_socket_does_not_block_and_its_peer_has_its_own_address() {
        let (mut stack, listener, addr) = listening();
        let mut client = TcpStream::connect(addr).unwrap();
        let (connection, peer) = until(&mut stack, |stack| stack.accept(listener).unwrap());
        assert_eq!(peer, client.local_addr().unwrap());
        assert_eq!(stack.recv(connection, &mut [0; 4]).unwrap(), Received::WouldBlock);
        client.write_all(b"x").unwrap();
        let received = until(&mut stack, |stack| match stack.recv(connection, &mut [0; 4]).unwrap() {
            Received::WouldBlock => None,
            other => Some(other),
        });
        assert_eq!(received, Received::Data(1));
    }

    #[test]
    fn close_with_unread_input_delivers_what_was_queued() {
        let (mut stack, listener, addr) = listening();
        let mut client = TcpStream::connect(addr).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let (connection, _) = until(&mut stack, |stack| stack.accept(listener).unwrap());
        client.write_all(b"never read").unwrap();
        assert_eq!(stack.send(connection, b"last words").unwrap(), Sent::Queued(10));
        stack.close_listener(listener).unwrap();
        stack.close(connection).unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "last words");
        drop(client);
        until(&mut stack, |stack| stack.stack().lingering.is_empty().then_some(()));
        assert_eq!(stack.poll(socklet::time::Instant::from_secs(60)), None);
    }

    #[test]
    fn a_reset_sticks_and_is_no_end_of_stream() {
        let (mut stack, listener, addr) = listening();
        let client = TcpStream::connect(addr).unwrap();
        let (connection, _) = until(&mut stack, |stack| stack.accept(listener).unwrap());
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        for _ in 0..3 {
            let reason = until(&mut stack, |stack| match stack.recv(connection, &mut [0; 4]) {
                Ok(Received::WouldBlock) => None,
                other => Some(other.map_err(|error| error.kind())),
            });
            assert_eq!(reason, Err(ErrorKind::Reset));
        }
    }

    #[test]
    fn a_refused_connection_says_so() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = nal_std(0, 1, Duration::from_millis(1)).connect(closed, &Default::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().starts_with("connection refused (Connection refused"), "{error}");
    }
}
