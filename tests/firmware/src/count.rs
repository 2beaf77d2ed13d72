//! Counts the instructions of a server between two stacks in memory, under `-icount shift=7,sleep=off`.
//!
//! Then an instruction takes 128 ns, more than any board's tick, and every run gives the same numbers. The client is smoltcp; only the
//! server's rounds are counted.

use crate::board::{Board, ThisBoard};
use crate::cable::{End, Lane};
use crate::console::{exit, println};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet, SocketStorage};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpCidr, Ipv4Address, Ipv4Cidr};
use static_cell::ConstStaticCell;

/// Nanoseconds of an instruction under `shift=7`.
const INSTRUCTION: u64 = 128;
/// What a round may take in the two stacks' time, in microseconds.
const STEP: u64 = 100;
/// Rounds after which something hangs.
const PATIENCE: u32 = 100_000;

pub const SERVER: Ipv4Address = Ipv4Address::new(10, 0, 2, 15);
const CLIENT: Ipv4Address = Ipv4Address::new(10, 0, 2, 2);
pub const SERVER_ETHERNET: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);
const CLIENT_ETHERNET: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 2]);

/// Bytes of each buffer.
pub const BUFFER: usize = 2048;
/// Most connections at once.
pub const CONNECTIONS: usize = 8;

const BULK: usize = 256 * 1024;
const PINGS: u32 = 200;
const CALLS: u32 = 50;

/// What is counted: an echo server.
pub trait Served {
    /// One round of its main loop; whether the next is due at once.
    fn round(&mut self, micros: u64) -> bool;
}

/// A buffer of its own for each of `N` sockets.
pub type Buffers<const N: usize> = [[[u8; BUFFER]; 2]; N];

/// An interface at one end of the cable.
pub fn interface(end: &mut End<'_>, ethernet: EthernetAddress, address: Ipv4Address) -> Interface {
    let mut config = Config::new(ethernet.into());
    config.random_seed = 0x5eed;
    let mut interface = Interface::new(config, end, Instant::ZERO);
    interface.update_ip_addrs(|addresses| {
        let _ = addresses.push(IpCidr::Ipv4(Ipv4Cidr::new(address, 24)));
    });
    interface
}

/// The server's end of the cable, once.
pub fn server_end() -> End<'static> {
    let (up, down) = lanes();
    End { incoming: up, outgoing: down }
}

fn lanes() -> (&'static Lane, &'static Lane) {
    struct Lanes(Lane, Lane);
    // SAFETY: an image has one thread, and no interrupt is taken.
    unsafe impl Sync for Lanes {}
    static LANES: Lanes = Lanes(Lane::EMPTY, Lane::EMPTY);
    (&LANES.0, &LANES.1)
}

struct Bench<'a, S> {
    board: ThisBoard,
    server: &'a mut S,
    end: End<'static>,
    interface: Interface,
    sockets: SocketSet<'static>,
    micros: u64,
    port: u16,
    ticks: u64,
    /// What measuring itself costs.
    overhead: u64,
}

/// Counts `server` and prints instructions: per echoed byte in bulk, per round trip of one byte, per connection, with `open`
/// connections in all.
pub fn run<S: Served>(board: ThisBoard, name: &str, server: &mut S, open: usize) -> ! {
    static SOCKETS: ConstStaticCell<[SocketStorage<'static>; CONNECTIONS]> =
        ConstStaticCell::new([SocketStorage::EMPTY; CONNECTIONS]);
    static BUFFERS: ConstStaticCell<Buffers<CONNECTIONS>> =
        ConstStaticCell::new([[[0; BUFFER]; 2]; CONNECTIONS]);

    let (up, down) = lanes();
    let mut end = End { incoming: down, outgoing: up };
    let interface = interface(&mut end, CLIENT_ETHERNET, CLIENT);
    let mut sockets = SocketSet::new(&mut SOCKETS.take()[..]);
    for [receive, send] in BUFFERS.take().iter_mut().take(open) {
        let mut socket =
            tcp::Socket::new(tcp::SocketBuffer::new(&mut receive[..]), tcp::SocketBuffer::new(&mut send[..]));
        socket.set_nagle_enabled(false);
        sockets.add(socket);
    }
    let mut bench =
        Bench { board, server, end, interface, sockets, micros: 0, port: 40_000, ticks: 0, overhead: 0 };
    bench.overhead = (0..16).map(|_| bench.measure(|_| false).0).min().unwrap_or_default();

    let handles: [Option<SocketHandle>; CONNECTIONS] = {
        let mut all = bench.sockets.iter().map(|(handle, _)| handle);
        core::array::from_fn(|_| all.next())
    };
    handles.iter().flatten().for_each(|handle| bench.connect(*handle));
    let Some(last) = handles.into_iter().flatten().last() else { exit(1) };

    bench.ticks = 0;
    bench.transfer(last, BULK);
    let bulk = bench.instructions();
    bench.ticks = 0;
    (0..PINGS).for_each(|_| bench.transfer(last, 1));
    let ping = bench.instructions();
    bench.hang_up(last);
    bench.ticks = 0;
    for _ in 0..CALLS {
        bench.connect(last);
        bench.transfer(last, 1);
        bench.hang_up(last);
    }
    let call = bench.instructions();
    println!(
        "count {name} open {open} byte {}.{:02} ping {} connection {}",
        bulk / BULK as u64,
        bulk % BULK as u64 * 100 / BULK as u64,
        ping / u64::from(PINGS),
        call / u64::from(CALLS)
    );
    exit(0)
}

impl<S: Served> Bench<'_, S> {
    /// Ticks of `work`, and what it returns.
    fn measure(&mut self, work: impl FnOnce(&mut Self) -> bool) -> (u64, bool) {
        let before = self.board.ticks();
        let again = work(self);
        let ticks = self.board.ticks().wrapping_sub(before);
        (u64::from(ticks).saturating_sub(self.overhead), again)
    }

    fn instructions(&self) -> u64 {
        self.ticks * u64::from(ThisBoard::MICROS) * 1000 / u64::from(ThisBoard::TICKS) / INSTRUCTION
    }

    /// The client's turn, then the server's until it would sleep.
    fn step(&mut self) {
        self.micros += STEP;
        self.interface.poll(Instant::from_micros(self.micros as i64), &mut self.end, &mut self.sockets);
        for _ in 0..PATIENCE {
            let micros = self.micros;
            let (ticks, again) = self.measure(|bench| bench.server.round(micros));
            self.ticks += ticks;
            if !again {
                return;
            }
        }
        exit(2)
    }

    fn socket(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    fn until(&mut self, handle: SocketHandle, mut done: impl FnMut(&mut tcp::Socket<'static>) -> bool) {
        for _ in 0..PATIENCE {
            if done(self.socket(handle)) {
                return;
            }
            self.step();
        }
        println!("count: it hangs, the client is {}", self.socket(handle).state());
        exit(3)
    }

    fn connect(&mut self, handle: SocketHandle) {
        self.port += 1;
        let port = self.port;
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(handle);
        if socket.connect(self.interface.context(), (SERVER, 7), port).is_err() {
            exit(4);
        }
        self.until(handle, |socket| socket.may_send());
    }

    /// So many bytes there and back.
    fn transfer(&mut self, handle: SocketHandle, length: usize) {
        const DATA: [u8; 1024] = [0x55; 1024];
        let (mut sent, mut received) = (0, 0);
        self.until(handle, |socket| {
            sent += socket.send_slice(&DATA[..(length - sent).min(DATA.len())]).unwrap_or(0);
            while socket.can_recv() {
                received += socket.recv(|data| (data.len(), data.len())).unwrap_or(0);
            }
            received == length
        });
    }

    /// The client closes first, and does not stay in TIME-WAIT.
    fn hang_up(&mut self, handle: SocketHandle) {
        self.socket(handle).close();
        self.until(handle, |socket| matches!(socket.state(), tcp::State::TimeWait | tcp::State::Closed));
        self.step();
        self.socket(handle).abort();
    }
}
