use core::fmt;
use core::net::SocketAddr;
use socklet::codec::{Decode, DecodeError, Lines};
use socklet::connection::Error;
use socklet::server::Server;
use socklet::service::{Next, Observer, Protocol};
use socklet::stack::{Received, Sent, TcpStack};
use socklet::storage::Id;
use std::collections::VecDeque;
use std::io::Write;

/// How much a [`Chat`] keeps for each client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChatLimits {
    /// Bytes of the longest line.
    pub line: usize,
    /// Bytes that wait for a client that reads slowly, beside the stack's own buffer.
    pub outbox: usize,
}

/// 4 KiB and 64 KiB.
impl Default for ChatLimits {
    fn default() -> Self {
        Self { line: 4 << 10, outbox: 64 << 10 }
    }
}

/// Sends each line of a client to all others, with the sender's address in front, and closes when the client does.
///
/// Nobody waits for a slow reader: a line for which its outbox has no room is left out, and it is told how many were. A line that
/// is too long goes to nobody, and its sender is told.
pub struct Chat {
    limits: ChatLimits,
    name: Box<dyn Fn(SocketAddr) -> SocketAddr>,
    /// By the index of their connection.
    members: Vec<Option<Member>>,
}

struct Member {
    id: Id,
    lines: Lines<'static>,
    outbox: VecDeque<u8>,
    missed: u64,
    /// It sends no more.
    leaving: bool,
}

impl fmt::Debug for Chat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chat").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Chat {
    /// A chat whose members are named by what `name` makes of their addresses.
    pub fn new(limits: ChatLimits, name: impl Fn(SocketAddr) -> SocketAddr + 'static) -> Self {
        Self { limits, name: Box::new(name), members: Vec::new() }
    }

    /// The member behind a connection; a new one if the connection is new.
    fn member(&mut self, id: Id) -> &mut Member {
        if self.members.len() <= id.index() {
            self.members.resize_with(id.index() + 1, || None);
        }
        let member = &mut self.members[id.index()];
        if member.as_ref().is_some_and(|member| member.id != id) {
            *member = None;
        }
        member.get_or_insert_with(|| Member::new(id, self.limits))
    }

    /// Takes what was received apart, and passes its lines on.
    fn take<S: TcpStack>(&mut self, server: &mut Server<'_, S>, stack: &mut S, from: Id, mut data: &[u8]) {
        while !data.is_empty() {
            let decoded = self.member(from).lines.decode(data);
            let line = decoded.frame.map(|frame| frame.map(<[u8]>::to_vec));
            data = &data[decoded.used..];
            self.pass_on(server, stack, from, line);
        }
    }

    fn pass_on<S: TcpStack>(
        &mut self,
        server: &mut Server<'_, S>,
        stack: &mut S,
        from: Id,
        line: Option<Result<Vec<u8>, DecodeError>>,
    ) {
        let limits = self.limits;
        let message = match line {
            None => return,
            Some(Err(_)) => {
                let notice = format!("*** a line of more than {} bytes was not passed on\n", limits.line);
                return self.member(from).post(server, stack, limits, notice.as_bytes());
            }
            Some(Ok(line)) => {
                let peer = server.peer(stack, from).map(&self.name);
                let name = peer.map_or_else(|_| "?".into(), |peer| peer.to_string());
                [b"[", name.as_bytes(), b"] ", &line, b"\n"].concat()
            }
        };
        for index in 0..server.capacity() {
            if let Some(id) = server.id_at(index).filter(|id| *id != from) {
                self.member(id).post(server, stack, limits, &message);
            }
        }
    }
}

impl Member {
    fn new(id: Id, limits: ChatLimits) -> Self {
        let lines = Lines::new(vec![0; limits.line]);
        Self { id, lines, outbox: VecDeque::new(), missed: 0, leaving: false }
    }

    /// Sends a message, or keeps it for later, or counts it as missed.
    fn post<S: TcpStack>(
        &mut self,
        server: &mut Server<'_, S>,
        stack: &mut S,
        limits: ChatLimits,
        message: &[u8],
    ) {
        if self.missed > 0 || self.outbox.len() + message.len() > limits.outbox {
            self.missed += 1;
            return;
        }
        self.outbox.extend(message);
        // An error ends the connection; its own turn comes.
        let _ = self.flush(server, stack);
    }

    /// Sends what waits, and then how much was missed.
    fn flush<S: TcpStack>(
        &mut self,
        server: &mut Server<'_, S>,
        stack: &mut S,
    ) -> Result<(), Error<S::Error>> {
        loop {
            if self.outbox.is_empty() && self.missed > 0 {
                // A write to memory does not fail.
                let _ = writeln!(self.outbox, "*** you read too slowly: {} lines left out", self.missed);
                self.missed = 0;
            }
            let (waiting, _) = self.outbox.as_slices();
            if waiting.is_empty() {
                return Ok(());
            }
            match server.send(stack, self.id, waiting)? {
                Sent::Queued(count) => drop(self.outbox.drain(..count)),
                Sent::WouldBlock => return Ok(()),
            }
        }
    }
}

/// Pieces received from one client before the others get their turn.
const ROUNDS: usize = 16;

impl<S: TcpStack> Protocol<S> for Chat {
    fn advance(
        &mut self,
        server: &mut Server<'_, S>,
        stack: &mut S,
        id: Id,
        observer: &mut impl Observer,
    ) -> Result<Next, Error<S::Error>> {
        self.member(id).flush(server, stack)?;
        let mut buffer = [0; 2048];
        for _ in 0..ROUNDS {
            if self.member(id).leaving {
                let done = self.member(id).outbox.is_empty();
                return Ok(if done { Next::Close } else { Next::Wait });
            }
            match server.recv(stack, id, &mut buffer)? {
                Received::WouldBlock => return Ok(Next::Wait),
                Received::Data(count) => {
                    observer.received(id, &buffer[..count]);
                    self.take(server, stack, id, &buffer[..count]);
                }
                Received::EndOfStream => {
                    let rest = self.member(id).lines.finish();
                    let rest = rest.map(|rest| rest.map(<[u8]>::to_vec)).transpose();
                    self.pass_on(server, stack, id, rest);
                    self.member(id).leaving = true;
                }
            }
        }
        Ok(Next::Again)
    }
}
