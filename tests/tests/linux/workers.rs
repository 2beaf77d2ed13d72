//! Several stacks on the queues of one interface, without a lock between them: one listener to the clients.
//!
//! It has a `main` of its own, because a process without privileges can enter the sandbox only while it has one thread.

use core::time::Duration;
use libtest_mimic::{Arguments, Trial};
use smoltcp::wire::HardwareAddress;
use socklet::server::{Server, ServerConfig, ServerSlot};
use socklet::service::{Echo, Serve};
use socklet::smoltcp::{Config, Memory, SmoltcpStack, Stats};
use socklet::stack::ListenOptions;
use socklet_hosted::driver::{Driver, Stopper};
use socklet_hosted::sandbox::{Network, Sandbox};
use socklet_hosted::tap::{Options, Tap};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Instant;

type Stack = SmoltcpStack<'static, Tap>;

const LIMIT: Duration = Duration::from_secs(120);

pub(crate) fn main() {
    let arguments = Arguments::from_args();
    if let Err(error) = Sandbox::new() {
        eprintln!("{error}");
        std::process::exit(1);
    }
    let trials = vec![
        trial("four_workers_serve_thousands_of_short_connections_without_a_reset", churn),
        trial("a_flow_whose_queue_is_gone_is_reset_and_not_served_by_another", lost_queue),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn trial(name: &str, body: fn()) -> Trial {
    Trial::test(name, move || {
        body();
        Ok(())
    })
}

/// An echo server on one queue.
struct Worker {
    stopper: Stopper,
    thread: JoinHandle<(Stack, u32)>,
}

impl Worker {
    fn start(queue: Tap) -> Self {
        let (started, is_started) = mpsc::sync_channel(1);
        let thread = thread::spawn(move || {
            let network = Network::default();
            let config = Config::new(HardwareAddress::Ip, 7);
            let mut stack = SmoltcpStack::new(queue, config, Memory::allocate(64, 8192, 8192, 1)).unwrap();
            stack.add_address(network.stack_v4.into(), network.prefix_v4).unwrap();
            let slots: Vec<_> = (0..64).map(|_| ServerSlot::<Stack>::EMPTY).collect();
            let config = ServerConfig::default().with_listen(ListenOptions::backlog(64));
            let mut server = Server::new(slots, config);
            server.listen(&mut stack, ([0, 0, 0, 0], 7).into()).unwrap();
            let mut driver = Driver::new().unwrap();
            started.send(driver.stopper().unwrap()).unwrap();
            let mut service = Serve::new(server, Echo);
            driver.run(&mut stack, &mut service).unwrap();
            (stack, service.server.stats().accepted)
        });
        Self { stopper: is_started.recv_timeout(LIMIT).unwrap(), thread }
    }

    /// Ends at once; its queue is open for as long as the stack.
    fn stop(self) -> (Stack, u32) {
        self.stopper.stop();
        self.stopper.stop();
        self.thread.join().unwrap()
    }
}

/// All queues are open before the first worker starts.
fn workers(sandbox: &Sandbox, count: usize) -> Vec<Worker> {
    let options = Options { multi_queue: true, ..Options::tun("socklet0") };
    let queues: Vec<Tap> = (0..count).map(|_| sandbox.open_tap(&options).unwrap()).collect();
    queues.into_iter().map(Worker::start).collect()
}

/// To be called in the sandbox.
fn connect() -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&(Network::default().stack_v4, 7).into(), LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    Ok(stream)
}

/// Sends bytes that no other connection sends, and closes; all must come back before the end.
fn exchange(client: usize, turn: usize) -> io::Result<()> {
    let len = 1 + turn * 37 % 5000;
    let sent: Vec<u8> = (0..len).map(|at| (((at + client * 7919 + turn) * 31) >> 3) as u8).collect();
    let mut stream = connect()?;
    stream.write_all(&sent)?;
    stream.shutdown(Shutdown::Write)?;
    let mut received = Vec::new();
    stream.read_to_end(&mut received)?;
    if received == sent { Ok(()) } else { Err(io::Error::other("other bytes came back")) }
}

fn churn() {
    let sandbox = Sandbox::new().unwrap();
    let workers = workers(&sandbox, 4);
    let failures = Arc::new(Mutex::new(Vec::new()));
    let clients: Vec<_> = (0..8)
        .map(|client| {
            let failures = Arc::clone(&failures);
            let body = move || {
                for turn in 0..500 {
                    if let Err(error) = exchange(client, turn) {
                        failures.lock().unwrap().push(format!("client {client}, turn {turn}: {error}"));
                    }
                }
            };
            sandbox.spawn("client", body).unwrap()
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    assert_eq!(*failures.lock().unwrap(), Vec::<String>::new());
    // None is dropped before all have ended: the queues stay.
    let stopped: Vec<_> = workers.into_iter().map(Worker::stop).collect();
    let accepted: Vec<u32> = stopped.iter().map(|(_, accepted)| *accepted).collect();
    assert!(accepted.iter().all(|&accepted| accepted > 0), "each worker has had clients: {accepted:?}");
    assert_eq!(accepted.iter().sum::<u32>(), 4000);
    let stats: Vec<Stats> = stopped.iter().map(|(stack, _)| stack.stats()).collect();
    assert!(stats.iter().all(|stats| stats.for_nobody == 0), "a flow has moved: {stats:?}");
}

fn lost_queue() {
    let sandbox = Sandbox::new().unwrap();
    let mut workers = workers(&sandbox, 2);
    let mut streams: Vec<TcpStream> = (0..32).map(|_| sandbox.run(connect).unwrap()).collect();
    for stream in &mut streams {
        echo(stream).unwrap();
    }
    let (gone, lost) = workers.pop().unwrap().stop();
    assert!((1..32).contains(&lost), "both have some of the connections: {lost}");
    drop(gone);
    // The kernel gives all flows to the queue that is left.
    for stream in &streams {
        // One that nobody answers is a failure, and soon.
        stream.set_read_timeout(Some(LIMIT)).unwrap();
    }
    let results: Vec<io::Result<()>> = streams.iter_mut().map(echo).collect();
    let deadline = Instant::now() + LIMIT;
    for (stream, result) in streams.iter_mut().zip(results) {
        if let Err(error) = result {
            let kinds = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe, ErrorKind::UnexpectedEof];
            assert!(kinds.contains(&error.kind()), "{error}");
            assert!(echo(stream).is_err() && Instant::now() < deadline);
        }
    }
    let (stack, kept) = workers.pop().unwrap().stop();
    assert_eq!((kept, lost), (32 - lost, lost), "no connection is served twice");
    assert!(stack.stats().for_nobody >= u64::from(lost));
}

fn echo(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0])
}
