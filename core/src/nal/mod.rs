//! Adapters from and to the [`embedded_nal`] traits.
//!
//! - [`FromNal`] makes a [`TcpStack`](crate::stack::TcpStack) of any `TcpClientStack` or `TcpFullStack`: the firmware of a modem, say. What those
//!   traits cannot say is `Unsupported`.
//! - [`ToNal`] makes a `TcpFullStack` of any [`TcpStack`](crate::stack::TcpStack), so that what was written for embedded-nal (an MQTT client,
//!   say) runs on it.

mod connection;
mod from_nal;
mod role;
#[cfg(test)]
mod tests;
mod to_nal;

pub use from_nal::{FromNal, NalConnection, NalListener, NalListenerSlot, NalOptions, NalSlot, OnZero};
pub use role::{ClientOnly, FullStack, Role};
pub use to_nal::{NalSocket, OnEnd, ToNal};

use crate::stack::{ErrorKind, StackError};
use core::fmt;
use embedded_nal::{TcpError, TcpErrorKind};

/// What went wrong in an adapter, with the error of the stack beneath where it gave one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NalError<E> {
    kind: ErrorKind,
    source: Option<E>,
}

impl<E> NalError<E> {
    const fn new(kind: ErrorKind, source: E) -> Self {
        Self { kind, source: Some(source) }
    }

    /// The error of the stack beneath.
    pub const fn inner(&self) -> Option<&E> {
        self.source.as_ref()
    }
}

impl<E> From<ErrorKind> for NalError<E> {
    fn from(kind: ErrorKind) -> Self {
        Self { kind, source: None }
    }
}

impl<E: fmt::Debug> fmt::Display for NalError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "{} ({source:?})", self.kind),
            None => self.kind.fmt(f),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for NalError<E> {}

impl<E: fmt::Debug> StackError for NalError<E> {
    fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// `PipeClosed` is what has been closed in order: the end of the stream, or this side's end. A reset is `Other`.
impl<E: fmt::Debug> TcpError for NalError<E> {
    fn kind(&self) -> TcpErrorKind {
        match self.kind {
            ErrorKind::Closed => TcpErrorKind::PipeClosed,
            _ => TcpErrorKind::Other,
        }
    }
}
