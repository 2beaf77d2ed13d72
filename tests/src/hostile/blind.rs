use super::rig::Rig;
use super::{Figure, Random, Segment, flag, neighbor};
use crate::IpVersion;
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::wire::{HardwareAddress, IpCidr};
use socklet::connection::Deadlines;
use socklet::server::ServerConfig;
use socklet::time::Duration;

const WINDOW: usize = 65_535;
const SPOOFED: usize = 1_000_000;

fn rig(version: IpVersion) -> Rig {
    Rig::over(version, 2, WINDOW, ServerConfig::default().with_deadlines(Deadlines::NONE))
}

/// Resets with random sequence numbers, against a connection and against smoltcp alone.
pub(super) fn resets() -> Vec<Figure> {
    let (challenges, kills) = resets_over(IpVersion::V4);
    vec![
        Figure {
            scenario: "10^6 spoofed resets against a window of 64 KiB: connections ended",
            measured: format!("0 ({challenges} in the window, challenged)"),
            bound: "0",
        },
        Figure {
            scenario: "the same against smoltcp alone",
            measured: kills.to_string(),
            bound: "> 0, so that the attack is one",
        },
    ]
}

pub(super) fn resets_v6() -> Vec<Figure> {
    let (challenges, kills) = resets_over(IpVersion::V6);
    vec![Figure {
        scenario: "the same resets over IPv6: connections ended, and with smoltcp alone",
        measured: format!("0 ({challenges} challenged), {kills}"),
        bound: "0, > 0",
    }]
}

/// How many were challenged, and how many connections of smoltcp's they ended.
fn resets_over(version: IpVersion) -> (u64, usize) {
    let mut rig = rig(version);
    let mut peer = rig.open(2000);
    let mut random = Random(11);
    let mut smoltcp = Bare::new(version);
    for _ in 0..SPOOFED / 1000 {
        for _ in 0..1000 {
            let reset = Segment { flags: flag::RST, seq: random.next() as u32, ..peer.segment(b"") };
            if reset.seq != peer.seq {
                rig.send(&reset.frame());
            }
            smoltcp.reset(&reset);
        }
        rig.pass(Duration::from_millis(10));
    }
    assert_eq!(rig.open_connections(), 1, "a spoofed reset ended the connection");
    peer.echo(&mut rig, b"still here");
    let challenges = rig.stack.stats().challenges;
    assert!(smoltcp.kills > 0, "the attack is not strong enough to tell");
    (challenges, smoltcp.kills)
}

/// SYNs, and data whose acknowledgement number was guessed.
pub(super) fn syns_and_data() -> Vec<Figure> {
    vec![syns_and_data_over(
        IpVersion::V4,
        "10^5 spoofed SYNs and 10^5 data segments at the exact sequence number with a guessed ACK",
    )]
}

pub(super) fn syns_and_data_v6() -> Vec<Figure> {
    vec![syns_and_data_over(IpVersion::V6, "the same SYNs and data over IPv6")]
}

fn syns_and_data_over(version: IpVersion, scenario: &'static str) -> Figure {
    const EACH: usize = 100_000;
    let mut rig = rig(version);
    let mut peer = rig.open(2000);
    let mut random = Random(12);
    let mut replies = 0;
    for round in 0..EACH {
        let flags = if round % 2 == 0 { flag::SYN } else { flag::SYN | flag::ACK };
        let syn =
            Segment { flags, seq: random.next() as u32, ack: random.next() as u32, ..peer.segment(b"") };
        rig.send(&syn.frame());
        // The best that a blind attacker can hope for: its sequence number is right.
        let data = Segment { ack: random.next() as u32, ..peer.segment(b"evil") };
        if data.ack != peer.ack {
            rig.send(&data.frame());
        }
        rig.now = rig.now + Duration::from_millis(1);
        rig.turn();
        replies += rig.answers().len();
    }
    assert_eq!(rig.open_connections(), 1);
    peer.echo(&mut rig, b"mine alone");
    let seconds = EACH / 1000;
    // RFC 5961, section 7: smoltcp's limit is one a second and connection.
    assert!(replies <= 2 * seconds + 2, "{replies} replies in {seconds} s");
    Figure {
        scenario,
        measured: format!("0 ended, 0 octets taken, {replies} challenges in {seconds} s"),
        bound: "0, 0, 2 a second",
    }
}

/// smoltcp alone: one socket, opened again when it was killed.
struct Bare {
    interface: Interface,
    sockets: SocketSet<'static>,
    wire: Rig,
    kills: usize,
}

impl Bare {
    fn new(version: IpVersion) -> Self {
        let mut wire = rig(version);
        let mut interface = Interface::new(
            Config::new(HardwareAddress::Ethernet(super::SERVER_MAC)),
            wire.stack.device_mut(),
            smoltcp::time::Instant::ZERO,
        );
        let own = IpCidr::new(version.server().into(), 24);
        interface.update_ip_addrs(|addrs| addrs.push(own).expect("room"));
        let buffer = || tcp::SocketBuffer::new(vec![0; WINDOW]);
        let mut sockets = SocketSet::new(vec![]);
        sockets.add(tcp::Socket::new(buffer(), buffer()));
        let mut bare = Self { interface, sockets, wire, kills: 0 };
        bare.wire.send(&neighbor(version.peer()));
        bare.poll();
        bare.open();
        bare
    }

    fn poll(&mut self) {
        let device = self.wire.stack.device_mut();
        self.interface.poll(smoltcp::time::Instant::from_secs(1), device, &mut self.sockets);
    }

    fn socket(&mut self) -> &mut tcp::Socket<'static> {
        match self.sockets.iter_mut().next() {
            Some((_, smoltcp::socket::Socket::Tcp(socket))) => socket,
            _ => unreachable!("one socket, of TCP"),
        }
    }

    fn open(&mut self) {
        self.socket().abort();
        self.poll();
        self.socket().listen(7).expect("port 7");
        let address = self.wire.peer(2000);
        self.wire.answers();
        self.wire.send(&Segment::syn(address, 1000).frame());
        self.poll();
        let synack = self.wire.answers();
        let synack = synack.iter().find(|answer| answer.has(flag::SYN)).expect("a SYN|ACK");
        let peer = super::Peer { address, seq: 1001, ack: synack.seq.wrapping_add(1) };
        self.wire.send(&peer.segment(b"").frame());
        self.poll();
        assert_eq!(self.socket().state(), tcp::State::Established);
    }

    fn reset(&mut self, reset: &Segment<'_>) {
        self.wire.send(&reset.frame());
        self.poll();
        if self.socket().state() != tcp::State::Established {
            self.kills += 1;
            self.open();
        } else {
            self.wire.answers();
        }
    }
}
