use super::*;
use socklet::stack::{
    ConnectOptions, ErrorKind, ListenOptions, Received, Sent, StackError, Status, TcpStack,
};
use std::io::{Read, Write};
use std::net::TcpStream;

/// A stack with a listener on a port that was free a moment ago.
fn listening() -> (NalStd, socklet::nal::NalListener, SocketAddr) {
    let mut stack = nal_std(2, 4, Duration::from_millis(1));
    for _ in 0..100 {
        let free = std::net::TcpListener::bind("[::]:0").unwrap().local_addr().unwrap();
        if let Ok(listener) = stack.listen(free, &ListenOptions::default()) {
            return (stack, listener, SocketAddr::new([127, 0, 0, 1].into(), free.port()));
        }
    }
    panic!("no free port");
}

#[track_caller]
fn until<T>(stack: &mut NalStd, mut found: impl FnMut(&mut NalStd) -> Option<T>) -> T {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        if let Some(found) = found(stack) {
            return found;
        }
        let _ = stack.poll(socklet::time::Instant::ZERO + start.elapsed());
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("nothing came in 10 s");
}

#[test]
fn an_accepted_socket_does_not_block_and_its_peer_has_its_own_address() {
    let (mut stack, listener, addr) = listening();
    let mut client = TcpStream::connect(addr).unwrap();
    let (connection, peer) = until(&mut stack, |stack| stack.accept(listener).unwrap());
    assert_eq!(peer, client.local_addr().unwrap());
    assert_eq!(stack.recv(connection, &mut [0; 4]).unwrap(), Received::WouldBlock);
    client.write_all(b"x").unwrap();
    let received = until(&mut stack, |stack| match stack.recv(connection, &mut [0; 4]).unwrap() {
        Received::WouldBlock => None,
        other => Some(other),
    });
    assert_eq!(received, Received::Data(1));
}

#[test]
fn close_with_unread_input_delivers_what_was_queued() {
    let (mut stack, listener, addr) = listening();
    let mut client = TcpStream::connect(addr).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (connection, _) = until(&mut stack, |stack| stack.accept(listener).unwrap());
    client.write_all(b"never read").unwrap();
    assert_eq!(stack.send(connection, b"last words").unwrap(), Sent::Queued(10));
    stack.close_listener(listener).unwrap();
    stack.close(connection).unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "last words");
    drop(client);
    until(&mut stack, |stack| stack.stack().lingering.is_empty().then_some(()));
    assert_eq!(stack.poll(socklet::time::Instant::from_secs(60)), None);
}

#[test]
fn a_reset_sticks_and_is_no_end_of_stream() {
    let (mut stack, listener, addr) = listening();
    let client = TcpStream::connect(addr).unwrap();
    let (connection, _) = until(&mut stack, |stack| stack.accept(listener).unwrap());
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    for _ in 0..3 {
        let reason = until(&mut stack, |stack| match stack.recv(connection, &mut [0; 4]) {
            Ok(Received::WouldBlock) => None,
            other => Some(other.map_err(|error| error.kind())),
        });
        assert_eq!(reason, Err(ErrorKind::Reset));
    }
}

#[test]
fn a_refused_connection_says_so() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut stack = nal_std(0, 1, Duration::from_millis(1));
    let connection = stack.connect(closed, &ConnectOptions::default()).unwrap();
    let ended = until(&mut stack, |stack| {
        Some(stack.status(connection).unwrap()).filter(|status| *status != Status::Connecting)
    });
    assert_eq!(ended, Status::Failed(ErrorKind::Refused));
}

/// Its backlog is full: a SYN gets no answer until there is room again.
#[test]
fn an_attempt_that_is_given_up_holds_nothing_up_and_closes_what_it_opens() {
    let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    silent.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    silent.listen(0).unwrap();
    let address = silent.local_addr().unwrap().as_socket().unwrap();
    let waiting = TcpStream::connect(address).unwrap();

    let mut stack = nal_std(0, 1, Duration::from_millis(1));
    let options = ConnectOptions::default().with_timeout(Some(Duration::from_millis(50)));
    let start = Instant::now();
    for _ in 0..2 {
        let connection = stack.connect(address, &options).unwrap();
        let ended = until(&mut stack, |stack| {
            Some(stack.status(connection).unwrap()).filter(|status| *status != Status::Connecting)
        });
        assert_eq!(ended, Status::Failed(ErrorKind::TimedOut));
        stack.close(connection).unwrap();
    }
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(Arc::strong_count(&stack.stack().threads), 3, "both go on");

    // There is room: the system's next SYN is answered.
    drop((silent.accept().unwrap(), waiting));
    let (late, _) = silent.accept().unwrap();
    late.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!((&late).read(&mut [0]).unwrap(), 0);
}

#[test]
fn attempts_that_were_given_up_are_bounded() {
    let threads = Arc::default();
    let held: Vec<Arc<()>> = (0..65).map(|_| Arc::clone(&threads)).collect();
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let Err(error) = Attempt::start(address, &threads, 1, None) else { panic!("one more") };
    assert!(error.to_string().contains("too many attempts"), "{error}");
    drop(held);
    assert!(Attempt::start(address, &threads, 1, None).is_ok());
}
