use super::*;
use crate::connection::mock::{Mock, ROOM};
use crate::server::{ServerConfig, ServerSlot};
use std::format;
use std::string::String;
use std::vec::Vec;

const PEER: &str = "198.51.100.1:1000";

/// Writes down what it is told.
#[derive(Default)]
struct Log(Vec<String>);

impl Observer for Log {
    fn opened(&mut self, id: Id, peer: SocketAddr) {
        self.0.push(format!("{id} {peer} opened"));
    }
    fn received(&mut self, id: Id, data: &[u8]) {
        self.0.push(format!("{id} {:?}", String::from_utf8_lossy(data)));
    }
    fn closed(&mut self, id: Id, peer: SocketAddr, reason: Reason, traffic: Traffic) {
        self.0.push(format!("{id} {peer} {reason}, {} in, {} out", traffic.received, traffic.sent));
    }
}

struct World<P> {
    service: Serve<'static, Mock, P, Log>,
    stack: Mock,
}

impl<P: Protocol<Mock>> World<P> {
    fn new(protocol: P) -> Self {
        let mut stack = Mock::new();
        let slots: Vec<_> = (0..4).map(|_| ServerSlot::<Mock>::EMPTY).collect();
        let mut server = Server::new(slots.leak(), ServerConfig::DEFAULT);
        server.listen(&mut stack, "0.0.0.0:7".parse().unwrap()).unwrap();
        Self { service: Serve::new(server, protocol).observed_by(Log::default()), stack }
    }

    /// Runs until nothing is due at once.
    fn run(&mut self) {
        for _ in 0..1000 {
            if self.service.poll(&mut self.stack, Instant::ZERO).is_none_or(|at| at > Instant::ZERO) {
                return;
            }
        }
        panic!("it never rests");
    }

    /// Runs with a peer that takes everything.
    fn flow(&mut self, peer: u64) {
        loop {
            self.run();
            if self.stack[peer].tx.is_empty() || self.stack[peer].released.is_some() {
                return;
            }
            self.stack.peer_acknowledges(peer, ROOM);
        }
    }
}

#[test]
fn echo_sends_back_and_closes_with_the_peer() {
    let mut world = World::new(Echo);
    let peer = world.stack.peer_connects(PEER);
    world.stack.peer_sends(peer, b"hello");
    world.flow(peer);
    world.stack.peer_closes(peer);
    world.flow(peer);
    assert_eq!(world.stack[peer].delivered, b"hello");
    assert_eq!(
        world.service.observer.0,
        [
            "#0.0 198.51.100.1:1000 opened",
            "#0.0 \"hello\"",
            "#0.0 198.51.100.1:1000 closed by the peer, 5 in, 5 out"
        ]
    );
}

#[test]
fn echo_is_fair_and_complete_with_much_data() {
    let mut world = World::new(Echo);
    let peer = world.stack.peer_connects(PEER);
    let data: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    world.stack.peer_sends(peer, &data);
    world.stack.peer_closes(peer);
    world.flow(peer);
    assert_eq!(world.stack[peer].delivered, data);
}

#[test]
fn echo_without_zero_copy_and_holdback_says_so() {
    let mut world = World::new(Echo);
    world.stack.capabilities.zero_copy = false;
    let peer = world.stack.peer_connects(PEER);
    world.stack.peer_sends(peer, b"hello");
    world.run();
    assert!(world.service.observer.0.last().unwrap().contains("failed: not supported by this stack"));
}

#[test]
fn discard_takes_everything() {
    for zero_copy in [true, false] {
        let mut world = World::new(Discard);
        world.stack.capabilities.zero_copy = zero_copy;
        let peer = world.stack.peer_connects(PEER);
        world.stack.peer_sends(peer, &[b'x'; 100_000]);
        world.stack.peer_closes(peer);
        world.flow(peer);
        let last = world.service.observer.0.last().unwrap();
        assert_eq!(last, "#0.0 198.51.100.1:1000 closed by the peer, 100000 in, 0 out");
    }
}

#[test]
fn chargen_sends_rfc_864_s_pattern_for_as_long_as_it_is_taken() {
    let mut world = World::new(Chargen);
    let peer = world.stack.peer_connects(PEER);
    for step in [1, 73, 1000, ROOM, ROOM] {
        world.run();
        world.stack.peer_acknowledges(peer, step);
    }
    let delivered = &world.stack[peer].delivered;
    let pattern: Vec<u8> = (0..delivered.len() as u32).map(Chargen::byte_at).collect();
    assert_eq!(*delivered, pattern);
    let lines: Vec<_> = delivered.split(|byte| *byte == b'\n').collect();
    assert!(lines[0].starts_with(b" !\"#$%&'()*+,-./0123456789:;<=>?@ABC") && lines[0].ends_with(b"fg\r"));
    assert!(lines[1].starts_with(b"!\"#$") && lines[1].ends_with(b"gh\r"));
    world.stack.peer_closes(peer);
    world.flow(peer);
    assert!(world.service.observer.0.last().unwrap().contains("closed by the peer"));
}

#[test]
fn reply_answers_each_piece_even_when_there_is_no_room() {
    let text = [b'r'; 3000];
    let mut world = World::new(Reply::new(&text[..]));
    let peer = world.stack.peer_connects(PEER);
    for _ in 0..5 {
        world.stack.peer_sends(peer, b"?");
        world.run();
    }
    world.stack.peer_closes(peer);
    world.flow(peer);
    // Two answers have no room, so the last three questions came as one piece or more.
    let answers = world.service.observer.0.iter().filter(|line| line.contains('?')).count();
    assert_eq!(world.stack[peer].delivered.len(), answers * text.len());
}

#[test]
fn it_drains() {
    let mut world = World::new(Echo);
    world.stack.peer_connects(PEER);
    world.run();
    world.service.drain(&mut world.stack, Instant::ZERO, Duration::ZERO);
    world.run();
    assert!(world.service.is_drained());
    assert!(world.service.observer.0.last().unwrap().contains("closed here, all delivered"));
}
