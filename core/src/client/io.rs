use super::{Client, Phase};
use crate::connection::{Connection, Context, Error, Input, Traffic};
use crate::stack::{Received, Sent, TcpStack};
use core::net::SocketAddr;

/// The calls on the connection. All of them fail with [`Error::NotConnected`] while there is none.
impl<S: TcpStack> Client<S> {
    /// Copies bytes into the send buffer: as many as have room. See [`TcpStack::send`].
    ///
    /// When not all had room, `Writable` will say that it is worth another try.
    ///
    /// # Errors
    /// [`Error::Closed`] after a shutdown or close; [`Error::Stack`] with the reason of the end, which `Closed` reports too.
    pub fn send(&mut self, stack: &mut S, data: &[u8]) -> Result<Sent, Error<S::Error>> {
        self.on(|connection, cx| connection.send(stack, data, cx))
    }

    /// Hands the free part of the send buffer to `fill`. See [`TcpStack::send_with`].
    ///
    /// # Errors
    /// As [`send`](Self::send); `Unsupported` where the stack cannot.
    pub fn send_with(
        &mut self,
        stack: &mut S,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<Sent, Error<S::Error>> {
        self.on(|connection, cx| connection.send_with(stack, fill, cx))
    }

    /// Copies received bytes. See [`TcpStack::recv`].
    ///
    /// # Errors
    /// [`Error::Closed`] once both sides are closed; [`Error::Stack`] with the reason of the end, which `Closed` reports too.
    pub fn recv(&mut self, stack: &mut S, buffer: &mut [u8]) -> Result<Received, Error<S::Error>> {
        self.on(|connection, cx| connection.recv(stack, buffer, cx))
    }

    /// Hands received bytes to `take`, which says how many of them it is done with. See [`TcpStack::recv_with`].
    ///
    /// # Errors
    /// As [`recv`](Self::recv); `Unsupported` where the stack cannot.
    pub fn recv_with<R>(
        &mut self,
        stack: &mut S,
        take: impl FnOnce(&[u8]) -> (usize, R),
    ) -> Result<Received<R>, Error<S::Error>> {
        self.on(|connection, cx| connection.recv_with(stack, take, cx))
    }

    /// Closes the write side; the peer can still send. Once its end of stream has been received as well, the connection ends by itself.
    ///
    /// # Errors
    /// As [`TcpStack::shutdown`].
    pub fn shutdown(&mut self, stack: &mut S) -> Result<(), Error<S::Error>> {
        self.on(|connection, cx| connection.shutdown(stack, cx))
    }

    /// Closes in good order, as [`Server::close`](crate::server::Server::close). It connects again unless it was told to
    /// [`stop`](Self::stop).
    ///
    /// # Errors
    /// [`Error::NotConnected`] only.
    pub fn close(&mut self, stack: &mut S) -> Result<(), Error<S::Error>> {
        self.on(|connection, cx| {
            connection.close(stack, cx);
            Ok(())
        })
    }

    /// Resets the connection with the next [`poll`](Self::poll). What is queued is lost.
    ///
    /// # Errors
    /// [`Error::NotConnected`] only.
    pub fn abort(&mut self) -> Result<(), Error<S::Error>> {
        self.on(|connection, cx| {
            connection.apply(Input::Abort, cx);
            Ok(())
        })
    }

    /// Asks for another round at once: for a service that stops before `WouldBlock` to be fair.
    pub fn wake(&mut self) {
        // Without a connection there is nothing to come back to.
        let _ = self.on(|connection, _| {
            connection.stirred = true;
            Ok(())
        });
    }

    /// This end's address.
    ///
    /// # Errors
    /// As [`TcpStack::local_addr`].
    pub fn local(&self, stack: &S) -> Result<SocketAddr, Error<S::Error>> {
        stack.local_addr(self.connection()?.handle()).map_err(Error::Stack)
    }

    /// Bytes queued and not yet acknowledged by the peer.
    ///
    /// # Errors
    /// As [`TcpStack::unsent`].
    pub fn unsent(&self, stack: &S) -> Result<usize, Error<S::Error>> {
        stack.unsent(self.connection()?.handle()).map_err(Error::Stack)
    }

    /// What the connection has moved so far.
    pub fn traffic(&self) -> Option<Traffic> {
        Some(self.connection().ok()?.traffic())
    }

    fn connection(&self) -> Result<&Connection<S::Connection>, Error<S::Error>> {
        match &self.phase {
            Phase::Connecting { connection, .. } | Phase::Open { connection, .. } => Ok(connection),
            Phase::Idle | Phase::Waiting { .. } | Phase::Stopped => Err(Error::NotConnected),
        }
    }

    fn on<R>(
        &mut self,
        call: impl FnOnce(&mut Connection<S::Connection>, &mut Context) -> Result<R, Error<S::Error>>,
    ) -> Result<R, Error<S::Error>> {
        match &mut self.phase {
            Phase::Connecting { connection, .. } | Phase::Open { connection, .. } => {
                call(connection, &mut self.cx)
            }
            Phase::Idle | Phase::Waiting { .. } | Phase::Stopped => Err(Error::NotConnected),
        }
    }
}
