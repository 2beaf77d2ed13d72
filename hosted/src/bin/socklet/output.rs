use core::fmt;
use std::io::{Write, stdout};

/// Standard output, whose reader may go away.
#[derive(Debug, Default)]
pub(crate) struct Output {
    closed: bool,
}

impl Output {
    /// Prints a line, unless nobody reads any more.
    pub(crate) fn line(&mut self, line: impl fmt::Display) {
        if !self.closed {
            let mut out = stdout().lock();
            self.closed = writeln!(out, "{line}").and_then(|()| out.flush()).is_err();
        }
    }

    /// Whether the reader is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }
}
