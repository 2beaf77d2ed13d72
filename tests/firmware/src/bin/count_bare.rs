//! Instructions of the echo on smoltcp alone, with one socket, or with eight (argument `open=8`).

#![no_std]
#![no_main]

use smoltcp::iface::{Interface, SocketSet, SocketStorage};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use socklet_firmware::bare::echo;
use socklet_firmware::board::ThisBoard;
use socklet_firmware::cable::End;
use socklet_firmware::console::number;
use socklet_firmware::count::{self, Buffers, CONNECTIONS, SERVER, SERVER_ETHERNET, Served};
use static_cell::ConstStaticCell;

socklet_firmware::entry!(run);

static SOCKETS: ConstStaticCell<[SocketStorage<'static>; CONNECTIONS]> =
    ConstStaticCell::new([SocketStorage::EMPTY; CONNECTIONS]);
static BUFFERS: ConstStaticCell<Buffers<CONNECTIONS>> =
    ConstStaticCell::new([[[0; count::BUFFER]; 2]; CONNECTIONS]);

struct Bare {
    end: End<'static>,
    interface: Interface,
    sockets: SocketSet<'static>,
}

fn run(board: ThisBoard) -> ! {
    let open = number("open", 1) as usize;
    let mut end = count::server_end();
    let interface = count::interface(&mut end, SERVER_ETHERNET, SERVER);
    let mut sockets = SocketSet::new(&mut SOCKETS.take()[..]);
    for [receive, send] in BUFFERS.take().iter_mut().take(open) {
        let mut socket =
            tcp::Socket::new(tcp::SocketBuffer::new(&mut receive[..]), tcp::SocketBuffer::new(&mut send[..]));
        socket.set_nagle_enabled(false);
        echo(&mut socket);
        sockets.add(socket);
    }
    count::run(board, "bare", &mut Bare { end, interface, sockets }, open)
}

impl Served for Bare {
    fn round(&mut self, micros: u64) -> bool {
        let now = Instant::from_micros(micros as i64);
        self.interface.poll(now, &mut self.end, &mut self.sockets);
        let mut moved = false;
        for (_, socket) in self.sockets.iter_mut() {
            match socket {
                smoltcp::socket::Socket::Tcp(socket) => moved |= echo(socket),
            }
        }
        moved || self.interface.poll_at(now, &self.sockets).is_some_and(|at| at <= now)
    }
}
