//! What is tried on each board. A scenario panics when it fails, and returns the figures to print.

use crate::machine::{Board, Machine, Network};
use socklet_tests::Pattern;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) run: fn(Board, &Path) -> String,
}

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "bare echoes over user networking",
        run: |board, images| echo(board, Network::User, images, "bare"),
    },
    Scenario {
        name: "echo echoes over user networking",
        run: |board, images| echo(board, Network::User, images, "echo"),
    },
    Scenario { name: "echo echoes over tap", run: |board, images| echo(board, Network::Tap, images, "echo") },
    Scenario { name: "app serves four clients, then a fifth", run: five_clients },
    Scenario { name: "echo uses no processor time when idle", run: idle },
];

/// How long any single answer of a board may take.
const PATIENCE: Duration = Duration::from_secs(20);
const BULK: usize = 2 << 20;

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("the board takes the connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    stream.set_write_timeout(Some(PATIENCE)).expect("not zero");
    stream
}

/// 2 MiB there and back, every byte compared, and the end of the stream after the last.
fn echo(board: Board, network: Network, images: &Path, image: &str) -> String {
    let machine = Machine::boot(board, network, images, image, &[]);
    let stream = connect(machine.address(7));
    let start = Instant::now();
    exchange(&stream, BULK, 1);
    format!("{:.1} MB/s", BULK as f32 / 1e6 / start.elapsed().as_secs_f32())
}

/// Sends `length` bytes of stream `seed` and then the end, and checks that the same comes back.
fn exchange(stream: &TcpStream, length: usize, seed: u64) {
    swap(stream, length, seed);
    stream.shutdown(Shutdown::Write).expect("it is open");
    assert_eq!((&*stream).read(&mut [0]).expect("the board closes too"), 0);
}

/// Sends `length` bytes of stream `seed`, and checks that the same comes back.
fn swap(mut stream: &TcpStream, length: usize, seed: u64) {
    let mut writer = stream.try_clone().expect("a descriptor is free");
    let sender = thread::spawn(move || {
        let mut pattern = Pattern::new(seed);
        while (pattern.position() as usize) < length {
            let part = pattern.next(length - pattern.position() as usize).to_vec();
            writer.write_all(&part).expect("the board takes bytes");
            pattern.advance(part.len());
        }
    });
    let mut pattern = Pattern::new(seed);
    let mut buffer = [0; 16 * 1024];
    while (pattern.position() as usize) < length {
        let count = stream.read(&mut buffer).expect("the board answers");
        assert_ne!(count, 0, "the stream ended early");
        pattern.check(&buffer[..count]);
    }
    sender.join().expect("the sender is done");
}

/// A board that waits for clients sleeps.
fn idle(board: Board, images: &Path) -> String {
    let machine = Machine::boot(board, Network::Tap, images, "echo", &[]);
    exchange(&connect(machine.address(7)), 1000, 2);
    let before = machine.processor_time();
    thread::sleep(Duration::from_secs(2));
    let used = machine.processor_time() - before;
    assert!(used < Duration::from_millis(200), "{used:?} of 2 s");
    format!("{} ms in 2 s", used.as_millis())
}

/// Four clients have the four slots of the echo server; the fifth is served when one of them leaves.
fn five_clients(board: Board, images: &Path) -> String {
    let machine = Machine::boot(board, Network::Tap, images, "app", &[]);
    let clients: Vec<_> = (0..4).map(|_| connect(machine.address(7))).collect();
    thread::scope(|scope| {
        for (seed, client) in clients.iter().enumerate() {
            scope.spawn(move || swap(client, 100_000, seed as u64));
        }
    });
    let mut fifth = connect(machine.address(7));
    fifth.write_all(b"x").expect("it waits in the backlog");
    fifth.set_read_timeout(Some(Duration::from_millis(300))).expect("not zero");
    fifth.read(&mut [0]).expect_err("there is no slot for a fifth");
    drop(clients.into_iter().next());
    fifth.set_read_timeout(Some(PATIENCE)).expect("not zero");
    assert_eq!(fifth.read(&mut [0]).expect("there is a slot now"), 1);
    machine.expect("status: echo 0 reply 0", Duration::from_secs(5))
}
