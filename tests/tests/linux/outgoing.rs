//! Connections from here on ordinary sockets.

use super::{Limit, check_growth};
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use socket2::{Domain, SockRef, Socket, Type};
use socklet::client::{Client, ClientConfig, ClientState, Event};
use socklet::connection::{Deadline, Deadlines, Error, Reason};
use socklet::stack::{ConnectOptions, ErrorKind, Received, StackError, TcpStack};
use socklet::time::{Instant, earliest};
use socklet_hosted::os::{OsConnection, OsOptions, OsStack};
use socklet_tests::hostile::leaks::{descriptors, resident};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

const ROUNDS: usize = 1250;
/// Few, so that one that is not given back is missed soon.
const SLOTS: usize = 4;
/// Of the handshake, when nobody answers.
const PATIENCE: Duration = Duration::from_millis(2);
const LIMIT: Duration = Duration::from_secs(200);
/// TIME-WAIT, in which a port belongs to nobody (RFC 9293, section 3.3.2), in /proc/net/tcp.
const TIME_WAIT: &str = "06";

/// Ways for a connection from here to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Closes,
    PeerCloses,
    PeerResets,
    /// The peer has reset it, and a send is the first to learn of it.
    SendFails,
    Aborts,
    AbortsOpening,
    Refused,
    Unanswered,
    /// The process has no descriptor for it.
    NoDescriptor,
}

impl Ending {
    const ALL: [Self; 9] = [
        Self::Closes,
        Self::PeerCloses,
        Self::PeerResets,
        Self::SendFails,
        Self::Aborts,
        Self::AbortsOpening,
        Self::Refused,
        Self::Unanswered,
        Self::NoDescriptor,
    ];

    const fn reason(self) -> Reason {
        match self {
            Self::Closes => Reason::Finished,
            Self::PeerCloses => Reason::PeerClosed,
            Self::PeerResets | Self::SendFails => Reason::Reset,
            Self::Aborts | Self::AbortsOpening => Reason::Aborted,
            Self::Refused => Reason::Refused,
            Self::Unanswered => Reason::TimedOut(Deadline::Connect),
            Self::NoDescriptor => Reason::Failed(ErrorKind::NoSlot),
        }
    }
}

pub(super) fn on_os() {
    let before = descriptors();
    let mut caller = Caller::new();
    let mut settled = 0;
    for round in 0..ROUNDS {
        for ending in Ending::ALL {
            assert_eq!(caller.end(ending), ending.reason(), "{ending:?} in round {round}");
        }
        if round == ROUNDS / 5 {
            settled = resident().unwrap();
        }
    }
    check_growth(settled, ROUNDS * Ending::ALL.len(), ROUNDS / 5 * Ending::ALL.len());
    caller.ports_are_free();
    caller.slots_are_free();
    drop(caller);
    assert_eq!(descriptors(), before, "descriptors");
}

/// The stack, and the peers that it connects to.
struct Caller {
    stack: OsStack,
    start: std::time::Instant,
    peer: TcpListener,
    /// Nobody listens there, though nobody else can have the port.
    refuses: Socket,
    /// Its backlog is full: a SYN gets no answer, as from a host that is down.
    silent: Socket,
    _in_backlog: TcpStream,
}

impl Caller {
    fn new() -> Self {
        let silent = bound();
        silent.listen(0).unwrap();
        let in_backlog = TcpStream::connect(address(&silent)).unwrap();
        Self {
            stack: OsStack::new(OsOptions::default().with_connections(SLOTS)).unwrap(),
            start: std::time::Instant::now(),
            peer: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(),
            refuses: bound(),
            silent,
            _in_backlog: in_backlog,
        }
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }

    fn remote(&self, ending: Ending) -> SocketAddr {
        match ending {
            Ending::Refused => address(&self.refuses),
            Ending::Unanswered | Ending::AbortsOpening => address(&self.silent),
            _ => self.peer.local_addr().unwrap(),
        }
    }

    /// Opens a connection, and ends it in this way. Gives why it ended.
    fn end(&mut self, ending: Ending) -> Reason {
        let patience = if ending == Ending::Unanswered { PATIENCE } else { LIMIT };
        let config = ClientConfig::default()
            .with_connect(ConnectOptions::default().with_timeout(Some(patience)))
            .with_deadlines(Deadlines::CLIENT)
            .with_retry(None);
        let mut client = Client::new(self.remote(ending), config, 0);
        let limit = (ending == Ending::NoDescriptor).then(Limit::no_more_descriptors);
        let now = self.now();
        let first = client.poll(&mut self.stack, now);
        drop(limit);
        match (ending, first) {
            (_, Some(Event::Closed { reason, .. })) => return reason,
            (Ending::AbortsOpening, _) => client.abort().unwrap(),
            (Ending::Refused | Ending::Unanswered | Ending::NoDescriptor, _) => {}
            (_, Some(Event::Opened { .. })) => return self.end_open(ending, client),
            (_, _) => {
                self.until(&mut client, |client| client.state() == ClientState::Open);
                return self.end_open(ending, client);
            }
        }
        self.until_closed(client)
    }

    /// The same for one that is open.
    fn end_open(&mut self, ending: Ending, mut client: Client<OsStack>) -> Reason {
        let (mut peer, _) = self.peer.accept().unwrap();
        let reset = |peer: TcpStream| SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        match ending {
            Ending::Closes => {
                client.send(&mut self.stack, b"bye").unwrap();
                client.close(&mut self.stack).unwrap();
                peer.set_read_timeout(Some(LIMIT)).unwrap();
                let mut last = Vec::new();
                peer.read_to_end(&mut last).unwrap();
                assert_eq!(last, b"bye");
            }
            Ending::PeerCloses => peer.write_all(b"bye").unwrap(),
            Ending::PeerResets => {
                return {
                    reset(peer);
                    self.until_closed(client)
                };
            }
            Ending::SendFails => {
                reset(peer);
                let error = client.send(&mut self.stack, b"to nobody").unwrap_err();
                assert!(matches!(error, Error::Stack(_)) && error.kind() == ErrorKind::Reset, "{error}");
                return self.until_closed(client);
            }
            _ => client.abort().unwrap(),
        }
        drop(peer);
        self.until_closed(client)
    }

    fn until_closed(&mut self, mut client: Client<OsStack>) -> Reason {
        self.until(&mut client, |client| client.state() == ClientState::Stopped).expect("`Closed`")
    }

    /// Polls until `done`, and closes when the peer has. Gives why the connection ended, if it did.
    fn until(
        &mut self,
        client: &mut Client<OsStack>,
        done: impl Fn(&Client<OsStack>) -> bool,
    ) -> Option<Reason> {
        let mut end = None;
        while !done(client) {
            assert!(self.start.elapsed() < 6 * LIMIT, "{:?}", client.state());
            let now = self.now();
            while let Some(event) = client.poll(&mut self.stack, now) {
                match event {
                    Event::Readable => {
                        let received = client.recv(&mut self.stack, &mut [0; 16]);
                        if matches!(received, Ok(Received::EndOfStream)) {
                            client.close(&mut self.stack).unwrap();
                        } else if matches!(received, Ok(Received::Data(_))) {
                            client.wake();
                        }
                    }
                    Event::Closed { reason, .. } => assert_eq!(end.replace(reason), None),
                    Event::Opened { .. } | Event::Writable => {}
                }
            }
            let next = earliest(self.stack.poll(now), client.deadline());
            if !done(client) {
                let sleep = next.map_or(LIMIT, |next| next.since(self.now()));
                self.stack.wait(Some(sleep)).unwrap();
            }
        }
        end
    }

    /// No socket is left on a port towards the peers.
    fn ports_are_free(&mut self) {
        let peers = [&SockRef::from(&self.peer), &SockRef::from(&self.silent), &SockRef::from(&self.refuses)]
            .map(|socket| format!("0100007F:{:04X}", address(socket).port()));
        let left = || -> Vec<String> {
            let table = std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
            let ours = |line: &&str| {
                let fields: Vec<_> = line.split_whitespace().collect();
                peers.iter().any(|peer| peer == fields[2]) && fields[3] != TIME_WAIT
            };
            table.lines().skip(1).filter(ours).map(str::to_owned).collect()
        };
        let deadline = self.now() + LIMIT;
        // The one in the backlog of the silent peer is ours, too.
        while left().len() > 1 {
            let now = self.now();
            assert!(now < deadline, "{:#?}", left());
            let _ = self.stack.poll(now);
            self.stack.wait(Some(Duration::from_millis(5))).unwrap();
        }
        assert_eq!(left().len(), 1, "it sees the one in the backlog");
    }

    /// As many connections as there are slots can be opened at once, and no more.
    fn slots_are_free(&mut self) {
        let remote = self.peer.local_addr().unwrap();
        let mut connect = || self.stack.connect(remote, &ConnectOptions::default());
        let open: Vec<OsConnection> = (0..SLOTS).map(|_| connect().unwrap()).collect();
        assert_eq!(connect().unwrap_err().kind(), ErrorKind::NoSlot);
        open.into_iter().for_each(|connection| self.stack.abort(connection).unwrap());
    }
}

/// A socket on a port of its own, on which it does not listen.
fn bound() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    socket
}

fn address(socket: &Socket) -> SocketAddr {
    socket.local_addr().unwrap().as_socket().unwrap()
}
