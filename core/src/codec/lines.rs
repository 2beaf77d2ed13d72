use super::buffer::Buffer;
use super::{Decode, DecodeError, Decoded, Encode, EncodeError, write};
use crate::storage::ManagedSlice;

/// Lines: LF or CR LF ends one, and is not part of it.
///
/// A line that is too long is reported once, when it outgrows the buffer; decoding goes on behind its end. At the end of the stream
/// the rest counts as a line.
#[derive(Debug)]
pub struct Lines<'a> {
    buffer: Buffer<'a>,
    /// A CR has come last: it is part of the line unless LF follows.
    cr: bool,
    /// The rest of a line that was too long is skipped.
    skipping: bool,
}

impl<'a> Lines<'a> {
    /// Lines of at most `buffer.len()` bytes, their end not counted.
    pub fn new(buffer: impl Into<ManagedSlice<'a, u8>>) -> Self {
        Self { buffer: Buffer::new(buffer.into()), cr: false, skipping: false }
    }

    /// Keeps a piece of a line whose end has not come. Says whether it fits.
    fn keep(&mut self, piece: &[u8]) -> bool {
        if piece.is_empty() {
            return true;
        }
        let (body, cr) = strip_cr(piece);
        let fits =
            (!core::mem::replace(&mut self.cr, cr) || self.buffer.push(b"\r")) && self.buffer.push(body);
        if !fits {
            self.buffer.clear();
            self.cr = false;
        }
        fits
    }
}

impl Decode for Lines<'_> {
    fn decode<'f>(&'f mut self, input: &'f [u8]) -> Decoded<'f> {
        let (piece, ended) = match input.iter().position(|byte| *byte == b'\n') {
            Some(at) => (input.get(..at).unwrap_or_default(), true),
            None => (input, false),
        };
        let used = piece.len() + usize::from(ended);
        if self.skipping {
            self.skipping = !ended;
            return match input.get(used..) {
                Some(rest) if ended && !rest.is_empty() => {
                    let next = self.decode(rest);
                    Decoded { used: used + next.used, frame: next.frame }
                }
                Some(_) | None => Decoded { used, frame: None },
            };
        }
        let frame = if ended && self.buffer.len() == 0 && !self.cr {
            // The whole line is here.
            let (line, _) = strip_cr(piece);
            Some(if line.len() <= self.buffer.capacity() { Ok(line) } else { Err(DecodeError::TooLong) })
        } else if !self.keep(piece) {
            self.skipping = !ended;
            Some(Err(DecodeError::TooLong))
        } else if ended {
            self.cr = false;
            Some(Ok(self.buffer.take()))
        } else {
            None
        };
        Decoded { used, frame }
    }

    fn finish(&mut self) -> Result<Option<&[u8]>, DecodeError> {
        let cr = core::mem::take(&mut self.cr);
        if core::mem::take(&mut self.skipping) || (!cr && self.buffer.len() == 0) {
            return Ok(None);
        }
        if cr && !self.buffer.push(b"\r") {
            self.buffer.clear();
            return Err(DecodeError::TooLong);
        }
        Ok(Some(self.buffer.take()))
    }
}

fn strip_cr(piece: &[u8]) -> (&[u8], bool) {
    piece.strip_suffix(b"\r").map_or((piece, false), |body| (body, true))
}

/// How lines are ended when they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LineEnd {
    /// CR LF, as in the protocols of the Internet (RFC 5198).
    #[default]
    CrLf,
    /// LF, as in files.
    Lf,
}

impl LineEnd {
    const fn bytes(self) -> &'static [u8] {
        match self {
            Self::CrLf => b"\r\n",
            Self::Lf => b"\n",
        }
    }
}

/// A payload that contains LF, or ends with the CR of a line end, is [`EncodeError::Delimiter`].
impl Encode for LineEnd {
    fn room(&self, len: usize) -> usize {
        len.saturating_add(self.bytes().len())
    }

    fn encode(&self, payload: &[u8], output: &mut [u8]) -> Result<usize, EncodeError> {
        if payload.contains(&b'\n') || payload.ends_with(b"\r") {
            return Err(EncodeError::Delimiter);
        }
        write(output, &[payload, self.bytes()])
    }
}
