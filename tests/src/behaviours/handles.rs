//! Handles, readiness, and what a stack cannot do.

use crate::testbed::{Side, Socket, Testbed, fails};
use socklet::stack::{ErrorKind, ListenOptions, Readiness, Received, Sent, Status, Tag};

fn every_call_is_stale(t: &mut Testbed, socket: Socket) {
    fails(t.status(socket), ErrorKind::StaleHandle);
    fails(t.set_tag(socket, Tag(1)), ErrorKind::StaleHandle);
    fails(t.send(socket, b"x"), ErrorKind::StaleHandle);
    fails(t.recv(socket, &mut [0; 16]), ErrorKind::StaleHandle);
    fails(t.close(socket), ErrorKind::StaleHandle);
    fails(t.abort(socket), ErrorKind::StaleHandle);
    fails(t.peer_addr(socket), ErrorKind::StaleHandle);
    let can = t.can(socket.side);
    if can.half_close {
        fails(t.shutdown(socket), ErrorKind::StaleHandle);
    }
    if can.zero_copy {
        fails(t.send_with(socket, |_| panic!("called on a stale handle")), ErrorKind::StaleHandle);
        fails(t.recv_with(socket, |_| panic!("called on a stale handle")), ErrorKind::StaleHandle);
    }
    if can.local_addr {
        fails(t.local_addr(socket), ErrorKind::StaleHandle);
    }
    if can.unsent {
        fails(t.unsent(socket), ErrorKind::StaleHandle);
    }
}

/// A handle is stale after `close` and after `abort`, and never reaches those that came later.
pub fn a_stale_handle_is_an_error_and_not_another_connection(t: &mut Testbed) {
    let (listener, addr) = t.listening();
    let mut stale = Vec::new();
    for round in 0..4 {
        let (client, server) = t.pair_on(listener, addr);
        t.works(client, server);
        for socket in &stale {
            every_call_is_stale(t, *socket);
        }
        t.works(client, server);
        for socket in [client, server] {
            if round % 2 == 0 { t.close(socket) } else { t.abort(socket) }.unwrap();
            every_call_is_stale(t, socket);
            stale.push(socket);
        }
        t.settle();
    }
}

/// A listener's handle is stale when the listener and all that it accepted are gone.
pub fn a_closed_listener_is_stale(t: &mut Testbed) {
    let (listener, addr) = t.listening();
    t.close_listener(listener).unwrap();
    let local = t.bind_addr(addr.port());
    let next = t.listen(local, &ListenOptions::default()).unwrap();
    let client = t.connecting(addr);
    t.settle();
    let gone = t.accept(listener);
    assert!(matches!(gone, Err(ErrorKind::StaleHandle | ErrorKind::Closed)), "{gone:?}");
    assert_eq!(t.ready(listener), None);
    let (server, _) = t.accepted(next);
    t.works(client, server);
}

/// What became ready since the last time, until the stack has nothing more to say.
fn drain_ready(t: &mut Testbed, listener: crate::ListenerNo) -> Vec<(Socket, Tag, Readiness)> {
    let all: Vec<_> = core::iter::from_fn(|| t.ready(listener)).take(1000).collect();
    assert!(all.len() < 1000, "ready never ends");
    all
}

/// A change is reported with the connection's tag, once, and again when there is another change.
pub fn readiness_is_reported_once_for_each_change_with_the_tag(t: &mut Testbed) {
    let (listener, addr) = t.listening();
    let (first, first_accepted) = t.pair_on(listener, addr);
    let (_second, second_accepted) = t.pair_on(listener, addr);
    t.set_tag(first_accepted, Tag(41)).unwrap();
    t.set_tag(second_accepted, Tag(42)).unwrap();
    t.settle();
    drain_ready(t, listener);
    for message in [b"one", b"two"] {
        t.send_all(first, message);
        t.settle();
        let ready = drain_ready(t, listener);
        let reported = |(socket, tag, readiness): &(Socket, Tag, Readiness)| {
            *socket == first_accepted && *tag == Tag(41) && readiness.readable
        };
        assert!(ready.iter().any(reported), "{ready:?}");
        if ready.iter().all(|(.., readiness)| *readiness != Readiness::ALL) {
            assert_eq!(ready.len(), 1, "one change, one report: {ready:?}");
            assert_eq!(drain_ready(t, listener), []);
        }
        assert_eq!(t.recv_exactly(first_accepted, 3), message);
    }
}

/// The end of the stream is readable, a reset ends, room to send is writable.
pub fn readiness_tells_of_ends_and_of_room(t: &mut Testbed) {
    let (listener, addr) = t.listening();
    let [(closer, closed), (aborter, aborted), (reader, writer)] =
        [(); 3].map(|()| t.pair_on(listener, addr));
    for (number, socket) in [closed, aborted, writer].into_iter().enumerate() {
        t.set_tag(socket, Tag(number as u32)).unwrap();
    }
    let mut sent = crate::Pattern::new(10);
    t.send_until_full(writer, &mut sent);
    drain_ready(t, listener);
    t.close(closer).unwrap();
    t.abort(aborter).unwrap();
    t.recv_pattern(reader, &mut crate::Pattern::new(10), sent.position());
    let resets = t.can(Side::Client).reset;
    let mut seen = [Readiness::default(); 3];
    t.until("all three to be reported", |t| {
        for (_, tag, readiness) in drain_ready(t, listener) {
            let seen = &mut seen[tag.0 as usize];
            seen.readable |= readiness.readable;
            seen.writable |= readiness.writable;
            seen.ended |= readiness.ended;
        }
        let told_of_the_abort = if resets { seen[1].ended } else { seen[1].readable };
        (seen[0].readable && told_of_the_abort && seen[2].writable).then_some(())
    });
}

/// A connection that was given up is not reported any more.
pub fn a_closed_connection_is_not_reported_as_ready(t: &mut Testbed) {
    let (listener, addr) = t.listening();
    let (client, server) = t.pair_on(listener, addr);
    t.send_all(client, b"unread");
    t.settle();
    t.close(server).unwrap();
    t.settle();
    let ready = drain_ready(t, listener);
    assert!(ready.iter().all(|(socket, ..)| *socket != server), "{ready:?}");
}

/// A loop that looks only when `poll` says so sees every change.
pub fn poll_says_when_something_changed(t: &mut Testbed) {
    let (listener, addr) = t.listening();
    let client = t.connecting(addr);
    let (server, _) = t.until_told("a connection to accept", |t| t.accept(listener).unwrap());
    assert_eq!(t.outcome(client), Status::Open);
    t.settle();
    for byte in 0..3 {
        assert_eq!(t.recv(server, &mut [0; 16]), Ok(Received::WouldBlock));
        t.send_all(client, &[byte]);
        let received = t.until_told("a byte to receive", |t| match t.recv(server, &mut [0; 16]).unwrap() {
            Received::WouldBlock => None,
            other => Some(other),
        });
        assert_eq!(received, Received::Data(1));
    }
    t.close(client).unwrap();
    t.until_told("the end of the stream", |t| {
        (t.recv(server, &mut [0; 16]) == Ok(Received::EndOfStream)).then_some(())
    });
}

/// Memory is fixed: with all slots taken `connect` says so, and a slot that is given up can be used.
pub fn connect_without_a_slot_is_an_error_until_one_is_free(t: &mut Testbed) {
    let slots = t.facts().client_slots;
    let most = slots.unwrap_or(100);
    let remote = t.facts().silent.unwrap_or_else(|| {
        // A `connect` that blocks ends when the backlog has taken it.
        assert!(!t.can(Side::Client).connect_in_background);
        t.listening_with(&ListenOptions::backlog(most + 1)).1
    });
    let taken: Vec<_> = (0..most).map(|_| t.connecting(remote)).collect();
    if slots.is_none() {
        // Too many to fill.
        return assert!(t.connect(remote, &Default::default()).is_ok());
    }
    fails(t.connect(remote, &Default::default()), ErrorKind::NoSlot);
    t.abort(taken[0]).unwrap();
    let _ = t.connecting(remote);
    fails(t.connect(remote, &Default::default()), ErrorKind::NoSlot);
}

/// A thousand connections one after another: nothing wears out.
pub fn slots_are_used_again_and_again(t: &mut Testbed) {
    let (listener, addr) = t.listening();
    for round in 0..t.facts().churn {
        let (client, server) = t.pair_on(listener, addr);
        t.carries(client, server, &round.to_be_bytes());
        let (first, second) = if round % 2 == 0 { (client, server) } else { (server, client) };
        if round % 5 == 4 {
            t.abort(first).unwrap();
        } else {
            t.close(first).unwrap();
            assert_eq!(t.recv_to_end(second), b"");
        }
        t.close(second).unwrap();
    }
}

/// What a stack says that it cannot do, it answers with `Unsupported`; it does not pretend.
pub fn what_a_stack_cannot_do_is_unsupported(t: &mut Testbed) {
    let (client, server, _) = t.pair();
    for socket in [client, server] {
        let can = t.can(socket.side);
        if !can.half_close {
            fails(t.shutdown(socket), ErrorKind::Unsupported);
        }
        if !can.zero_copy {
            fails(t.send_with(socket, |_| panic!("called")), ErrorKind::Unsupported);
            fails(t.recv_with(socket, |_| panic!("called")), ErrorKind::Unsupported);
        }
        if !can.unsent {
            fails(t.unsent(socket), ErrorKind::Unsupported);
        }
        if !can.local_addr {
            fails(t.local_addr(socket), ErrorKind::Unsupported);
        }
    }
    if !t.can(Side::Client).listen {
        let local = core::net::SocketAddr::new(t.facts().client_ip, 7);
        let listened = t.host(Side::Client).listen(local, &ListenOptions::default());
        fails(listened, ErrorKind::Unsupported);
    }
    assert!(t.can(Side::Server).listen, "a world's server can listen");
    assert!(matches!(t.send(client, b"x"), Ok(Sent::Queued(1))));
}
