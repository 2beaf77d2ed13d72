use super::{Next, Observer, Protocol, protocols::receive};
use crate::connection::Error;
use crate::server::Server;
use crate::stack::{Received, Sent, TcpStack};
use crate::storage::Id;

/// Sends the pattern of RFC 864 for as long as the peer takes it, throws away what it receives, and closes when the peer does.
///
/// Lines of 72 of the 95 printable characters and CR LF; each begins one character later than the one before.
#[derive(Debug, Clone, Copy, Default)]
pub struct Chargen;

const PRINTABLE: u32 = 95;
const LINE: u32 = 74;
/// After so many bytes the pattern repeats.
const PERIOD: u32 = PRINTABLE * LINE;

impl Chargen {
    /// The byte at an offset in the stream.
    pub const fn byte_at(offset: u32) -> u8 {
        let offset = offset % PERIOD;
        let (line, column) = (offset / LINE, offset % LINE);
        match column {
            72 => b'\r',
            73 => b'\n',
            column => b' ' + ((line + column) % PRINTABLE) as u8,
        }
    }
}

/// The connection's word is the offset of the next byte in the pattern.
impl<S: TcpStack> Protocol<S> for Chargen {
    fn advance(
        &mut self,
        server: &mut Server<'_, S>,
        stack: &mut S,
        id: Id,
        observer: &mut impl Observer,
    ) -> Result<Next, Error<S::Error>> {
        const ROUNDS: usize = 64;
        for round in 0.. {
            match receive(server, stack, id, observer)? {
                Received::Data(()) if round < ROUNDS => {}
                Received::Data(()) => return Ok(Next::Again),
                Received::WouldBlock => break,
                Received::EndOfStream => return Ok(Next::Close),
            }
        }
        for _ in 0..ROUNDS {
            let offset = server.word(id).unwrap_or(0);
            let mut bytes = [0; 4 * LINE as usize];
            for (byte, at) in bytes.iter_mut().zip(offset..) {
                *byte = Self::byte_at(at);
            }
            let Sent::Queued(count) = server.send(stack, id, &bytes)? else { return Ok(Next::Wait) };
            server.set_word(id, (offset + count as u32) % PERIOD);
        }
        Ok(Next::Again)
    }
}
