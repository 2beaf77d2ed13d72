//! What is tried on each board. A scenario panics when it fails, and returns the figures to print.

use crate::flood::Flood;
use crate::machine::{Board, LEASED, Machine, Network};
use crate::transcript::{self, Application, EXPECTED};
use socket2::{Domain, SockRef, Socket, Type};
use socklet_tests::Pattern;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
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
    Scenario { name: "app takes its address from a DHCP server", run: leased },
    Scenario { name: "app says what it says on the host", run: converse },
    Scenario { name: "app serves four clients, then a fifth", run: five_clients },
    Scenario { name: "app survives a reset in every state", run: resets },
    Scenario { name: "app frees the slot of a client that vanished", run: vanished },
    Scenario { name: "app serves during and after a flood of SYNs", run: flood },
    Scenario { name: "app runs for ten minutes and loses no slot", run: ten_minutes },
    Scenario { name: "echo uses no processor time when idle", run: idle },
];

/// How long any single answer of a board may take.
const PATIENCE: Duration = Duration::from_secs(120);
const BULK: usize = 2 << 20;
/// Most bytes of stack that the application may use.
const STACK_LIMIT: usize = 9 * 1024;

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

/// Bytes come back from the address that the DHCP server gave.
fn leased(board: Board, images: &Path) -> String {
    let machine = Machine::boot(board, Network::Dhcp, images, "app", &["dhcp=1"]);
    let address = machine.expect(&format!("address: {LEASED}/24 by way of Some(10.0.2.2)"), PATIENCE);
    exchange(&connect(machine.address(7)), 50_000, 8);
    address
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

/// The same conversation as on the host, over TAP and over the system's sockets (`tests/tests/linux/app.rs`), with the same transcript.
fn converse(board: Board, images: &Path) -> String {
    let host = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 7000)).expect("the namespace's port is free");
    let machine = Machine::boot(board, Network::Tap, images, "app", &[]);
    let mut said = || machine.expect_that("a line", PATIENCE, |line| !line.starts_with("status"));
    let (echo, reply) = (machine.address(7), machine.address(8080));
    let transcript = transcript::converse(Application { echo, reply, host: &host, said: &mut said });
    assert_eq!(transcript, EXPECTED);
    format!("{} lines", transcript.lines().count())
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
    machine.expect("status: echo 0 reply 0", PATIENCE)
}

/// Closes with a reset, whatever is queued.
fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("it is a socket");
}

/// Resets: at once, in mid-stream with bytes both ways, after the client's end; each frees its slot and is told apart from a close.
fn resets(board: Board, images: &Path) -> String {
    let machine = Machine::boot(board, Network::Tap, images, "app", &[]);
    for round in 0..8 {
        reset(connect(machine.address(7)));
        let mut stream = connect(machine.address(7));
        // Once it is served: a connection that is reset before it was accepted is never heard of.
        stream.write_all(&[round]).expect("the board takes bytes");
        stream.read_exact(&mut [0]).expect("an echo");
        stream.write_all(&[round; 20_000]).expect("the board takes bytes");
        reset(stream);
        machine.expect_that("an echo that was reset", PATIENCE, |line| {
            line.starts_with("echo:") && line.ends_with("reset by the peer")
        });
        let stream = connect(machine.address(8080));
        stream.shutdown(Shutdown::Write).expect("it is open");
        reset(stream);
    }
    exchange(&connect(machine.address(7)), 50_000, 3);
    let seen = machine.expect("echo: 50000 bytes in, 50000 out", PATIENCE);
    machine.expect("status: echo 0 reply 0", PATIENCE);
    seen
}

/// An address that the client's host has for a while, and then answers for no more.
struct Visitor;

impl Visitor {
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);

    fn arrive() -> Self {
        Self::change("add");
        Self
    }

    fn change(what: &str) {
        let address = format!("{}/24", Self::ADDRESS);
        let status = Command::new("ip").args(["address", what, &address, "dev", "tap0"]).status();
        assert!(status.expect("ip starts").success());
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        Self::change("delete");
    }
}

/// Without a word; the idle deadline (120 s, here 4 s) gives its slot back.
fn vanished(board: Board, images: &Path) -> String {
    let machine = Machine::boot(board, Network::Tap, images, "app", &["rate=30"]);
    let visitor = Visitor::arrive();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor is free");
    socket.bind(&SocketAddr::from((Visitor::ADDRESS, 0)).into()).expect("it is this host's address");
    socket.connect(&machine.address(7).into()).expect("the board takes the connection");
    let stream = TcpStream::from(socket);
    swap(&stream, 1000, 4);
    drop(visitor);
    let ended = machine.expect("echo: 1000 bytes in, 1000 out", PATIENCE);
    machine.expect("status: echo 0", PATIENCE);
    ended
}

/// A client that is being served is served on, and one that comes after it gets in.
fn flood(board: Board, images: &Path) -> String {
    const RATE: u32 = 2000;
    let machine = Machine::boot(board, Network::Tap, images, "app", &[]);
    let client = connect(machine.address(7));
    swap(&client, 1000, 5);
    let mut flood = Flood::new(7);
    let start = Instant::now();
    let served = thread::scope(|scope| {
        let served = scope.spawn(|| {
            swap(&client, 5_000_000, 6);
            start.elapsed()
        });
        for count in 1..=3 * RATE {
            flood.send();
            thread::sleep(
                (start + count * Duration::from_secs(1) / RATE).saturating_duration_since(Instant::now()),
            );
        }
        served.join().expect("the client is served")
    });
    let start = Instant::now();
    exchange(&connect(machine.address(7)), 1000, 7);
    let admitted = start.elapsed();
    assert!(admitted < PATIENCE / 4, "{admitted:?} until the next client was served");
    format!(
        "5 MB in {:.1} s at {RATE} SYN/s, the next client in {:.1} s",
        served.as_secs_f32(),
        admitted.as_secs_f32()
    )
}

/// Clients of every kind come and go; at the end all slots are free, and the stack was no deeper than [`STACK_LIMIT`].
fn ten_minutes(board: Board, images: &Path) -> String {
    let host = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 7000)).expect("the namespace's port is free");
    let machine = Machine::boot(board, Network::Tap, images, "app", &["rate=20"]);
    let (mut lines, _) = host.accept().expect("the board's client comes");
    let start = Instant::now();
    let mut clients = 0;
    // Ten minutes at twenty times the speed: the board's deadlines are short in real time, and this host may be busy.
    while start.elapsed() < Duration::from_secs(30) {
        exchange(&connect(machine.address(7)), 3000, clients);
        let mut reply = connect(machine.address(8080));
        reply.write_all(b"hello").expect("the board takes bytes");
        let mut answer = [0; 19];
        reply.read_exact(&mut answer).expect("the board answers");
        assert_eq!(&answer, b"Hello from socklet\n");
        drop(reply);
        reset(connect(machine.address(7)));
        clients += 3;
    }
    let mut sent = vec![0; 11 * 500];
    lines.set_read_timeout(Some(PATIENCE)).expect("not zero");
    lines.read_exact(&mut sent).expect("a line a second");
    assert!(sent.chunks(11).all(|line| line == b"still here\n"));
    drop((lines, host));
    let status = machine.expect("status: echo 0 reply 0 lines 0 free 8", PATIENCE);
    let number = |name| {
        let mut words = status.split_whitespace().skip_while(|word| *word != name).skip(1);
        words.next().and_then(|word| word.parse::<usize>().ok()).expect("the status has it")
    };
    let (stack, lost) = (number("stack"), number("lost"));
    assert!(stack < STACK_LIMIT, "{stack} bytes of stack");
    assert_eq!(lost, 0, "frames lost in the driver");
    format!("{clients} clients, stack {stack} B")
}
