//! An embedded-nal stack that answers what it is told to.

use super::PEER;
use core::net::SocketAddr;
use embedded_nal::{TcpClientStack, TcpError, TcpErrorKind, TcpFullStack, nb};
use std::collections::VecDeque;

/// What the next call that may block answers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    Count(usize),
    WouldBlock,
    PipeClosed,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    PipeClosed,
    Other,
}

impl TcpError for Fault {
    fn kind(&self) -> TcpErrorKind {
        match self {
            Self::PipeClosed => TcpErrorKind::PipeClosed,
            Self::Other => TcpErrorKind::Other,
        }
    }
}

/// Answers in order, then would-block for ever.
#[derive(Debug)]
pub(super) struct Scripted {
    answers: VecDeque<Answer>,
    /// Sockets that were given out and not closed.
    pub(super) open: usize,
}

/// A socket.
#[derive(Debug)]
pub(super) struct Handle;

impl Scripted {
    pub(super) fn new(answers: &[Answer]) -> Self {
        Self { answers: answers.iter().copied().collect(), open: 0 }
    }

    fn answer(&mut self) -> nb::Result<usize, Fault> {
        match self.answers.pop_front().unwrap_or(Answer::WouldBlock) {
            Answer::Count(count) => Ok(count),
            Answer::WouldBlock => Err(nb::Error::WouldBlock),
            Answer::PipeClosed => Err(nb::Error::Other(Fault::PipeClosed)),
            Answer::Other => Err(nb::Error::Other(Fault::Other)),
        }
    }
}

impl TcpClientStack for Scripted {
    type TcpSocket = Handle;
    type Error = Fault;

    fn socket(&mut self) -> Result<Handle, Fault> {
        self.open += 1;
        Ok(Handle)
    }

    fn connect(&mut self, _: &mut Handle, _: SocketAddr) -> nb::Result<(), Fault> {
        self.answer().map(drop)
    }

    fn send(&mut self, _: &mut Handle, _: &[u8]) -> nb::Result<usize, Fault> {
        self.answer()
    }

    fn receive(&mut self, _: &mut Handle, _: &mut [u8]) -> nb::Result<usize, Fault> {
        self.answer()
    }

    fn close(&mut self, Handle: Handle) -> Result<(), Fault> {
        self.open -= 1;
        Ok(())
    }
}

impl TcpFullStack for Scripted {
    fn bind(&mut self, _: &mut Handle, _: u16) -> Result<(), Fault> {
        Ok(())
    }

    fn listen(&mut self, _: &mut Handle) -> Result<(), Fault> {
        Ok(())
    }

    fn accept(&mut self, _: &mut Handle) -> nb::Result<(Handle, SocketAddr), Fault> {
        self.answer()?;
        self.open += 1;
        Ok((Handle, PEER))
    }
}
