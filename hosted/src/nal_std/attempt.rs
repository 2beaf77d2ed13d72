use super::{TcpError, TcpSocket};
use core::net::SocketAddr;
use embedded_nal::{TcpClientStack, nb};
use mio::Waker;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std_embedded_nal::Stack;

/// Attempts that were given up and still go on, beside those that may be under way.
const GIVEN_UP: usize = 64;

/// A `connect` that blocks, on a thread of its own. Dropped, it is given up: the thread ends when the system says so.
pub(super) struct Attempt(Receiver<Result<TcpSocket, TcpError>>);

impl Attempt {
    /// Begins to connect, and wakes `waker` when that is over. Each thread holds `threads`, of which there may be some more than `most`.
    pub(super) fn start(
        remote: SocketAddr,
        threads: &Arc<()>,
        most: usize,
        waker: Option<Arc<Waker>>,
    ) -> io::Result<Self> {
        if Arc::strong_count(threads) > most.saturating_add(GIVEN_UP) {
            return Err(io::Error::other("too many attempts to connect that were given up have not ended"));
        }
        let (sender, receiver) = channel();
        let alive = Arc::clone(threads);
        let body = move || {
            // Nobody takes it if it was given up, and then it is closed here.
            let _ = sender.send(connect(remote));
            drop(alive);
            if let Some(waker) = waker {
                // It is seen at the next interval all the same.
                let _ = waker.wake();
            }
        };
        thread::Builder::new().name("connect".into()).spawn(body)?;
        Ok(Self(receiver))
    }

    /// What came of it; `None` while it lasts.
    pub(super) fn outcome(&self) -> Option<io::Result<TcpSocket>> {
        match self.0.try_recv() {
            Ok(connected) => Some(connected.map_err(|error| error.0)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                Some(Err(io::Error::other("the thread that connects has ended")))
            }
        }
    }
}

fn connect(remote: SocketAddr) -> Result<TcpSocket, TcpError> {
    let mut stack = Stack;
    let mut socket = stack.socket()?;
    match stack.connect(&mut socket, remote) {
        Ok(()) => Ok(socket),
        Err(nb::Error::Other(error)) => Err(error),
        Err(nb::Error::WouldBlock) => Err(io::Error::from(io::ErrorKind::WouldBlock).into()),
    }
}
