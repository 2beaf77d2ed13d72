//! Connections from here that end in every way: nothing is left of them.

use super::leaks::resident;
use super::rig::{Answer, Rig, Stack};
use super::{Figure, PEER, Segment, flag};
use core::net::{SocketAddr, SocketAddrV4};
use socklet::client::{Client, ClientConfig, ClientState, Event};
use socklet::connection::{Deadline, Deadlines, Reason};
use socklet::server::ServerConfig;
use socklet::stack::{ConnectOptions, Received, Sent, TcpStack};
use socklet::time::{Duration, Instant, earliest};
use std::collections::HashSet;

const CONNECTIONS: usize = 100_000;
/// Local ports for one peer: each serves several times.
const PORTS: usize = 16_384;
/// Connections at once, each ended in another way.
const SLOTS: usize = Ending::ALL.len() + 1;
/// Of each deadline.
const LIMIT: Duration = Duration::from_secs(5);

/// Ways for a connection from here to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Closes,
    ClosesAlone,
    Aborts,
    AbortsOpening,
    PeerCloses,
    PeerResets,
    PeerVanishes,
    Refused,
    Unanswered,
    LinkLost,
}

impl Ending {
    const ALL: [Self; 10] = [
        // First, as it ends all that are open.
        Self::LinkLost,
        Self::Closes,
        Self::ClosesAlone,
        Self::Aborts,
        Self::AbortsOpening,
        Self::PeerCloses,
        Self::PeerResets,
        Self::PeerVanishes,
        Self::Refused,
        Self::Unanswered,
    ];

    const fn reason(self) -> Reason {
        match self {
            Self::Closes => Reason::Finished,
            Self::ClosesAlone => Reason::TimedOut(Deadline::Drain),
            Self::Aborts | Self::AbortsOpening => Reason::Aborted,
            Self::PeerCloses => Reason::PeerClosed,
            Self::PeerResets => Reason::Reset,
            Self::PeerVanishes => Reason::TimedOut(Deadline::WriteStall),
            Self::Refused => Reason::Refused,
            Self::Unanswered => Reason::TimedOut(Deadline::Connect),
            Self::LinkLost => Reason::LinkDown,
        }
    }
}

/// 10^5 connections to one peer, ten at a time, each ended in another way.
pub(super) fn in_memory() -> Figure {
    let mut caller = Caller::new();
    let mut settled = None;
    for round in 0..CONNECTIONS / Ending::ALL.len() {
        for ending in Ending::ALL {
            caller.end(ending);
        }
        caller.pass(Duration::from_secs(45));
        caller.check(round);
        if round == 1000 {
            settled = resident();
        }
    }
    let grown = resident().zip(settled).map(|(end, start)| end.saturating_sub(start) / 1024);
    assert!(grown.is_none_or(|kib| kib <= 1024), "{grown:?} KiB more than after 10^4 connections");
    let grown = grown.map_or("not known here".into(), |kib| format!("{kib} KiB"));
    let free = caller.free_ports();
    assert_eq!(free, PORTS, "ports");
    Figure {
        scenario: "10^5 connections from here to one peer, ended in 10 ways: slots in use, ports in use, resident memory gained",
        measured: format!("0, {}, {grown}", PORTS - free),
        bound: "0, 0, <= 1 MiB",
    }
}

/// A client, how it is to end, and how it has ended.
struct Outgoing {
    client: Client<Stack>,
    ending: Ending,
    end: Option<Reason>,
}

/// Clients on the rig's stack; the test is their peer.
struct Caller {
    rig: Rig,
    clients: Vec<Outgoing>,
}

impl Caller {
    fn new() -> Self {
        Self { rig: Rig::new(SLOTS, 1024, ServerConfig::default()), clients: Vec::new() }
    }

    /// Opens a connection, and does what makes it end in this way, now or when a deadline passes.
    fn end(&mut self, ending: Ending) {
        let [syn] = &self.start(ending)[..] else { panic!("{ending:?}: no SYN, or more") };
        assert_eq!(syn.flags, flag::SYN, "{ending:?}");
        let answer = Segment {
            to: syn.from,
            ack: syn.seq.wrapping_add(1),
            options: &[],
            ..Segment::syn(peer(), 1000)
        };
        match ending {
            Ending::Unanswered => {}
            Ending::AbortsOpening => self.client().abort().expect("a connection"),
            Ending::Refused => drop(self.arrives(Segment { flags: flag::RST | flag::ACK, ..answer })),
            _ => {
                self.arrives(Segment { flags: flag::SYN | flag::ACK, ..answer });
                self.end_open(ending, Segment { flags: flag::ACK, seq: 1001, ..answer });
            }
        }
        self.turn();
        self.rig.answers();
    }

    /// The same for one that is open. `next` is the peer's next segment.
    fn end_open(&mut self, ending: Ending, next: Segment<'_>) {
        assert_eq!(self.client().state(), ClientState::Open, "{ending:?}");
        let fin = Segment { flags: flag::FIN | flag::ACK, ..next };
        match ending {
            Ending::Closes | Ending::ClosesAlone => {
                if ending == Ending::ClosesAlone {
                    self.send(b"bye");
                }
                self.on_last(|client, stack| client.close(stack).expect("a connection"));
                let answers = self.turn_and_see();
                assert!(answers.iter().any(|answer| answer.has(flag::FIN)), "{answers:?}");
                if ending == Ending::Closes {
                    self.arrives(Segment { ack: next.ack.wrapping_add(1), ..fin });
                }
            }
            Ending::Aborts => {
                self.client().abort().expect("a connection");
                let answers = self.turn_and_see();
                assert!(answers.iter().any(|answer| answer.has(flag::RST)), "{answers:?}");
            }
            Ending::PeerCloses => {
                // The client sees the end, and closes too.
                let answers = self.arrives(fin);
                assert!(answers.iter().any(|answer| answer.has(flag::FIN)), "{answers:?}");
                let (seq, ack) = (next.seq.wrapping_add(1), next.ack.wrapping_add(1));
                self.arrives(Segment { seq, ack, ..next });
            }
            Ending::PeerResets => drop(self.arrives(Segment { flags: flag::RST, ..next })),
            Ending::PeerVanishes => self.send(b"hello?"),
            Ending::LinkLost => self.rig.stack.link_lost(),
            Ending::AbortsOpening | Ending::Refused | Ending::Unanswered => unreachable!("never open"),
        }
    }

    /// A new client. Gives what it sends.
    fn start(&mut self, ending: Ending) -> Vec<Answer> {
        let limit = Some(LIMIT);
        let config = ClientConfig::default()
            .with_connect(ConnectOptions::default().with_timeout(limit))
            .with_deadlines(Deadlines::CLIENT.with_write_stall(limit).with_drain(limit))
            .with_retry(None);
        let client = Client::new(peer().into(), config, 0);
        self.clients.push(Outgoing { client, ending, end: None });
        self.turn_and_see()
    }

    /// The latest one.
    fn client(&mut self) -> &mut Client<Stack> {
        &mut self.clients.last_mut().expect("a client").client
    }

    fn on_last(&mut self, call: impl FnOnce(&mut Client<Stack>, &mut Stack)) {
        let Self { rig, clients } = self;
        call(&mut clients.last_mut().expect("a client").client, &mut rig.stack);
    }

    fn send(&mut self, data: &[u8]) {
        let all = Sent::Queued(data.len());
        self.on_last(|client, stack| assert_eq!(client.send(stack, data).expect("open"), all));
    }

    /// The segment arrives; what the stack and the clients answer at once.
    fn arrives(&mut self, segment: Segment<'_>) -> Vec<Answer> {
        let mut answers = self.rig.arrives(segment);
        answers.extend(self.turn_and_see());
        answers
    }

    fn turn_and_see(&mut self) -> Vec<Answer> {
        self.turn();
        self.rig.answers()
    }

    /// The clients and the stack do what is to be done now; returns when they want to be called next.
    fn turn(&mut self) -> Option<Instant> {
        for _ in 0..1000 {
            let Self { rig, clients } = self;
            clients.iter_mut().for_each(|outgoing| outgoing.poll(rig));
            let clients = clients.iter().filter_map(|outgoing| outgoing.client.deadline()).min();
            match earliest(clients, rig.turn()) {
                Some(at) if at <= rig.now => {}
                later => return later,
            }
        }
        panic!("at {} there is always more to do", self.rig.now)
    }

    /// Lets time pass. What is sent is dropped, but for ARP.
    fn pass(&mut self, time: Duration) {
        let until = self.rig.now + time;
        loop {
            let next = self.turn();
            self.rig.answers();
            match next {
                Some(next) if next < until => self.rig.now = next,
                Some(_) | None => break,
            }
        }
        self.rig.now = until;
        self.turn();
    }

    /// All have ended as they should, and hold nothing.
    fn check(&mut self, round: usize) {
        for Outgoing { ending, end, .. } in self.clients.drain(..) {
            assert_eq!(end, Some(ending.reason()), "{ending:?} in round {round}");
        }
        assert_eq!((self.rig.stack.owned(), self.rig.free()), (0, SLOTS), "in round {round}");
    }

    /// Ports to the peer that nobody holds: each new connection takes the next one.
    fn free_ports(&mut self) -> usize {
        let options = ConnectOptions::default();
        let mut ports = HashSet::new();
        for _ in 0..PORTS {
            let connection = self.rig.stack.connect(peer().into(), &options).expect("a connection");
            ports.insert(self.rig.stack.local_addr(connection).map(|local: SocketAddr| local.port()));
            self.rig.stack.abort(connection).expect("a connection");
        }
        ports.len()
    }
}

const fn peer() -> SocketAddrV4 {
    SocketAddrV4::new(PEER, 80)
}

impl Outgoing {
    /// Closes when the peer has.
    fn poll(&mut self, rig: &mut Rig) {
        while let Some(event) = self.client.poll(&mut rig.stack, rig.now) {
            match event {
                Event::Opened { .. } | Event::Writable => {}
                Event::Readable => {
                    if let Ok(Received::EndOfStream) = self.client.recv(&mut rig.stack, &mut [0; 16]) {
                        self.client.close(&mut rig.stack).expect("a connection");
                    }
                }
                Event::Closed { reason, .. } => {
                    assert_eq!(self.end.replace(reason), None, "{:?} ended twice", self.ending);
                }
            }
        }
    }
}
