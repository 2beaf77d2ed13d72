use super::*;
use crate::os::{OsOptions, OsStack};
use core::net::SocketAddr;
use socklet::connection::{Deadline, Deadlines, Reason, Traffic};
use socklet::server::{Server, ServerConfig};
use socklet::service::{Echo, Observer, Serve};
use socklet::storage::Id;
use std::net::TcpStream;
use std::thread;

type EchoServer = Serve<'static, OsStack, Echo>;

fn echo_server() -> (OsStack, EchoServer, SocketAddr) {
    let mut stack = OsStack::new(OsOptions::default()).unwrap();
    let storage: Vec<_> = (0..4).map(|_| Default::default()).collect();
    let mut server = Server::new(storage, ServerConfig::default()).with_holdback(vec![0; 4 * 1024]);
    server.listen(&mut stack, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = server.local_addr(&stack).unwrap();
    (stack, Serve::new(server, Echo), address)
}

/// Ends the run also when an assertion fails.
struct StopTwiceOnDrop(Stopper);

impl Drop for StopTwiceOnDrop {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stop();
            self.0.stop();
        }
    }
}

fn round_trip(client: &mut TcpStream) -> io::Result<()> {
    client.set_read_timeout(Some(Duration::from_secs(5)))?;
    client.write_all(b"echo")?;
    let mut answer = [0; 4];
    client.read_exact(&mut answer)?;
    assert_eq!(&answer, b"echo");
    Ok(())
}

/// std-embedded-nal's sockets are not tried again and again: a round trip does not wait for the next time.
#[test]
fn a_server_on_std_embedded_nal_sleeps_and_answers_at_once() {
    let mut stack = nal_std::nal_std(1, 4, Duration::from_millis(2));
    let mut server =
        Server::new((0..4).map(|_| Default::default()).collect::<Vec<_>>(), ServerConfig::default())
            .with_holdback(vec![0; 4 * 1024]);
    let port = (0..100).find_map(|_| {
        let free = std::net::TcpListener::bind("[::]:0").unwrap().local_addr().unwrap();
        server.listen(&mut stack, free).ok().map(|()| free.port())
    });
    let address = SocketAddr::from(([127, 0, 0, 1], port.expect("a free port")));
    let mut service = Serve::new(server, Echo);
    let mut driver = Driver::new().unwrap().with_grace(Duration::ZERO);
    let stopper = StopTwiceOnDrop(driver.stopper().unwrap());
    thread::scope(|scope| {
        scope.spawn(move || {
            let stopper = stopper;
            let mut client = TcpStream::connect(address).unwrap();
            round_trip(&mut client).unwrap();
            let start = std::time::Instant::now();
            (0..50).for_each(|_| round_trip(&mut client).unwrap());
            assert!(start.elapsed() < Duration::from_secs(1), "50 round trips took {:?}", start.elapsed());
            thread::sleep(Duration::from_millis(500));
            stopper.0.stop();
        });
        let mut rounds = 0;
        let end = driver.run_until(&mut stack, &mut service, |_, _, _| {
            rounds += 1;
            false
        });
        assert_eq!(end.unwrap(), End::Drained);
        assert!(rounds < 600, "{rounds} rounds");
    });
}

/// Keeps why connections ended.
#[derive(Default)]
struct Reasons(Vec<Reason>);

impl Observer for Reasons {
    fn closed(&mut self, _: Id, _: SocketAddr, reason: Reason, _: Traffic) {
        self.0.push(reason);
    }
}

/// The system's sockets tell how much the peer has not acknowledged, so a peer that does not read is found.
#[cfg(any(target_os = "linux", target_os = "freebsd", target_vendor = "apple"))]
#[test]
fn a_peer_that_does_not_read_is_ended_for_it() {
    let mut stack = OsStack::new(OsOptions::default().with_buffers(16 << 10, 16 << 10)).unwrap();
    let deadlines = Deadlines::NONE.with_write_stall(Some(Duration::from_millis(300)));
    let storage: Vec<_> = (0..1).map(|_| Default::default()).collect();
    let mut server = Server::new(storage, ServerConfig::default().with_deadlines(deadlines));
    server.listen(&mut stack, "127.0.0.1:0".parse().unwrap()).unwrap();
    let mut client = TcpStream::connect(server.local_addr(&stack).unwrap()).unwrap();
    client.set_nonblocking(true).unwrap();
    let mut service = Serve::new(server.with_holdback(vec![0; 1024]), Echo).observed_by(Reasons::default());
    let mut driver = Driver::new().unwrap();
    let end = driver.run_until(&mut stack, &mut service, |_, service, now| {
        let _ = client.write(&[0; 4096]);
        !service.observer.0.is_empty() || now > Instant::from_secs(10)
    });
    assert_eq!(end.unwrap(), End::Finished);
    assert_eq!(service.observer.0, [Reason::TimedOut(Deadline::WriteStall)]);
}

#[test]
fn an_idle_server_sleeps() {
    let (mut stack, mut service, address) = echo_server();
    let mut driver = Driver::new().unwrap();
    let stopper = StopTwiceOnDrop(driver.stopper().unwrap());
    thread::scope(|scope| {
        scope.spawn(move || {
            let stopper = stopper;
            let mut client = TcpStream::connect(address).unwrap();
            round_trip(&mut client).unwrap();
            thread::sleep(Duration::from_millis(500));
            stopper.0.stop();
        });
        let mut rounds = 0;
        let end = driver.run_until(&mut stack, &mut service, |_, _, _| {
            rounds += 1;
            false
        });
        assert_eq!(end.unwrap(), End::Drained);
        assert!(rounds < 40, "{rounds} rounds");
    });
}

#[test]
fn a_drain_lets_connections_finish() {
    let (mut stack, mut service, address) = echo_server();
    let mut driver = Driver::new().unwrap();
    let stopper = StopTwiceOnDrop(driver.stopper().unwrap());
    thread::scope(|scope| {
        scope.spawn(move || {
            let stopper = stopper;
            let mut client = TcpStream::connect(address).unwrap();
            round_trip(&mut client).unwrap();
            stopper.0.stop();
            thread::sleep(Duration::from_millis(100));
            assert!(TcpStream::connect(address).is_err());
            drop(client);
        });
        assert_eq!(driver.run(&mut stack, &mut service).unwrap(), End::Drained);
    });
}

#[test]
fn a_second_wish_ends_at_once() {
    let (mut stack, mut service, address) = echo_server();
    let mut driver = Driver::new().unwrap().with_grace(Duration::from_secs(60));
    let stopper = StopTwiceOnDrop(driver.stopper().unwrap());
    thread::scope(|scope| {
        scope.spawn(move || {
            let stopper = stopper;
            let mut client = TcpStream::connect(address).unwrap();
            round_trip(&mut client).unwrap();
            stopper.0.stop();
            thread::sleep(Duration::from_millis(100));
            stopper.0.stop();
            thread::sleep(Duration::from_millis(100));
        });
        assert_eq!(driver.run(&mut stack, &mut service).unwrap(), End::Cut);
    });
}

#[test]
fn a_signal_is_a_wish_to_stop() {
    let (mut stack, mut service, _) = echo_server();
    let mut driver = Driver::new().unwrap();
    driver.stop_on_signals().unwrap();
    let raised = thread::spawn(|| {
        thread::sleep(Duration::from_millis(50));
        signal_hook::low_level::raise(SIGTERM).unwrap();
    });
    assert_eq!(driver.run(&mut stack, &mut service).unwrap(), End::Drained);
    raised.join().unwrap();
}
