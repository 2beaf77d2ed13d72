//! Connections that end in every way: nothing is left of them.

use super::rig::{Peer, Rig};
use super::{Figure, Segment, flag, outgoing};
use core::net::SocketAddrV4;
use socklet::connection::Deadlines;
use socklet::server::ServerConfig;
use socklet::stack::ListenOptions;
use socklet::storage::Id;
use socklet::time::Duration;

/// Ways for a connection to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The peer closes, then the server.
    PeerCloses,
    /// The server closes, then the peer.
    ServerCloses,
    /// The server closes; the peer is gone.
    ServerClosesAlone,
    /// The peer resets.
    PeerResets,
    /// The server resets.
    ServerAborts,
    /// The peer says nothing more.
    PeerVanishes,
    /// The peer takes nothing of what it asked for.
    PeerStalls,
    /// The handshake stays half open.
    HalfOpen,
    /// The handshake is reset.
    HalfOpenReset,
    /// The link is lost for good.
    LinkLost,
}

impl Ending {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::PeerCloses,
        Self::ServerCloses,
        Self::ServerClosesAlone,
        Self::PeerResets,
        Self::ServerAborts,
        Self::PeerVanishes,
        Self::PeerStalls,
        Self::HalfOpen,
        Self::HalfOpenReset,
        Self::LinkLost,
    ];
}

const CONNECTIONS: usize = 100_000;

/// 10^5 connections to here, then 10^5 from here: one after the other, because resident memory is the process's.
pub fn in_memory() -> Vec<Figure> {
    vec![incoming(), outgoing::in_memory()]
}

/// 10^5 connections, ten at a time, each ended in another way.
fn incoming() -> Figure {
    let limit = Some(Duration::from_secs(5));
    let deadlines = Deadlines::SERVER.with_idle(limit).with_first_byte(limit).with_write_stall(limit);
    let slots = Ending::ALL.len() + 1;
    let config = ServerConfig::default().with_deadlines(deadlines);
    let config = config.with_listen(ListenOptions::backlog(slots));
    let mut rig = Rig::new(slots, 1024, config);
    let mut settled = None;
    for round in 0..CONNECTIONS / Ending::ALL.len() {
        for (number, ending) in Ending::ALL.into_iter().enumerate() {
            let port = 1024 + ((round * Ending::ALL.len() + number) % 60_000) as u16;
            end(&mut rig, port, ending);
        }
        rig.pass(Duration::from_secs(45));
        assert_eq!((rig.open_connections(), rig.free()), (0, slots), "in round {round}");
        if round == 1000 {
            settled = resident();
        }
    }
    let grown = resident().zip(settled).map(|(end, start)| end.saturating_sub(start) / 1024);
    assert!(grown.is_none_or(|kib| kib <= 1024), "{grown:?} KiB more than after 10^4 connections");
    let opened = rig.service.observer.opened;
    let grown = grown.map_or("not known here".into(), |kib| format!("{kib} KiB"));
    Figure {
        scenario: "10^5 connections in memory, ended in 10 ways: slots in use, resident memory gained",
        measured: format!("0, {grown} ({opened} were accepted)"),
        bound: "0, <= 1 MiB",
    }
}

fn end(rig: &mut Rig, port: u16, ending: Ending) {
    let half_open = |rig: &mut Rig| rig.arrives(Segment::syn(SocketAddrV4::new(super::PEER, port), 1000));
    match ending {
        Ending::HalfOpen => {
            half_open(rig);
        }
        Ending::HalfOpenReset => {
            half_open(rig);
            let reset = Segment::syn(SocketAddrV4::new(super::PEER, port), 1001);
            rig.arrives(Segment { flags: flag::RST, ..reset });
        }
        Ending::PeerCloses => {
            let mut peer = rig.open(port);
            peer.echo(rig, b"bye");
            rig.arrives(Segment { flags: flag::FIN | flag::ACK, ..peer.segment(b"") });
            peer.seq += 1;
            peer.ack = peer.ack.wrapping_add(1);
            rig.arrives(peer.segment(b""));
        }
        Ending::ServerCloses | Ending::ServerClosesAlone => {
            let mut peer = rig.open(port);
            let id = latest(rig, &peer);
            rig.service.server.close(&mut rig.stack, id).expect("a connection");
            rig.turn();
            rig.answers();
            if ending == Ending::ServerCloses {
                peer.ack = peer.ack.wrapping_add(1);
                rig.arrives(Segment { flags: flag::FIN | flag::ACK, ..peer.segment(b"") });
            }
        }
        Ending::PeerResets => {
            let mut peer = rig.open(port);
            peer.echo(rig, b"x");
            rig.arrives(Segment { flags: flag::RST, ..peer.segment(b"") });
        }
        Ending::ServerAborts => {
            let peer = rig.open(port);
            let id = latest(rig, &peer);
            rig.service.server.abort(id).expect("a connection");
            rig.turn();
            assert!(rig.answers().iter().any(|answer| answer.has(flag::RST)));
        }
        Ending::PeerVanishes => {
            rig.open(port);
        }
        Ending::PeerStalls => {
            let peer = rig.open(port);
            rig.arrives(Segment { window: 0, ..peer.segment(&[1; 500]) });
        }
        Ending::LinkLost => {
            // Not for the others of this round: only every hundredth connection sees it.
            rig.open(port);
            if port % 100 == 33 {
                rig.stack.link_lost();
            }
        }
    }
}

/// The connection with `peer`.
fn latest(rig: &Rig, peer: &Peer) -> Id {
    let server = &rig.service.server;
    let is_it = |id: &Id| server.peer(&rig.stack, *id).ok() == Some(peer.address);
    server.ids().find(is_it).expect("an open connection")
}

/// Octets of resident memory of this process, where the system says.
pub fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

/// Open descriptors of this process, where the system says.
pub fn descriptors() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count())
}
