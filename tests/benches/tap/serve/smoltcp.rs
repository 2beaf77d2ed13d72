use super::super::setup::{PORT, Service, Setup, tune};
use super::announce;
use core::error::Error;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{Medium, TunTapInterface, wait};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpCidr};
use socklet_hosted::sandbox::{STACK_MAC, Sandbox};
use socklet_hosted::tap::Mode;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};

/// As its documentation has it: one interface, one set with all sockets, and a look at each of them in every round.
pub(super) fn run(setup: Setup) -> Result<(), Box<dyn Error>> {
    let sandbox = Sandbox::new()?;
    tune(&sandbox);
    // The device stays on the thread that made it.
    let private = sandbox.run(|| File::open("/proc/thread-self/ns/net"))?;
    move_into_link_name_space(private.as_fd(), Some(LinkNameSpaceType::Network))?;
    let mut device = TunTapInterface::new("bench0", Medium::Ethernet)?;
    sandbox.configure("bench0", Mode::Tap)?;
    let mut config = Config::new(EthernetAddress(STACK_MAC).into());
    config.random_seed = 7;
    let mut interface = Interface::new(config, &mut device, Instant::now());
    let network = *sandbox.network();
    interface.update_ip_addrs(|addresses| {
        addresses.push(IpCidr::new(network.stack_v4.into(), network.prefix_v4)).expect("room for an address");
    });
    let (mut sockets, mut handles) = (SocketSet::new(vec![]), Vec::new());
    let buffer = || tcp::SocketBuffer::new(vec![0; setup.buffer]);
    for _ in 0..setup.connections {
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        handles.push(sockets.add(socket));
    }
    announce(&sandbox);
    let mut chunk = vec![0; 64 << 10];
    let fd = device.as_raw_fd();
    loop {
        for &handle in &handles {
            serve(sockets.get_mut(handle), setup.service, &mut chunk)?;
        }
        let now = Instant::now();
        interface.poll(now, &mut device, &mut sockets);
        for &handle in &handles {
            serve(sockets.get_mut(handle), setup.service, &mut chunk)?;
        }
        interface.poll_egress(now, &mut device, &mut sockets);
        wait(fd, interface.poll_delay(now, &sockets))?;
    }
}

fn serve(socket: &mut tcp::Socket<'_>, service: Service, chunk: &mut [u8]) -> Result<(), Box<dyn Error>> {
    if !socket.is_open() {
        socket.listen(PORT)?;
    }
    match service {
        Service::Echo => {
            while socket.can_recv() && socket.can_send() {
                let room = (socket.send_capacity() - socket.send_queue()).min(chunk.len());
                let count = socket.recv_slice(&mut chunk[..room])?;
                socket.send_slice(&chunk[..count])?;
            }
        }
        Service::Discard => {
            while socket.can_recv() {
                socket.recv(|bytes| (bytes.len(), ()))?;
            }
        }
        Service::Flood => {
            while socket.can_send() {
                socket.send(|room| {
                    super::make_real(room);
                    (room.len(), ())
                })?;
            }
        }
    }
    if socket.state() == tcp::State::CloseWait && !socket.can_recv() {
        socket.close();
    }
    Ok(())
}
