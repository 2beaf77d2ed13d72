//! The suite is tried itself: a stack with one fault fails the behaviour that the fault is about.

use core::net::SocketAddr;
use socklet::stack::{
    Backpressure, Capabilities, ConnectOptions, ErrorKind, ListenOptions, Readiness, Received, Sent, Status,
    Tag,
};
use socklet::time::{Duration, Instant};
use socklet_tests::worlds::IdealWorld;
use socklet_tests::{BEHAVIOURS, ConnectionNo, Host, IpVersion, ListenerNo, Outcome, World, run};
use std::panic::catch_unwind;

/// What is wrong with the stack.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    LosesTheLastByte,
    CorruptsAByte,
    ReportsMoreThanItQueued,
    NothingYetIsTheEnd,
    NoRoomForTheCallerIsTheEnd,
    ResetIsTheEnd,
    ResetIsForgotten,
    RefusedIsTimedOut,
    TimedOutIsRefused,
    SendsAfterShutdown,
    ShutdownTwiceFails,
    CloseAborts,
    AbortCloses,
    TimesOutLate,
    ForgetsTags,
    IsNeverReady,
    IsReadyForEver,
    NeverAsksForAPoll,
    StaleHandlesLive,
    PortsStayInUse,
    SharesPorts,
    IgnoresTheLocalPort,
    TellsAWrongPeer,
    TellsAWrongLocalAddress,
    NothingIsEverUnsent,
    SomethingIsAlwaysUnsent,
    TakesAllInRecvWith,
    BacklogHasNoEnd,
    RefusesInsteadOfDeferring,
    DefersInsteadOfRefusing,
    AcceptsNothingAfterClosing,
    CannotHalfCloseAndHidesIt,
}

/// Each fault, and a behaviour that must notice it.
const NOTICED: &[(Fault, &str)] = &[
    (Fault::LosesTheLastByte, "a_long_stream_both_ways_at_once_is_exact"),
    (Fault::CorruptsAByte, "a_long_stream_both_ways_at_once_is_exact"),
    (Fault::ReportsMoreThanItQueued, "send_queues_until_the_buffer_is_full_then_would_block"),
    (Fault::NothingYetIsTheEnd, "recv_would_block_on_an_empty_buffer"),
    (Fault::NoRoomForTheCallerIsTheEnd, "zero_length_send_and_recv_do_nothing"),
    (Fault::ResetIsTheEnd, "a_reset_is_told_apart_from_end_of_stream_and_timeout"),
    (Fault::ResetIsForgotten, "calls_after_a_reset_say_reset_every_time"),
    (Fault::RefusedIsTimedOut, "connect_to_a_closed_port_is_refused"),
    (Fault::TimedOutIsRefused, "connect_to_a_silent_address_times_out_at_the_deadline"),
    (Fault::SendsAfterShutdown, "send_after_shutdown_is_closed"),
    (Fault::ShutdownTwiceFails, "shutdown_twice_is_harmless"),
    (Fault::CloseAborts, "close_delivers_what_is_queued"),
    (Fault::AbortCloses, "a_reset_is_told_apart_from_end_of_stream_and_timeout"),
    (Fault::TimesOutLate, "connect_to_a_silent_address_times_out_at_the_deadline"),
    (Fault::ForgetsTags, "readiness_is_reported_once_for_each_change_with_the_tag"),
    (Fault::IsNeverReady, "readiness_tells_of_ends_and_of_room"),
    (Fault::IsReadyForEver, "readiness_is_reported_once_for_each_change_with_the_tag"),
    (Fault::NeverAsksForAPoll, "poll_says_when_something_changed"),
    (Fault::StaleHandlesLive, "a_stale_handle_is_an_error_and_not_another_connection"),
    (Fault::PortsStayInUse, "a_restarted_server_binds_its_port_at_once"),
    (Fault::PortsStayInUse, "a_port_is_free_again_after_close_listener"),
    (Fault::SharesPorts, "two_listeners_on_one_port_is_address_in_use"),
    (Fault::IgnoresTheLocalPort, "a_client_can_bind_its_port"),
    (Fault::TellsAWrongPeer, "accept_gives_a_new_socket_and_the_peers_address"),
    (Fault::TellsAWrongLocalAddress, "both_ends_agree_on_the_addresses"),
    (Fault::NothingIsEverUnsent, "unsent_counts_down_to_zero"),
    (Fault::SomethingIsAlwaysUnsent, "unsent_counts_down_to_zero"),
    (Fault::TakesAllInRecvWith, "the_zero_copy_forms_equal_the_copying_ones"),
    (Fault::BacklogHasNoEnd, "a_full_backlog_defers_and_the_retry_gets_in"),
    (Fault::RefusesInsteadOfDeferring, "a_full_backlog_defers_and_the_retry_gets_in"),
    (Fault::DefersInsteadOfRefusing, "a_full_backlog_refuses_when_it_is_told_to"),
    (Fault::AcceptsNothingAfterClosing, "accept_after_close_listener_is_an_error"),
    (Fault::CannotHalfCloseAndHidesIt, "half_close_both_ways"),
];

fn passes(fault: Fault, name: &'static str) -> bool {
    let (_, behaviour) = *BEHAVIOURS.iter().find(|(other, _)| *other == name).expect("a behaviour");
    let world = move || -> Box<dyn World> {
        Box::new(IdealWorld::wrapped(IpVersion::V4, |stack| {
            Box::new(Faulty { inner: Box::new(stack), fault, ports: Vec::new(), last_ready: None })
        }))
    };
    catch_unwind(|| run(Box::new(world), behaviour)).is_ok()
}

#[test]
fn each_fault_is_noticed() {
    let unnoticed: Vec<_> = NOTICED.iter().filter(|(fault, name)| passes(*fault, name)).collect();
    assert!(unnoticed.is_empty(), "{unnoticed:?}");
}

#[test]
fn without_a_fault_the_same_behaviours_pass() {
    for (_, name) in NOTICED {
        assert!(passes(Fault::None, name), "{name}");
    }
}

/// The ideal stack with a fault.
struct Faulty {
    inner: Box<dyn Host>,
    fault: Fault,
    ports: Vec<u16>,
    last_ready: Option<(ConnectionNo, Tag, Readiness)>,
}

impl Faulty {
    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }
}

impl Host for Faulty {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn poll(&mut self, now: Instant) -> Option<Instant> {
        self.inner.poll(now).filter(|_| !self.has(Fault::NeverAsksForAPoll))
    }

    fn listen(&mut self, local: SocketAddr, options: &ListenOptions) -> Outcome<ListenerNo> {
        let mut options = *options;
        match self.fault {
            Fault::BacklogHasNoEnd => options.backlog = 1000,
            Fault::RefusesInsteadOfDeferring => options.backpressure = Backpressure::Refuse,
            Fault::DefersInsteadOfRefusing => options.backpressure = Backpressure::Defer,
            Fault::PortsStayInUse if self.ports.contains(&local.port()) => {
                return Err(ErrorKind::AddressInUse);
            }
            _ => {}
        }
        self.ports.push(local.port());
        match self.inner.listen(local, &options) {
            Err(ErrorKind::AddressInUse) if self.has(Fault::SharesPorts) => {
                self.inner.listen(SocketAddr::new(local.ip(), 1), &options)
            }
            listener => listener,
        }
    }

    fn accept(&mut self, listener: ListenerNo) -> Outcome<Option<(ConnectionNo, SocketAddr)>> {
        match self.inner.accept(listener) {
            Ok(Some((connection, mut peer))) => {
                if self.has(Fault::TellsAWrongPeer) {
                    peer.set_ip([10, 9, 9, 9].into());
                }
                Ok(Some((connection, peer)))
            }
            Err(ErrorKind::Closed) if self.has(Fault::AcceptsNothingAfterClosing) => Ok(None),
            other => other,
        }
    }

    fn listener_addr(&self, listener: ListenerNo) -> Outcome<SocketAddr> {
        self.inner.listener_addr(listener)
    }

    fn close_listener(&mut self, listener: ListenerNo) -> Outcome<()> {
        self.inner.close_listener(listener)
    }

    fn ready(&mut self, listener: ListenerNo) -> Option<(ConnectionNo, Tag, Readiness)> {
        let ready = self.inner.ready(listener);
        match self.fault {
            Fault::IsNeverReady => None,
            Fault::ForgetsTags => ready.map(|(connection, _, readiness)| (connection, Tag(0), readiness)),
            Fault::IsReadyForEver => {
                self.last_ready = ready.or(self.last_ready);
                self.last_ready
            }
            _ => ready,
        }
    }

    fn connect(&mut self, remote: SocketAddr, options: &ConnectOptions) -> Outcome<ConnectionNo> {
        let mut options = *options;
        match self.fault {
            Fault::IgnoresTheLocalPort => options.local_port = None,
            Fault::TimesOutLate => {
                options.timeout = options.timeout.map(|timeout| timeout + Duration::from_secs(1));
            }
            _ => {}
        }
        self.inner.connect(remote, &options)
    }

    fn status(&self, connection: ConnectionNo) -> Outcome<Status> {
        match (self.inner.status(connection), self.fault) {
            (Err(ErrorKind::StaleHandle), Fault::StaleHandlesLive) => Ok(Status::Open),
            (Ok(Status::Failed(ErrorKind::Refused)), Fault::RefusedIsTimedOut) => {
                Ok(Status::Failed(ErrorKind::TimedOut))
            }
            (Ok(Status::Failed(ErrorKind::TimedOut)), Fault::TimedOutIsRefused) => {
                Ok(Status::Failed(ErrorKind::Refused))
            }
            (other, _) => other,
        }
    }

    fn set_tag(&mut self, connection: ConnectionNo, tag: Tag) -> Outcome<()> {
        self.inner.set_tag(connection, tag)
    }

    fn send(&mut self, connection: ConnectionNo, data: &[u8]) -> Outcome<Sent> {
        match self.fault {
            Fault::LosesTheLastByte if data.len() > 1000 => {
                let sent = self.inner.send(connection, &data[..data.len() - 1])?;
                Ok(if sent == Sent::Queued(data.len() - 1) { Sent::Queued(data.len()) } else { sent })
            }
            Fault::CorruptsAByte if data.len() > 1000 => {
                let mut data = data.to_vec();
                data[999] ^= 0x10;
                self.inner.send(connection, &data)
            }
            Fault::ReportsMoreThanItQueued => {
                let sent = self.inner.send(connection, data)?;
                Ok(if let Sent::Queued(_) = sent { Sent::Queued(data.len()) } else { sent })
            }
            _ => match self.inner.send(connection, data) {
                Err(ErrorKind::Closed) if self.has(Fault::SendsAfterShutdown) => Ok(Sent::Queued(data.len())),
                Err(ErrorKind::Reset) if self.has(Fault::ResetIsForgotten) => Ok(Sent::WouldBlock),
                other => other,
            },
        }
    }

    fn recv(&mut self, connection: ConnectionNo, buffer: &mut [u8]) -> Outcome<Received> {
        match (self.inner.recv(connection, buffer), self.fault) {
            (Ok(Received::WouldBlock), Fault::NothingYetIsTheEnd) => Ok(Received::EndOfStream),
            (Ok(Received::Data(0)), Fault::NoRoomForTheCallerIsTheEnd) => Ok(Received::EndOfStream),
            (Err(ErrorKind::Reset), Fault::ResetIsTheEnd) => Ok(Received::EndOfStream),
            (other, _) => other,
        }
    }

    fn send_with(
        &mut self,
        connection: ConnectionNo,
        fill: &mut dyn FnMut(&mut [u8]) -> usize,
    ) -> Outcome<Sent> {
        self.inner.send_with(connection, fill)
    }

    fn recv_with(
        &mut self,
        connection: ConnectionNo,
        take: &mut dyn FnMut(&[u8]) -> usize,
    ) -> Outcome<Received<()>> {
        let takes_all = self.has(Fault::TakesAllInRecvWith);
        self.inner.recv_with(connection, &mut |data| {
            let count = take(data);
            if takes_all { data.len() } else { count }
        })
    }

    fn shutdown(&mut self, connection: ConnectionNo) -> Outcome<()> {
        let already = self.inner.send(connection, &[]) == Err(ErrorKind::Closed);
        match self.fault {
            Fault::ShutdownTwiceFails if already => Err(ErrorKind::Closed),
            Fault::CannotHalfCloseAndHidesIt => Ok(()),
            _ => self.inner.shutdown(connection),
        }
    }

    fn close(&mut self, connection: ConnectionNo) -> Outcome<()> {
        if self.has(Fault::CloseAborts) { self.inner.abort(connection) } else { self.inner.close(connection) }
    }

    fn abort(&mut self, connection: ConnectionNo) -> Outcome<()> {
        if self.has(Fault::AbortCloses) { self.inner.close(connection) } else { self.inner.abort(connection) }
    }

    fn local_addr(&self, connection: ConnectionNo) -> Outcome<SocketAddr> {
        let mut local = self.inner.local_addr(connection)?;
        if self.has(Fault::TellsAWrongLocalAddress) {
            local.set_ip([0, 0, 0, 0].into());
        }
        Ok(local)
    }

    fn peer_addr(&self, connection: ConnectionNo) -> Outcome<SocketAddr> {
        self.inner.peer_addr(connection)
    }

    fn unsent(&self, connection: ConnectionNo) -> Outcome<usize> {
        let unsent = self.inner.unsent(connection)?;
        Ok(match self.fault {
            Fault::NothingIsEverUnsent => 0,
            Fault::SomethingIsAlwaysUnsent => unsent.max(1),
            _ => unsent,
        })
    }
}
