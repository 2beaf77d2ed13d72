//! The echo server for four connections on socklet: what the figures of flash and RAM are about.

#![no_std]
#![no_main]

use core::net::{IpAddr, Ipv4Addr};
use smoltcp::wire::EthernetAddress;
use socklet::server::{Server, ServerConfig, ServerSlot};
use socklet::service::{Echo, Serve, Service as _};
use socklet::smoltcp::{Config, SmoltcpStack, Storage};
use socklet::stack::TcpStack as _;
use socklet::time::{Instant, earliest};
use socklet_firmware::board::{Board, Ethernet, ThisBoard};
use socklet_firmware::clock::Clock;
use socklet_firmware::console::{exit, say};
use static_cell::ConstStaticCell;

socklet_firmware::entry!(run);

type Stack = SmoltcpStack<'static, Ethernet>;

static STORAGE: ConstStaticCell<Storage<'static, 4, 4096, 4096, 1>> = ConstStaticCell::new(Storage::NEW);
static SLOTS: ConstStaticCell<[ServerSlot<Stack>; 4]> = ConstStaticCell::new([ServerSlot::<Stack>::EMPTY; 4]);

fn run(mut board: ThisBoard) -> ! {
    let seed = board.seed();
    let (device, address) = board.ethernet();
    let mut clock = Clock::new(board, 1);

    let config = Config::new(EthernetAddress(address).into(), seed);
    let Ok(mut stack) = SmoltcpStack::new(device, config, STORAGE.take()) else { exit(1) };
    let Ok(()) = stack.add_address(IpAddr::V4(Ipv4Addr::new(10, 0, 2, 15)), 24) else { exit(2) };
    let mut server = Server::new(&mut SLOTS.take()[..], ServerConfig::DEFAULT);
    let Ok(()) = server.listen(&mut stack, (Ipv4Addr::UNSPECIFIED, 7).into()) else { exit(3) };
    let mut echo = Serve::new(server, Echo);
    say("listening");

    let mut service_due = Some(Instant::ZERO);
    loop {
        let now = Instant::from_micros(clock.now());
        let due = earliest(stack.poll(now), service_due);
        if due.is_some_and(|due| due <= now) {
            service_due = echo.poll(&mut stack, now);
        } else {
            clock.sleep_until(due.map(Instant::as_micros));
        }
    }
}
