use super::{Next, Observer, Protocol};
use crate::connection::Error;
use crate::server::{Server, Stopped};
use crate::stack::{Received, Sent, TcpStack};
use crate::storage::Id;

/// Sends back what it receives (RFC 862), and closes when the peer does.
///
/// On a stack without zero-copy the server needs [`with_holdback`](Server::with_holdback).
#[derive(Debug, Clone, Copy, Default)]
pub struct Echo;

impl<S: TcpStack> Protocol<S> for Echo {
    fn advance(
        &mut self,
        server: &mut Server<'_, S>,
        stack: &mut S,
        id: Id,
        observer: &mut impl Observer,
    ) -> Result<Next, Error<S::Error>> {
        let relayed = server.relay_tapped(stack, id, id, |data| observer.received(id, data))?;
        Ok(match relayed.stopped {
            Stopped::Empty | Stopped::Full => Next::Wait,
            Stopped::Budget => Next::Again,
            Stopped::EndOfStream => Next::Close,
        })
    }
}

/// Throws away what it receives (RFC 863), and closes when the peer does.
#[derive(Debug, Clone, Copy, Default)]
pub struct Discard;

impl<S: TcpStack> Protocol<S> for Discard {
    fn advance(
        &mut self,
        server: &mut Server<'_, S>,
        stack: &mut S,
        id: Id,
        observer: &mut impl Observer,
    ) -> Result<Next, Error<S::Error>> {
        for _ in 0..ROUNDS {
            match receive(server, stack, id, observer)? {
                Received::Data(()) => {}
                Received::WouldBlock => return Ok(Next::Wait),
                Received::EndOfStream => return Ok(Next::Close),
            }
        }
        Ok(Next::Again)
    }
}

/// Pieces received before the others get their turn.
const ROUNDS: usize = 64;

/// Receives one piece, for the observer only.
pub(super) fn receive<S: TcpStack>(
    server: &mut Server<'_, S>,
    stack: &mut S,
    id: Id,
    observer: &mut impl Observer,
) -> Result<Received<()>, Error<S::Error>> {
    if stack.capabilities().zero_copy {
        return server.recv_with(stack, id, |data| {
            observer.received(id, data);
            (data.len(), ())
        });
    }
    let mut buffer = [0; 512];
    Ok(match server.recv(stack, id, &mut buffer)? {
        Received::Data(count) => {
            observer.received(id, buffer.get(..count).unwrap_or_default());
            Received::Data(())
        }
        Received::WouldBlock => Received::WouldBlock,
        Received::EndOfStream => Received::EndOfStream,
    })
}

/// Answers each piece that it receives with the same bytes, and closes when the peer does.
///
/// Pieces are what has come together, at most what the stack hands out at once; TCP does not keep the peer's boundaries.
#[derive(Debug, Clone, Copy)]
pub struct Reply<T> {
    text: T,
}

impl<T: AsRef<[u8]>> Reply<T> {
    /// Answers with `text`.
    pub const fn new(text: T) -> Self {
        Self { text }
    }
}

/// The connection's word says how many bytes of the answer are still to be sent.
impl<S: TcpStack, T: AsRef<[u8]>> Protocol<S> for Reply<T> {
    fn advance(
        &mut self,
        server: &mut Server<'_, S>,
        stack: &mut S,
        id: Id,
        observer: &mut impl Observer,
    ) -> Result<Next, Error<S::Error>> {
        let text = self.text.as_ref();
        for _ in 0..ROUNDS {
            let left = server.word(id).unwrap_or(0) as usize;
            if left > 0 {
                let rest = text.get(text.len().saturating_sub(left)..).unwrap_or_default();
                let Sent::Queued(count) = server.send(stack, id, rest)? else { return Ok(Next::Wait) };
                server.set_word(id, left.saturating_sub(count.max(1)) as u32);
                continue;
            }
            match receive(server, stack, id, observer)? {
                Received::Data(()) => server.set_word(id, text.len() as u32),
                Received::WouldBlock => return Ok(Next::Wait),
                Received::EndOfStream => return Ok(Next::Close),
            }
        }
        Ok(Next::Again)
    }
}
