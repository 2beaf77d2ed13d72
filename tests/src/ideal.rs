//! A TCP stack without packets: what every other one is measured by, and what the suite itself is tried on.
//!
//! Two hosts share one memory. Bytes, ends and resets arrive in the moment in which they are sent.

use core::cell::{RefCell, RefMut};
use core::net::{IpAddr, SocketAddr};
use socklet::stack::{
    Backpressure, Capabilities, ConnectOptions, ErrorKind, ListenOptions, Readiness, Ready, Received, Sent,
    Status, Tag, TcpStack,
};
use socklet::time::{Duration, Instant, earliest};
use std::collections::VecDeque;
use std::rc::Rc;

/// Bytes that an end takes before it is received from.
const BUFFER: usize = 8 * 1024;
/// How often a client that was deferred tries again.
const RETRY: Duration = Duration::from_secs(1);

/// One of two hosts.
#[derive(Debug)]
pub struct Ideal {
    net: Rc<RefCell<Net>>,
    ip: IpAddr,
    slots: usize,
}

/// A listener's handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener(usize);

/// A connection's handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection(usize);

#[derive(Debug, Default)]
struct Net {
    hosts: Vec<IpAddr>,
    listeners: Vec<Listening>,
    ends: Vec<End>,
    now: Instant,
    port: u16,
}

#[derive(Debug)]
struct Listening {
    local: SocketAddr,
    options: ListenOptions,
    closed: bool,
}

/// One end of a connection. Its index is its handle, and is not used again.
#[derive(Debug)]
struct End {
    local: SocketAddr,
    peer: SocketAddr,
    far: Option<usize>,
    state: State,
    inbox: VecDeque<u8>,
    shut: bool,
    gone: bool,
    listener: Option<usize>,
    accepted: bool,
    tag: Tag,
    changed: Readiness,
    unseen: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Connecting { deadline: Option<Instant>, retry: Instant },
    Open,
    Failed(ErrorKind),
}

impl Ideal {
    /// Two hosts with these addresses and so many connections each.
    pub fn pair(hosts: [IpAddr; 2], slots: [usize; 2]) -> [Self; 2] {
        let net = Net { hosts: hosts.to_vec(), port: 49_152, ..Net::default() };
        let net = Rc::new(RefCell::new(net));
        [0, 1].map(|host| Self { net: Rc::clone(&net), ip: hosts[host], slots: slots[host] })
    }

    fn net(&self) -> RefMut<'_, Net> {
        self.net.borrow_mut()
    }

    fn end(&self, Connection(index): Connection) -> Result<RefMut<'_, End>, ErrorKind> {
        let end = RefMut::map(self.net(), |net| &mut net.ends[index]);
        if end.gone || end.local.ip() != self.ip { Err(ErrorKind::StaleHandle) } else { Ok(end) }
    }

    /// The end of `connection` and the index of the other one, if it has not failed.
    fn alive(&self, connection: Connection) -> Result<(RefMut<'_, End>, Option<usize>), ErrorKind> {
        let end = self.end(connection)?;
        let far = end.far;
        if let State::Failed(kind) = end.state { Err(kind) } else { Ok((end, far)) }
    }

    fn has_slot(&self) -> bool {
        self.net().used(self.ip) < self.slots
    }
}

impl Net {
    fn used(&self, host: IpAddr) -> usize {
        self.ends.iter().filter(|end| end.local.ip() == host && !end.gone).count()
    }

    fn add(&mut self, local: SocketAddr, peer: SocketAddr, state: State, listener: Option<usize>) -> usize {
        self.ends.push(End {
            local,
            peer,
            far: None,
            state,
            inbox: VecDeque::new(),
            shut: false,
            gone: false,
            listener,
            accepted: false,
            tag: Tag(0),
            changed: Readiness::default(),
            unseen: true,
        });
        self.ends.len() - 1
    }

    /// Tells `index` that something changed.
    fn tell(&mut self, index: Option<usize>, change: Readiness) {
        let Some(end) = index.and_then(|index| self.ends.get_mut(index)) else { return };
        end.changed.readable |= change.readable;
        end.changed.writable |= change.writable;
        end.changed.ended |= change.ended;
        end.unseen = true;
    }

    /// The handshake of `client`, if the other host is there at all.
    fn shake_hands(&mut self, client: usize, slots: usize) {
        let (local, peer) = (self.ends[client].local, self.ends[client].peer);
        if !self.hosts.contains(&peer.ip()) {
            return;
        }
        let found = self.listeners.iter().position(|listening| {
            let ip = listening.local.ip();
            !listening.closed
                && listening.local.port() == peer.port()
                && (ip == peer.ip() || ip.is_unspecified())
        });
        let Some(listener) = found else { return self.fail(client, ErrorKind::Refused) };
        let waiting = |end: &&End| end.listener == Some(listener) && !end.accepted && !end.gone;
        let options = self.listeners[listener].options;
        if self.ends.iter().filter(waiting).count() >= options.backlog.max(1) || self.used(peer.ip()) >= slots
        {
            match options.backpressure {
                Backpressure::Refuse => self.fail(client, ErrorKind::Refused),
                Backpressure::Defer => {}
            }
            return;
        }
        let server = self.add(peer, local, State::Open, Some(listener));
        self.ends[server].far = Some(client);
        self.ends[client].far = Some(server);
        self.ends[client].state = State::Open;
        self.tell(Some(client), Readiness { writable: true, ..Readiness::default() });
    }

    fn fail(&mut self, index: usize, kind: ErrorKind) {
        if !self.is_finished(index) {
            self.ends[index].state = State::Failed(kind);
            self.ends[index].inbox.clear();
            self.tell(Some(index), Readiness::ALL);
        }
    }

    fn far_shut(&self, index: usize) -> bool {
        self.ends[index].far.is_some_and(|far| self.ends[far].shut)
    }

    fn is_finished(&self, index: usize) -> bool {
        self.ends[index].shut && self.far_shut(index)
    }

    fn shut(&mut self, index: usize) {
        self.ends[index].shut = true;
        let ended = self.is_finished(index);
        self.tell(self.ends[index].far, Readiness { readable: true, ended, ..Readiness::default() });
    }

    fn reset(&mut self, index: usize) {
        self.ends[index].gone = true;
        if let Some(far) = self.ends[index].far {
            self.fail(far, ErrorKind::Reset);
        }
    }
}

impl TcpStack for Ideal {
    type Listener = Listener;
    type Connection = Connection;
    type Error = ErrorKind;

    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    fn listen(&mut self, local: SocketAddr, options: &ListenOptions) -> Result<Listener, ErrorKind> {
        if local.port() == 0 {
            return Err(ErrorKind::InvalidState);
        }
        if !local.ip().is_unspecified() && local.ip() != self.ip {
            return Err(ErrorKind::NoAddress);
        }
        let mut net = self.net();
        if net.listeners.iter().any(|other| !other.closed && other.local.port() == local.port()) {
            return Err(ErrorKind::AddressInUse);
        }
        net.listeners.push(Listening { local, options: *options, closed: false });
        Ok(Listener(net.listeners.len() - 1))
    }

    fn accept(
        &mut self,
        Listener(listener): Listener,
    ) -> Result<Option<(Connection, SocketAddr)>, ErrorKind> {
        let mut net = self.net();
        if net.listeners[listener].closed {
            return Err(ErrorKind::Closed);
        }
        let mut newcomers = net.ends.iter_mut().enumerate().filter(|(_, end)| {
            end.listener == Some(listener) && !end.accepted && !end.gone && end.state == State::Open
        });
        let Some((index, end)) = newcomers.next() else { return Ok(None) };
        end.accepted = true;
        Ok(Some((Connection(index), end.peer)))
    }

    fn listener_addr(&self, Listener(listener): Listener) -> Result<SocketAddr, ErrorKind> {
        Ok(self.net().listeners[listener].local)
    }

    fn close_listener(&mut self, Listener(listener): Listener) -> Result<(), ErrorKind> {
        let mut net = self.net();
        net.listeners[listener].closed = true;
        for index in 0..net.ends.len() {
            let end = &net.ends[index];
            if end.listener == Some(listener) && !end.accepted && !end.gone {
                net.reset(index);
            }
        }
        Ok(())
    }

    fn connect(&mut self, remote: SocketAddr, options: &ConnectOptions) -> Result<Connection, ErrorKind> {
        if options.local_addr.is_some_and(|ip| ip != self.ip) {
            return Err(ErrorKind::NoAddress);
        }
        if !self.has_slot() {
            return Err(ErrorKind::NoSlot);
        }
        let mut net = self.net();
        net.port += 1;
        let local = SocketAddr::new(self.ip, options.local_port.unwrap_or(net.port));
        if net.ends.iter().any(|end| end.local == local && end.peer == remote && !end.gone) {
            return Err(ErrorKind::AddressInUse);
        }
        let deadline = options.timeout.map(|timeout| net.now + timeout);
        let state = State::Connecting { deadline, retry: net.now };
        Ok(Connection(net.add(local, remote, state, None)))
    }

    fn status(&self, connection: Connection) -> Result<Status, ErrorKind> {
        let state = self.end(connection)?.state;
        Ok(match state {
            State::Connecting { .. } => Status::Connecting,
            State::Open if self.net().is_finished(connection.0) => Status::Finished,
            State::Open => Status::Open,
            State::Failed(kind) => Status::Failed(kind),
        })
    }

    fn set_tag(&mut self, connection: Connection, tag: Tag) -> Result<(), ErrorKind> {
        self.end(connection)?.tag = tag;
        Ok(())
    }

    fn send(&mut self, connection: Connection, data: &[u8]) -> Result<Sent, ErrorKind> {
        let (end, far) = self.alive(connection)?;
        if end.shut {
            return Err(ErrorKind::Closed);
        }
        drop(end);
        let Some(far) = far else { return Ok(Sent::WouldBlock) };
        let mut net = self.net();
        if net.ends[far].gone {
            return Ok(Sent::Queued(data.len()));
        }
        let count = data.len().min(BUFFER - net.ends[far].inbox.len());
        if count == 0 && !data.is_empty() {
            return Ok(Sent::WouldBlock);
        }
        net.ends[far].inbox.extend(&data[..count]);
        if count > 0 {
            net.tell(Some(far), Readiness { readable: true, ..Readiness::default() });
        }
        Ok(Sent::Queued(count))
    }

    fn recv(&mut self, connection: Connection, buffer: &mut [u8]) -> Result<Received, ErrorKind> {
        if buffer.is_empty() {
            return self.end(connection).map(|_| Received::Data(0));
        }
        self.recv_with(connection, |data| {
            let count = data.len().min(buffer.len());
            buffer[..count].copy_from_slice(&data[..count]);
            (count, count)
        })
    }

    fn send_with(
        &mut self,
        connection: Connection,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<Sent, ErrorKind> {
        let (end, far) = self.alive(connection)?;
        if end.shut {
            return Err(ErrorKind::Closed);
        }
        drop(end);
        let Some(far) = far else { return Ok(Sent::WouldBlock) };
        let room = BUFFER - self.net().ends[far].inbox.len();
        if room == 0 {
            return Ok(Sent::WouldBlock);
        }
        let mut free = vec![0; room];
        let count = fill(&mut free);
        self.send(connection, &free[..count])
    }

    fn recv_with<R>(
        &mut self,
        connection: Connection,
        take: impl FnOnce(&[u8]) -> (usize, R),
    ) -> Result<Received<R>, ErrorKind> {
        let (mut end, far) = self.alive(connection)?;
        if end.inbox.is_empty() {
            drop(end);
            let ended = self.net().far_shut(connection.0);
            return Ok(if ended { Received::EndOfStream } else { Received::WouldBlock });
        }
        let (count, value) = take(end.inbox.make_contiguous());
        end.inbox.drain(..count);
        drop(end);
        self.net().tell(far, Readiness { writable: true, ..Readiness::default() });
        Ok(Received::Data(value))
    }

    fn shutdown(&mut self, connection: Connection) -> Result<(), ErrorKind> {
        let (end, far) = self.alive(connection)?;
        if far.is_none() {
            return Err(ErrorKind::InvalidState);
        }
        drop(end);
        self.net().shut(connection.0);
        Ok(())
    }

    fn close(&mut self, connection: Connection) -> Result<(), ErrorKind> {
        let mut end = self.end(connection)?;
        end.gone = true;
        end.inbox.clear();
        drop(end);
        self.net().shut(connection.0);
        Ok(())
    }

    fn abort(&mut self, connection: Connection) -> Result<(), ErrorKind> {
        drop(self.end(connection)?);
        self.net().reset(connection.0);
        Ok(())
    }

    fn local_addr(&self, connection: Connection) -> Result<SocketAddr, ErrorKind> {
        Ok(self.end(connection)?.local)
    }

    fn peer_addr(&self, connection: Connection) -> Result<SocketAddr, ErrorKind> {
        Ok(self.end(connection)?.peer)
    }

    /// What the peer has not received counts as not acknowledged once its buffer is full.
    fn unsent(&self, connection: Connection) -> Result<usize, ErrorKind> {
        let far = self.end(connection)?.far;
        let net = self.net();
        let waiting = far.map_or(0, |far| net.ends[far].inbox.len());
        Ok(if waiting == BUFFER { 1 } else { 0 })
    }

    fn ready(&mut self, Listener(listener): Listener) -> Option<Ready<Connection>> {
        let mut net = self.net();
        let mut accepted = net.ends.iter_mut().enumerate().filter(|(_, end)| {
            end.listener == Some(listener) && end.accepted && !end.gone && !end.changed.is_empty()
        });
        let (index, end) = accepted.next()?;
        let readiness = core::mem::take(&mut end.changed);
        Some(Ready { connection: Connection(index), tag: end.tag, readiness })
    }

    fn poll(&mut self, now: Instant) -> Option<Instant> {
        let mut net = self.net();
        net.now = now;
        let mut due = None;
        for index in 0..net.ends.len() {
            let end = &mut net.ends[index];
            if end.gone {
                continue;
            }
            if let State::Connecting { deadline, retry } = end.state {
                if deadline.is_some_and(|deadline| deadline <= now) {
                    net.fail(index, ErrorKind::TimedOut);
                } else if retry <= now {
                    net.ends[index].state = State::Connecting { deadline, retry: now + RETRY };
                    net.shake_hands(index, self.slots);
                }
                if let State::Connecting { deadline, retry } = net.ends[index].state {
                    due = earliest(due, earliest(deadline, Some(retry)));
                }
            }
            let end = &mut net.ends[index];
            if end.local.ip() == self.ip && core::mem::take(&mut end.unseen) {
                due = Some(now);
            }
        }
        due
    }
}
