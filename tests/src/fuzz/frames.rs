use super::Input;
use crate::hostile::{PEER, Peer, Rig, Segment};
use core::net::SocketAddr;
use socklet::server::ServerConfig;
use socklet::time::{Duration, Instant};

/// Frames of any content for a server with live connections: nothing panics, and no slot is lost.
pub fn frames(data: &[u8]) {
    let mut input = Input(data);
    let buffer = [64, 512, 2048, 70_000][input.below(4)];
    let mut rig = Rig::new(4, buffer, ServerConfig::default());
    let mut peers = [rig.open(2000), rig.open(2001)];
    while !input.is_empty() {
        let which = input.below(3);
        match input.below(6) {
            0 => {
                rig.send(input.bytes());
            }
            1 => rig.pass(Duration::from_millis(u64::from(input.word()) * 10)),
            2 => {
                let back = u64::from(input.word()) * 1_000_000;
                rig.now = Instant::from_micros(rig.now.as_micros().saturating_sub(back));
            }
            3 => {
                let at = usize::from(input.word());
                let mut frame = segment(&mut input, &peers, which).frame();
                let octet = at % frame.len();
                frame[octet] ^= input.byte();
                rig.send(&frame);
            }
            4 => {
                let frame = segment(&mut input, &peers, which).frame();
                rig.send(&frame[..frame.len() - input.below(frame.len().min(256))]);
            }
            _ => rig.send(&segment(&mut input, &peers, which).frame()),
        }
        rig.turn();
        for answer in rig.answers() {
            // The peers believe what they are told, so that later segments are near the mark.
            for peer in peers.iter_mut().filter(|peer| peer.address == answer.to) {
                peer.seq = answer.ack;
                peer.ack = answer.seq.wrapping_add(answer.payload.len() as u32);
            }
        }
        assert!(rig.open_connections() <= 4);
    }
    rig.pass(Duration::from_secs(400));
    assert_eq!((rig.open_connections(), rig.free()), (0, 4), "a slot was lost");
    rig.open(3000).echo(&mut rig, b"after");
}

/// A segment for one of the connections, or for none.
fn segment<'a>(input: &mut Input<'a>, peers: &[Peer; 2], which: usize) -> Segment<'a> {
    let stranger = Peer { address: SocketAddr::from((PEER, 4000)), seq: 77, ack: 0 };
    let peer = peers.get(which).copied().unwrap_or(stranger);
    let flags = input.byte();
    // Near what is expected, on either side, or anywhere.
    let near = |input: &mut Input<'_>| match input.below(4) {
        0 | 1 => 0,
        2 => i32::from(input.byte() as i8) as u32,
        _ => u32::from(input.word()) << 16 | u32::from(input.word()),
    };
    let (seq, ack) = (peer.seq.wrapping_add(near(input)), peer.ack.wrapping_add(near(input)));
    let (window, urgent) = (input.word(), input.word());
    let options = input.bytes();
    let options = options.get(..(options.len() & !3).min(40)).unwrap_or_default();
    Segment { flags, seq, ack, window, urgent, options, ..peer.segment(input.bytes()) }
}
