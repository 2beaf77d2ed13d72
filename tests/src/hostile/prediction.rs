use super::rig::Rig;
use super::{Figure, PEER, Random, Segment};
use crate::IpVersion;
use core::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use socklet::server::ServerConfig;
use socklet::stack::{ConnectOptions, TcpStack};
use socklet::time::Duration;
use std::collections::HashSet;

const RESTARTS: u64 = 100;
const EACH: u64 = 1000;

fn rig(restart: u64) -> Rig {
    // What a random number generator gives, at each start another.
    let mut random = Random(restart);
    Rig::seeded(IpVersion::V4, random.next(), 4, 512, ServerConfig::default(), Duration::ZERO)
}

/// Of 10^5 numbers of each kind across 100 restarts, each to the same 1,000 peers at the same time since the start.
pub(super) fn sequence_numbers() -> Vec<Figure> {
    type Prepare = fn(&mut Rig);
    type Number = fn(&mut Rig, SocketAddrV4) -> u32;
    let kinds: [(_, Prepare, Number); 3] = [
        ("10^5 initial sequence numbers across 100 restarts", |_| (), accepted),
        ("10^5 of cookies, the same", fill, cookie),
        ("10^5 of connections from here, the same", |_| (), connected),
    ];
    let figure = |(scenario, prepare, number): (_, Prepare, Number)| {
        let mut numbers = Vec::new();
        for restart in 0..RESTARTS {
            let mut rig = rig(restart);
            prepare(&mut rig);
            for peer in 0..EACH {
                numbers.push(number(&mut rig, SocketAddrV4::new(PEER, 2000 + peer as u16)));
            }
        }
        Figure {
            scenario,
            measured: by_chance(scenario, &numbers),
            bound: "<= 8 (1.2 expected), <= 8, < 0.8 %",
        }
    };
    kinds.map(figure).into()
}

/// The number with which a SYN of `peer`'s is answered.
fn accepted(rig: &mut Rig, peer: SocketAddrV4) -> u32 {
    let answers = rig.arrives(Segment::syn(peer, 1000));
    // Room for the next one.
    rig.arrives(Segment { flags: super::flag::RST, ..Segment::syn(peer, 1001) });
    answers[0].seq
}

/// Half-open connections that do not answer take all the room.
fn fill(rig: &mut Rig) {
    for port in 0..4 {
        rig.arrives(Segment::syn(SocketAddrV4::new(PEER, 1000 + port), 1000));
    }
    rig.pass(Duration::from_secs(1));
}

/// The same when there is no room.
fn cookie(rig: &mut Rig, peer: SocketAddrV4) -> u32 {
    let sent = rig.stack.stats().cookies_sent;
    let answers = rig.arrives(Segment::syn(peer, 1000));
    assert_eq!(rig.stack.stats().cookies_sent, sent + 1);
    answers[0].seq
}

/// The number of the SYN to `peer`, always from the same port.
fn connected(rig: &mut Rig, peer: SocketAddrV4) -> u32 {
    let options = ConnectOptions::default().with_local_port(50_000);
    let connection = rig.stack.connect(peer.into(), &options).expect("a connection");
    rig.turn();
    let answers = rig.answers();
    rig.stack.abort(connection).expect("a connection");
    rig.turn();
    rig.answers();
    assert_eq!((answers[0].to, answers[0].flags), (peer.into(), super::flag::SYN));
    answers[0].seq
}

/// Whether 10^5 numbers are as good as random.
fn by_chance(what: &str, numbers: &[u32]) -> String {
    let repeats = numbers.len() - numbers.iter().collect::<HashSet<_>>().len();
    // n^2 / 2 / 2^32 = 1.2; more than 8 have a chance below one in 10,000.
    assert!(repeats <= 8, "{what}: {repeats} repeats");
    let steps = numbers.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]));
    let repeated_steps = numbers.len() - 1 - steps.collect::<HashSet<_>>().len();
    assert!(repeated_steps <= 8, "{what}: {repeated_steps} steps repeat");
    let skew = skew(numbers);
    // The standard deviation of the share of ones is 0.16 %; 32 bits are looked at.
    assert!(skew < 0.8, "{what}: a bit is set or clear {skew:.2} % too often");
    format!("{repeats} repeats, {repeated_steps} equal steps, bits within {skew:.2} % of even")
}

/// How far the most uneven bit is from one half, in percent.
fn skew(numbers: &[u32]) -> f64 {
    let share = |bit: u32| {
        numbers.iter().filter(|number| **number >> bit & 1 == 1).count() as f64 / numbers.len() as f64
    };
    (0..32).map(|bit| (share(bit) - 0.5).abs() * 100.0).fold(0.0, f64::max)
}

/// Of 10^5 connections from here to 1,000 peers each, across 100 restarts.
pub(super) fn ports() -> Vec<Figure> {
    const PORTS: usize = 16_384;
    let mut counts = vec![0u32; PORTS];
    let mut first = HashSet::new();
    let mut same_step = 0u64;
    for restart in 0..RESTARTS {
        let mut rig = rig(restart);
        let mut before = None;
        for peer in 0..EACH {
            let remote = SocketAddr::from((Ipv4Addr::from(0x2000_0000 + peer as u32), 80));
            let connection = rig.stack.connect(remote, &ConnectOptions::default()).expect("a connection");
            let port = rig.stack.local_addr(connection).expect("an address").port();
            rig.stack.abort(connection).expect("a connection");
            counts[usize::from(port - 49_152)] += 1;
            if peer == 0 {
                first.insert(port);
            }
            same_step += u64::from(before.is_some_and(|before: u16| port == before.wrapping_add(1)));
            before = Some(port);
        }
        rig.turn();
    }
    let expected = (RESTARTS * EACH) as f64 / PORTS as f64;
    let chi2: f64 = counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
    // Its mean is 16,383, its standard deviation 181.
    assert!(chi2 < 16_383.0 + 5.0 * 181.0, "chi squared is {chi2:.0}");
    // 100 draws of 16,384: 0.3 repeats expected.
    assert!(first.len() >= 96, "{} different first ports", first.len());
    assert!(same_step <= 30, "{same_step} ports follow the one before to another peer");
    vec![Figure {
        scenario: "10^5 local ports to 1,000 peers across 100 restarts",
        measured: format!(
            "chi squared {chi2:.0}, {} different first ports, {same_step} follow the one before",
            first.len()
        ),
        bound: "< 17,288 (even: 16,383), >= 96 of 100, <= 30 (6 expected)",
    }]
}
