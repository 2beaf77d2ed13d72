//! Bytes to frames and back: [`Lines`], [`Prefixed`] by their length, [`Raw`].
//!
//! TCP carries bytes, not messages: a frame may arrive in pieces, or with others. A decoder takes what has come, wherever it was cut,
//! and gives the frames in it; it keeps an unfinished one in a buffer of the caller's, whose length is the limit for a frame.
//!
//! ```
//! use socklet::codec::{Decode, DecodeError, Lines};
//!
//! let mut buffer = [0; 16];
//! let mut lines = Lines::new(&mut buffer[..]);
//! let mut seen = Vec::new();
//! for mut chunk in [&b"GET"[..], b" /\r\nHo", b"st: x\n\n"] {
//!     while !chunk.is_empty() {
//!         let decoded = lines.decode(chunk);
//!         match decoded.frame {
//!             Some(Ok(line)) => seen.push(line.to_vec()),
//!             Some(Err(DecodeError::TooLong)) => panic!("longer than 16 bytes"),
//!             Some(Err(_)) | None => {}
//!         }
//!         chunk = &chunk[decoded.used..];
//!     }
//! }
//! assert_eq!(seen, [&b"GET /"[..], b"Host: x", b""]);
//! ```

mod buffer;
mod lines;
mod prefixed;
#[cfg(test)]
mod tests;

pub use lines::{LineEnd, Lines};
pub use prefixed::{Prefix, Prefixed};

use core::fmt;

/// What [`Decode::decode`] found.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the rest of the input has not been looked at"]
pub struct Decoded<'f> {
    /// How many bytes of the input are done with; at least one unless the input was empty.
    pub used: usize,
    /// A frame, if one is complete, without what delimits it. `None`: all of the input was used.
    pub frame: Option<Result<&'f [u8], DecodeError>>,
}

/// Why there is no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum DecodeError {
    /// The frame is longer than the buffer. [`Lines`] goes on with the next line; for [`Prefixed`] it is the end, see there.
    TooLong,
    /// The stream ended inside a frame.
    Truncated,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "frame longer than the receiver's buffer",
            Self::Truncated => "the stream ended inside a frame",
        })
    }
}

impl core::error::Error for DecodeError {}

/// Bytes to frames.
pub trait Decode {
    /// Takes bytes up to the end of the next frame, or all of them.
    ///
    /// A frame that lies in the input as a whole is not copied.
    fn decode<'f>(&'f mut self, input: &'f [u8]) -> Decoded<'f>;

    /// The stream has ended: the unfinished rest, if that is a frame, and the decoder is as new.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when it is none, [`DecodeError::TooLong`] for a decoder that had stopped.
    fn finish(&mut self) -> Result<Option<&[u8]>, DecodeError>;
}

/// Why a frame was not encoded; nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum EncodeError {
    /// The output needs at least so many bytes.
    NoRoom(usize),
    /// The payload is longer than its length field can say.
    TooLong,
    /// The payload contains the delimiter.
    Delimiter,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoom(needed) => write!(f, "the frame needs room for {needed} bytes"),
            Self::TooLong => f.write_str("payload too long for its length field"),
            Self::Delimiter => f.write_str("payload contains a line end"),
        }
    }
}

impl core::error::Error for EncodeError {}

/// Frames to bytes.
pub trait Encode {
    /// How many bytes a payload of `len` bytes takes on the wire.
    fn room(&self, len: usize) -> usize;

    /// Writes a frame to the start of `output`, and says how long it is.
    ///
    /// # Errors
    /// See [`EncodeError`].
    fn encode(&self, payload: &[u8], output: &mut [u8]) -> Result<usize, EncodeError>;
}

/// No frames: bytes as they come.
#[derive(Debug, Clone, Copy, Default)]
pub struct Raw;

impl Decode for Raw {
    fn decode<'f>(&'f mut self, input: &'f [u8]) -> Decoded<'f> {
        Decoded { used: input.len(), frame: (!input.is_empty()).then_some(Ok(input)) }
    }

    fn finish(&mut self) -> Result<Option<&[u8]>, DecodeError> {
        Ok(None)
    }
}

impl Encode for Raw {
    fn room(&self, len: usize) -> usize {
        len
    }

    fn encode(&self, payload: &[u8], output: &mut [u8]) -> Result<usize, EncodeError> {
        write(output, &[payload])
    }
}

/// Writes the parts of a frame one after the other, all of them or nothing.
fn write(output: &mut [u8], parts: &[&[u8]]) -> Result<usize, EncodeError> {
    let needed = parts.iter().fold(0usize, |sum, part| sum.saturating_add(part.len()));
    let mut rest = output.get_mut(..needed).ok_or(EncodeError::NoRoom(needed))?;
    for part in parts {
        let Some((to, after)) = rest.split_at_mut_checked(part.len()) else { break };
        to.copy_from_slice(part);
        rest = after;
    }
    Ok(needed)
}
