//! Outgoing connections.

use super::*;
use crate::smoltcp::flow::{Address, Flow};

const LOCAL_PORT: u16 = 50_000;

/// The sequence number of the SYN that a stack with this seed sends to `to`, always from the same port at the same time.
#[track_caller]
fn initial_number(seed: u64, to: &str) -> TcpSeqNumber {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::configured(&mut storage, |config| config.seed = seed);
    host.stack.set_gateway(PEER.into()).unwrap();
    host.stack.connect(addr(to), &ConnectOptions::default().with_local_port(LOCAL_PORT)).unwrap();
    host.settle();
    let answers = host.answers();
    let [Answer { control: TcpControl::Syn, seq, ack: None, .. }] = answers[..] else {
        panic!("no SYN but {answers:?}")
    };
    let to = addr(to);
    let flow = Flow {
        local: Address::from(IpAddr::V4(IP)),
        remote: Address::from(to.ip()),
        local_port: LOCAL_PORT,
        remote_port: to.port(),
    };
    let expected = host.stack.engine.numbers.initial(&flow, host.now);
    assert_eq!(seq, TcpSeqNumber(expected as i32), "not as RFC 6528 has it");
    seq
}

#[test]
fn initial_sequence_numbers_differ_by_seed_by_peer_and_by_port() {
    let number = initial_number(1, "10.0.0.1:80");
    assert_eq!(initial_number(1, "10.0.0.1:80"), number);
    assert_ne!(initial_number(2, "10.0.0.1:80"), number);
    assert_ne!(initial_number(1, "192.0.2.1:80"), number);
    assert_ne!(initial_number(1, "10.0.0.1:81"), number);
}

#[test]
fn connect_asks_for_the_neighbour_and_goes_on_when_it_answers() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut config = Config::new(HardwareAddress::Ethernet(MAC), 42);
    config.frames_per_poll = 4;
    let mut stack = SmoltcpStack::new(Queues::default(), config, &mut storage).unwrap();
    stack.add_address(IP.into(), 24).unwrap();
    let mut host = Host { stack, now: Instant::from_secs(1) };
    let connection = host.stack.connect(addr("10.0.0.1:80"), &ConnectOptions::default()).unwrap();
    host.settle();
    assert_eq!((host.stack.device.tx.len(), host.answers().len()), (1, 0), "an ARP request");
    host.now = host.now + Duration::from_millis(5);
    // Not cleared: the SYN must have left at once.
    let arp = core::mem::take(&mut host.stack.device.tx);
    assert!(arp.is_empty());
    host.learn_peer();
    let syn = host.answers();
    assert_eq!((syn.len(), syn[0].control, syn[0].port), (1, TcpControl::Syn, 80));
    assert_eq!(host.stack.status(connection), Ok(Status::Connecting));
}

#[test]
fn connect_to_a_silent_address_times_out_at_the_deadline() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let options = ConnectOptions::default().with_timeout(Some(Duration::from_secs(3)));
    let connection = host.stack.connect(addr("10.0.0.77:80"), &options).unwrap();
    host.settle();
    for _ in 0..2 {
        host.pass(Duration::from_secs(1));
        assert_eq!(host.stack.status(connection), Ok(Status::Connecting));
    }
    host.pass(Duration::from_secs(1));
    assert_eq!(host.stack.status(connection), Ok(Status::Failed(ErrorKind::TimedOut)));
    assert_eq!(host.stack.recv(connection, &mut [0; 4]), Err(ErrorKind::TimedOut));
    host.stack.close(connection).unwrap();
    assert_eq!(host.free(), 1);
}

#[test]
fn connect_says_what_is_wrong_with_an_address() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let mut connect = |to: &str| host.stack.connect(addr(to), &ConnectOptions::default()).unwrap_err();
    assert_eq!(connect("10.0.0.1:0"), ErrorKind::InvalidState);
    assert_eq!(connect("0.0.0.0:80"), ErrorKind::InvalidState);
    assert_eq!(connect("192.168.7.7:80"), ErrorKind::Unreachable);
    let of_ipv6 = if cfg!(feature = "ipv6") { ErrorKind::NoAddress } else { ErrorKind::Unsupported };
    assert_eq!(connect("[2001:db8::1]:80"), of_ipv6);
    assert_eq!(connect("10.0.0.2:80"), ErrorKind::NoAddress);
}

#[test]
fn local_ports_differ_and_none_is_used_twice_for_one_peer() {
    let mut storage = Storage::<64, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let mut ports = Vec::new();
    for _ in 0..64 {
        let connection = host.stack.connect(addr("10.0.0.1:80"), &ConnectOptions::default()).unwrap();
        ports.push(host.stack.local_addr(connection).unwrap().port());
    }
    assert_eq!(
        host.stack.connect(addr("10.0.0.1:80"), &ConnectOptions::default()),
        Err(ErrorKind::NoSlot),
        "a typed error at the end"
    );
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 64);
    assert!(ports[0] >= 49_152);
}

/// A device that says that it segments.
#[cfg(feature = "segmentation-offload")]
struct Segmenting {
    computes_checksums: bool,
}

#[cfg(feature = "segmentation-offload")]
impl Device for Segmenting {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: ::smoltcp::time::Instant) -> Option<(Rx, Tx<'_>)> {
        None
    }

    fn transmit(&mut self, _: ::smoltcp::time::Instant) -> Option<Tx<'_>> {
        None
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut caps = Queues::default().capabilities();
        caps.segmentation.tcpv4 = core::num::NonZeroUsize::new(65_535);
        if self.computes_checksums {
            caps.checksum.tcp = ::smoltcp::phy::Checksum::None;
        }
        caps
    }
}

#[cfg(feature = "segmentation-offload")]
#[test]
fn a_device_that_segments_without_checksums_is_an_error() {
    for computes_checksums in [false, true] {
        let mut storage = Storage::<1, 512, 512>::new();
        let config = Config::new(HardwareAddress::Ethernet(MAC), 42);
        let stack = SmoltcpStack::new(Segmenting { computes_checksums }, config, &mut storage);
        assert_eq!(stack.err(), (!computes_checksums).then_some(ErrorKind::InvalidState));
    }
}
