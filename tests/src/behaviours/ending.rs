//! Every way in which a connection ends, and how the ends are told apart.

use crate::pattern::Pattern;
use crate::testbed::{Side, Socket, Testbed, fails};
use socklet::stack::{ConnectOptions, ErrorKind, Received, Status};
use socklet::time::Duration;

const SIDES: [Side; 2] = [Side::Client, Side::Server];

/// When the peer closes, its bytes come first, then the end of the stream, and that stays so.
pub fn when_the_peer_closes_recv_gives_all_its_data_then_end_of_stream(t: &mut Testbed) {
    for side in SIDES {
        let (near, far) = t.pair_from(side);
        t.send_all(far, b"last words");
        t.close(far).unwrap();
        t.settle();
        assert_eq!(t.recv_to_end(near), b"last words");
        for _ in 0..3 {
            assert_eq!(t.recv(near, &mut [0; 16]), Ok(Received::EndOfStream));
        }
        t.close(near).unwrap();
    }
}

/// After `shutdown` the other direction still carries data, until that side ends too.
pub fn half_close_both_ways(t: &mut Testbed) {
    for side in SIDES {
        let (near, far) = t.pair_from(side);
        if !t.can(near.side).half_close {
            fails(t.shutdown(near), ErrorKind::Unsupported);
            t.works(near, far);
            continue;
        }
        t.send_all(near, b"question");
        t.shutdown(near).unwrap();
        assert_eq!(t.recv_to_end(far), b"question");
        t.send_all(far, b"a long ");
        t.settle();
        t.send_all(far, b"answer");
        t.shutdown_or_close(far);
        assert_eq!(t.recv_to_end(near), b"a long answer");
        t.until("the connection to be finished", |t| (t.status(near) == Ok(Status::Finished)).then_some(()));
    }
}

/// A big answer after the half-close: the buffers fill several times.
pub fn a_half_closed_connection_carries_more_than_the_buffers_hold(t: &mut Testbed) {
    for side in SIDES {
        let (near, far) = t.pair_from(side);
        if !t.can(near.side).half_close {
            fails(t.shutdown(near), ErrorKind::Unsupported);
            continue;
        }
        t.shutdown(near).unwrap();
        assert_eq!(t.recv_to_end(far), b"");
        for round in 0..3 {
            let mut sent = Pattern::new(round);
            t.send_until_full(far, &mut sent);
            t.recv_pattern(near, &mut Pattern::new(round), sent.position());
        }
        t.close(far).unwrap();
        assert_eq!(t.recv_to_end(near), b"");
    }
}

/// The second `shutdown` changes nothing.
pub fn shutdown_twice_is_harmless(t: &mut Testbed) {
    for side in SIDES {
        let (near, far) = t.pair_from(side);
        if !t.can(near.side).half_close {
            fails(t.shutdown(near), ErrorKind::Unsupported);
            continue;
        }
        t.send_all(near, b"bye");
        assert_eq!(t.shutdown(near), Ok(()));
        assert_eq!(t.shutdown(near), Ok(()));
        assert_eq!(t.recv_to_end(far), b"bye");
        assert_eq!(t.shutdown(near), Ok(()));
        t.carries(far, near, b"still open this way");
    }
}

/// One's own end of the stream is final.
pub fn send_after_shutdown_is_closed(t: &mut Testbed) {
    for side in SIDES {
        let (near, far) = t.pair_from(side);
        if !t.can(near.side).half_close {
            fails(t.shutdown(near), ErrorKind::Unsupported);
            continue;
        }
        t.shutdown(near).unwrap();
        fails(t.send(near, b"too late"), ErrorKind::Closed);
        if t.can(near.side).zero_copy {
            fails(t.send_with(near, |_| panic!("called after shutdown")), ErrorKind::Closed);
        }
        assert_eq!(t.recv_to_end(far), b"");
        fails(t.send(near, b"too late"), ErrorKind::Closed);
    }
}

/// There is nothing to shut down before the handshake is over.
pub fn shutdown_while_connecting_is_invalid(t: &mut Testbed) {
    let Some(silent) = t.facts().silent else {
        return assert!(!t.can(Side::Client).connect_in_background);
    };
    let client = t.connecting(silent);
    assert_eq!(t.status(client), Ok(Status::Connecting));
    let expected =
        if t.can(Side::Client).half_close { ErrorKind::InvalidState } else { ErrorKind::Unsupported };
    fails(t.shutdown(client), expected);
    t.abort(client).unwrap();
}

/// Both ends close, one after the other or at the same time: both learn that all is over in good order.
pub fn both_ends_learn_that_all_was_delivered(t: &mut Testbed) {
    for at_once in [true, false] {
        let (client, server, _) = t.pair();
        if !(t.can(Side::Client).half_close && t.can(Side::Server).half_close) {
            without_a_half_close_one_end_learns_of_the_other(t, client, server);
            continue;
        }
        t.send_all(client, b"from the client");
        t.send_all(server, b"from the server");
        t.shutdown(client).unwrap();
        if !at_once {
            t.settle();
        }
        t.shutdown(server).unwrap();
        assert_eq!(t.recv_to_end(client), b"from the server");
        assert_eq!(t.recv_to_end(server), b"from the client");
        for socket in [client, server] {
            t.until("the connection to be finished", |t| {
                (t.status(socket) == Ok(Status::Finished)).then_some(())
            });
            t.close(socket).unwrap();
        }
    }
}

/// The first to close is gone before it could learn anything.
fn without_a_half_close_one_end_learns_of_the_other(t: &mut Testbed, client: Socket, server: Socket) {
    for socket in [client, server] {
        if !t.can(socket.side).half_close {
            fails(t.shutdown(socket), ErrorKind::Unsupported);
        }
    }
    t.works(client, server);
    t.send_all(client, b"from the client");
    t.close(client).unwrap();
    assert_eq!(t.recv_to_end(server), b"from the client");
    assert_eq!(t.status(server), Ok(Status::Open), "this end has not closed");
    t.close(server).unwrap();
    fails(t.status(server), ErrorKind::StaleHandle);
}

/// `close` sends what is queued, though the caller never touches the connection again.
pub fn close_delivers_what_is_queued(t: &mut Testbed) {
    for side in SIDES {
        let (near, far) = t.pair_from(side);
        let mut sent = Pattern::new(4);
        t.send_until_full(near, &mut sent);
        t.close(near).unwrap();
        t.recv_pattern(far, &mut Pattern::new(4), sent.position());
        assert_eq!(t.recv_to_end(far), b"");
    }
}

/// Bytes that the closing side never received do not destroy what it had queued (on BSD sockets they do: RFC 2525, section 2.17).
pub fn close_with_unread_input_delivers_what_is_queued(t: &mut Testbed) {
    for side in SIDES {
        let (near, far) = t.pair_from(side);
        t.send_until_full(far, &mut Pattern::new(7));
        let mut sent = Pattern::new(8);
        t.send_until_full(near, &mut sent);
        t.close(near).unwrap();
        t.settle();
        t.recv_pattern(far, &mut Pattern::new(8), sent.position());
        assert_eq!(t.recv_to_end(far), b"");
    }
}

/// `abort` resets, and a reset is neither an end of the stream nor a timeout.
pub fn a_reset_is_told_apart_from_end_of_stream_and_timeout(t: &mut Testbed) {
    for side in SIDES {
        let (near, far) = t.pair_from(side);
        t.abort(far).unwrap();
        if t.can(far.side).reset && t.can(near.side).reset {
            assert_eq!(t.recv_to_failure(near), ErrorKind::Reset);
            t.until("the status", |t| (t.status(near) == Ok(Status::Failed(ErrorKind::Reset))).then_some(()));
        } else {
            t.until("the connection to end", |t| {
                (t.recv(near, &mut [0; 16]) != Ok(Received::WouldBlock)).then_some(())
            });
        }
    }
}

/// After a reset every call gives the reason, however often.
pub fn calls_after_a_reset_say_reset_every_time(t: &mut Testbed) {
    for side in SIDES {
        let (near, far) = t.pair_from(side);
        t.abort(far).unwrap();
        if !(t.can(far.side).reset && t.can(near.side).reset) {
            let end = t.recv_to_any_end(near);
            for _ in 0..3 {
                assert_eq!(t.recv(near, &mut [0; 16]), end, "an end, whichever it is, stays");
            }
            t.close(near).unwrap();
            fails(t.status(near), ErrorKind::StaleHandle);
            continue;
        }
        assert_eq!(t.recv_to_failure(near), ErrorKind::Reset);
        for _ in 0..3 {
            fails(t.recv(near, &mut [0; 16]), ErrorKind::Reset);
            fails(t.send(near, b"anyone?"), ErrorKind::Reset);
            assert_eq!(t.status(near), Ok(Status::Failed(ErrorKind::Reset)));
        }
        if t.can(near.side).half_close {
            fails(t.shutdown(near), ErrorKind::Reset);
        }
        t.close(near).unwrap();
        fails(t.status(near), ErrorKind::StaleHandle);
    }
}

/// `abort` does not wait for the queue, nor for a peer that does not receive.
pub fn abort_forgets_what_is_queued(t: &mut Testbed) {
    for side in SIDES {
        let (near, far) = t.pair_from(side);
        t.send_until_full(far, &mut Pattern::new(9));
        t.abort(far).unwrap();
        fails(t.status(far), ErrorKind::StaleHandle);
        let end = t.recv_to_any_end(near);
        if t.can(near.side).reset {
            // A stack without a reset closes instead.
            let reset = t.can(far.side).reset;
            assert_eq!(end, if reset { Err(ErrorKind::Reset) } else { Ok(Received::EndOfStream) });
        }
    }
}

/// Neither `close` nor `abort` needs the handshake to be over.
pub fn a_connection_can_be_given_up_while_it_is_connecting(t: &mut Testbed) {
    let Some(silent) = t.facts().silent else {
        return assert!(!t.can(Side::Client).connect_in_background);
    };
    let closed = t.connecting(silent);
    let aborted = t.connecting(silent);
    t.settle();
    t.close(closed).unwrap();
    t.abort(aborted).unwrap();
    fails(t.status(closed), ErrorKind::StaleHandle);
    fails(t.status(aborted), ErrorKind::StaleHandle);
    let (client, server, _) = t.pair();
    t.works(client, server);
}

/// The host answers that nobody listens.
pub fn connect_to_a_closed_port_is_refused(t: &mut Testbed) {
    let port = t.unused_port();
    let started = t.now();
    let remote = t.server_addr(port);
    assert_eq!(t.failure(remote, &ConnectOptions::default()), ErrorKind::Refused);
    assert!(t.now().since(started) < Duration::from_secs(5), "not by a timeout");
}

/// No answer at all: the handshake's deadline ends it, not earlier and hardly later.
pub fn connect_to_a_silent_address_times_out_at_the_deadline(t: &mut Testbed) {
    const TIMEOUT: Duration = Duration::from_millis(700);
    let Some(silent) = t.facts().silent else {
        return assert!(!t.can(Side::Client).connect_in_background);
    };
    let started = t.now();
    let options = ConnectOptions::default().with_timeout(Some(TIMEOUT));
    assert_eq!(t.failure(silent, &options), ErrorKind::TimedOut);
    let took = t.now().since(started);
    assert!(took >= TIMEOUT && took < TIMEOUT + Duration::from_millis(500), "took {took:?}");
}

/// A connection that failed keeps its reason and its handle until it is closed.
pub fn a_failed_connection_keeps_its_reason_until_it_is_closed(t: &mut Testbed) {
    let port = t.unused_port();
    let client = match t.connect(t.server_addr(port), &ConnectOptions::default()) {
        Ok(client) => client,
        Err(kind) => return assert_eq!(kind, ErrorKind::Refused),
    };
    assert_eq!(t.outcome(client), Status::Failed(ErrorKind::Refused));
    t.settle();
    assert_eq!(t.status(client), Ok(Status::Failed(ErrorKind::Refused)));
    fails(t.recv(client, &mut [0; 16]), ErrorKind::Refused);
    fails(t.send(client, b"x"), ErrorKind::Refused);
    t.close(client).unwrap();
    fails(t.status(client), ErrorKind::StaleHandle);
}
