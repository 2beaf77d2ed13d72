//! Receive buffers above 64 KiB: smoltcp's window, scaled, must not be moved back.
//!
//! Without the backend's cure (see `offer_one_unit_less` in it) both ends wait for ever once both directions are full.

use core::net::{IpAddr, Ipv4Addr};
use smoltcp::wire::{EthernetAddress, HardwareAddress};
use socklet::server::{Server, ServerConfig, ServerSlot};
use socklet::service::{Echo, Serve, Service};
use socklet::smoltcp::{Config, Memory, SmoltcpStack};
use socklet::stack::{ConnectOptions, Received, Sent, TcpStack};
use socklet::time::{Duration, Instant, earliest};
use socklet_tests::cable::{CableEnd, CableOptions, cable};

type Stack = SmoltcpStack<'static, CableEnd>;

const BUFFER: usize = 1 << 20;
const STREAM: usize = 128 << 20;
/// In virtual time. It takes about 20 s.
const LIMIT: Duration = Duration::from_secs(120);

fn host(end: CableEnd, last: u8) -> Stack {
    let mac = HardwareAddress::Ethernet(EthernetAddress([2, 0, 0, 0, 0, last]));
    let memory = Memory::allocate(1, BUFFER, BUFFER, 1);
    let mut stack = SmoltcpStack::new(end, Config::new(mac, last.into()), memory).unwrap();
    stack.add_address(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)), 8).unwrap();
    stack
}

/// A byte of the stream; odd, so that it does not repeat within a segment or a buffer.
fn byte(at: usize) -> u8 {
    (at.wrapping_mul(0x9e37_79b9) >> 13) as u8
}

#[test]
fn both_directions_full_with_scaled_windows_never_wait_for_ever() {
    let [near, far] = cable(CableOptions { capacity: 2048, ..CableOptions::default() });
    let (mut client, mut stack) = (host(near, 1), host(far, 2));
    let mut server = Server::new(vec![ServerSlot::<Stack>::EMPTY], ServerConfig::default());
    server.listen(&mut stack, ([0, 0, 0, 0], 7).into()).unwrap();
    let mut service = Serve::new(server, Echo);
    let connection = client.connect(([10, 0, 0, 2], 7).into(), &ConnectOptions::default()).unwrap();

    let (mut sent, mut received) = (0, 0);
    let mut chunk = vec![0; 99_991];
    let mut now = Instant::from_secs(1);
    while received < STREAM {
        // Sends all that it can before it receives a little: every buffer on the way is full.
        let offered: Vec<u8> = (sent..STREAM.min(sent + 65_536)).map(byte).collect();
        let full = match client.send(connection, &offered) {
            Ok(Sent::Queued(count)) => {
                sent += count;
                offered.is_empty()
            }
            Ok(Sent::WouldBlock) => true,
            Err(error) => panic!("{error} after {sent} bytes were sent"),
        };
        let mut moved = !full;
        if full && let Received::Data(count) = client.recv(connection, &mut chunk).unwrap() {
            let wrong = (received..).zip(&chunk[..count]).find(|&(at, &got)| byte(at) != got);
            assert_eq!(wrong, None);
            received += count;
            moved = true;
        }
        let service_deadline = service.poll(&mut stack, now);
        let due = [stack.poll(now), client.poll(now)].into_iter().fold(service_deadline, earliest);
        if !moved && due.is_none_or(|due| due > now) {
            let arrival = earliest(client.device().next_arrival(), stack.device().next_arrival());
            now = earliest(due, arrival).expect("something is due while the stream is on its way");
        }
        assert!(now < Instant::ZERO + LIMIT, "stuck: {sent} bytes sent, {received} came back");
    }
}
