//! A stack in memory whose peer is the test: it does what it is told and keeps what it was sent.

use crate::stack::{
    Capabilities, ConnectOptions, ErrorKind, ListenOptions, Readiness, Ready, Received, Sent, Status, Tag,
    TcpStack,
};
use crate::time::Instant;
use core::net::SocketAddr;
use std::collections::VecDeque;
use std::vec::Vec;

pub(crate) const SERVER: &str = "192.0.2.1:7";

/// How many bytes fit into a send buffer.
pub(crate) const ROOM: usize = 4096;

#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) status: Status,
    pub(crate) peer: SocketAddr,
    pub(crate) rx: VecDeque<u8>,
    /// Queued and not acknowledged.
    pub(crate) tx: Vec<u8>,
    /// Acknowledged.
    pub(crate) delivered: Vec<u8>,
    pub(crate) fin_received: bool,
    pub(crate) fin_sent: bool,
    pub(crate) released: Option<Release>,
    tag: Tag,
    listener: Option<u32>,
    readiness: Readiness,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release {
    Closed,
    Aborted,
}

#[derive(Debug)]
pub(crate) struct Mock {
    pub(crate) capabilities: Capabilities,
    pub(crate) sockets: Vec<Socket>,
    pub(crate) backlog: VecDeque<u64>,
    pub(crate) listening: bool,
    /// What `connect` answers.
    pub(crate) connects: Result<(), ErrorKind>,
    pub(crate) connect_calls: usize,
    changed: VecDeque<u64>,
}

impl Mock {
    pub(crate) fn new() -> Self {
        Self {
            capabilities: Capabilities::ALL,
            sockets: Vec::new(),
            backlog: VecDeque::new(),
            listening: false,
            connects: Ok(()),
            connect_calls: 0,
            changed: VecDeque::new(),
        }
    }

    fn socket(&mut self, peer: SocketAddr, status: Status, listener: Option<u32>) -> u64 {
        self.sockets.push(Socket {
            status,
            peer,
            rx: VecDeque::new(),
            tx: Vec::new(),
            delivered: Vec::new(),
            fin_received: false,
            fin_sent: false,
            released: None,
            tag: Tag::default(),
            listener,
            readiness: Readiness::default(),
        });
        self.sockets.len() as u64 - 1
    }

    /// A peer completes the handshake with the listener.
    pub(crate) fn peer_connects(&mut self, peer: &str) -> u64 {
        let handle = self.socket(peer.parse().unwrap(), Status::Open, Some(0));
        self.backlog.push_back(handle);
        handle
    }

    /// The peer answers a `connect`.
    pub(crate) fn peer_accepts(&mut self, handle: u64) {
        self[handle].status = Status::Open;
    }

    pub(crate) fn peer_sends(&mut self, handle: u64, data: &[u8]) {
        self[handle].rx.extend(data);
        self.change(handle, Readiness { readable: true, ..Readiness::default() });
    }

    pub(crate) fn peer_acknowledges(&mut self, handle: u64, count: usize) {
        let socket = &mut self[handle];
        let taken: Vec<u8> = socket.tx.drain(..count.min(socket.tx.len())).collect();
        socket.delivered.extend(taken);
        self.change(handle, Readiness { writable: true, ..Readiness::default() });
        self.settle(handle);
    }

    pub(crate) fn peer_closes(&mut self, handle: u64) {
        self[handle].fin_received = true;
        self.change(handle, Readiness { readable: true, ..Readiness::default() });
        self.settle(handle);
    }

    pub(crate) fn peer_fails(&mut self, handle: u64, kind: ErrorKind) {
        self[handle].status = Status::Failed(kind);
        self.change(handle, Readiness { ended: true, ..Readiness::default() });
    }

    /// Both sides closed and all is acknowledged: it has finished.
    fn settle(&mut self, handle: u64) {
        let socket = &mut self[handle];
        if socket.status == Status::Open && socket.fin_received && socket.fin_sent && socket.tx.is_empty() {
            socket.status = Status::Finished;
            self.change(handle, Readiness { ended: true, ..Readiness::default() });
        }
    }

    fn change(&mut self, handle: u64, what: Readiness) {
        let socket = &mut self[handle];
        if socket.readiness.is_empty() {
            self.changed.push_back(handle);
        }
        let socket = &mut self[handle];
        socket.readiness.readable |= what.readable;
        socket.readiness.writable |= what.writable;
        socket.readiness.ended |= what.ended;
    }

    fn live(&self, handle: u64) -> Result<&Socket, ErrorKind> {
        let socket = self.sockets.get(handle as usize).filter(|socket| socket.released.is_none());
        socket.ok_or(ErrorKind::StaleHandle)
    }

    fn live_mut(&mut self, handle: u64) -> Result<&mut Socket, ErrorKind> {
        let socket = self.sockets.get_mut(handle as usize).filter(|socket| socket.released.is_none());
        socket.ok_or(ErrorKind::StaleHandle)
    }

    fn release(&mut self, handle: u64, how: Release) -> Result<(), ErrorKind> {
        self.live_mut(handle)?.released = Some(how);
        Ok(())
    }
}

impl core::ops::Index<u64> for Mock {
    type Output = Socket;
    fn index(&self, handle: u64) -> &Socket {
        &self.sockets[handle as usize]
    }
}

impl core::ops::IndexMut<u64> for Mock {
    fn index_mut(&mut self, handle: u64) -> &mut Socket {
        &mut self.sockets[handle as usize]
    }
}

impl TcpStack for Mock {
    type Listener = u32;
    type Connection = u64;
    type Error = ErrorKind;

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn listen(&mut self, _: SocketAddr, _: &ListenOptions) -> Result<u32, ErrorKind> {
        self.listening = true;
        Ok(0)
    }

    fn accept(&mut self, _: u32) -> Result<Option<(u64, SocketAddr)>, ErrorKind> {
        let handle = self.backlog.pop_front();
        Ok(handle.map(|handle| (handle, self[handle].peer)))
    }

    fn listener_addr(&self, _: u32) -> Result<SocketAddr, ErrorKind> {
        Ok(SERVER.parse().unwrap())
    }

    fn close_listener(&mut self, _: u32) -> Result<(), ErrorKind> {
        self.listening = false;
        self.backlog.clear();
        Ok(())
    }

    fn connect(&mut self, remote: SocketAddr, _: &ConnectOptions) -> Result<u64, ErrorKind> {
        self.connect_calls += 1;
        self.connects?;
        Ok(self.socket(remote, Status::Connecting, None))
    }

    fn status(&self, connection: u64) -> Result<Status, ErrorKind> {
        Ok(self.live(connection)?.status)
    }

    fn set_tag(&mut self, connection: u64, tag: Tag) -> Result<(), ErrorKind> {
        self.live_mut(connection)?.tag = tag;
        Ok(())
    }

    fn send(&mut self, connection: u64, data: &[u8]) -> Result<Sent, ErrorKind> {
        let socket = self.live_mut(connection)?;
        if let Status::Failed(kind) = socket.status {
            return Err(kind);
        }
        if socket.fin_sent {
            return Err(ErrorKind::Closed);
        }
        let count = data.len().min(ROOM - socket.tx.len());
        if count < data.len() && count == 0 || socket.status == Status::Connecting {
            return Ok(Sent::WouldBlock);
        }
        socket.tx.extend(&data[..count]);
        Ok(Sent::Queued(count))
    }

    fn recv(&mut self, connection: u64, buffer: &mut [u8]) -> Result<Received, ErrorKind> {
        let zero_copy = core::mem::replace(&mut self.capabilities.zero_copy, true);
        let received = self.recv_with(connection, |data| {
            let count = data.len().min(buffer.len());
            buffer[..count].copy_from_slice(&data[..count]);
            (count, count)
        });
        self.capabilities.zero_copy = zero_copy;
        received
    }

    fn send_with(
        &mut self,
        connection: u64,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<Sent, ErrorKind> {
        let mut buffer = [0; ROOM];
        let room = ROOM - self.live(connection)?.tx.len();
        if room == 0 {
            return Ok(Sent::WouldBlock);
        }
        let count = fill(&mut buffer[..room]);
        self.send(connection, &buffer[..count])
    }

    fn recv_with<R>(
        &mut self,
        connection: u64,
        take: impl FnOnce(&[u8]) -> (usize, R),
    ) -> Result<Received<R>, ErrorKind> {
        if !self.capabilities.zero_copy {
            return Err(ErrorKind::Unsupported);
        }
        let socket = self.live_mut(connection)?;
        // Only what is contiguous, as a ring would.
        let (first, _) = socket.rx.as_slices();
        if !first.is_empty() {
            let (count, value) = take(first);
            socket.rx.drain(..count);
            return Ok(Received::Data(value));
        }
        match socket.status {
            Status::Failed(kind) => Err(kind),
            _ if socket.fin_received => Ok(Received::EndOfStream),
            _ => Ok(Received::WouldBlock),
        }
    }

    fn shutdown(&mut self, connection: u64) -> Result<(), ErrorKind> {
        if !self.capabilities.half_close {
            return Err(ErrorKind::Unsupported);
        }
        let socket = self.live_mut(connection)?;
        if let Status::Failed(kind) = socket.status {
            return Err(kind);
        }
        socket.fin_sent = true;
        self.settle(connection);
        Ok(())
    }

    fn close(&mut self, connection: u64) -> Result<(), ErrorKind> {
        self.release(connection, Release::Closed)
    }

    fn abort(&mut self, connection: u64) -> Result<(), ErrorKind> {
        self.release(connection, Release::Aborted)
    }

    fn local_addr(&self, connection: u64) -> Result<SocketAddr, ErrorKind> {
        self.live(connection)?;
        Ok(SERVER.parse().unwrap())
    }

    fn peer_addr(&self, connection: u64) -> Result<SocketAddr, ErrorKind> {
        Ok(self.live(connection)?.peer)
    }

    fn unsent(&self, connection: u64) -> Result<usize, ErrorKind> {
        if !self.capabilities.unsent {
            return Err(ErrorKind::Unsupported);
        }
        Ok(self.live(connection)?.tx.len())
    }

    fn ready(&mut self, listener: u32) -> Option<Ready<u64>> {
        while let Some(handle) = self.changed.pop_front() {
            let socket = &mut self[handle];
            let readiness = core::mem::take(&mut socket.readiness);
            if socket.listener == Some(listener) && socket.released.is_none() {
                return Some(Ready { connection: handle, tag: socket.tag, readiness });
            }
        }
        None
    }

    fn poll(&mut self, _: Instant) -> Option<Instant> {
        None
    }
}
