use super::*;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

const LIMIT: Duration = Duration::from_secs(10);

fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// A relay to `target`, and its address.
fn relay_to(target: &TcpListener) -> (Relay, SocketAddr) {
    let listener = listen();
    let address = listener.local_addr().unwrap();
    let relay = Relay::spawn([(listener, target.local_addr().unwrap())], Options::default()).unwrap();
    (relay, address)
}

fn limited(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Both ends of a relayed connection.
fn pair(target: &TcpListener, address: SocketAddr) -> (TcpStream, TcpStream) {
    let client = limited(TcpStream::connect(address).unwrap());
    (client, limited(target.accept().unwrap().0))
}

fn abort(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

fn read_to_end(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).map(|_| bytes)
}

#[test]
fn each_side_half_closes_alone() {
    let target = listen();
    let (_relay, address) = relay_to(&target);
    let (mut client, mut server) = pair(&target, address);
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut server).unwrap(), b"question");
    server.write_all(b"answer").unwrap();
    drop(server);
    assert_eq!(read_to_end(&mut client).unwrap(), b"answer");

    let (mut client, mut server) = pair(&target, address);
    server.write_all(b"greeting").unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut client).unwrap(), b"greeting");
    client.write_all(b"thanks").unwrap();
    drop(client);
    assert_eq!(read_to_end(&mut server).unwrap(), b"thanks");
}

#[test]
fn a_reset_is_a_reset_on_the_other_side() {
    let target = listen();
    let (_relay, address) = relay_to(&target);
    let (client, mut server) = pair(&target, address);
    abort(client);
    assert_eq!(read_to_end(&mut server).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    let (mut client, server) = pair(&target, address);
    abort(server);
    assert_eq!(read_to_end(&mut client).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_reset_passes_a_side_that_does_not_read() {
    let target = listen();
    let (_relay, address) = relay_to(&target);
    let (mut client, mut server) = pair(&target, address);
    client.set_nonblocking(true).unwrap();
    let mut queued = 0;
    let quiet = Instant::now() + Duration::from_millis(500);
    while Instant::now() < quiet {
        queued += client.write(&[0; 1 << 16]).unwrap_or(0);
    }
    assert!(queued < 64 << 20, "back-pressure");
    abort(client);
    assert_eq!(read_to_end(&mut server).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_refused_target_resets_the_client() {
    let target = listen();
    let (_relay, address) = relay_to(&target);
    drop(target);
    let mut client = limited(TcpStream::connect(address).unwrap());
    assert_eq!(read_to_end(&mut client).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn many_streams_arrive_whole() {
    let target = listen();
    let (relay, address) = relay_to(&target);
    thread::scope(|scope| {
        scope.spawn(|| {
            for stream in target.incoming().take(32) {
                let mut reader = limited(stream.unwrap());
                scope.spawn(move || {
                    let mut writer = reader.try_clone().unwrap();
                    io::copy(&mut reader, &mut writer).unwrap();
                    writer.shutdown(Shutdown::Write).unwrap();
                });
            }
        });
        for seed in 0..32_u8 {
            scope.spawn(move || {
                let mut client = limited(TcpStream::connect(address).unwrap());
                let mut writer = client.try_clone().unwrap();
                let sent: Vec<u8> = (0..1 << 20).map(|i: u32| (i >> 3) as u8 ^ seed).collect();
                let echo = thread::spawn(move || read_to_end(&mut client).unwrap());
                writer.write_all(&sent).unwrap();
                writer.shutdown(Shutdown::Write).unwrap();
                assert!(echo.join().unwrap() == sent);
            });
        }
    });
    relay.finish(LIMIT);
}

#[test]
fn the_target_can_learn_who_is_behind() {
    let target = listen();
    let (relay, address) = relay_to(&target);
    let (client, server) = pair(&target, address);
    let behind = relay.peers().client(server.peer_addr().unwrap());
    assert_eq!(behind, Some(client.local_addr().unwrap()));
}

#[test]
fn finishing_refuses_newcomers_and_resets_what_is_late() {
    let target = listen();
    let (relay, address) = relay_to(&target);
    let (mut client, mut server) = pair(&target, address);
    let finishing = thread::spawn(move || relay.finish(Duration::from_millis(300)));
    thread::sleep(Duration::from_millis(100));
    assert!(TcpStream::connect(address).is_err());
    client.write_all(b"still here").unwrap();
    let mut bytes = [0; 10];
    server.read_exact(&mut bytes).unwrap();
    finishing.join().unwrap();
    assert_eq!(read_to_end(&mut client).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn more_connections_than_allowed_wait_for_their_turn() {
    let target = listen();
    let listener = listen();
    let address = listener.local_addr().unwrap();
    let options = Options { max_connections: 1, ..Options::default() };
    let _relay = Relay::spawn([(listener, target.local_addr().unwrap())], options).unwrap();
    let (first, server) = pair(&target, address);
    let mut second = limited(TcpStream::connect(address).unwrap());
    second.write_all(b"me too").unwrap();
    drop((first, server));
    let mut server = limited(target.accept().unwrap().0);
    let mut bytes = [0; 6];
    server.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"me too");
}

/// A listener whose backlog is full: it answers nobody, as a host that is down.
fn silent() -> (Socket, Vec<TcpStream>, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        waiting.push(stream);
        assert!(waiting.len() < 64, "a backlog without an end");
    }
    (socket, waiting, address)
}

#[test]
fn a_target_that_does_not_answer_is_given_up_in_time() {
    let (_socket, _waiting, target) = silent();
    let (listener, other, reachable) = (listen(), listen(), listen());
    let (address, of_other) = (listener.local_addr().unwrap(), other.local_addr().unwrap());
    let options = Options { connect_timeout: Some(Duration::from_millis(300)), ..Options::default() };
    let routes = [(listener, target), (other, reachable.local_addr().unwrap())];
    let relay = Relay::spawn(routes, options).unwrap();
    let (mut client, mut server) = pair(&reachable, of_other);
    let start = Instant::now();
    let mut late = limited(TcpStream::connect(address).unwrap());
    assert_eq!(read_to_end(&mut late).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert_eq!(relay.failures().take().map(|error| error.kind()), Some(io::ErrorKind::TimedOut));
    thread::sleep(Duration::from_millis(400));
    client.write_all(b"still here").unwrap();
    server.read_exact(&mut [0; 10]).unwrap();
}

#[test]
fn only_a_target_that_answers_counts_as_reached() {
    let target = listen();
    let (relay, address) = relay_to(&target);
    let (sender, reached) = std::sync::mpsc::channel();
    relay.on_reached(move || sender.send(()).unwrap());
    let (client, server) = pair(&target, address);
    reached.recv_timeout(LIMIT).unwrap();
    drop((client, server, target));
    let mut refused = limited(TcpStream::connect(address).unwrap());
    assert!(read_to_end(&mut refused).is_err());
    assert!(reached.try_recv().is_err());
}
