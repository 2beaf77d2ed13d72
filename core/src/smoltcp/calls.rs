//! The calls of [`TcpStack`], on handles.

use super::SmoltcpStack;
use super::address;
use super::engine::Engine;
use super::flow::{Address, Flow};
use super::isn;
use super::listener::ListenerState;
use super::slot::{End, Life, Limit, Slot, Work};
use crate::log::debug;
use crate::stack::{
    Capabilities, ConnectOptions, ErrorKind, ListenOptions, Readiness, Ready, Received, Sent, Status, Tag,
    TcpStack,
};
use crate::time::Instant;
use ::smoltcp::phy::Device;
use ::smoltcp::socket::tcp::{self, RecvError};
use core::net::{IpAddr, SocketAddr};

/// Names a connection of a [`SmoltcpStack`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ConnectionHandle {
    index: u16,
    generation: u32,
}

/// Names a listener of a [`SmoltcpStack`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ListenerHandle {
    index: u8,
    generation: u32,
}

impl<'a> Engine<'a> {
    /// The slot that a handle names, if its connection is still the caller's.
    #[cfg_attr(target_arch = "arm", inline(never))]
    pub(super) fn owned(&self, handle: ConnectionHandle) -> Result<&Slot<'a>, ErrorKind> {
        let slot = self.slots.get(usize::from(handle.index)).ok_or(ErrorKind::StaleHandle)?;
        match slot.life {
            Life::Owned { .. } if slot.generation == handle.generation => Ok(slot),
            _ => Err(ErrorKind::StaleHandle),
        }
    }

    fn owned_mut(&mut self, handle: ConnectionHandle) -> Result<&mut Slot<'a>, ErrorKind> {
        self.owned(handle)?;
        self.slots.get_mut(usize::from(handle.index)).ok_or(ErrorKind::StaleHandle)
    }

    fn socket(&self, handle: ConnectionHandle) -> Result<&tcp::Socket<'a>, ErrorKind> {
        self.owned(handle)?.socket().ok_or(ErrorKind::StaleHandle)
    }

    fn listener(&self, handle: ListenerHandle) -> Result<&super::ListenerSlot, ErrorKind> {
        let listener = self.listeners.get(usize::from(handle.index)).ok_or(ErrorKind::StaleHandle)?;
        if listener.state == ListenerState::Free || listener.generation != handle.generation {
            return Err(ErrorKind::StaleHandle);
        }
        Ok(listener)
    }

    fn connection(&self, index: u16) -> ConnectionHandle {
        let generation = self.slots.get(usize::from(index)).map_or(0, |slot| slot.generation);
        ConnectionHandle { index, generation }
    }

    /// The flow of a new connection to `remote`, its local port chosen.
    fn outgoing_flow(&mut self, remote: SocketAddr, options: &ConnectOptions) -> Result<Flow, ErrorKind> {
        let peer = address(remote.ip()).ok_or(ErrorKind::Unsupported)?;
        let remote_addr = Address::from(remote.ip());
        if remote.port() == 0 || !self.is_peer(remote_addr) {
            return Err(ErrorKind::InvalidState);
        }
        let local: IpAddr = match options.local_addr {
            Some(local) => local,
            None => self.iface.get_source_address(&peer).ok_or(ErrorKind::NoAddress)?.into(),
        };
        if !self.is_own(local) || local.is_ipv4() != remote.is_ipv4() || self.is_own(remote.ip()) {
            return Err(ErrorKind::NoAddress);
        }
        if !self.has_route(peer) {
            return Err(ErrorKind::Unreachable);
        }
        let flow =
            Flow { local: local.into(), remote: remote_addr, local_port: 0, remote_port: remote.port() };
        let local_port = match options.local_port {
            Some(0) => return Err(ErrorKind::InvalidState),
            Some(port) => {
                let taken = Flow { local_port: port, ..flow };
                self.flows.find(&self.slots, &taken).is_none().then_some(port)
            }
            None => self.choose_port(&flow),
        };
        Ok(Flow { local_port: local_port.ok_or(ErrorKind::AddressInUse)?, ..flow })
    }

    fn choose_port(&mut self, flow: &Flow) -> Option<u16> {
        let Self { ports, flows, slots, listeners, .. } = self;
        ports.choose(flow, |port| {
            let candidate = Flow { local_port: port, ..*flow };
            flows.find(slots, &candidate).is_none() && !listeners.iter().any(|l| l.serves(flow.local, port))
        })
    }

    fn has_route(&mut self, peer: ::smoltcp::wire::IpAddress) -> bool {
        let mut found = self.iface.ip_addrs().iter().any(|cidr| cidr.contains_addr(&peer));
        self.iface.routes_mut().update(|routes| {
            found |= routes.iter().any(|route| route.cidr.contains_addr(&peer));
        });
        found
    }
}

impl<D: Device> TcpStack for SmoltcpStack<'_, D> {
    type Listener = ListenerHandle;
    type Connection = ConnectionHandle;
    type Error = ErrorKind;

    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    fn listen(&mut self, local: SocketAddr, options: &ListenOptions) -> Result<ListenerHandle, ErrorKind> {
        let engine = &mut self.engine;
        address(local.ip()).ok_or(ErrorKind::Unsupported)?;
        if local.port() == 0 {
            return Err(ErrorKind::InvalidState);
        }
        if !local.ip().is_unspecified() && !engine.is_own(local.ip()) {
            return Err(ErrorKind::NoAddress);
        }
        let addr = (!local.ip().is_unspecified()).then(|| Address::from(local.ip()));
        if engine.listeners.iter().any(|other| other.conflicts(addr, local.is_ipv6(), local.port())) {
            return Err(ErrorKind::AddressInUse);
        }
        let is_free = |listener: &super::ListenerSlot| listener.state == ListenerState::Free;
        let index = engine.listeners.iter().position(is_free).and_then(|index| u8::try_from(index).ok());
        let index = index.ok_or(ErrorKind::NoSlot)?;
        let listener = engine.listeners.get_mut(usize::from(index)).ok_or(ErrorKind::NoSlot)?;
        listener.state = ListenerState::Open;
        listener.addr = addr;
        listener.ipv6 = local.is_ipv6();
        listener.port = local.port();
        listener.backlog = options.backlog.max(1);
        listener.backpressure = options.backpressure;
        Ok(ListenerHandle { index, generation: listener.generation })
    }

    fn accept(
        &mut self,
        listener: ListenerHandle,
    ) -> Result<Option<(ConnectionHandle, SocketAddr)>, ErrorKind> {
        let engine = &mut self.engine;
        let queue = engine.listener(listener)?;
        if queue.state != ListenerState::Open {
            return Err(ErrorKind::Closed);
        }
        let Some(index) = queue.queue.first() else { return Ok(None) };
        engine.set_life(index, Life::Owned { listener: Some(listener.index) });
        let Some(slot) = engine.slots.get(usize::from(index)) else { return Ok(None) };
        let peer = slot.flow.remote_addr();
        let readable = slot.socket().is_some_and(|socket| socket.can_recv() || !socket.may_recv());
        let changed = Readiness { readable, writable: true, ended: slot.end.is_some() };
        engine.report(index, changed);
        engine.set_work(index, Work::Dirty);
        Ok(Some((engine.connection(index), peer)))
    }

    fn listener_addr(&self, listener: ListenerHandle) -> Result<SocketAddr, ErrorKind> {
        let listener = self.engine.listener(listener)?;
        let any = if listener.ipv6 {
            IpAddr::V6(core::net::Ipv6Addr::UNSPECIFIED)
        } else {
            IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED)
        };
        Ok(SocketAddr::new(listener.addr.map_or(any, Address::ip), listener.port))
    }

    fn close_listener(&mut self, listener: ListenerHandle) -> Result<(), ErrorKind> {
        if self.engine.listener(listener)?.state == ListenerState::Closed {
            return Ok(());
        }
        while let Some(index) = {
            let waiting = self.engine.listener(listener)?;
            waiting.half_open.first().or(waiting.queue.first())
        } {
            self.engine.reset(index, &mut self.device);
        }
        if let Some(listener) = self.engine.listeners.get_mut(usize::from(listener.index)) {
            listener.state = ListenerState::Closed;
            listener.free_if_unused();
        }
        Ok(())
    }

    fn connect(
        &mut self,
        remote: SocketAddr,
        options: &ConnectOptions,
    ) -> Result<ConnectionHandle, ErrorKind> {
        let engine = &mut self.engine;
        let flow = engine.outgoing_flow(remote, options)?;
        let index = engine.vacate().ok_or(ErrorKind::NoSlot)?;
        let to = (address(remote.ip()).ok_or(ErrorKind::Unsupported)?, remote.port());
        let from = (address(flow.local.ip()).ok_or(ErrorKind::Unsupported)?, flow.local_port);
        let isn = engine.initial_number(&flow);
        let slot = engine.slots.get_mut(usize::from(index)).ok_or(ErrorKind::NoSlot)?;
        let socket = slot.socket_mut().ok_or(ErrorKind::NoSlot)?;
        let hardware = engine.config.hardware_addr;
        isn::with_opening(&engine.caps, hardware, from.0, isn, |iface| {
            socket.connect(iface.context(), to, from)
        })
        .map_err(|_| ErrorKind::InvalidState)?;
        debug!("connecting to {} from port {}", remote, flow.local_port);
        engine.occupy(index, flow, Life::Owned { listener: None });
        engine.set_limit(index, options.timeout.map_or(Limit::NEVER, Limit::after));
        engine.set_work(index, Work::Dirty);
        Ok(engine.connection(index))
    }

    fn status(&self, connection: ConnectionHandle) -> Result<Status, ErrorKind> {
        let slot = self.engine.owned(connection)?;
        Ok(match (slot.end, slot.socket().map(tcp::Socket::state)) {
            (Some(End::Finished), _) => Status::Finished,
            (Some(End::Failed(kind)), _) => Status::Failed(kind),
            (None, Some(tcp::State::SynSent | tcp::State::SynReceived)) => Status::Connecting,
            (None, _) => Status::Open,
        })
    }

    fn set_tag(&mut self, connection: ConnectionHandle, tag: Tag) -> Result<(), ErrorKind> {
        self.engine.owned_mut(connection)?.tag = tag;
        Ok(())
    }

    fn send(&mut self, connection: ConnectionHandle, data: &[u8]) -> Result<Sent, ErrorKind> {
        let slot = self.engine.owned_mut(connection)?;
        let end = slot.end;
        let socket = slot.socket_mut().ok_or(ErrorKind::StaleHandle)?;
        let sent = match socket.send_slice(data) {
            Ok(0) if !data.is_empty() => Sent::WouldBlock,
            Ok(count) => Sent::Queued(count),
            Err(tcp::SendError::InvalidState) => return cannot_send(socket, end),
        };
        self.engine.set_work(connection.index, Work::Dirty);
        Ok(sent)
    }

    fn send_with(
        &mut self,
        connection: ConnectionHandle,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<Sent, ErrorKind> {
        let slot = self.engine.owned_mut(connection)?;
        let end = slot.end;
        let socket = slot.socket_mut().ok_or(ErrorKind::StaleHandle)?;
        if !socket.may_send() {
            return cannot_send(socket, end);
        }
        if !socket.can_send() {
            return Ok(Sent::WouldBlock);
        }
        let fill = |buffer: &mut [u8]| {
            let filled = fill(buffer).min(buffer.len());
            (filled, filled)
        };
        let count = socket.send(fill).unwrap_or(0);
        self.engine.set_work(connection.index, Work::Dirty);
        Ok(Sent::Queued(count))
    }

    fn recv(&mut self, connection: ConnectionHandle, buffer: &mut [u8]) -> Result<Received, ErrorKind> {
        let slot = self.engine.owned_mut(connection)?;
        let end = slot.end;
        let socket = slot.socket_mut().ok_or(ErrorKind::StaleHandle)?;
        if !socket.can_recv() {
            return cannot_receive(socket, end);
        }
        let count = socket.recv_slice(buffer).unwrap_or(0);
        self.engine.set_work(connection.index, Work::Dirty);
        Ok(Received::Data(count))
    }

    fn recv_with<R>(
        &mut self,
        connection: ConnectionHandle,
        take: impl FnOnce(&[u8]) -> (usize, R),
    ) -> Result<Received<R>, ErrorKind> {
        let slot = self.engine.owned_mut(connection)?;
        let end = slot.end;
        let socket = slot.socket_mut().ok_or(ErrorKind::StaleHandle)?;
        if !socket.can_recv() {
            return cannot_receive(socket, end);
        }
        let take = |bytes: &mut [u8]| {
            let (taken, value) = take(bytes);
            (taken.min(bytes.len()), value)
        };
        let Ok(value) = socket.recv(take) else { return Ok(Received::WouldBlock) };
        self.engine.set_work(connection.index, Work::Dirty);
        Ok(Received::Data(value))
    }

    fn splice(
        &mut self,
        from: ConnectionHandle,
        to: ConnectionHandle,
        most: usize,
        tap: impl FnMut(&[u8]),
    ) -> Result<usize, ErrorKind> {
        let moved = if from == to {
            let socket = self.engine.owned_mut(from)?.socket_mut().ok_or(ErrorKind::StaleHandle)?;
            turn_round(socket, most, tap)
        } else {
            self.engine.owned(from)?;
            self.engine.owned(to)?;
            let both = [usize::from(from.index), usize::from(to.index)];
            let [from, to] = self.engine.slots.get_disjoint_mut(both).map_err(|_| ErrorKind::StaleHandle)?;
            from.socket_mut().zip(to.socket_mut()).map_or(0, |(from, to)| move_across(from, to, most, tap))
        };
        if moved > 0 {
            self.engine.set_work(from.index, Work::Dirty);
            self.engine.set_work(to.index, Work::Dirty);
        }
        Ok(moved)
    }

    fn shutdown(&mut self, connection: ConnectionHandle) -> Result<(), ErrorKind> {
        let slot = self.engine.owned_mut(connection)?;
        if let Some(End::Failed(kind)) = slot.end {
            return Err(kind);
        }
        let socket = slot.socket_mut().ok_or(ErrorKind::StaleHandle)?;
        if matches!(socket.state(), tcp::State::SynSent | tcp::State::SynReceived) {
            return Err(ErrorKind::InvalidState);
        }
        socket.close();
        self.engine.set_work(connection.index, Work::Dirty);
        Ok(())
    }

    fn close(&mut self, connection: ConnectionHandle) -> Result<(), ErrorKind> {
        let index = connection.index;
        let slot = self.engine.owned_mut(connection)?;
        let (ended, filed) = (slot.end, slot.chain.is_filed());
        let Some(socket) = slot.socket_mut() else { return Err(ErrorKind::StaleHandle) };
        let state = socket.state();
        socket.close();
        if !filed || matches!(state, tcp::State::SynSent | tcp::State::Closed) {
            self.engine.release(index);
            return Ok(());
        }
        slot.generation = slot.generation.wrapping_add(1);
        self.engine.discard_received(index);
        if ended == Some(End::Finished) {
            self.engine.set_life(index, Life::TimeWait);
        } else {
            self.engine.set_life(index, Life::Lingering);
            self.engine.set_limit(index, Limit::after(self.engine.config.linger));
        }
        self.engine.set_work(index, Work::Dirty);
        Ok(())
    }

    fn abort(&mut self, connection: ConnectionHandle) -> Result<(), ErrorKind> {
        self.engine.owned(connection)?;
        self.engine.reset(connection.index, &mut self.device);
        Ok(())
    }

    fn local_addr(&self, connection: ConnectionHandle) -> Result<SocketAddr, ErrorKind> {
        Ok(self.engine.owned(connection)?.flow.local_addr())
    }

    fn peer_addr(&self, connection: ConnectionHandle) -> Result<SocketAddr, ErrorKind> {
        Ok(self.engine.owned(connection)?.flow.remote_addr())
    }

    fn unsent(&self, connection: ConnectionHandle) -> Result<usize, ErrorKind> {
        Ok(self.engine.socket(connection)?.send_queue())
    }

    fn ready(&mut self, listener: ListenerHandle) -> Option<Ready<ConnectionHandle>> {
        let engine = &mut self.engine;
        engine.listener(listener).ok()?;
        let index = engine.listeners.get_mut(usize::from(listener.index))?.ready.pop(&mut engine.slots)?;
        let connection = engine.connection(index);
        let slot = engine.slots.get_mut(usize::from(index))?;
        Some(Ready { connection, tag: slot.tag, readiness: core::mem::take(&mut slot.changed) })
    }

    fn poll(&mut self, now: Instant) -> Option<Instant> {
        let at = self.clock.advance(now);
        let due = self.engine.poll(&mut self.device, at);
        due.map(|due| self.clock.external(due))
    }
}

/// What a call that sends answers when smoltcp will not.
#[cold]
fn cannot_send(socket: &tcp::Socket<'_>, end: Option<End>) -> Result<Sent, ErrorKind> {
    match (socket.state(), end) {
        (tcp::State::SynSent | tcp::State::SynReceived, None) => Ok(Sent::WouldBlock),
        (_, Some(End::Failed(kind))) => Err(kind),
        (_, Some(End::Finished) | None) => Err(ErrorKind::Closed),
    }
}

/// What a call that receives answers when there is nothing.
fn cannot_receive<R>(socket: &mut tcp::Socket<'_>, end: Option<End>) -> Result<Received<R>, ErrorKind> {
    let more_may_come = socket.may_recv();
    match end {
        // Of the errors only this one is the end of the peer's stream.
        _ if !more_may_come && socket.recv_slice(&mut []) == Err(RecvError::Finished) => {
            Ok(Received::EndOfStream)
        }
        Some(End::Failed(kind)) => Err(kind),
        Some(End::Finished) if !more_may_come => Ok(Received::EndOfStream),
        Some(End::Finished) | None => Ok(Received::WouldBlock),
    }
}

/// Octets that an echo moves at a time, on the stack: smoltcp lends one of a socket's buffers, never both.
const BOUNCE: usize = 1024;

/// Moves bytes from a socket's receive buffer to its send buffer.
fn turn_round(socket: &mut tcp::Socket<'_>, most: usize, mut tap: impl FnMut(&[u8])) -> usize {
    if !socket.may_send() {
        return 0;
    }
    let room = socket.send_capacity() - socket.send_queue();
    let mut left = room.min(socket.recv_queue()).min(most);
    let mut moved = 0;
    let mut bounced = heapless::Vec::<u8, BOUNCE>::new();
    while left > 0 {
        bounced.clear();
        let received = socket.recv(|bytes| {
            let bytes = bytes.get(..left.min(BOUNCE)).unwrap_or(bytes);
            // Not more than fits.
            let _ = bounced.extend_from_slice(bytes);
            (bytes.len(), ())
        });
        // There is room for all of them.
        let sent = received.map_or(0, |()| socket.send_slice(&bounced).unwrap_or(0));
        if sent == 0 {
            break;
        }
        tap(&bounced);
        moved += sent;
        left -= sent;
    }
    moved
}

/// Moves bytes from one socket's receive buffer to another's send buffer.
fn move_across(
    from: &mut tcp::Socket<'_>,
    to: &mut tcp::Socket<'_>,
    most: usize,
    mut tap: impl FnMut(&[u8]),
) -> usize {
    let mut moved = 0;
    // Twice if the receive buffer's ring ends in between.
    while moved < most && from.can_recv() && to.can_send() {
        let step = from.recv(|bytes| {
            let bytes = bytes.get(..most - moved).unwrap_or(bytes);
            let sent = to.send_slice(bytes).unwrap_or(0);
            tap(bytes.get(..sent).unwrap_or_default());
            (sent, sent)
        });
        match step {
            Ok(sent) if sent > 0 => moved += sent,
            Ok(_) | Err(_) => break,
        }
    }
    moved
}
