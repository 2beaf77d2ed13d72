use super::rig::{Answer, Peer, Rig};
use super::{Figure, Segment, flag};
use core::net::SocketAddr;
use socklet::connection::{Deadline, Deadlines, Progress, Reason};
use socklet::server::ServerConfig;
use socklet::time::Duration;

/// Every slot is taken by a client that sends a byte in 10 s.
pub(super) fn slowloris() -> Vec<Figure> {
    const SLOTS: u16 = 8;
    let progress = Progress { bytes: 100, period: Duration::from_secs(30) };
    let deadlines = Deadlines::SERVER.with_progress(Some(progress));
    let mut rig = Rig::new(SLOTS.into(), 2048, ServerConfig::default().with_deadlines(deadlines));
    let mut slow: Vec<Peer> = (0..SLOTS).map(|number| rig.open(2000 + number)).collect();
    assert_eq!((rig.open_connections(), rig.free()), (8, 0));
    let honest = SocketAddr::from((super::PEER, 3000));
    let began = rig.now;
    loop {
        for peer in &mut slow {
            let answers = rig.arrives(peer.segment(b"x"));
            if answers.iter().any(|answer| answer.has(flag::RST)) || rig.open_connections() < 8 {
                continue;
            }
            peer.seq += 1;
            peer.ack += 1;
        }
        // Its SYN, and the repetitions that any stack sends.
        let answers = rig.arrives(Segment::syn(honest, 1000));
        if let Some(synack) = answers.iter().find(|answer| answer.to == honest) {
            let mut peer = Peer { address: honest, seq: 1001, ack: synack.seq + 1 };
            peer.echo(&mut rig, b"at last");
            break;
        }
        assert!(rig.now.since(began) < Duration::from_secs(60), "nobody made room");
        rig.pass(Duration::from_secs(10));
    }
    let waited = rig.now.since(began);
    assert!(waited <= Duration::from_secs(40));
    let out = rig.service.observer.ends.iter();
    let out = out.filter(|end| end.1 == Reason::TimedOut(Deadline::Progress)).count();
    assert!(out >= 7, "{out}");
    vec![Figure {
        scenario: "Slowloris, a byte in 10 s on each of 8 slots, progress deadline 30 s: an honest client gets in after",
        measured: format!("{} s", waited.as_secs()),
        bound: "<= 40 s",
    }]
}

/// The peer asks for an echo and never opens its window to take it.
pub(super) fn zero_window() -> Vec<Figure> {
    let mut rig = Rig::new(1, 2048, ServerConfig::default());
    let mut peer = rig.open(2000);
    let bytes = [7; 1000];
    let shut = Segment { window: 0, ..peer.segment(&bytes) };
    rig.arrives(shut);
    peer.seq += 1000;
    let began = rig.now;
    let mut probes = 0;
    while rig.open_connections() > 0 {
        // Each probe is answered: still no room.
        rig.now = rig.now + Duration::from_millis(100);
        rig.turn();
        if !rig.answers().is_empty() {
            probes += 1;
            rig.arrives(Segment { window: 0, ..peer.segment(b"") });
        }
        assert!(rig.now.since(began) < Duration::from_secs(60), "a shut window holds its slot");
    }
    assert_eq!(rig.last_end(), Some(Reason::TimedOut(Deadline::WriteStall)));
    rig.pass(Duration::from_secs(30));
    assert_eq!(rig.free(), 1);
    assert!(probes > 0);
    let took = rig.now.since(began) - Duration::from_secs(30);
    vec![Figure {
        scenario: "zero window for ever, each probe answered: the slot is free after",
        measured: format!("{:.1} s, {probes} probes", took.as_secs_f64()),
        bound: "<= 60 s",
    }]
}

/// Windows of one octet, an MSS of one and of none: every byte comes, in pieces that smoltcp finds worth it.
pub(super) fn silly() -> Vec<Figure> {
    const BYTES: usize = 2000;
    let bytes: Vec<u8> = (0..BYTES).map(|at| (at * 7) as u8).collect();
    let mut segments = [0, 0, 0];
    for (count, (mss, window)) in segments.iter_mut().zip([(1460u16, 1u16), (1, 8192), (0, 8192)]) {
        let mut rig = Rig::new(1, 2048, ServerConfig::default());
        let address = SocketAddr::from((super::PEER, 2000));
        let [high, low] = mss.to_be_bytes();
        let options = [2, 4, high, low];
        let synack = rig.arrives(Segment { options: &options, ..Segment::syn(address, 1000) });
        let mut peer = Peer { address, seq: 1001, ack: synack[0].seq + 1 };
        // smoltcp's least, and its default (RFC 9293, section 3.7.1).
        let longest = match (mss, window) {
            (0, _) => 536,
            (1, _) => 48,
            (_, window) => window.into(),
        };
        rig.arrives(Segment { window, ..peer.segment(b"") });
        let mut chunks = bytes.chunks(1000);
        let mut echoed = Vec::new();
        while echoed.len() < BYTES {
            let chunk = chunks.next().unwrap_or_default();
            let answers = rig.arrives(Segment { window, ..peer.segment(chunk) });
            peer.seq += chunk.len() as u32;
            *count += answers.len();
            for Answer { seq, payload, .. } in answers {
                assert!(payload.len() <= longest, "{} octets to MSS {mss}, window {window}", payload.len());
                if seq == peer.ack {
                    peer.ack += payload.len() as u32;
                    echoed.extend(payload);
                }
            }
            assert!(*count < 10 * BYTES, "{} of {BYTES} octets in {count} segments", echoed.len());
            rig.now = rig.now + Duration::from_millis(10);
        }
        assert_eq!(echoed, bytes);
    }
    let [window, one, none] = segments;
    vec![Figure {
        scenario: "2,000 octets to a peer with a window of 1, with an MSS of 1 (taken for 48), with an MSS of 0 (for 536)",
        measured: format!("every octet, in {window}, {one} and {none} segments"),
        bound: "every octet",
    }]
}
