//! A stack that sends a stream through a TAP where something is in its way: a link that goes down, and one that can do nothing.

use super::{LIMIT, STREAM_LEN, connect, ip, pattern, wait};
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use smoltcp::wire::{EthernetAddress, HardwareAddress};
use socklet::smoltcp::{Config, ConnectionHandle, Memory, SmoltcpStack};
use socklet::stack::{ConnectOptions, ListenOptions, Received, Sent, TcpStack};
use socklet_hosted::sandbox::{STACK_MAC, Sandbox};
use socklet_hosted::tap::{Options, Tap};
use std::io::Read;
use std::net::TcpStream;
use std::thread;
use std::time::Instant;

/// A stack with one connection, and a whole stream that goes out of it.
struct Sending {
    stack: SmoltcpStack<'static, Tap>,
    connection: Option<ConnectionHandle>,
    sent: usize,
}

impl Sending {
    fn new(tap: Tap, address: IpAddr, prefix: u8) -> Self {
        let hardware = match smoltcp::phy::Device::capabilities(&tap).medium {
            smoltcp::phy::Medium::Ethernet => EthernetAddress(STACK_MAC).into(),
            smoltcp::phy::Medium::Ip => HardwareAddress::Ip,
        };
        let memory = Memory::allocate(1, 1 << 18, 1 << 18, 1);
        let mut stack = SmoltcpStack::new(tap, Config::new(hardware, 7), memory).unwrap();
        stack.add_address(address, prefix).unwrap();
        Self { stack, connection: None, sent: 0 }
    }

    /// Queues as much of the stream as there is room for, and its end behind it. Returns whether all of it is acknowledged.
    fn go_on(&mut self, now: socklet::time::Instant) -> bool {
        let _ = self.stack.poll(now);
        let Some(connection) = self.connection else { return false };
        let start = self.sent;
        let fill = |room: &mut [u8]| {
            let count = room.len().min(STREAM_LEN - start);
            room[..count].iter_mut().zip(start..).for_each(|(byte, at)| *byte = pattern(at));
            count
        };
        if start < STREAM_LEN
            && let Sent::Queued(count) = self.stack.send_with(connection, fill).unwrap()
        {
            self.sent += count;
            if self.sent == STREAM_LEN {
                self.stack.shutdown(connection).unwrap();
            }
        }
        self.sent == STREAM_LEN && self.stack.unsent(connection) == Ok(0)
    }
}

/// The time of a stack, and an end of all waiting.
struct Watched(Instant);

impl Watched {
    fn now(&self) -> socklet::time::Instant {
        let elapsed = self.0.elapsed();
        assert!(elapsed < 2 * LIMIT, "it takes too long");
        socklet::time::Instant::from_micros(elapsed.as_micros() as u64)
    }
}

/// Checks a stream as it comes, to its end.
fn receive_all(mut stream: TcpStream) {
    let mut buffer = vec![0; 1 << 18];
    let mut received = 0;
    loop {
        let count = stream.read(&mut buffer).unwrap_or_else(|error| panic!("{error} after {received} bytes"));
        if count == 0 {
            break;
        }
        let wrong = buffer[..count].iter().zip(received..).position(|(&byte, at)| byte != pattern(at));
        assert_eq!(wrong, None, "after {received} bytes");
        received += count;
    }
    assert_eq!(received, STREAM_LEN);
}

#[derive(Debug, PartialEq, Eq)]
enum Link {
    Up,
    Down,
    UpAgain,
}

/// The kernel refuses frames with EIO until the interface is up again: by then one at least has left in vain.
pub(super) fn down_in_mid_stream() {
    let sandbox = Sandbox::new().unwrap();
    let tap = sandbox.open_tap(&Options::tap("socklet0")).unwrap();
    let network = *sandbox.network();
    let mut sending = Sending::new(tap, network.stack_v4.into(), network.prefix_v4);
    let listener = sending.stack.listen(([0, 0, 0, 0], 7).into(), &ListenOptions::default()).unwrap();
    let watched = Watched(Instant::now());
    thread::scope(|scope| {
        let client = scope.spawn(|| receive_all(connect(&sandbox, network.stack_v4.into())));
        let mut link = Link::Up;
        while !sending.go_on(watched.now()) {
            if sending.connection.is_none() {
                sending.connection =
                    sending.stack.accept(listener).unwrap().map(|(connection, _)| connection);
            }
            let refused = sending.stack.device().stats().tx_link_down;
            match link {
                Link::Up if sending.sent > STREAM_LEN / 2 => {
                    assert_eq!(refused, 0);
                    ip(&sandbox, "link set socklet0 down");
                    link = Link::Down;
                }
                Link::Down if refused > 0 => {
                    ip(&sandbox, "link set socklet0 up");
                    link = Link::UpAgain;
                }
                Link::Up | Link::Down | Link::UpAgain => {
                    wait(sending.stack.device(), Duration::from_millis(1));
                }
            }
        }
        assert_eq!(link, Link::UpAgain);
        client.join().unwrap();
    });
    let (tap, stack) = (sending.stack.device(), sending.stack.stats());
    assert_eq!(tap.last_error().unwrap().raw_os_error(), Some(5));
    assert!(stack.retransmitted > 0, "{stack:?}");
    assert_eq!((tap.stats().tx_no_buffers, tap.stats().tx_errors, tap.stats().rx_errors), (0, 0, 0));
}

/// Linux between two stacks: what comes in 64 KiB from the one is cut, and given its checksums, for a link that can do neither.
pub(super) fn forwarded(ipv6: bool) {
    let sandbox = Sandbox::new().unwrap();
    let near = sandbox.open_tap(&Options::tap("near")).unwrap();
    let far = sandbox.run(|| Tap::open(&Options { offload: false, ..Options::tun("far") })).unwrap();
    sandbox.run(|| {
        for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            std::fs::write(format!("/proc/sys/net/{setting}"), "1").unwrap();
        }
    });
    ip(&sandbox, "link set far up");
    ip(&sandbox, "addr add 10.78.0.1/16 dev far");
    ip(&sandbox, "addr add fd78::1/64 dev far nodad");
    let network = *sandbox.network();
    let (from, prefix, gateway): (IpAddr, _, IpAddr) = if ipv6 {
        (network.stack_v6.into(), network.prefix_v6, network.host_v6.into())
    } else {
        (network.stack_v4.into(), network.prefix_v4, network.host_v4.into())
    };
    let (to, far_gateway): (IpAddr, IpAddr) = if ipv6 {
        ("fd78::2".parse().unwrap(), "fd78::1".parse().unwrap())
    } else {
        ([10, 78, 0, 2].into(), [10, 78, 0, 1].into())
    };
    let mut sending = Sending::new(near, from, prefix);
    let mut receiving = Sending::new(far, to, prefix).stack;
    sending.stack.set_gateway(gateway).unwrap();
    receiving.set_gateway(far_gateway).unwrap();
    let listener = receiving.listen(SocketAddr::new(to, 7), &ListenOptions::default()).unwrap();
    sending.connection =
        Some(sending.stack.connect(SocketAddr::new(to, 7), &ConnectOptions::default()).unwrap());

    let watched = Watched(Instant::now());
    let (mut accepted, mut received) = (None, 0);
    while received < STREAM_LEN {
        sending.go_on(watched.now());
        let _ = receiving.poll(watched.now());
        accepted = accepted.or_else(|| receiving.accept(listener).unwrap());
        let Some((connection, _)) = accepted else { continue };
        let check = |bytes: &[u8]| {
            let wrong = bytes.iter().zip(received..).position(|(&byte, at)| byte != pattern(at));
            assert_eq!(wrong, None, "after {received} bytes");
            (bytes.len(), bytes.len())
        };
        if let Received::Data(count) = receiving.recv_with(connection, check).unwrap() {
            received += count;
        }
    }
    assert_eq!(received, STREAM_LEN);
    let (near, far) = (sending.stack.device().stats(), receiving.device().stats());
    assert!(near.tx_super > 0, "{near:?}");
    // None is longer than the MTU, and so there are at least as many.
    assert_eq!(far.rx_super, 0, "{far:?}");
    assert!(far.rx_frames >= (STREAM_LEN / 1460) as u64, "{far:?}");
}
