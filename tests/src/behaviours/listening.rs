//! The listener and its accept queue.

use crate::testbed::{Side, Testbed, fails};
use socklet::stack::{ConnectOptions, ErrorKind, ListenOptions, Received, Status};
use socklet::time::Duration;

/// The listener is passive. That it cannot send or receive is settled by its type:
///
/// ```compile_fail,E0308
/// fn misuse<S: socklet::stack::TcpStack>(stack: &mut S, listener: S::Listener) {
///     let _ = stack.send(listener, b"a listener carries no data");
/// }
/// ```
///
/// and that what a client sends goes to the accepted socket, and to no other, is tried here.
pub fn a_listening_socket_carries_no_data(t: &mut Testbed) {
    let (listener, addr) = t.listening();
    let first = t.connected(addr);
    let second = t.connected(addr);
    t.send_all(first, b"from the first");
    t.send_all(second, b"from the second");
    let (first_accepted, _) = t.accepted(listener);
    let (second_accepted, _) = t.accepted(listener);
    assert_eq!(t.recv_exactly(second_accepted, 15), b"from the second");
    assert_eq!(t.recv_exactly(first_accepted, 14), b"from the first");
    assert_eq!(t.accept(listener), Ok(None));
}

/// Newcomers are accepted in the order in which they came.
pub fn accept_takes_the_oldest_first(t: &mut Testbed) {
    let (listener, addr) = t.listening();
    let clients = [(); 4].map(|()| {
        let client = t.connected(addr);
        t.settle();
        client
    });
    for (number, client) in clients.into_iter().enumerate() {
        let (server, _) = t.accepted(listener);
        t.send_all(client, &[number as u8]);
        assert_eq!(t.recv_exactly(server, 1), [number as u8]);
    }
}

/// Bytes and the end of the stream that come before `accept` are there after it.
pub fn bytes_sent_before_the_accept_are_received_after_it(t: &mut Testbed) {
    let (listener, addr) = t.listening();
    let client = t.connected(addr);
    t.send_all(client, b"early");
    t.close(client).unwrap();
    t.settle();
    let (server, _) = t.accepted(listener);
    assert_eq!(t.recv_to_end(server), b"early");
}

/// `close` of an accepted socket touches neither its sibling nor the listener.
pub fn closing_an_accepted_socket_ends_that_connection_alone(t: &mut Testbed) {
    let (listener, addr) = t.listening();
    let (leaver, leaver_accepted) = t.pair_on(listener, addr);
    let (stayer, stayer_accepted) = t.pair_on(listener, addr);
    t.close(leaver_accepted).unwrap();
    assert_eq!(t.recv_to_end(leaver), b"");
    t.works(stayer, stayer_accepted);
    let (newcomer, newcomer_accepted) = t.pair_on(listener, addr);
    t.works(newcomer, newcomer_accepted);
}

/// `close_listener` ends the listening and nothing else.
pub fn closing_the_listener_refuses_newcomers_and_leaves_the_accepted_alive(t: &mut Testbed) {
    let (listener, addr) = t.listening();
    let (client, server) = t.pair_on(listener, addr);
    t.close_listener(listener).unwrap();
    assert_eq!(t.failure(addr, &ConnectOptions::default()), ErrorKind::Refused);
    t.works(client, server);
    t.close(client).unwrap();
    assert_eq!(t.recv_to_end(server), b"");
}

/// Those that nobody accepted are reset with the listener.
pub fn closing_the_listener_resets_those_that_wait_for_accept(t: &mut Testbed) {
    let (listener, addr) = t.listening();
    let client = t.connected(addr);
    t.settle();
    t.close_listener(listener).unwrap();
    if t.can(Side::Client).reset {
        assert_eq!(t.recv_to_failure(client), ErrorKind::Reset);
    } else {
        t.until("the connection to end", |t| {
            let end = t.recv(client, &mut [0; 16]);
            (end != Ok(Received::WouldBlock)).then_some(())
        });
    }
}

/// A closed listener accepts nothing, and says why.
pub fn accept_after_close_listener_is_an_error(t: &mut Testbed) {
    let (listener, addr) = t.listening();
    let (client, server) = t.pair_on(listener, addr);
    let waiting = t.connected(addr);
    t.settle();
    t.close_listener(listener).unwrap();
    fails(t.accept(listener), ErrorKind::Closed);
    t.works(client, server);
    t.close(waiting).unwrap();
}

/// A queued connection that is reset is passed over.
pub fn a_queued_connection_that_was_reset_does_not_lose_its_siblings(t: &mut Testbed) {
    let (listener, addr) = t.listening();
    let [first, doomed, last] = [(); 3].map(|()| {
        let client = t.connected(addr);
        t.settle();
        client
    });
    t.abort(doomed).unwrap();
    t.settle();
    let (first_accepted, _) = t.accepted(listener);
    t.works(first, first_accepted);
    if !t.can(Side::Client).reset {
        let (doomed_accepted, _) = t.accepted(listener);
        assert_eq!(t.recv_to_end(doomed_accepted), b"");
    }
    let (last_accepted, _) = t.accepted(listener);
    t.works(last, last_accepted);
    assert_eq!(t.accept(listener), Ok(None));
}

/// A full backlog, deferring: the client that found no room gets in by its own retry when there is some.
///
/// A client whose `connect` blocks would wait for an `accept` that the same thread has to make: it tries no more than the backlog holds.
pub fn a_full_backlog_defers_and_the_retry_gets_in(t: &mut Testbed) {
    let (listener, addr) = t.listening_with(&ListenOptions::backlog(1));
    let background = t.can(Side::Client).connect_in_background;
    let clients: Vec<_> = (0..if background { 4 } else { 1 }).map(|_| t.connecting(addr)).collect();
    t.settle();
    if t.can(Side::Server).backlog && background {
        let open = clients.iter().filter(|client| t.status(**client) == Ok(Status::Open)).count();
        assert!(open < clients.len(), "a backlog of 1 took {open} connections");
    }
    let accepted: Vec<_> = clients.iter().map(|_| t.accepted(listener).0).collect();
    for client in &clients {
        assert_eq!(t.outcome(*client), Status::Open);
        t.send_all(*client, b"in");
    }
    for server in accepted {
        assert_eq!(t.recv_exactly(server, 2), b"in");
    }
}

/// A full backlog, refusing: the client that found no room knows at once, those in the queue are not disturbed.
pub fn a_full_backlog_refuses_when_it_is_told_to(t: &mut Testbed) {
    let Some((listener, addr)) = t.listening_refusing(1) else { return };
    let first = t.connected(addr);
    t.settle();
    assert_eq!(t.failure(addr, &ConnectOptions::default()), ErrorKind::Refused);
    let (server, _) = t.accepted(listener);
    t.works(first, server);
    let (second, second_accepted) = t.pair_on(listener, addr);
    t.works(second, second_accepted);
}

/// One slot left, two clients: the second gets in when the first is gone.
pub fn two_clients_with_one_slot_are_served_in_turn(t: &mut Testbed) {
    let (listener, addr) = t.listening();
    let Some(slots) = t.facts().server_slots else { return two_clients_with_a_backlog_of_one(t) };
    let others: Vec<_> = (1..slots).map(|_| t.pair_on(listener, addr)).collect();
    let (first, first_accepted) = t.pair_on(listener, addr);
    let second = t.connecting(addr);
    t.settle();
    let accepted = t.accept(listener);
    assert!(
        matches!(accepted, Ok(None) | Err(ErrorKind::NoSlot)),
        "more connections than slots: {accepted:?}"
    );
    t.works(first, first_accepted);
    t.close(first).unwrap();
    assert_eq!(t.recv_to_end(first_accepted), b"");
    t.close(first_accepted).unwrap();
    let (second_accepted, _) = t.accepted(listener);
    assert_eq!(t.outcome(second), Status::Open);
    t.works(second, second_accepted);
    for (client, server) in others {
        t.works(client, server);
    }
}

/// The same where slots are too many to fill: the place that two clients want is the one in the backlog.
fn two_clients_with_a_backlog_of_one(t: &mut Testbed) {
    let (listener, addr) = t.listening_with(&ListenOptions::backlog(1));
    let clients = [t.connecting(addr), t.connecting(addr)];
    for client in clients {
        let (server, _) = t.accepted(listener);
        t.until("the client to be open", |t| (t.status(client) == Ok(Status::Open)).then_some(()));
        t.send_all(server, b"your turn");
    }
    for client in clients {
        assert_eq!(t.recv_exactly(client, 9), b"your turn");
    }
}

/// All slots taken, refusing: the newcomer knows at once.
pub fn a_server_without_a_slot_refuses_when_it_is_told_to(t: &mut Testbed) {
    let Some(slots) = t.facts().server_slots else { return a_full_backlog_refuses_when_it_is_told_to(t) };
    let Some((listener, addr)) = t.listening_refusing(8) else { return };
    let pairs: Vec<_> = (0..slots).map(|_| t.pair_on(listener, addr)).collect();
    assert_eq!(t.failure(addr, &ConnectOptions::default()), ErrorKind::Refused);
    for (client, server) in pairs {
        t.works(client, server);
    }
}

/// Old connections in TIME-WAIT do not hold the port of a server that starts again.
pub fn a_restarted_server_binds_its_port_at_once(t: &mut Testbed) {
    let (mut listener, addr) = t.listening();
    for _ in 0..3 {
        let (client, server) = t.pair_on(listener, addr);
        t.works(client, server);
        t.close(server).unwrap();
        assert_eq!(t.recv_to_end(client), b"");
        t.close(client).unwrap();
        t.settle();
        t.close_listener(listener).unwrap();
        let local = t.bind_addr(addr.port());
        listener = t.listen(local, &ListenOptions::default()).expect("listen again");
    }
    let (client, server) = t.pair_on(listener, addr);
    t.works(client, server);
}

/// TIME-WAIT does not keep a client out that comes back from the same port (RFC 9293 section 3.6.1, RFC 6191).
pub fn a_client_comes_back_from_the_same_port_at_once(t: &mut Testbed) {
    let (listener, addr) = t.listening();
    let options = ConnectOptions::default().with_local_port(t.unused_port());
    if !t.can(Side::Client).local_addr {
        return fails(t.connect(addr, &options), ErrorKind::Unsupported);
    }
    for round in 0..3 {
        let client =
            t.connect(addr, &options).unwrap_or_else(|kind| panic!("connect, round {round}: {kind}"));
        let (server, _) = t.accepted(listener);
        assert_eq!(t.outcome(client), Status::Open);
        t.works(client, server);
        t.close(server).unwrap();
        assert_eq!(t.recv_to_end(client), b"");
        t.close(client).unwrap();
        t.pass(Duration::from_millis(200));
    }
}
