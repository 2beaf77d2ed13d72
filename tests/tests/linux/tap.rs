//! The TAP device against Linux's TCP, in a sandbox.
//!
//! It has a `main` of its own, because a process without privileges can enter the sandbox only while it has one thread.

mod sending;

use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use libtest_mimic::{Arguments, Trial};
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};
use socklet::server::{Server, ServerConfig, ServerSlot};
use socklet::service::{Echo, Serve};
use socklet::smoltcp::{Config as StackConfig, Memory, SmoltcpStack};
use socklet_hosted::driver::{Driver, Stopper};
use socklet_hosted::sandbox::{STACK_MAC, Sandbox};
use socklet_hosted::tap::{Mode, Options, Stats, Tap};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Instant;

const LIMIT: Duration = Duration::from_secs(200);
const STREAM_LEN: usize = 64 << 20;

pub(crate) fn main() {
    let arguments = Arguments::from_args();
    if let Err(error) = Sandbox::new().and_then(|sandbox| sandbox.open_tap(&Options::tap("socklet0"))) {
        eprintln!("{error}");
        std::process::exit(1);
    }
    let mut trials = Vec::new();
    for (mode, kind) in [(Mode::Tap, "tap"), (Mode::Tun, "tun")] {
        for (offload, how) in [(true, "with_offloads"), (false, "without_offloads")] {
            for (version, ipv6) in [("ipv4", false), ("ipv6", true)] {
                let name = format!("a_{kind}_echoes_64_mib_over_{version}_{how}");
                trials.push(trial(&name, move || echo(mode, offload, ipv6)));
            }
        }
    }
    trials.push(trial("both_directions_full_with_scaled_windows_never_wait_for_ever", scaled_windows));
    trials.push(trial("a_frame_that_the_kernel_refuses_is_counted", link_down));
    trials.push(trial(
        "a_stream_is_whole_although_the_link_was_down_in_the_middle_of_it",
        sending::down_in_mid_stream,
    ));
    for (version, ipv6) in [("ipv4", false), ("ipv6", true)] {
        let name = format!("the_kernel_cuts_what_it_forwards_over_{version}_to_a_link_without_offloads");
        trials.push(trial(&name, move || sending::forwarded(ipv6)));
    }
    trials
        .push(trial("an_interface_that_goes_down_and_up_is_waited_for_and_one_that_goes_ends_the_run", gone));
    trials.push(trial("several_queues_share_one_name", multi_queue));
    trials.push(trial("a_wrong_checksum_is_dropped_and_counted", wrong_checksum));
    trials.push(trial("an_mtu_is_set_and_read_back", mtu));
    libtest_mimic::run(&arguments, trials).exit();
}

fn trial(name: &str, body: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, || {
        body();
        Ok(())
    })
}

/// An echo server on smoltcp alone, for as long as it is not told to stop.
fn serve_echo(mut tap: Tap, sandbox: &Sandbox, stop: &AtomicBool) -> Stats {
    let network = *sandbox.network();
    let start = Instant::now();
    let now = || smoltcp::time::Instant::from_micros(start.elapsed().as_micros() as i64);
    let hardware = match smoltcp::phy::Device::capabilities(&tap).medium {
        smoltcp::phy::Medium::Ethernet => HardwareAddress::Ethernet(EthernetAddress(STACK_MAC)),
        smoltcp::phy::Medium::Ip => HardwareAddress::Ip,
    };
    let mut config = Config::new(hardware);
    config.random_seed = 7;
    let mut interface = Interface::new(config, &mut tap, now());
    interface.update_ip_addrs(|addresses| {
        addresses.push(IpCidr::new(network.stack_v4.into(), network.prefix_v4)).unwrap();
        addresses.push(IpCidr::new(network.stack_v6.into(), network.prefix_v6)).unwrap();
    });
    let buffer = || tcp::SocketBuffer::new(vec![0; 65_535]);
    let mut sockets = SocketSet::new(vec![]);
    let handle = sockets.add(tcp::Socket::new(buffer(), buffer()));
    while !stop.load(Ordering::Relaxed) {
        let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
        if !socket.is_open() {
            socket.listen(7).unwrap();
        }
        interface.poll(now(), &mut tap, &mut sockets);
        let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
        while socket.can_recv() && socket.can_send() {
            let room = socket.send_capacity() - socket.send_queue();
            let mut bytes = vec![0; room];
            let len = socket.recv_slice(&mut bytes).unwrap();
            socket.send_slice(&bytes[..len]).unwrap();
        }
        if socket.state() == tcp::State::CloseWait && !socket.can_recv() {
            socket.close();
        }
        interface.poll_egress(now(), &mut tap, &mut sockets);
        let delay = interface.poll_delay(now(), &sockets).map_or(Duration::from_millis(50), Into::into);
        wait(&tap, delay.min(Duration::from_millis(50)));
    }
    eprintln!("{:?}", tap.stats());
    tap.stats()
}

fn wait(tap: &Tap, delay: Duration) {
    use rustix::event::{PollFd, PollFlags, poll};
    let timeout = delay.try_into().unwrap();
    poll(&mut [PollFd::new(tap, PollFlags::IN)], Some(&timeout)).unwrap();
}

/// Ends the server also when an assertion fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn connect(sandbox: &Sandbox, address: IpAddr) -> TcpStream {
    let address = SocketAddr::new(address, 7);
    let stream = sandbox.run(move || TcpStream::connect_timeout(&address, LIMIT)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream
}

/// A stream that does not repeat within a segment or a buffer.
fn pattern(offset: usize) -> u8 {
    (offset.wrapping_mul(0x9e37_79b9) >> 13) as u8
}

/// Sends a stream, and receives the same at the same time.
fn exchange(mut receiver: TcpStream, len: usize) {
    let mut sender = receiver.try_clone().unwrap();
    let sending = thread::spawn(move || {
        let bytes: Vec<u8> = (0..len).map(pattern).collect();
        sender.write_all(&bytes).unwrap();
        sender.shutdown(Shutdown::Write).unwrap();
    });
    let mut buffer = vec![0; 1 << 18];
    let mut received = 0;
    loop {
        let count =
            receiver.read(&mut buffer).unwrap_or_else(|error| panic!("{error} after {received} bytes"));
        if count == 0 {
            break;
        }
        let wrong = buffer[..count].iter().zip(received..).position(|(&byte, at)| byte != pattern(at));
        assert_eq!(wrong, None, "after {received} bytes");
        received += count;
    }
    assert_eq!(received, len);
    sending.join().unwrap();
}

/// Without the cure in the backend (`offer_one_unit_less`) both ends soon wait for ever: the read times out.
fn scaled_windows() {
    const BUFFER: usize = 1 << 20;
    type Stack = SmoltcpStack<'static, Tap>;
    let sandbox = Sandbox::new().unwrap();
    let tap = sandbox.open_tap(&Options::tap("socklet0")).unwrap();
    let network = *sandbox.network();
    let config = StackConfig::new(EthernetAddress(STACK_MAC).into(), 7);
    let mut stack = SmoltcpStack::new(tap, config, Memory::allocate(1, BUFFER, BUFFER, 1)).unwrap();
    stack.add_address(network.stack_v4.into(), network.prefix_v4).unwrap();
    let mut server = Server::new(vec![ServerSlot::<Stack>::EMPTY], ServerConfig::default());
    server.listen(&mut stack, ([0, 0, 0, 0], 7).into()).unwrap();
    let mut driver = Driver::new().unwrap();
    let stopper = driver.stopper().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || driver.run(&mut stack, &mut Serve::new(server, Echo)).unwrap());
        let _stop = CutOnDrop(stopper);
        exchange(connect(&sandbox, network.stack_v4.into()), 2 * STREAM_LEN);
    });
}

/// Ends a driver also when an assertion fails.
struct CutOnDrop(Stopper);

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        self.0.stop();
        self.0.stop();
    }
}

fn echo(mode: Mode, offload: bool, ipv6: bool) {
    let sandbox = Sandbox::new().unwrap();
    let options = Options { mode, offload, ..Options::tap("socklet0") };
    let tap = sandbox.open_tap(&options).unwrap();
    assert_eq!(tap.offload(), offload);
    let network = *sandbox.network();
    let stop = AtomicBool::new(false);
    let stats = thread::scope(|scope| {
        let server = scope.spawn(|| serve_echo(tap, &sandbox, &stop));
        let stop = StopOnDrop(&stop);
        let address = if ipv6 { network.stack_v6.into() } else { network.stack_v4.into() };
        exchange(connect(&sandbox, address), STREAM_LEN);
        drop(stop);
        server.join().unwrap()
    });
    assert_eq!(offload, stats.rx_super > 0 && stats.tx_super > 0);
    assert_eq!((stats.rx_bad_checksum, stats.rx_errors, stats.tx_errors), (0, 0, 0));
}

/// Sends a frame.
fn send_frame(tap: &mut Tap, bytes: &[u8]) {
    use smoltcp::phy::{Device, TxToken};
    let token = tap.transmit(smoltcp::time::Instant::ZERO).unwrap();
    token.consume(bytes.len(), |frame| frame.copy_from_slice(bytes));
}

fn link_down() {
    let sandbox = Sandbox::new().unwrap();
    // Not brought up.
    let mut tap = sandbox.run(|| Tap::open(&Options::tap("socklet0"))).unwrap();
    send_frame(&mut tap, &[0; 60]);
    assert_eq!((tap.stats().tx_frames, tap.stats().tx_link_down), (0, 1));
    assert_eq!(tap.last_error().unwrap().raw_os_error(), Some(5));
}

/// Linux's end is set down, up again, and deleted under a server that serves.
fn gone() {
    type Stack = SmoltcpStack<'static, Tap>;
    let sandbox = Sandbox::new().unwrap();
    let tap = sandbox.open_tap(&Options::tap("socklet0")).unwrap();
    let network = *sandbox.network();
    let config = StackConfig::new(EthernetAddress(STACK_MAC).into(), 7);
    let mut stack = SmoltcpStack::new(tap, config, Memory::allocate(2, 4096, 4096, 1)).unwrap();
    stack.add_address(network.stack_v4.into(), network.prefix_v4).unwrap();
    let mut server = Server::new([(); 2].map(|()| ServerSlot::<Stack>::EMPTY), ServerConfig::default());
    server.listen(&mut stack, ([0, 0, 0, 0], 7).into()).unwrap();
    let mut driver = Driver::new().unwrap();
    let stopper = driver.stopper().unwrap();
    thread::scope(|scope| {
        let running = scope.spawn(move || driver.run(&mut stack, &mut Serve::new(server, Echo)));
        let _stop = CutOnDrop(stopper);
        exchange(connect(&sandbox, network.stack_v4.into()), 10_000);
        ip(&sandbox, "link set socklet0 down");
        thread::sleep(Duration::from_millis(100));
        ip(&sandbox, "link set socklet0 up");
        exchange(connect(&sandbox, network.stack_v4.into()), 10_000);
        ip(&sandbox, "link del socklet0");
        let deadline = Instant::now() + LIMIT;
        while !running.is_finished() {
            assert!(Instant::now() < deadline, "it goes on without an interface");
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(running.join().unwrap().unwrap_err().kind(), std::io::ErrorKind::NotConnected);
    });
}

/// Runs `ip` in the sandbox.
fn ip(sandbox: &Sandbox, command: &'static str) {
    let status = sandbox.run(move || std::process::Command::new("ip").args(command.split(' ')).status());
    assert!(status.unwrap().success(), "ip {command}");
}

fn multi_queue() {
    let sandbox = Sandbox::new().unwrap();
    let options = Options { multi_queue: true, ..Options::tap("socklet0") };
    let first = sandbox.open_tap(&options).unwrap();
    let second = sandbox.open_tap(&options).unwrap();
    drop(first);
    assert!(second.offload());
    let single = Options::tap("socklet0");
    let error = sandbox.open_tap(&single).unwrap_err().to_string();
    assert!(error.starts_with("the interface socklet0 cannot be opened"), "{error}");
}

/// What one TUN sends into Linux as if it came from a network, Linux forwards to the other without a promise about checksums.
fn wrong_checksum() {
    use smoltcp::phy::Device;
    let sandbox = Sandbox::new().unwrap();
    let mut near = sandbox.open_tap(&Options::tun("near")).unwrap();
    let without = Options { offload: false, ..Options::tun("far") };
    let mut far = sandbox.open_tap(&without).unwrap();
    sandbox.run(|| {
        for setting in ["ip_forward", "conf/all/forwarding", "conf/far/forwarding"] {
            std::fs::write(format!("/proc/sys/net/ipv4/{setting}"), "1").unwrap();
        }
        for interface in ["all", "far"] {
            std::fs::write(format!("/proc/sys/net/ipv4/conf/{interface}/rp_filter"), "0").unwrap();
        }
    });
    // A SYN from 10.9.9.9:1000 to 10.77.0.2:7 with a right IPv4 checksum; TCP's is right, then wrong.
    let header = [0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0x1d, 0x70, 10, 9, 9, 9, 10, 77, 0, 2];
    let segment = [0x03, 0xe8, 0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 4, 0, 0x8a, 0x92, 0, 0];
    for (last, wrong) in [(0, 0), (1, 1)] {
        let mut frame = [header, segment].concat();
        frame[39] = last;
        send_frame(&mut far, &frame);
        let mut segments = 0;
        let deadline = Instant::now() + LIMIT;
        while (segments, near.stats().rx_bad_checksum) != (1 - wrong, wrong) {
            wait(&near, Duration::from_millis(50));
            while let Some((rx, _)) = near.receive(smoltcp::time::Instant::ZERO) {
                segments += smoltcp::phy::RxToken::consume(rx, |frame| u64::from(frame.get(9) == Some(&6)));
            }
            assert!(Instant::now() < deadline, "{:?}", near.stats());
        }
    }
}

fn mtu() {
    let sandbox = Sandbox::new().unwrap();
    let options = Options { mtu: Some(9000), ..Options::tap("socklet0") };
    let tap = sandbox.open_tap(&options).unwrap();
    assert_eq!(tap.mtu(), 9014);
    drop(tap);
    let tap = sandbox.open_tap(&Options::tun("socklet1")).unwrap();
    assert_eq!(tap.mtu(), 1500);
}
