use super::lan::{Guest, Lan, TICK};
use super::rig::Rig;
use super::{Figure, Random, Segment};
use crate::IpVersion;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use socklet::server::ServerConfig;
use socklet::smoltcp::ConnectionHandle;
use socklet::stack::{Received, TcpStack};
use socklet::time::{Duration, Instant};

const SECONDS: u64 = 30;
const TICKS_PER_SECOND: u64 = 10_000;

/// A client that connects, has a line echoed, and closes.
struct Visit {
    connection: ConnectionHandle,
    since: Instant,
    asked: bool,
}

impl Visit {
    fn start(lan: &mut Lan) -> Self {
        Self { connection: lan.guests[0].connect(), since: lan.rig.now, asked: false }
    }

    /// How long it took, once it is over.
    fn go_on(&mut self, lan: &mut Lan) -> Option<Duration> {
        let stack = &mut lan.guests[0].stack;
        if !self.asked {
            self.asked = matches!(stack.send(self.connection, b"here"), Ok(socklet::stack::Sent::Queued(4)));
            return None;
        }
        let mut buffer = [0; 8];
        match stack.recv(self.connection, &mut buffer) {
            Ok(Received::Data(count)) => assert_eq!(&buffer[..count], b"here"),
            Ok(Received::WouldBlock) => return None,
            other => panic!("an honest client ended with {other:?}"),
        }
        stack.close(self.connection).expect("a connection");
        Some(lan.rig.now.since(self.since))
    }
}

/// 10,000 SYN/s from anywhere on the Internet against 8 slots, 4 of which carry streams.
pub(super) fn flood() -> Vec<Figure> {
    let title = "SYN flood, 10,000/s for 30 s from random sources, 8 slots: throughput kept by 4 connections";
    flood_from(IpVersion::V4, title, |random| {
        Ipv4Addr::from(0x2000_0000 + random.below(0x4000_0000) as u32).into()
    })
}

/// From all of 2000::/3: no two of these SYNs have an address in common.
pub(super) fn flood_v6() -> Vec<Figure> {
    let title = "SYN flood of the same rate over IPv6, from random sources: throughput kept";
    flood_from(IpVersion::V6, title, |random| {
        let [high, low] = [random.next(), random.next()];
        let bits = u128::from(high >> 3) << 64 | u128::from(low);
        Ipv6Addr::from(0x2000 << 112 | bits).into()
    })
}

/// The same from addresses of the server's own network, whose hardware addresses it must ask for, and nobody answers.
pub(super) fn flood_on_link() -> Vec<Figure> {
    let title =
        "SYN flood of the same rate from the server's own network, where nobody answers ARP: throughput kept";
    flood_from(IpVersion::V4, title, |random| Ipv4Addr::new(10, 0, 0, 100 + random.below(100) as u8).into())
}

fn flood_from(
    version: IpVersion,
    scenario: &'static str,
    source: impl Fn(&mut Random) -> IpAddr,
) -> Vec<Figure> {
    let rig = Rig::seeded(version, 1, 8, 2048, ServerConfig::default(), Duration::from_millis(1));
    let mut lan = Lan::new(rig, Guest::new(3, version));
    for _ in 0..4 {
        lan.guests[0].start_stream();
    }
    rate(&mut lan, 1, |_, _| None);
    let quiet = rate(&mut lan, 5, |_, _| None);
    let mut random = Random(7);
    let mut visit = None;
    let mut visits = Vec::new();
    let under_attack = rate(&mut lan, SECONDS, |lan, tick| {
        if tick % TICKS_PER_SECOND == 0 && visit.is_none() {
            visit = Some(Visit::start(lan));
        }
        if let Some(took) = visit.as_mut().and_then(|visit| visit.go_on(lan)) {
            visits.push(took);
            visit = None;
        }
        let ip = source(&mut random);
        Some(syn_from(ip, &mut random))
    });
    let mut after = Visit::start(&mut lan);
    let recovered = (0..3 * TICKS_PER_SECOND).find_map(|_| {
        lan.tick(None);
        after.go_on(&mut lan)
    });
    let recovered = recovered.expect("an honest client gets in within 3 s after the flood");
    let slowest = visits.iter().max().copied().unwrap_or(Duration::MAX);
    let kept = under_attack * 100 / quiet;
    assert!(kept >= 90, "{kept} % of {quiet} octets/s");
    assert!(
        visits.len() as u64 >= SECONDS / 2,
        "{} honest clients got in, slowest {slowest:?}",
        visits.len()
    );
    let stats = lan.rig.stack.stats();
    assert!(stats.frames_received >= SECONDS * TICKS_PER_SECOND);
    vec![
        Figure {
            scenario,
            measured: format!("{kept} % of {:.1} MB/s", quiet as f64 / 1e6),
            bound: ">= 90 %",
        },
        Figure {
            scenario: "the same: honest clients served during it, one at a time",
            measured: format!("{} in 30 s, slowest {:.1} ms", visits.len(), slowest.as_secs_f64() * 1e3),
            bound: ">= 15",
        },
        Figure {
            scenario: "the same: an honest client after it",
            measured: format!("{:.1} ms", recovered.as_secs_f64() * 1e3),
            bound: "<= 3 s",
        },
    ]
}

/// Octets echoed per second over so many seconds, while each tick brings a frame of the attack.
fn rate(lan: &mut Lan, seconds: u64, mut attack: impl FnMut(&mut Lan, u64) -> Option<Vec<u8>>) -> u64 {
    assert_eq!(TICK * TICKS_PER_SECOND as u32, Duration::from_secs(1));
    let before = lan.guests[0].echoed();
    for tick in 0..seconds * TICKS_PER_SECOND {
        let frame = attack(lan, tick);
        lan.tick(frame);
    }
    (lan.guests[0].echoed() - before) / seconds
}

fn syn_from(ip: IpAddr, random: &mut Random) -> Vec<u8> {
    Segment::syn(SocketAddr::new(ip, random.next() as u16 | 1024), random.next() as u32).frame()
}
