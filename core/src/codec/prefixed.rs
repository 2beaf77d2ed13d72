use super::buffer::Buffer;
use super::{Decode, DecodeError, Decoded, Encode, EncodeError, write};
use crate::storage::ManagedSlice;

/// The length field in front of a frame: unsigned, big endian, itself not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    /// One byte: frames up to 255 bytes.
    U8,
    /// Two bytes: frames up to 65,535 bytes.
    U16,
    /// Four bytes: frames up to 4,294,967,295 bytes.
    U32,
}

impl Prefix {
    /// Bytes of the field.
    pub const fn width(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16 => 2,
            Self::U32 => 4,
        }
    }

    /// The longest frame.
    pub const fn max(self) -> u32 {
        match self {
            Self::U8 => u8::MAX as u32,
            Self::U16 => u16::MAX as u32,
            Self::U32 => u32::MAX,
        }
    }
}

impl Encode for Prefix {
    fn room(&self, len: usize) -> usize {
        len.saturating_add(self.width())
    }

    fn encode(&self, payload: &[u8], output: &mut [u8]) -> Result<usize, EncodeError> {
        let len = u32::try_from(payload.len()).ok().filter(|len| *len <= self.max());
        let field = len.ok_or(EncodeError::TooLong)?.to_be_bytes();
        write(output, &[field.get(4 - self.width()..).unwrap_or_default(), payload])
    }
}

/// Frames with a [`Prefix`].
///
/// A length above the buffer's is fatal: where the next frame begins cannot be trusted any more. From then on all input is used up and
/// answered with [`DecodeError::TooLong`]. Close the connection.
#[derive(Debug)]
pub struct Prefixed<'a> {
    buffer: Buffer<'a>,
    prefix: Prefix,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// So many bytes of the length field have come, with this value.
    Length {
        come: usize,
        value: u32,
    },
    /// A payload of this length is coming.
    Payload(usize),
    Broken,
}

const START: State = State::Length { come: 0, value: 0 };

impl<'a> Prefixed<'a> {
    /// Frames of at most `buffer.len()` bytes, the prefix not counted.
    pub fn new(prefix: Prefix, buffer: impl Into<ManagedSlice<'a, u8>>) -> Self {
        Self { buffer: Buffer::new(buffer.into()), prefix, state: START }
    }

    /// Takes the length field, or the part of it that has come.
    fn take_length<'i>(&mut self, mut input: &'i [u8]) -> &'i [u8] {
        while let (State::Length { come, value }, Some((byte, rest))) = (self.state, input.split_first()) {
            input = rest;
            let (come, value) = (come + 1, value << 8 | u32::from(*byte));
            self.state = if come < self.prefix.width() {
                State::Length { come, value }
            } else {
                match usize::try_from(value) {
                    Ok(len) if len <= self.buffer.capacity() => State::Payload(len),
                    Ok(_) | Err(_) => State::Broken,
                }
            };
        }
        input
    }
}

impl Decode for Prefixed<'_> {
    fn decode<'f>(&'f mut self, input: &'f [u8]) -> Decoded<'f> {
        let rest = self.take_length(input);
        let len = match self.state {
            State::Length { .. } => return Decoded { used: input.len(), frame: None },
            State::Broken if input.is_empty() => return Decoded { used: 0, frame: None },
            State::Broken => return Decoded { used: input.len(), frame: Some(Err(DecodeError::TooLong)) },
            State::Payload(len) => len,
        };
        let missing = len.saturating_sub(self.buffer.len());
        let Some(piece) = rest.get(..missing) else {
            // It fits: the length was compared with the capacity.
            let _ = self.buffer.push(rest);
            return Decoded { used: input.len(), frame: None };
        };
        self.state = START;
        let used = input.len() - rest.len() + missing;
        let frame = if self.buffer.len() == 0 {
            piece
        } else {
            let _ = self.buffer.push(piece);
            self.buffer.take()
        };
        Decoded { used, frame: Some(Ok(frame)) }
    }

    fn finish(&mut self) -> Result<Option<&[u8]>, DecodeError> {
        self.buffer.clear();
        match core::mem::replace(&mut self.state, START) {
            State::Length { come: 0, .. } => Ok(None),
            State::Length { .. } | State::Payload(_) => Err(DecodeError::Truncated),
            State::Broken => Err(DecodeError::TooLong),
        }
    }
}
