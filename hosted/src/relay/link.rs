//! One relayed connection: two sockets and a buffer for each direction.

use core::time::Duration;
use mio::net::TcpStream;
use socket2::SockRef;
use std::io::{self, Read, Write};
use std::net::Shutdown;

/// Reads and writes in a row before other connections have their turn.
const ROUNDS: usize = 16;

/// What to do with a [`Link`] next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Wait for the next event.
    Wait,
    /// Come back without one.
    Again,
    /// Forget it: both sides have closed.
    Finished,
}

/// One direction.
#[derive(Debug)]
struct Pipe {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    state: Flow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// Bytes may come.
    Open,
    /// The sender has closed its side; the rest of the buffer is to be passed on.
    Ending,
    /// The receiver knows, too.
    Ended,
}

impl Pipe {
    fn new(len: usize) -> Self {
        Self { buffer: vec![0; len].into(), start: 0, end: 0, state: Flow::Open }
    }

    /// Moves what can be moved.
    fn pump(&mut self, from: &mut TcpStream, to: &mut TcpStream) -> io::Result<Next> {
        for _ in 0..ROUNDS {
            let read = self.fill(from)?;
            let written = self.flush(to)?;
            if !read && !written {
                return Ok(if self.state == Flow::Ended { Next::Finished } else { Next::Wait });
            }
        }
        Ok(Next::Again)
    }

    /// Reads if there is room. Returns whether something came.
    fn fill(&mut self, from: &mut TcpStream) -> io::Result<bool> {
        if self.state != Flow::Open || self.end == self.buffer.len() {
            return Ok(false);
        }
        let len = unless_blocked(from.read(&mut self.buffer[self.end..]))?;
        match len {
            None => Ok(false),
            Some(0) => {
                self.state = Flow::Ending;
                Ok(true)
            }
            Some(len) => {
                self.end += len;
                Ok(true)
            }
        }
    }

    /// Writes what there is, and the end after it. Returns whether something left.
    fn flush(&mut self, to: &mut TcpStream) -> io::Result<bool> {
        if self.start < self.end {
            let Some(len) = unless_blocked(to.write(&self.buffer[self.start..self.end]))? else {
                return Ok(false);
            };
            self.start += len;
            if self.start == self.end {
                (self.start, self.end) = (0, 0);
            }
            return Ok(len > 0);
        }
        if self.state == Flow::Ending {
            to.shutdown(Shutdown::Write)?;
            self.state = Flow::Ended;
            return Ok(true);
        }
        Ok(false)
    }
}

fn unless_blocked(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            Ok(None)
        }
        result => result.map(Some),
    }
}

/// A relayed connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: TcpStream,
    pub(super) target: TcpStream,
    connected: bool,
    forth: Pipe,
    back: Pipe,
}

impl Link {
    /// From an accepted connection and one that is being opened.
    pub(super) fn new(client: TcpStream, target: TcpStream, buffer_len: usize) -> Self {
        let (forth, back) = (Pipe::new(buffer_len), Pipe::new(buffer_len));
        Self { client, target, connected: false, forth, back }
    }

    /// Whether the target was reached.
    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    /// Looks for an end, and for an answer of the target. Returns whether this was its first.
    ///
    /// # Errors
    /// One side was reset, or the target refused.
    pub(super) fn reach(&mut self) -> io::Result<bool> {
        // A reset shows here also while a full buffer keeps it from being read.
        for side in [&self.client, &self.target] {
            if let Some(error) = side.take_error()? {
                return Err(error);
            }
        }
        if self.connected {
            return Ok(false);
        }
        match self.target.peer_addr() {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(false),
            peer => drop(peer?),
        }
        self.connected = true;
        Ok(true)
    }

    /// Moves what can be moved in both directions.
    ///
    /// # Errors
    /// One side was reset.
    pub(super) fn advance(&mut self) -> io::Result<Next> {
        if !self.connected {
            return Ok(Next::Wait);
        }
        let forth = self.forth.pump(&mut self.client, &mut self.target)?;
        let back = self.back.pump(&mut self.target, &mut self.client)?;
        Ok(match (forth, back) {
            (Next::Finished, Next::Finished) => Next::Finished,
            (Next::Again, _) | (_, Next::Again) => Next::Again,
            (Next::Wait | Next::Finished, Next::Wait | Next::Finished) => Next::Wait,
        })
    }

    /// Resets both sides.
    pub(super) fn abort(self) {
        reset(self.client);
        reset(self.target);
    }
}

/// Closes with a reset. Where that is not possible the peer sees an end of the stream.
pub(super) fn reset(stream: TcpStream) {
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
}
