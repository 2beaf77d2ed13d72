//! The floor to compare with: an echo of one connection at a time on smoltcp alone.

#![no_std]
#![no_main]

use smoltcp::iface::{Config, Interface, SocketSet, SocketStorage};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpCidr, Ipv4Address, Ipv4Cidr};
use socklet_firmware::bare::echo;
use socklet_firmware::board::{Board, ThisBoard};
use socklet_firmware::clock::Clock;
use socklet_firmware::console::say;
use static_cell::ConstStaticCell;

socklet_firmware::entry!(run);

const ADDRESS: Ipv4Cidr = Ipv4Cidr::new(Ipv4Address::new(10, 0, 2, 15), 24);
const BUFFER: usize = 4096;

static RECEIVE: ConstStaticCell<[u8; BUFFER]> = ConstStaticCell::new([0; BUFFER]);
static SEND: ConstStaticCell<[u8; BUFFER]> = ConstStaticCell::new([0; BUFFER]);

fn run(mut board: ThisBoard) -> ! {
    let seed = board.seed();
    let (mut device, address) = board.ethernet();
    let mut clock = Clock::new(board, 1);

    let mut config = Config::new(EthernetAddress(address).into());
    config.random_seed = seed;
    let mut interface = Interface::new(config, &mut device, Instant::ZERO);
    interface.update_ip_addrs(|addresses| {
        let _ = addresses.push(IpCidr::Ipv4(ADDRESS));
    });

    let receive = tcp::SocketBuffer::new(&mut RECEIVE.take()[..]);
    let send = tcp::SocketBuffer::new(&mut SEND.take()[..]);
    let mut storage = [SocketStorage::EMPTY];
    let mut sockets = SocketSet::new(&mut storage[..]);
    let handle = sockets.add(tcp::Socket::new(receive, send));
    echo(sockets.get_mut(handle));
    say("listening");

    loop {
        let now = Instant::from_micros(clock.now() as i64);
        interface.poll(now, &mut device, &mut sockets);
        let moved = echo(sockets.get_mut(handle));
        let deadline = interface.poll_at(now, &sockets).map(|at| at.total_micros() as u64);
        clock.sleep_until(if moved { Some(0) } else { deadline });
    }
}
