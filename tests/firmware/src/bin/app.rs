//! The application on a board. The argument `rate=N` lets N microseconds pass in each real one; with `dhcp=1` a DHCP server gives the address.

#![no_std]
#![no_main]

use core::net::{IpAddr, Ipv4Addr};
use smoltcp::iface::{SocketSet, SocketStorage};
use smoltcp::socket::dhcpv4;
use smoltcp::wire::EthernetAddress;
use socklet::service::Service as _;
use socklet::smoltcp::{Config, Dhcp, SmoltcpStack, Storage};
use socklet::stack::TcpStack as _;
use socklet::time::{Duration, Instant, earliest};
use socklet_firmware::app::{App, CONNECTIONS, HOST_PORT, Slots};
use socklet_firmware::board::{Board, Ethernet, ThisBoard};
use socklet_firmware::clock::Clock;
use socklet_firmware::console::{exit, number, println, say};
use socklet_firmware::stack::high_water;
use static_cell::ConstStaticCell;

socklet_firmware::entry!(run);

type Stack = SmoltcpStack<'static, Ethernet>;

static STORAGE: ConstStaticCell<Storage<'static, CONNECTIONS, 2048, 2048, 2>> =
    ConstStaticCell::new(Storage::NEW);
static SLOTS: ConstStaticCell<Slots<Stack>> = ConstStaticCell::new(Slots::NEW);
static OTHERS: ConstStaticCell<[SocketStorage<'static>; 1]> = ConstStaticCell::new([SocketStorage::EMPTY]);

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 2, 15));
const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 2, 2));

fn run(mut board: ThisBoard) -> ! {
    let seed = board.seed();
    let (device, address) = board.ethernet();
    let mut clock = Clock::new(board, number("rate", 1));
    let config = Config::new(EthernetAddress(address).into(), seed);
    let Ok(mut stack) = SmoltcpStack::new(device, config, STORAGE.take()) else { exit(1) };
    let mut dhcp = Dhcp::NEW;
    if number("dhcp", 0) == 1 {
        let mut others = SocketSet::new(&mut OTHERS.take()[..]);
        others.add(dhcpv4::Socket::new());
        stack = stack.with_sockets(others);
    } else {
        let (Ok(()), Ok(())) = (stack.add_address(ADDRESS, 24), stack.set_gateway(HOST)) else { exit(2) };
    }
    let host = (HOST, HOST_PORT).into();
    let app = App::start(&mut stack, SLOTS.take(), 0, host, seed, |line| println!("{line}"));
    let Ok(mut app) = app else { exit(3) };
    say("listening");

    let mut status = Status::default();
    loop {
        let now = Instant::from_micros(clock.now());
        let service = app.poll(&mut stack, now);
        let network = stack.poll(now);
        if dhcp.poll(&mut stack)
            && let Some(lease) = dhcp.lease()
        {
            println!("address: {}/{} by way of {:?}", lease.address, lease.prefix, lease.gateway);
        }
        let due = status.tell(now, &stack, app.open());
        clock.sleep_until(earliest(earliest(service, network), Some(due)).map(Instant::as_micros));
    }
}

/// What the host wants to know, printed each second if it changed.
#[derive(Default)]
struct Status {
    due: Instant,
    told: [usize; 6],
}

impl Status {
    fn tell(&mut self, now: Instant, stack: &Stack, open: (usize, usize, bool)) -> Instant {
        if self.due <= now {
            self.due = now + Duration::from_secs(1);
            let errors = stack.device().errors();
            let (_, free) = stack.slots();
            let lost = (errors.received + errors.sent) as usize;
            let seen = [open.0, open.1, usize::from(open.2), free, high_water(), lost];
            if seen != self.told {
                let [echo, reply, lines, free, high_water, lost] = seen;
                println!(
                    "status: echo {echo} reply {reply} lines {lines} free {free} stack {high_water} lost {lost}"
                );
                self.told = seen;
            }
        }
        self.due
    }
}
