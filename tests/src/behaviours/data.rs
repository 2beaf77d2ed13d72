//! Bytes: queued, received, and none lost.

use crate::pattern::Pattern;
use crate::testbed::{Side, Socket, Testbed, fails};
use socklet::stack::{ErrorKind, Received, Sent};

const SIDES: [Side; 2] = [Side::Client, Side::Server];

/// `send` does not wait for the peer: it queues. When the buffer is full it says so, and nothing of what it took is lost.
pub fn send_queues_until_the_buffer_is_full_then_would_block(t: &mut Testbed) {
    for side in SIDES {
        let (near, far) = t.pair_from(side);
        let mut sent = Pattern::new(1);
        t.send_until_full(near, &mut sent);
        assert!(sent.position() > 0);
        t.recv_pattern(far, &mut Pattern::new(1), sent.position());
        t.carries(near, far, b"there is room again");
    }
}

/// `recv` on an empty buffer does not wait.
pub fn recv_would_block_on_an_empty_buffer(t: &mut Testbed) {
    for side in SIDES {
        let (near, far) = t.pair_from(side);
        assert_eq!(t.recv(near, &mut [0; 16]), Ok(Received::WouldBlock));
        t.carries(far, near, b"all of it");
        assert_eq!(t.recv(near, &mut [0; 16]), Ok(Received::WouldBlock));
        t.settle();
        assert_eq!(t.recv(near, &mut [0; 16]), Ok(Received::WouldBlock));
    }
}

/// What does not fit the caller's buffer stays for the next call.
pub fn recv_takes_no_more_than_it_is_asked_for(t: &mut Testbed) {
    let (near, far) = t.pair_from(Side::Client);
    t.send_all(near, b"abc");
    for byte in b"abc" {
        assert_eq!(t.recv_exactly(far, 1), [*byte]);
    }
}

/// A `send` or `recv` of no bytes does nothing, and is not taken for an end.
pub fn zero_length_send_and_recv_do_nothing(t: &mut Testbed) {
    for side in SIDES {
        let (near, far) = t.pair_from(side);
        assert_eq!(t.send(near, &[]), Ok(Sent::Queued(0)));
        t.settle();
        assert_eq!(t.recv(far, &mut [0; 16]), Ok(Received::WouldBlock));
        t.send_all(near, b"x");
        t.settle();
        assert_eq!(t.recv(far, &mut []), Ok(Received::Data(0)));
        assert_eq!(t.recv_exactly(far, 1), b"x");
    }
}

/// A client that does not wait for the handshake is told to, and loses nothing.
pub fn send_before_the_handshake_is_over_would_block(t: &mut Testbed) {
    let (listener, addr) = t.listening();
    let client = t.connecting(addr);
    let early = t.send(client, b"early").expect("send");
    let (server, _) = t.accepted(listener);
    if early == Sent::WouldBlock {
        t.send_all(client, b"early");
    }
    t.shutdown_or_close(client);
    assert_eq!(t.recv_to_end(server), b"early");
}

/// The zero-copy forms carry the same bytes as the copying ones, and mix with them.
pub fn the_zero_copy_forms_equal_the_copying_ones(t: &mut Testbed) {
    for side in SIDES {
        let (near, far) = t.pair_from(side);
        if t.can(near.side).zero_copy {
            send_by_turns(t, near, &mut Pattern::new(2), 100_000, far);
        } else {
            fails(t.send_with(near, |_| panic!("called without being supported")), ErrorKind::Unsupported);
        }
        if t.can(far.side).zero_copy {
            assert_eq!(t.recv_with(far, |_| panic!("called with nothing to take")), Ok(Received::WouldBlock));
        } else {
            fails(t.recv_with(far, |_| panic!("called without being supported")), ErrorKind::Unsupported);
        }
    }
}

fn send_by_turns(t: &mut Testbed, near: Socket, sent: &mut Pattern, total: u64, far: Socket) {
    let mut received = Pattern::new(2);
    let mut buffer = [0; 777];
    t.until("the bytes to arrive", |t| {
        let left = (total - sent.position()).min(999) as usize;
        let queued = if sent.position().is_multiple_of(2) {
            t.send(near, sent.next(left))
        } else {
            t.send_with(near, |free| {
                assert!(!free.is_empty(), "no room is WouldBlock");
                let count = left.min(free.len());
                free[..count].copy_from_slice(sent.next(count));
                count
            })
        };
        if let Sent::Queued(count) = queued.expect("send") {
            sent.advance(count);
        }
        take_by_turns(t, far, &mut received, &mut buffer);
        (received.position() == total).then_some(())
    });
}

fn take_by_turns(t: &mut Testbed, far: Socket, received: &mut Pattern, buffer: &mut [u8]) {
    if t.can(far.side).zero_copy && received.position().is_multiple_of(2) {
        let taken = t.recv_with(far, |data| {
            assert!(!data.is_empty(), "nothing is WouldBlock");
            // Not all: what is left must come again.
            let count = data.len().div_ceil(2);
            received.check(&data[..count]);
            count
        });
        assert_ne!(taken, Ok(Received::EndOfStream));
    } else if let Received::Data(count) = t.recv(far, buffer).expect("recv") {
        received.check(&buffer[..count]);
    }
}

/// A closure that uses nothing leaves everything as it was.
pub fn a_zero_copy_call_that_uses_nothing_changes_nothing(t: &mut Testbed) {
    for side in SIDES {
        let (near, far) = t.pair_from(side);
        if t.can(near.side).zero_copy {
            let _ = t.send_with(near, |_| 0).expect("send_with");
        }
        t.send_all(near, b"whole");
        if t.can(far.side).zero_copy {
            t.until("bytes", |t| match t.recv_with(far, |_| 0).expect("recv_with") {
                Received::Data(()) => Some(()),
                Received::WouldBlock => None,
                Received::EndOfStream => panic!("end of stream"),
            });
        }
        assert_eq!(t.recv_exactly(far, 5), b"whole");
    }
}

/// `unsent` falls to zero when the peer has acknowledged everything, whether it has received it or not.
pub fn unsent_counts_down_to_zero(t: &mut Testbed) {
    for side in SIDES {
        let (near, far) = t.pair_from(side);
        if !t.can(near.side).unsent {
            fails(t.unsent(near), ErrorKind::Unsupported);
            continue;
        }
        assert_eq!(t.unsent(near), Ok(0));
        t.send_all(near, b"a few bytes");
        assert!(t.unsent(near).unwrap() <= 11);
        t.until("all to be acknowledged", |t| (t.unsent(near) == Ok(0)).then_some(()));
        assert_eq!(t.recv_exactly(far, 11), b"a few bytes");

        let mut sent = Pattern::new(3);
        t.send_until_full(near, &mut sent);
        assert_ne!(t.unsent(near), Ok(0), "the buffer is full");
        t.recv_pattern(far, &mut Pattern::new(3), sent.position());
        t.until("all to be acknowledged", |t| (t.unsent(near) == Ok(0)).then_some(()));
    }
}

/// Each connection carries its own bytes, at its own pace; one that nobody serves does not hold up the others.
pub fn many_clients_at_once_do_not_disturb_one_another(t: &mut Testbed) {
    const BYTES: u64 = 20_000;
    let (listener, addr) = t.listening();
    // With the one that is stuck.
    let count = t.facts().server_slots.unwrap_or(33).min(33);
    let (stuck, _stuck_accepted) = t.pair_on(listener, addr);
    t.send_until_full(stuck, &mut Pattern::new(99));
    let mut flows: Vec<_> = (1..count as u64)
        .flat_map(|number| {
            let (client, server) = t.pair_on(listener, addr);
            [Flow::new(client, server, 2 * number, BYTES), Flow::new(server, client, 2 * number + 1, BYTES)]
        })
        .collect();
    t.until("all flows to end", |t| {
        flows.iter_mut().for_each(|flow| flow.advance(t));
        flows.iter().all(Flow::is_complete).then_some(())
    });
}

/// A long stream in both directions at once, every byte compared.
pub fn a_long_stream_both_ways_at_once_is_exact(t: &mut Testbed) {
    let bytes = t.facts().stream;
    let (client, server, _) = t.pair();
    let mut flows = [Flow::new(client, server, 5, bytes), Flow::new(server, client, 6, bytes)];
    t.until("both streams to end", |t| {
        flows.iter_mut().for_each(|flow| flow.advance(t));
        flows.iter().all(Flow::is_complete).then_some(())
    });
    t.works(client, server);
}

/// One direction of one connection.
struct Flow {
    from: Socket,
    to: Socket,
    bytes: u64,
    sent: Pattern,
    received: Pattern,
    buffer: Vec<u8>,
}

impl Flow {
    fn new(from: Socket, to: Socket, seed: u64, bytes: u64) -> Self {
        let (sent, received) = (Pattern::new(seed), Pattern::new(seed));
        Self { from, to, bytes, sent, received, buffer: vec![0; 64 * 1024] }
    }

    /// Sends and receives what can be.
    fn advance(&mut self, t: &mut Testbed) {
        while self.sent.position() < self.bytes {
            let left = (self.bytes - self.sent.position()).min(u64::from(u32::MAX)) as usize;
            match t.send(self.from, self.sent.next(left)).expect("send") {
                Sent::Queued(count) => self.sent.advance(count),
                Sent::WouldBlock => break,
            }
        }
        while let Received::Data(count) = t.recv(self.to, &mut self.buffer).expect("recv") {
            self.received.check(&self.buffer[..count]);
        }
    }

    fn is_complete(&self) -> bool {
        self.received.position() == self.bytes
    }
}
