use super::Server;
use crate::connection::{Connection, Context, Error, Input, State, Traffic};
use crate::stack::{ErrorKind, Received, Sent, TcpStack};
use crate::storage::{Id, ManagedSlice};
use core::net::SocketAddr;

/// The calls on one connection. All of them fail with [`Error::NotConnected`] when the id is stale.
impl<'a, S: TcpStack> Server<'a, S> {
    /// The same with memory for bytes that were received but not taken, of which each connection gets an equal part, 64 KiB at most.
    ///
    /// A stack without [`Capabilities::zero_copy`](crate::stack::Capabilities::zero_copy) needs it for
    /// [`recv_with`](Self::recv_with) and [`relay`](Self::relay), others do not use it.
    #[must_use]
    pub fn with_holdback(mut self, storage: impl Into<ManagedSlice<'a, u8>>) -> Self {
        self.holdback = storage.into();
        self
    }

    /// Copies bytes into the send buffer: as many as have room. See [`TcpStack::send`].
    ///
    /// When not all had room, `Writable` will say that it is worth another try.
    ///
    /// # Errors
    /// [`Error::Closed`] after a shutdown or close; [`Error::Stack`] with the reason of the end, which `Closed` reports too.
    pub fn send(&mut self, stack: &mut S, id: Id, data: &[u8]) -> Result<Sent, Error<S::Error>> {
        self.on(id, |connection, cx| connection.send(stack, data, cx))
    }

    /// Hands the free part of the send buffer to `fill`. See [`TcpStack::send_with`].
    ///
    /// # Errors
    /// As [`send`](Self::send); `Unsupported` where the stack cannot.
    pub fn send_with(
        &mut self,
        stack: &mut S,
        id: Id,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<Sent, Error<S::Error>> {
        self.on(id, |connection, cx| connection.send_with(stack, fill, cx))
    }

    /// Copies received bytes. See [`TcpStack::recv`].
    ///
    /// # Errors
    /// [`Error::Closed`] once both sides are closed; [`Error::Stack`] with the reason of the end, which `Closed` reports too.
    pub fn recv(&mut self, stack: &mut S, id: Id, buffer: &mut [u8]) -> Result<Received, Error<S::Error>> {
        if let Some(held) = self.held_by(id) {
            let count = held.len().min(buffer.len());
            if let (Some(to), Some(from)) = (buffer.get_mut(..count), held.get(..count)) {
                to.copy_from_slice(from);
            }
            self.take_held(id, count);
            return Ok(Received::Data(count));
        }
        self.on(id, |connection, cx| connection.recv(stack, buffer, cx))
    }

    /// Hands received bytes to `take`, which says how many of them it is done with. See [`TcpStack::recv_with`].
    ///
    /// # Errors
    /// As [`recv`](Self::recv); `Unsupported` where neither the stack can nor [`with_holdback`](Self::with_holdback) helps.
    pub fn recv_with<R>(
        &mut self,
        stack: &mut S,
        id: Id,
        take: impl FnOnce(&[u8]) -> (usize, R),
    ) -> Result<Received<R>, Error<S::Error>> {
        if stack.capabilities().zero_copy || self.holdback_share() == 0 {
            return self.on(id, |connection, cx| connection.recv_with(stack, take, cx));
        }
        if self.held_by(id).is_none() {
            match self.refill(stack, id)? {
                Received::Data(_) => {}
                Received::WouldBlock => return Ok(Received::WouldBlock),
                Received::EndOfStream => return Ok(Received::EndOfStream),
            }
        }
        let Some(held) = self.held_by(id) else { return Ok(Received::WouldBlock) };
        let (count, value) = take(held);
        self.take_held(id, count);
        Ok(Received::Data(value))
    }

    /// Closes the write side; the peer can still send. Doing it twice is harmless.
    ///
    /// Once the peer's end of stream has been received as well, the connection ends by itself.
    ///
    /// # Errors
    /// As [`TcpStack::shutdown`].
    pub fn shutdown(&mut self, stack: &mut S, id: Id) -> Result<(), Error<S::Error>> {
        self.on(id, |connection, cx| connection.shutdown(stack, cx))
    }

    /// Closes in good order: what is queued is delivered, what still comes is discarded. `Closed` says how that went.
    ///
    /// It takes until the peer has closed too, and no longer than [`Deadlines::drain`](crate::connection::Deadlines::drain): if by then
    /// every byte was acknowledged, the rest is left to the stack. A stack that cannot half-close gets it at once.
    ///
    /// # Errors
    /// [`Error::NotConnected`] only.
    pub fn close(&mut self, stack: &mut S, id: Id) -> Result<(), Error<S::Error>> {
        self.on(id, |connection, cx| {
            connection.close(stack, cx);
            Ok(())
        })
    }

    /// Resets the connection, with the next [`poll`](Self::poll), which reports `Closed`. What is queued is lost.
    ///
    /// # Errors
    /// [`Error::NotConnected`] only.
    pub fn abort(&mut self, id: Id) -> Result<(), Error<S::Error>> {
        self.on(id, |connection, cx| {
            connection.apply(Input::Abort, cx);
            Ok(())
        })
    }

    /// Ends the connection because something failed on it; the first reason stays.
    pub(crate) fn fail(&mut self, id: Id, kind: ErrorKind) {
        // A stale id needs no ending.
        let _ = self.on(id, |connection, cx| {
            connection.apply(Input::Failed(kind), cx);
            Ok(())
        });
    }

    /// Has `Readable` and `Writable` reported again, in the next round: for a service that stops before `WouldBlock` to be fair.
    pub fn wake(&mut self, id: Id) {
        let Some(connection) = self.slots.get_mut(id) else { return };
        if !connection.woken {
            connection.woken = true;
            self.woken += 1;
            self.slots.set_deadline(id, Some(self.cx.at_once()));
        }
    }

    /// The peer's address.
    ///
    /// # Errors
    /// As [`TcpStack::peer_addr`].
    pub fn peer(&self, stack: &S, id: Id) -> Result<SocketAddr, Error<S::Error>> {
        stack.peer_addr(self.get(id)?.handle()).map_err(Error::Stack)
    }

    /// This end's address.
    ///
    /// # Errors
    /// As [`TcpStack::local_addr`].
    pub fn local(&self, stack: &S, id: Id) -> Result<SocketAddr, Error<S::Error>> {
        stack.local_addr(self.get(id)?.handle()).map_err(Error::Stack)
    }

    /// Bytes queued and not yet acknowledged by the peer.
    ///
    /// # Errors
    /// As [`TcpStack::unsent`].
    pub fn unsent(&self, stack: &S, id: Id) -> Result<usize, Error<S::Error>> {
        stack.unsent(self.get(id)?.handle()).map_err(Error::Stack)
    }

    /// The stack's own name for it, for what only that stack can say or do.
    pub fn handle(&self, id: Id) -> Option<S::Connection> {
        Some(self.slots.get(id)?.handle())
    }

    /// How far its life has come.
    pub fn state(&self, id: Id) -> Option<State> {
        Some(self.slots.get(id)?.state())
    }

    /// What it has moved so far.
    pub fn traffic(&self, id: Id) -> Option<Traffic> {
        Some(self.slots.get(id)?.traffic())
    }

    /// A number that the service keeps with the connection; zero at first.
    pub fn word(&self, id: Id) -> Option<u32> {
        Some(self.slots.get(id)?.word)
    }

    /// Changes the number that the service keeps with the connection.
    pub fn set_word(&mut self, id: Id, word: u32) {
        if let Some(connection) = self.slots.get_mut(id) {
            connection.word = word;
        }
    }

    fn get(&self, id: Id) -> Result<&Connection<S::Connection>, Error<S::Error>> {
        self.slots.get(id).ok_or(Error::NotConnected)
    }

    /// Does something with a connection, and sees to it that the next poll looks at it if that changed anything.
    pub(super) fn on<R>(
        &mut self,
        id: Id,
        call: impl FnOnce(&mut Connection<S::Connection>, &mut Context) -> Result<R, Error<S::Error>>,
    ) -> Result<R, Error<S::Error>> {
        let connection = self.slots.get_mut(id).ok_or(Error::NotConnected)?;
        let result = call(connection, &mut self.cx);
        if connection.stirred && self.pending.is_none_or(|pending| pending.id != id) {
            self.slots.set_deadline(id, Some(self.cx.at_once()));
        }
        result
    }

    /// How much of the holdback each connection has.
    fn holdback_share(&self) -> usize {
        match self.holdback.len() {
            0 => 0,
            len => len.checked_div(self.slots.capacity()).unwrap_or(0).min(usize::from(u16::MAX)),
        }
    }

    /// What was received for a connection and not taken, if there is anything.
    fn held_by(&self, id: Id) -> Option<&[u8]> {
        let (start, end) = self.slots.get(id)?.held;
        if start == end {
            return None;
        }
        let share = id.index() * self.holdback_share();
        self.holdback.get(share + usize::from(start)..share + usize::from(end))
    }

    fn take_held(&mut self, id: Id, count: usize) {
        if let Some(connection) = self.slots.get_mut(id) {
            let (start, end) = connection.held;
            let count = u16::try_from(count).unwrap_or(u16::MAX);
            connection.held = (start.saturating_add(count).min(end), end);
        }
    }

    /// Receives into a connection's part of the holdback, which is empty.
    fn refill(&mut self, stack: &mut S, id: Id) -> Result<Received, Error<S::Error>> {
        let share = self.holdback_share();
        let start = id.index() * share;
        let connection = self.slots.get_mut(id).ok_or(Error::NotConnected)?;
        let buffer = self.holdback.get_mut(start..start + share).unwrap_or_default();
        let received = connection.recv(stack, buffer, &mut self.cx);
        if let Ok(Received::Data(count)) = received {
            connection.held = (0, u16::try_from(count).unwrap_or(u16::MAX));
        }
        self.on(id, |_, _| received)
    }
}
