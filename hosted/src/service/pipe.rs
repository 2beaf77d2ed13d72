use core::fmt;
use socklet::client::{Client, ClientState, Event};
use socklet::connection::Error;
use socklet::service::Service;
use socklet::stack::{ErrorKind, Received, Sent, StackError, TcpStack};
use socklet::time::{Duration, Instant};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError};

/// What a [`Pipe`] sends before it closes its side.
#[derive(Debug)]
pub enum Feed {
    /// These bytes, all of them again on each new connection.
    Text(Vec<u8>),
    /// What comes, until the sender is gone. What a lost connection had taken does not come again.
    Stream(Receiver<Vec<u8>>),
}

/// A [`Client`] between two channels: sends what it is fed, hands out what it receives, and ends when the peer closes.
///
/// It never waits for the channels: whoever uses their other ends wakes the [driver](crate::driver::Driver::waker). When nobody
/// takes the output, nothing more is received.
pub struct Pipe<S: TcpStack> {
    client: Client<S>,
    feed: Feed,
    /// What was taken from the feed, and how much of it was sent.
    chunk: Vec<u8>,
    sent: usize,
    /// The feed has ended, and the peer was told.
    ended: bool,
    output: SyncSender<Vec<u8>>,
    /// Received, and not handed out.
    held: Option<Vec<u8>>,
    /// It was asked to end.
    draining: bool,
    /// Whether the peer that counts was reached.
    gate: Box<dyn Fn() -> bool>,
    on_event: OnEvent<S>,
}

type OnEvent<S> = Box<dyn FnMut(&mut Client<S>, &Event, Instant)>;

impl<S: TcpStack> fmt::Debug for Pipe<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipe").field("state", &self.client.state()).finish_non_exhaustive()
    }
}

/// Pieces moved in each direction before the stack gets its turn.
const ROUNDS: usize = 16;
const PIECE: usize = 16 << 10;

impl<S: TcpStack> Pipe<S> {
    /// Joins `client` to what it sends and where to put what it receives. `on_event` is told what happens to it, and when.
    pub fn new(
        client: Client<S>,
        feed: Feed,
        output: SyncSender<Vec<u8>>,
        on_event: impl FnMut(&mut Client<S>, &Event, Instant) + 'static,
    ) -> Self {
        let on_event = Box::new(on_event);
        let gate = Box::new(|| true);
        let chunk = match &feed {
            Feed::Text(text) => text.clone(),
            Feed::Stream(_) => Vec::new(),
        };
        Self {
            client,
            feed,
            chunk,
            sent: 0,
            ended: false,
            output,
            held: None,
            draining: false,
            gate,
            on_event,
        }
    }

    /// The same, sending nothing before `gate` says so: for a client that a relay accepts before it has reached the host, and that would
    /// lose what it has sent when the host is out of reach. Whoever opens the gate wakes the driver.
    #[must_use]
    pub fn with_gate(mut self, gate: impl Fn() -> bool + 'static) -> Self {
        self.gate = Box::new(gate);
        self
    }

    /// Whether it has ended by itself: the client has stopped, and all that it received was handed out.
    pub fn is_over(&self) -> bool {
        !self.draining && self.is_drained()
    }

    /// Whether there is a connection through which something could have gone.
    pub fn is_open(&self) -> bool {
        match self.client.state() {
            ClientState::Open | ClientState::Closing => (self.gate)(),
            ClientState::Idle
            | ClientState::Connecting
            | ClientState::Waiting { .. }
            | ClientState::Stopped => false,
        }
    }

    /// Whether the feed has ended, and the peer was told so if the stack can.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether some of the feed waits to be sent, or the peer has not acknowledged it.
    pub fn has_unsent(&self, stack: &S) -> bool {
        self.sent < self.chunk.len() || self.client.unsent(stack).is_ok_and(|count| count > 0)
    }

    /// Resets the connection, and makes no more: the feed is not whole, and must not seem so.
    pub fn abort(&mut self) {
        self.client.stop();
        // Its only error is that nothing is open.
        let _ = self.client.abort();
    }

    fn opened(&mut self) {
        self.ended = false;
        if let Feed::Text(text) = &self.feed {
            self.chunk.clone_from(text);
            self.sent = 0;
        }
    }

    /// No more attempts; what is open is closed in order.
    fn end(&mut self, stack: &mut S) {
        self.client.stop();
        // Its only error is that nothing is open.
        let _ = self.client.close(stack);
    }

    /// Receives and hands out. Returns whether there may be more.
    fn drink(&mut self, stack: &mut S) -> bool {
        for _ in 0..ROUNDS {
            if let Some(piece) = self.held.take() {
                match self.output.try_send(piece) {
                    Ok(()) => {}
                    Err(TrySendError::Full(piece)) => {
                        self.held = Some(piece);
                        return false;
                    }
                    // Nobody wants it any more.
                    Err(TrySendError::Disconnected(_)) => {
                        self.end(stack);
                        return false;
                    }
                }
            }
            let mut piece = vec![0; PIECE];
            match self.client.recv(stack, &mut piece) {
                Ok(Received::Data(count)) => {
                    piece.truncate(count);
                    self.held = Some(piece);
                }
                Ok(Received::EndOfStream) => {
                    self.end(stack);
                    return false;
                }
                // An error that ends the connection comes as an event.
                Ok(Received::WouldBlock) | Err(_) => return false,
            }
        }
        true
    }

    /// Sends what it is fed. Returns whether there may be more.
    fn feed(&mut self, stack: &mut S) -> bool {
        for _ in 0..ROUNDS {
            if self.ended || self.client.state() != ClientState::Open || !(self.gate)() {
                return false;
            }
            if self.sent < self.chunk.len() {
                match self.client.send(stack, &self.chunk[self.sent..]) {
                    Ok(Sent::Queued(count)) => self.sent += count,
                    Ok(Sent::WouldBlock) | Err(_) => return false,
                }
                continue;
            }
            match self.next_chunk() {
                Ok(()) => {}
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) => {
                    self.ended = ended(&self.client.shutdown(stack));
                    return false;
                }
            }
        }
        true
    }

    /// Takes another chunk once the last one was sent.
    fn next_chunk(&mut self) -> Result<(), TryRecvError> {
        match &self.feed {
            Feed::Text(_) => Err(TryRecvError::Disconnected),
            Feed::Stream(stream) => {
                (self.chunk, self.sent) = (stream.try_recv()?, 0);
                Ok(())
            }
        }
    }
}

/// Whether there is nothing more to do about the end: a stack that cannot half-close waits for the peer to close.
fn ended<E: StackError>(shutdown: &Result<(), Error<E>>) -> bool {
    match shutdown {
        Ok(()) => true,
        Err(error) => error.kind() == ErrorKind::Unsupported,
    }
}

impl<S: TcpStack> Service<S> for Pipe<S> {
    fn poll(&mut self, stack: &mut S, now: Instant) -> Option<Instant> {
        let mut more = false;
        while let Some(event) = self.client.poll(stack, now) {
            match event {
                Event::Opened { .. } => self.opened(),
                Event::Readable => more |= self.drink(stack),
                Event::Writable | Event::Closed { .. } => {}
            }
            (self.on_event)(&mut self.client, &event, now);
        }
        more |= self.feed(stack);
        more |= self.drink(stack);
        if more { Some(now) } else { self.client.deadline() }
    }

    fn drain(&mut self, stack: &mut S, _now: Instant, _grace: Duration) {
        self.draining = true;
        if self.sent == self.chunk.len() {
            // What the channel holds is not sent any more, but counts as unsent.
            let _ = self.next_chunk();
        }
        if self.is_open() {
            self.end(stack);
        } else {
            self.abort();
        }
    }

    fn is_drained(&self) -> bool {
        self.client.state() == ClientState::Stopped && self.held.is_none()
    }
}
