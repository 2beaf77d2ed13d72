use super::Input;
use crate::Pattern;
use crate::hostile::{Answer, PEER, Peer, Rig, Segment, Stack, flag, neighbor};
use core::net::SocketAddr;
use socklet::connection::{Deadlines, Reason};
use socklet::server::{Event, Server, ServerConfig};
use socklet::stack::{Received, Sent, TcpStack};
use socklet::storage::Id;
use socklet::time::{Duration, earliest};

const SLOTS: usize = 4;
const FIRST_PORT: u16 = 2000;

/// Any sequence of calls and segments, against a model that knows what must come of them:
///
/// - slots in use equal live connections, and each `Opened` has one `Closed`;
/// - each direction is, byte for byte, the stream that was sent;
/// - a connection that ended in good order delivered every byte that `send` took.
pub fn calls(data: &[u8]) {
    let mut world = World::new();
    let mut input = Input(data);
    while !input.is_empty() {
        world.act(&mut input);
        world.turn();
    }
    world.finish();
}

/// One connection, as both ends know it.
struct Link {
    peer: Peer,
    /// What came of the handshake.
    known: bool,
    /// The server's name for it; kept when stale.
    id: Option<Id>,
    open: bool,
    /// Server to peer: what `send` took, and what came.
    queued: Pattern,
    arrived: Pattern,
    /// Peer to server: what was sent, and what `recv` gave.
    said: Pattern,
    heard: Pattern,
    window: u16,
    fin_sent: bool,
    /// Bytes from the peer that the server has not acknowledged.
    in_flight: usize,
    /// The peer does not answer any more.
    gone: bool,
    /// Bytes may be missing: the peer vanished, or `Closed` gave a reason.
    excused: bool,
}

struct World {
    rig: Rig,
    links: Vec<Link>,
}

impl World {
    fn new() -> Self {
        let config = ServerConfig::default().with_deadlines(Deadlines::SERVER);
        Self { rig: Rig::new(SLOTS, 256, config), links: Vec::new() }
    }

    fn server(&mut self) -> (&mut Server<'static, Stack>, &mut Stack) {
        (&mut self.rig.service.server, &mut self.rig.stack)
    }

    fn act(&mut self, input: &mut Input<'_>) {
        let call = input.below(20);
        if call == 0 || self.links.is_empty() {
            return self.connect();
        }
        let number = input.below(self.links.len().min(256));
        let len = input.below(256);
        let link = &mut self.links[number];
        let id = link.id;
        let (server, stack) = (&mut self.rig.service.server, &mut self.rig.stack);
        match (call, id) {
            (1..=4, Some(id)) => match server.send(stack, id, link.queued.next(len)) {
                Ok(Sent::Queued(count)) => link.queued.advance(count),
                Ok(Sent::WouldBlock) | Err(_) => {}
            },
            (5..=7, Some(id)) => Self::receive(server, stack, link, id, len),
            (8, Some(id)) => drop(server.shutdown(stack, id)),
            (9, Some(id)) => drop(server.close(stack, id)),
            (10, Some(id)) => drop(server.abort(id)),
            (11, Some(id)) => server.wake(id),
            (12..=14, _) if !link.fin_sent && !link.gone => self.say(number, len),
            (15, _) if !link.gone => self.fin(number),
            (16, _) => self.spoof(number, input),
            (17, _) => link.window = [0, 1, 100, 4096][len % 4],
            (18, _) if len == 7 => (link.gone, link.excused) = (true, true),
            (18 | 19, _) => self.rig.now = self.rig.now + Duration::from_millis(len as u64 * len as u64),
            _ => {}
        }
    }

    fn receive(server: &mut Server<'static, Stack>, stack: &mut Stack, link: &mut Link, id: Id, len: usize) {
        let mut buffer = [0; 256];
        match server.recv(stack, id, &mut buffer[..len]) {
            Ok(Received::Data(count)) => link.heard.check(&buffer[..count]),
            Ok(Received::EndOfStream) => {
                assert!(link.fin_sent, "an end of the stream that was not sent");
                let said = link.said.position() + link.in_flight as u64;
                assert_eq!(link.heard.position(), said, "the end came before the last byte");
            }
            Ok(Received::WouldBlock) | Err(_) => {}
        }
    }

    fn connect(&mut self) {
        let number = self.links.len() as u64;
        let address = SocketAddr::from((PEER, FIRST_PORT + number as u16));
        if number > 1000 {
            return;
        }
        self.links.push(Link {
            peer: Peer { address, seq: 1001, ack: 0 },
            known: false,
            id: None,
            open: false,
            queued: Pattern::new(2 * number),
            arrived: Pattern::new(2 * number),
            said: Pattern::new(2 * number + 1),
            heard: Pattern::new(2 * number + 1),
            window: 4096,
            fin_sent: false,
            in_flight: 0,
            gone: false,
            excused: false,
        });
        self.rig.send(&Segment::syn(address, 1000).frame());
    }

    /// The peer says the next bytes, or those that are not acknowledged again.
    fn say(&mut self, number: usize, len: usize) {
        let link = &mut self.links[number];
        if link.known {
            link.in_flight = link.in_flight.max(len);
            let segment = Segment { window: link.window, ..link.peer.segment(link.said.next(len)) };
            self.rig.send(&segment.frame());
        }
    }

    fn fin(&mut self, number: usize) {
        let link = &mut self.links[number];
        if link.known {
            link.fin_sent = true;
            let rest = link.said.next(link.in_flight);
            let fin =
                Segment { flags: flag::FIN | flag::ACK, window: link.window, ..link.peer.segment(rest) };
            self.rig.send(&fin.frame());
        }
    }

    /// Segments of somebody else's, which must change nothing.
    fn spoof(&mut self, number: usize, input: &mut Input<'_>) {
        let peer = self.links[number].peer;
        let far = 70_000 + u32::from(input.word()) * 10_000;
        let segment = match input.below(5) {
            0 => Segment { flags: flag::RST, seq: peer.seq.wrapping_add(300 + far), ..peer.segment(b"") },
            1 => Segment { flags: flag::SYN, seq: far, ..peer.segment(b"") },
            2 => Segment { ack: peer.ack.wrapping_add(far), ..peer.segment(b"evil") },
            3 => Segment { seq: peer.seq.wrapping_add(far), ..peer.segment(b"evil") },
            _ => return self.rig.send(input.bytes()),
        };
        let opened = self.links[number].id.is_some();
        if opened {
            self.rig.send(&segment.frame());
        }
    }

    fn turn(&mut self) {
        self.rig.send(&neighbor(PEER));
        for _ in 0..1000 {
            let now = self.rig.now;
            while let Some(event) = {
                let (server, stack) = self.server();
                server.poll(stack, now)
            } {
                self.note(event);
            }
            let (server, stack) = self.server();
            let next = earliest(server.deadline(), stack.poll(now));
            for answer in self.rig.answers() {
                self.take(answer);
            }
            assert_eq!(self.rig.service.server.len(), self.rig.stack.owned());
            let open = self.links.iter().filter(|link| link.open).count();
            assert_eq!(open, self.rig.service.server.len(), "live connections and slots in use");
            let next = earliest(next, self.rig.stack.device().next_arrival());
            if next.is_none_or(|next| next > now) {
                return;
            }
        }
        panic!("at {} there is always more to do", self.rig.now)
    }

    fn link(&mut self, peer: SocketAddr) -> &mut Link {
        &mut self.links[usize::from(peer.port() - FIRST_PORT)]
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Opened { id, peer } => {
                let link = self.link(peer);
                assert_eq!(link.id.replace(id), None, "opened twice");
                link.open = true;
            }
            Event::Readable { .. } | Event::Writable { .. } => {}
            Event::Closed { id, peer, reason, traffic } => {
                let link = self.link(peer);
                assert!(link.id == Some(id) && link.open, "closed twice");
                link.open = false;
                assert_eq!(traffic.sent, link.queued.position());
                if !matches!(reason, Reason::Finished | Reason::PeerClosed) {
                    (link.gone, link.excused) = (true, true);
                }
            }
        }
    }

    /// The peer takes a segment as RFC 9293 says, and acknowledges what is in order.
    fn take(&mut self, answer: Answer) {
        let Some(number) = answer.to.port().checked_sub(FIRST_PORT).map(usize::from) else { return };
        let Some(link) = self.links.get_mut(number) else { return };
        if link.gone {
            return;
        }
        if answer.has(flag::RST) {
            link.gone = true;
            return;
        }
        if answer.has(flag::SYN) {
            // A second one is for another's SYN.
            if core::mem::replace(&mut link.known, true) {
                return;
            }
            link.peer.ack = answer.seq.wrapping_add(1);
        } else {
            let taken = answer.ack.wrapping_sub(link.peer.seq) as usize;
            let fin = link.fin_sent && taken == link.in_flight + 1;
            if fin || taken <= link.in_flight {
                link.said.advance(taken - usize::from(fin));
                link.in_flight -= taken - usize::from(fin);
                link.peer.seq = answer.ack;
            }
            if answer.seq != link.peer.ack {
                return;
            }
            link.arrived.check(&answer.payload);
            let occupied = answer.payload.len() as u32 + u32::from(answer.has(flag::FIN));
            link.peer.ack = link.peer.ack.wrapping_add(occupied);
            if occupied == 0 {
                return;
            }
        }
        self.rig.send(&Segment { window: link.window, ..link.peer.segment(b"") }.frame());
    }

    /// Whether every slot is free and nobody waits for a byte.
    fn is_over(&self) -> bool {
        let waits =
            |link: &Link| link.open || link.queued.position() != link.arrived.position() && !link.excused;
        self.rig.free() == SLOTS && !self.links.iter().any(waits)
    }

    /// All windows open, all close; then everything is over in two minutes.
    fn finish(&mut self) {
        for link in &mut self.links {
            link.window = 4096;
        }
        for _ in 0..600 {
            if self.is_over() {
                break;
            }
            for number in 0..self.links.len() {
                let link = &self.links[number];
                if link.gone && !link.open {
                    continue;
                }
                if !link.gone {
                    self.fin(number);
                }
                if let Some(id) = self.links[number].id {
                    let (server, stack) = self.server();
                    let _ = server.close(stack, id);
                }
                self.turn();
            }
            self.rig.now = self.rig.now + Duration::from_millis(200);
            self.turn();
        }
        assert_eq!((self.rig.service.server.len(), self.rig.free()), (0, SLOTS), "a slot was lost");
        for (number, link) in self.links.iter().enumerate() {
            assert!(!link.open, "connection {number} never ended");
            let (queued, arrived) = (link.queued.position(), link.arrived.position());
            assert!(
                queued == arrived || link.excused,
                "connection {number}: {arrived} of {queued} bytes came, and no reason"
            );
        }
    }
}
