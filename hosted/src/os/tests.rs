use super::*;
use socklet::stack::{Backpressure, Readiness, StackError};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant as Clock;

const LOCALHOST: &str = "127.0.0.1:0";

/// A stack with a listener, driven by the real clock; every wait has a deadline.
struct World {
    stack: OsStack,
    listener: OsListener,
    addr: SocketAddr,
    start: Clock,
}

impl World {
    fn new(options: OsOptions) -> Self {
        Self::on(LOCALHOST, options)
    }

    fn on(local: &str, options: OsOptions) -> Self {
        let mut stack = OsStack::new(options).unwrap();
        let listener = stack.listen(local.parse().unwrap(), &ListenOptions::backlog(64)).unwrap();
        let addr = stack.listener_addr(listener).unwrap();
        Self { stack, listener, addr, start: Clock::now() }
    }

    fn now(&self) -> Instant {
        Instant::from_micros(self.start.elapsed().as_micros() as u64)
    }

    #[track_caller]
    fn until<T>(&mut self, mut found: impl FnMut(&mut OsStack) -> Option<T>) -> T {
        for _ in 0..2000 {
            if let Some(found) = found(&mut self.stack) {
                return found;
            }
            let _ = self.stack.poll(self.now());
            self.stack.wait(Some(Duration::from_millis(5))).unwrap();
        }
        panic!("nothing came in 10 s");
    }

    #[track_caller]
    fn accept(&mut self) -> (OsConnection, SocketAddr) {
        let listener = self.listener;
        self.until(|stack| stack.accept(listener).unwrap())
    }

    #[track_caller]
    fn settled(&mut self, connection: OsConnection) -> Status {
        self.until(|stack| Some(stack.status(connection).unwrap()).filter(|&s| s != Status::Connecting))
    }

    /// Receives until something other than "would block" comes.
    #[track_caller]
    fn recv(&mut self, connection: OsConnection) -> Result<Vec<u8>, ErrorKind> {
        let mut buffer = [0; 4096];
        let received = self.until(|stack| match stack.recv(connection, &mut buffer) {
            Ok(Received::WouldBlock) => None,
            other => Some(other),
        });
        match received {
            Ok(Received::Data(count)) => Ok(buffer[..count].to_vec()),
            Ok(_) => Ok(Vec::new()),
            Err(error) => Err(error.kind()),
        }
    }

    /// A client of the standard library and the connection that the stack has to it.
    #[track_caller]
    fn pair(&mut self) -> (TcpStream, OsConnection) {
        let client = TcpStream::connect(self.addr).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let (connection, peer) = self.accept();
        assert_eq!(peer, client.local_addr().unwrap());
        (client, connection)
    }
}

fn kind<T>(result: Result<T, OsError>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

#[test]
fn both_roles_on_one_stack_over_both_families() {
    for local in [LOCALHOST, "[::1]:0"] {
        let mut world = World::on(local, OsOptions::default());
        let addr = world.addr;
        let client = world.stack.connect(addr, &ConnectOptions::default()).unwrap();
        assert_eq!(world.settled(client), Status::Open);
        let (server, peer) = world.accept();
        assert_eq!(world.stack.local_addr(client).unwrap(), peer);
        assert_eq!(world.stack.peer_addr(client).unwrap(), addr);
        assert_eq!(world.stack.send(client, b"ping").unwrap(), Sent::Queued(4));
        assert_eq!(world.recv(server).unwrap(), b"ping");
        world.stack.close(server).unwrap();
        assert_eq!(world.recv(client).unwrap(), b"");
        assert_eq!(kind(world.stack.send(server, b"x")), Some(ErrorKind::StaleHandle));
    }
}

#[test]
fn ready_names_the_connection_that_changed() {
    let mut world = World::new(OsOptions::default());
    let (_quiet, _) = world.pair();
    let (mut client, connection) = world.pair();
    world.stack.set_tag(connection, Tag(7)).unwrap();
    let listener = world.listener;
    world.until(|stack| while_some(|| stack.ready(listener)).checked_sub(2).map(drop));
    client.write_all(b"x").unwrap();
    let ready = world.until(|stack| stack.ready(listener));
    assert_eq!((ready.connection, ready.tag), (connection, Tag(7)));
    assert!(ready.readiness.readable && !ready.readiness.ended);
    assert_eq!(world.stack.ready(listener), None);
}

/// How many come before `None`.
fn while_some<T>(mut next: impl FnMut() -> Option<T>) -> usize {
    core::iter::from_fn(&mut next).count()
}

#[test]
fn close_delivers_what_is_queued_although_the_peer_is_still_sending() {
    let mut world = World::new(OsOptions::default());
    let (mut client, connection) = world.pair();
    client.write_all(&[1; 10_000]).unwrap();
    let mut queued = 0;
    while let Sent::Queued(count) = world.stack.send(connection, &[2; 8192]).unwrap() {
        queued += count;
    }
    world.stack.close(connection).unwrap();
    client.write_all(&[1; 10_000]).unwrap();
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        client.read_to_end(&mut all).map(|_| all.len())
    });
    world.until(|_| reader.is_finished().then_some(()));
    assert_eq!(reader.join().unwrap().unwrap(), queued);
    world.until(|stack| (stack.table.lingering() == 0).then_some(()));
}

#[test]
fn a_peer_that_never_closes_is_reset_after_the_linger_time() {
    let mut world = World::new(OsOptions::default().with_linger(Duration::from_millis(50)));
    let (mut client, connection) = world.pair();
    world.stack.close(connection).unwrap();
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    world.until(|stack| (stack.table.lingering() == 0).then_some(()));
    let reset = world.until(|_| client.write(b"x").err());
    assert!(matches!(reset.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe));
}

#[test]
fn a_reset_sticks_and_is_no_end_of_stream() {
    let mut world = World::new(OsOptions::default());
    let (client, connection) = world.pair();
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    for _ in 0..3 {
        assert_eq!(world.recv(connection), Err(ErrorKind::Reset));
    }
    assert_eq!(kind(world.stack.send(connection, b"x")), Some(ErrorKind::Reset));
    assert_eq!(kind(world.stack.shutdown(connection)), Some(ErrorKind::Reset));
    assert_eq!(world.stack.status(connection).unwrap(), Status::Failed(ErrorKind::Reset));
}

#[test]
fn what_came_before_a_reset_is_received_first() {
    let mut world = World::new(OsOptions::default());
    let (mut client, connection) = world.pair();
    client.write_all(b"last words").unwrap();
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    world.until(|stack| (stack.status(connection).unwrap() != Status::Open).then_some(()));
    assert_eq!(world.recv(connection).unwrap(), b"last words");
    assert_eq!(world.recv(connection), Err(ErrorKind::Reset));
}

#[test]
fn both_sides_closed_is_finished_and_reported() {
    let mut world = World::new(OsOptions::default());
    for peer_first in [true, false] {
        let (client, connection) = world.pair();
        if peer_first {
            client.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(world.recv(connection).unwrap(), b"");
        }
        world.stack.shutdown(connection).unwrap();
        world.stack.shutdown(connection).unwrap();
        assert_eq!(kind(world.stack.send(connection, b"x")), Some(ErrorKind::Closed));
        if !peer_first {
            assert_eq!(world.stack.status(connection).unwrap(), Status::Open);
            drop(client);
        }
        let listener = world.listener;
        let mut seen = Readiness::default();
        world.until(|stack| {
            while let Some(ready) = stack.ready(listener) {
                seen.ended |= ready.readiness.ended;
            }
            seen.ended.then_some(())
        });
        assert_eq!(world.stack.status(connection).unwrap(), Status::Finished);
        assert_eq!(world.recv(connection).unwrap(), b"");
        world.stack.close(connection).unwrap();
    }
}

/// Neither the SYN nor the FIN is a byte of ours; what a reset has lost still counts.
#[test]
fn unsent_counts_bytes_alone() {
    let mut world = World::new(OsOptions::default().with_buffers(64 << 10, 64 << 10));
    let closed = TcpListener::bind(LOCALHOST).unwrap().local_addr().unwrap();
    if let Ok(refused) = world.stack.connect(closed, &ConnectOptions::default()) {
        assert_eq!(world.settled(refused), Status::Failed(ErrorKind::Refused));
        assert_eq!(world.stack.unsent(refused).unwrap(), 0);
    }
    let (mut client, connection) = world.pair();
    assert_eq!(world.stack.unsent(connection).unwrap(), 0);
    let mut queued = 0;
    world.until(|stack| match stack.send(connection, &[3; 8192]).unwrap() {
        Sent::Queued(count) => {
            queued += count;
            None
        }
        Sent::WouldBlock => Some(()),
    });
    let unsent = world.stack.unsent(connection).unwrap();
    assert!(unsent > 0 && unsent <= queued, "{unsent} of {queued}");
    world.stack.shutdown(connection).unwrap();
    assert!(world.stack.unsent(connection).unwrap() <= unsent);
    client.read_exact(&mut vec![0; queued]).unwrap();
    world.until(|stack| (stack.unsent(connection).unwrap() == 0).then_some(()));

    let (client, connection) = world.pair();
    while let Sent::Queued(_) = world.stack.send(connection, &[3; 8192]).unwrap() {}
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    world.until(|stack| (stack.status(connection).unwrap() != Status::Open).then_some(()));
    assert!(world.stack.unsent(connection).is_ok());
}

#[test]
fn abort_resets_the_peer() {
    let mut world = World::new(OsOptions::default());
    let (mut client, connection) = world.pair();
    world.stack.abort(connection).unwrap();
    assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(kind(world.stack.status(connection)), Some(ErrorKind::StaleHandle));
}

#[test]
fn a_closed_port_refuses_and_says_which() {
    let mut world = World::new(OsOptions::default());
    let closed = TcpListener::bind(LOCALHOST).unwrap().local_addr().unwrap();
    let error = match world.stack.connect(closed, &ConnectOptions::default()) {
        Ok(connection) => {
            assert_eq!(world.settled(connection), Status::Failed(ErrorKind::Refused));
            world.stack.send(connection, b"x").unwrap_err()
        }
        Err(error) => error,
    };
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains(&closed.to_string()), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

/// A full backlog leaves a SYN unanswered, as a silent host does.
#[test]
fn a_silent_peer_times_out_at_the_deadline() {
    let mut world = World::new(OsOptions::default());
    let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    silent.bind(&LOCALHOST.parse::<SocketAddr>().unwrap().into()).unwrap();
    silent.listen(0).unwrap();
    let addr = silent.local_addr().unwrap().as_socket().unwrap();
    let _first = TcpStream::connect(addr).unwrap();
    let options = ConnectOptions::default().with_timeout(Some(Duration::from_secs(10)));
    let connection = world.stack.connect(addr, &options).unwrap();
    assert_eq!(world.stack.send(connection, b"x").unwrap(), Sent::WouldBlock);
    assert_eq!(world.stack.recv(connection, &mut [0; 1]).unwrap(), Received::WouldBlock);
    assert_eq!(kind(world.stack.shutdown(connection)), Some(ErrorKind::InvalidState));
    assert_eq!(world.stack.poll(Instant::from_secs(5)), Some(Instant::from_secs(15)));
    assert_eq!(world.stack.status(connection).unwrap(), Status::Connecting);
    // The clock steps back; the deadline does not wait for it to catch up.
    assert_eq!(world.stack.poll(Instant::from_secs(1)), Some(Instant::from_secs(11)));
    assert_eq!(world.stack.status(connection).unwrap(), Status::Connecting);
    assert_eq!(world.stack.poll(Instant::from_secs(11)), Some(Instant::from_secs(11)));
    assert_eq!(world.stack.status(connection).unwrap(), Status::Failed(ErrorKind::TimedOut));
    assert_eq!(world.recv(connection), Err(ErrorKind::TimedOut));
}

#[test]
fn a_full_stack_leaves_the_newcomer_in_the_backlog() {
    let mut world = World::new(OsOptions::default().with_connections(1));
    let (first, connection) = world.pair();
    let mut second = TcpStream::connect(world.addr).unwrap();
    let listener = world.listener;
    assert_eq!(kind(world.stack.accept(listener)), Some(ErrorKind::NoSlot));
    while world.stack.poll(world.now()).is_some_and(|at| at <= world.now()) {
        while_some(|| world.stack.ready(listener));
    }
    world.stack.abort(connection).unwrap();
    let now = world.now();
    assert_eq!(world.stack.poll(now), Some(now), "a freed slot wakes the service");
    second.write_all(b"x").unwrap();
    let (connection, peer) = world.accept();
    assert_eq!(peer, second.local_addr().unwrap());
    assert_eq!(world.recv(connection).unwrap(), b"x");
    drop(first);
}

#[test]
fn a_connection_reset_in_the_backlog_does_not_hide_the_next() {
    let mut world = World::new(OsOptions::default());
    let broken = TcpStream::connect(world.addr).unwrap();
    let whole = TcpStream::connect(world.addr).unwrap();
    socket2::SockRef::from(&broken).set_linger(Some(Duration::ZERO)).unwrap();
    drop(broken);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(world.accept().1, whole.local_addr().unwrap());
}

#[test]
fn a_closed_listener_refuses_and_what_it_accepted_lives_on() {
    let mut world = World::new(OsOptions::default());
    let (mut client, connection) = world.pair();
    let listener = world.listener;
    world.stack.close_listener(listener).unwrap();
    assert!(TcpStream::connect(world.addr).is_err());
    assert_eq!(kind(world.stack.accept(listener)), Some(ErrorKind::Closed));
    client.write_all(b"x").unwrap();
    assert_eq!(world.recv(connection).unwrap(), b"x");
    let again = world.stack.listen(world.addr, &ListenOptions::default()).unwrap();
    assert_ne!(again, listener);
    world.stack.abort(connection).unwrap();
    assert_eq!(kind(world.stack.accept(listener)), Some(ErrorKind::StaleHandle));
}

#[test]
fn addresses_and_ports_are_checked() {
    let mut world = World::new(OsOptions::default());
    let (listen, connect) = (ListenOptions::default(), ConnectOptions::default());
    assert_eq!(kind(world.stack.listen(world.addr, &listen)), Some(ErrorKind::AddressInUse));
    let foreign = "192.0.2.1:0".parse().unwrap();
    assert_eq!(kind(world.stack.listen(foreign, &listen)), Some(ErrorKind::NoAddress));
    let refuse = listen.with_backpressure(Backpressure::Refuse);
    let any = LOCALHOST.parse().unwrap();
    assert_eq!(kind(world.stack.listen(any, &refuse)), Some(ErrorKind::Unsupported));
    assert_eq!(kind(world.stack.connect(any, &connect)), Some(ErrorKind::InvalidState));
    let from = connect.with_local_addr(foreign.ip());
    assert_eq!(kind(world.stack.connect(world.addr, &from)), Some(ErrorKind::NoAddress));
    let free = TcpListener::bind("127.0.0.2:0").unwrap().local_addr().unwrap();
    let from = connect.with_local_addr(free.ip()).with_local_port(free.port());
    let connection = world.stack.connect(world.addr, &from).unwrap();
    assert_eq!(world.accept().1, free);
    assert_eq!(world.stack.local_addr(connection).unwrap(), free);
    assert_eq!(kind(world.stack.connect(world.addr, &from)), Some(ErrorKind::AddressInUse));
}

#[test]
fn an_idle_wait_sleeps_and_a_source_of_the_driver_ends_it() {
    let mut stack = OsStack::new(OsOptions::default()).unwrap();
    let start = Clock::now();
    stack.wait(Some(Duration::from_millis(30))).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(30));
    let waker = mio::Waker::new(stack.registry(), OsStack::FREE_TOKENS).unwrap();
    // It is kept: with its descriptor closed, the wake-up would be gone.
    let waking = std::thread::spawn(move || waker.wake().map(|()| waker));
    stack.wait(Some(Duration::from_secs(10))).unwrap();
    waking.join().unwrap().unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(stack.poll(Instant::ZERO), None);
}
