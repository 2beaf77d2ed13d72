//! The echo server for four connections on socklet: what the figures of flash are about.

#![no_std]
#![no_main]

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use smoltcp::wire::EthernetAddress;
use socklet::smoltcp::{Config, SmoltcpStack, Storage};
use socklet::stack::{ListenOptions, Received, Sent, TcpStack};
use socklet::time::{Instant, earliest};
use socklet_firmware::board::{Board, ThisBoard};
use socklet_firmware::clock::Clock;
use socklet_firmware::console::{exit, say};
use static_cell::ConstStaticCell;

socklet_firmware::entry!(run);

static STORAGE: ConstStaticCell<Storage<'static, 4, 4096, 4096, 1>> = ConstStaticCell::new(Storage::NEW);

fn run(mut board: ThisBoard) -> ! {
    let seed = board.seed();
    let (device, address) = board.ethernet();
    let mut clock = Clock::new(board, 1);
    let config = Config::new(EthernetAddress(address).into(), seed);
    let Ok(mut stack) = SmoltcpStack::new(device, config, STORAGE.take()) else { exit(1) };
    let _ = stack.add_address(IpAddr::V4(Ipv4Addr::new(10, 0, 2, 15)), 24);
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7);
    let Ok(listener) = stack.listen(any, &ListenOptions::default()) else { exit(2) };
    say("listening");
    loop {
        let now = Instant::from_micros(clock.now());
        let mut service = None;
        while let Ok(Some(_)) = stack.accept(listener) {}
        while let Some(ready) = stack.ready(listener) {
            if echo(&mut stack, ready.connection) {
                service = Some(now);
            }
        }
        let stack = stack.poll(now);
        clock.sleep_until(earliest(service, stack).map(Instant::as_micros));
    }
}

fn echo<S: TcpStack>(stack: &mut S, connection: S::Connection) -> bool {
    let mut moved = false;
    loop {
        let mut data = [0; 512];
        let took = stack.recv_with(connection, |bytes| {
            let n = bytes.len().min(data.len());
            data[..n].copy_from_slice(&bytes[..n]);
            (0, n)
        });
        match took {
            Ok(Received::Data(n)) => match stack.send(connection, &data[..n]) {
                Ok(Sent::Queued(n)) => {
                    let _ = stack.recv_with(connection, |_| (n, ()));
                    moved = true;
                }
                Ok(Sent::WouldBlock) | Err(_) => return moved,
            },
            Ok(Received::WouldBlock) => return moved,
            Ok(Received::EndOfStream) | Err(_) => {
                let _ = stack.close(connection);
                return moved;
            }
        }
    }
}
