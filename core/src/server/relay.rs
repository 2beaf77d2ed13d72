use super::Server;
use crate::connection::Error;
use crate::stack::{Received, Sent, TcpStack};
use crate::storage::Id;
use heapless::Vec;

/// What [`Server::relay`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relayed {
    /// How many bytes were moved.
    pub bytes: usize,
    /// Why it stopped, and what to wait for.
    pub stopped: Stopped,
}

/// Why [`Server::relay`] stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Nothing more has come: until the source's `Readable`.
    Empty,
    /// There is no more room: until the target's `Writable`.
    Full,
    /// The source's stream has ended, and all of it has been moved.
    EndOfStream,
    /// It has moved enough for one call: [`wake`](Server::wake) the source, and do it again.
    Budget,
}

/// Bytes moved in one step, on the stack.
const CHUNK: usize = 1024;

/// Bytes moved in one call, at most a chunk more.
const BUDGET: usize = 64 * 1024;

impl<S: TcpStack> Server<'_, S> {
    /// Moves bytes from one connection to another, or to itself (an echo), as many as there are and have room.
    ///
    /// A byte that has no room stays with the source, whose window closes: nothing is lost. Uses 1 KiB of the program's stack.
    ///
    /// # Errors
    /// Those of either connection: [`recv_with`](Server::recv_with), [`send`](Server::send).
    pub fn relay(&mut self, stack: &mut S, from: Id, to: Id) -> Result<Relayed, Error<S::Error>> {
        self.relay_tapped(stack, from, to, |_| {})
    }

    /// As [`relay`](Server::relay), and shows every byte that was moved to `tap`, once and in order.
    ///
    /// # Errors
    /// As [`relay`](Server::relay).
    pub fn relay_tapped(
        &mut self,
        stack: &mut S,
        from: Id,
        to: Id,
        mut tap: impl FnMut(&[u8]),
    ) -> Result<Relayed, Error<S::Error>> {
        let bytes = self.splice(stack, from, to, &mut tap);
        if bytes >= BUDGET {
            return Ok(Relayed { bytes, stopped: Stopped::Budget });
        }
        self.bounce(stack, from, to, bytes, tap)
    }

    /// Takes the stack's short cut. Why it moves no more, failures too, is left to [`bounce`](Self::bounce) to find out.
    fn splice(&mut self, stack: &mut S, from: Id, to: Id, tap: impl FnMut(&[u8])) -> usize {
        let (Some(source), Some(target)) = (self.slots.get(from), self.slots.get(to)) else { return 0 };
        if !source.state().receives() || !target.state().sends() {
            return 0;
        }
        let moved = stack.splice(source.handle(), target.handle(), BUDGET, tap).unwrap_or(0);
        if moved > 0 {
            // Neither id is stale.
            let _ = self.on(from, |connection, cx| {
                connection.note_received(moved, cx);
                Ok(())
            });
            let _ = self.on(to, |connection, cx| {
                connection.note_queued(moved, cx);
                Ok(())
            });
        }
        moved
    }

    /// Relays through memory of its own, from `bytes` on.
    fn bounce(
        &mut self,
        stack: &mut S,
        from: Id,
        to: Id,
        mut bytes: usize,
        mut tap: impl FnMut(&[u8]),
    ) -> Result<Relayed, Error<S::Error>> {
        let mut chunk = Vec::<u8, CHUNK>::new();
        // What of the chunk was queued at the target, and is now to be taken from the source.
        let mut queued = 0;
        let mut stopped = None;
        loop {
            let received = self.recv_with(stack, from, |data| {
                let rest = data.get(queued..).unwrap_or_default();
                chunk.clear();
                // It fits: it is cut to the capacity.
                let _ = chunk.extend_from_slice(rest.get(..CHUNK).unwrap_or(rest));
                (queued, ())
            })?;
            if let Some(stopped) = stopped {
                return Ok(Relayed { bytes, stopped });
            }
            match received {
                Received::WouldBlock => return Ok(Relayed { bytes, stopped: Stopped::Empty }),
                Received::EndOfStream => return Ok(Relayed { bytes, stopped: Stopped::EndOfStream }),
                Received::Data(()) => {}
            }
            queued = 0;
            if chunk.is_empty() {
                continue;
            }
            match self.send(stack, to, &chunk)? {
                Sent::WouldBlock => return Ok(Relayed { bytes, stopped: Stopped::Full }),
                Sent::Queued(count) => {
                    tap(chunk.get(..count).unwrap_or_default());
                    queued = count;
                    bytes += count;
                    stopped = if count < chunk.len() {
                        Some(Stopped::Full)
                    } else {
                        (bytes >= BUDGET).then_some(Stopped::Budget)
                    };
                }
            }
        }
    }
}
