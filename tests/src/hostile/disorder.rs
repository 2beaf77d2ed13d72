use super::rig::Rig;
use super::{Figure, Segment, flag};
use flag::{ACK, FIN, URG};
use socklet::server::ServerConfig;
use socklet::time::Duration;

/// A stream in pieces of every size, out of order, overlapping, with URG, and with bytes after its FIN.
pub(super) fn disorder() -> Vec<Figure> {
    const BYTES: usize = 20_000;
    let mut rig = Rig::new(1, 4096, ServerConfig::default());
    let mut peer = rig.open(2000);
    let bytes: Vec<u8> = (0..BYTES).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 13) as u8).collect();
    let mut random = super::Random(3);
    let first = peer.seq;
    let (mut taken, mut echoed, mut pieces) = (0, Vec::new(), 0);
    while echoed.len() < BYTES {
        // Anywhere around what is next, often overlapping what was sent before.
        let at = (taken + random.below(3000) as usize).saturating_sub(1000).min(BYTES - 1);
        let at = if random.below(3) == 0 { taken.min(BYTES - 1) } else { at };
        let piece = &bytes[at..(at + 1 + random.below(1400) as usize).min(BYTES)];
        let urgent = random.below(2) as u8 * URG;
        let segment = peer.segment(piece);
        let segment =
            Segment { seq: first.wrapping_add(at as u32), flags: ACK | urgent, urgent: 3, ..segment };
        pieces += 1;
        for answer in rig.arrives(segment) {
            taken = answer.ack.wrapping_sub(first) as usize;
            if answer.seq == peer.ack {
                peer.ack = peer.ack.wrapping_add(answer.payload.len() as u32);
                echoed.extend(answer.payload);
            }
        }
        rig.now = rig.now + Duration::from_millis(20);
        assert!(pieces < 100_000, "stuck at {taken} taken, {} echoed", echoed.len());
    }
    assert_eq!(echoed, bytes);
    peer.seq = first.wrapping_add(BYTES as u32);
    let fin = Segment { flags: FIN | ACK, ..peer.segment(b"the end") };
    let beyond = Segment { seq: peer.seq.wrapping_add(8), ..peer.segment(b"and more") };
    rig.arrives(peer.segment(b""));
    let mut last = rig.arrives(fin);
    last.extend(rig.arrives(beyond));
    let said: Vec<u8> = last.iter().flat_map(|answer| answer.payload.clone()).collect();
    assert!(said.starts_with(b"the end") && !said.windows(4).any(|word| word == b"more"), "{said:?}");
    assert!(last.iter().all(|answer| answer.ack == peer.seq.wrapping_add(8)), "{last:?}");
    let ack = peer.ack.wrapping_add(8);
    rig.arrives(Segment { seq: peer.seq.wrapping_add(8), ack, ..peer.segment(b"") });
    assert_eq!((rig.open_connections(), rig.free()), (0, 1));
    vec![Figure {
        scenario: "20,000 octets in random pieces: out of order, overlapping, URG, data beyond FIN",
        measured: format!("every octet right, from {pieces} pieces; nothing after the FIN"),
        bound: "every octet, in order, once",
    }]
}
