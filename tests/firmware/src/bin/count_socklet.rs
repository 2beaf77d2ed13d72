//! Instructions of the echo on socklet, with eight slots, of which one or all (argument `open=8`) are in use.

#![no_std]
#![no_main]

use core::net::{IpAddr, Ipv4Addr};
use socklet::server::{Server, ServerConfig, ServerSlot};
use socklet::service::{Echo, Serve, Service as _};
use socklet::smoltcp::{Config, SmoltcpStack, Storage};
use socklet::stack::TcpStack as _;
use socklet::time::{Instant, earliest};
use socklet_firmware::board::ThisBoard;
use socklet_firmware::cable::End;
use socklet_firmware::console::{exit, number};
use socklet_firmware::count::{self, BUFFER, CONNECTIONS, SERVER, SERVER_ETHERNET, Served};
use static_cell::ConstStaticCell;

socklet_firmware::entry!(run);

type Stack = SmoltcpStack<'static, End<'static>>;

static STORAGE: ConstStaticCell<Storage<'static, CONNECTIONS, BUFFER, BUFFER, 1>> =
    ConstStaticCell::new(Storage::NEW);
static SLOTS: ConstStaticCell<[ServerSlot<Stack>; CONNECTIONS]> =
    ConstStaticCell::new([ServerSlot::<Stack>::EMPTY; CONNECTIONS]);

struct Socklet {
    stack: Stack,
    service: Serve<'static, Stack, Echo>,
    service_due: Option<Instant>,
}

fn run(board: ThisBoard) -> ! {
    let config = Config::new(SERVER_ETHERNET.into(), 0x5eed);
    let Ok(mut stack) = SmoltcpStack::new(count::server_end(), config, STORAGE.take()) else { exit(1) };
    let _ = stack.add_address(IpAddr::V4(SERVER), 24);
    let mut server = Server::new(&mut SLOTS.take()[..], ServerConfig::DEFAULT);
    if server.listen(&mut stack, (Ipv4Addr::UNSPECIFIED, 7).into()).is_err() {
        exit(2);
    }
    let mut served = Socklet { stack, service: Serve::new(server, Echo), service_due: Some(Instant::ZERO) };
    count::run(board, "socklet", &mut served, number("open", 1) as usize)
}

impl Served for Socklet {
    fn round(&mut self, micros: u64) -> bool {
        let now = Instant::from_micros(micros);
        let due = earliest(self.stack.poll(now), self.service_due);
        let again = due.is_some_and(|due| due <= now);
        if again {
            self.service_due = self.service.poll(&mut self.stack, now);
        }
        again
    }
}
