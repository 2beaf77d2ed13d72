use super::rig::Rig;
use super::{Figure, PEER};
use core::net::{Ipv4Addr, SocketAddr};
use socklet::server::ServerConfig;
use socklet::stack::{ConnectOptions, ErrorKind, TcpStack};

const SLOTS: usize = 17_000;
const PORTS: usize = 16_384;

/// 70,000 connects at once: slots run out, then (to one peer) ports.
pub(super) fn connects() -> Vec<Figure> {
    let mut rig = Rig::new(SLOTS, 64, ServerConfig::default());
    let mut open = Vec::new();
    let mut refused = 0;
    for number in 0..70_000u32 {
        let remote = SocketAddr::from((Ipv4Addr::from(0x2000_0000 + number % 1000), 80));
        match rig.stack.connect(remote, &ConnectOptions::default()) {
            Ok(connection) => open.push(connection),
            Err(ErrorKind::NoSlot) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((open.len(), refused), (SLOTS, 70_000 - SLOTS));
    let give_back = |rig: &mut Rig, open: &mut Vec<_>| {
        for connection in open.drain(..) {
            rig.stack.abort(connection).expect("a connection");
        }
        assert_eq!(rig.free(), SLOTS);
    };
    give_back(&mut rig, &mut open);

    let one = SocketAddr::from((PEER, 80));
    for _ in 0..PORTS {
        open.push(rig.stack.connect(one, &ConnectOptions::default()).expect("a port"));
    }
    for _ in 0..100 {
        assert_eq!(rig.stack.connect(one, &ConnectOptions::default()), Err(ErrorKind::AddressInUse));
    }
    let other = SocketAddr::from((PEER, 81));
    let elsewhere = rig.stack.connect(other, &ConnectOptions::default()).expect("ports are for each peer");
    open.push(elsewhere);
    give_back(&mut rig, &mut open);
    rig.stack.connect(one, &ConnectOptions::default()).expect("a port again");
    vec![Figure {
        scenario: "70,000 connects at once with 17,000 slots; then to one peer until its ports are used up",
        measured: format!(
            "{refused} times NoSlot; AddressInUse after {PORTS}; all given back, and connects again"
        ),
        bound: "typed errors, and recovery",
    }]
}
