//! Peers that mean harm: floods, spoofed segments, guesses.

use super::*;
use crate::smoltcp::flow::{Address, Flow};
use ::smoltcp::wire::TcpSeqNumber as Seq;

fn rst(port: u16, seq: i32) -> TcpRepr<'static> {
    TcpRepr { control: TcpControl::Rst, seq_number: Seq(seq), ..data(port, b"") }
}

/// A connection whose peer's next sequence number is 1001, and this side's next one.
fn established<'a>(storage: &'a mut Storage<'a, 1, 512, 512>) -> (Host<'a>, ConnectionHandle, Seq) {
    let mut host = Host::new(storage);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    let seq = host.open(5000);
    let (connection, _) = host.stack.accept(listener).unwrap().unwrap();
    host.settle();
    (host, connection, seq)
}

#[test]
fn a_reset_with_the_exact_sequence_number_ends_the_connection() {
    let mut storage = Storage::new();
    let (mut host, connection, _) = established(&mut storage);
    assert_eq!(host.arrives(rst(5000, 1001)), []);
    assert_eq!(host.stack.status(connection), Ok(Status::Failed(ErrorKind::Reset)));
}

#[test]
fn a_reset_elsewhere_in_the_window_is_answered_with_a_challenge_and_not_believed() {
    let mut storage = Storage::new();
    let (mut host, connection, seq) = established(&mut storage);
    let answers = host.arrives(rst(5000, 1002));
    let [Answer { control: TcpControl::None, ack: Some(ack), seq: said, payload: 0, .. }] = answers[..]
    else {
        panic!("no challenge ACK but {answers:?}")
    };
    assert_eq!((said, ack), (seq, Seq(1001)));
    assert_eq!(host.stack.status(connection), Ok(Status::Open));
    assert_eq!(host.arrives(rst(5000, 1003)), [], "once a second");
    host.pass(Duration::from_secs(1));
    assert_eq!(host.arrives(rst(5000, 1003)).len(), 1);
    assert_eq!(host.arrives(rst(5000, 9999)), [], "outside the window: not a word");
    assert_eq!(host.stack.status(connection), Ok(Status::Open));
}

#[test]
fn the_exact_number_counts_bytes_that_are_not_acknowledged_yet() {
    let mut storage = Storage::new();
    let (mut host, connection, seq) = established(&mut storage);
    host.arrives(TcpRepr { ack_number: Some(seq), ..data(5000, b"hello") });
    host.arrives(rst(5000, 1001));
    assert_eq!(host.stack.status(connection), Ok(Status::Open));
    host.arrives(rst(5000, 1006));
    assert_eq!(host.stack.status(connection), Ok(Status::Failed(ErrorKind::Reset)));
}

#[test]
fn a_syn_in_an_established_connection_is_answered_with_a_challenge() {
    for control in [None, Some(Seq(77))] {
        let mut storage = Storage::new();
        let (mut host, connection, seq) = established(&mut storage);
        let answers = host.arrives(TcpRepr { seq_number: Seq(50_000), ack_number: control, ..syn(5000) });
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert_eq!(
            (answers[0].control, answers[0].seq, answers[0].ack),
            (TcpControl::None, seq, Some(Seq(1001)))
        );
        assert_eq!(host.stack.status(connection), Ok(Status::Open));
    }
}

#[test]
fn a_challenge_is_not_sent_for_a_broken_segment() {
    let mut storage = Storage::new();
    let (mut host, _, _) = established(&mut storage);
    let mut broken = frame(PEER, rst(5000, 1002));
    broken[14 + 20 + 16] ^= 1;
    host.stack.device.rx.push_back(broken);
    host.settle();
    assert_eq!(host.answers(), []);
}

#[test]
fn a_broken_syn_takes_nothing_from_anyone() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    let synack = host.arrives(syn(5000))[0];
    host.pass(Duration::from_secs(1));
    host.answers();
    // One would start the half-open connection anew, the other would take its slot.
    for other in [TcpRepr { seq_number: Seq(9000), ..syn(5000) }, syn(5001)] {
        let mut broken = frame(PEER, other);
        broken[14 + 20 + 16] ^= 1;
        host.stack.device.rx.push_back(broken);
        host.settle();
        assert_eq!(host.answers(), []);
    }
    host.arrives(TcpRepr { ack_number: Some(synack.seq + 1), ..data(5000, b"") });
    assert_eq!((host.stack.stats().half_open_dropped, host.free()), (0, 0));
    assert_eq!(host.stack.stats().dropped, Drops { wrong_checksum: 2, ..Drops::default() });
}

#[test]
fn a_listener_does_not_answer_a_segment_without_syn_and_ack() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    assert_eq!(host.arrives(TcpRepr { ack_number: None, ..data(5000, b"text") }), []);
}

#[test]
fn a_restarted_peer_that_uses_its_port_again_gets_in() {
    let mut storage = Storage::<2, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    host.open(5000);
    let challenge = host.arrives(TcpRepr { seq_number: Seq(7_000_000), ..syn(5000) });
    // The peer knows nothing of this connection, and says so with the number that it was told.
    host.arrives(rst(5000, challenge[0].ack.unwrap().0));
    let again = host.arrives(TcpRepr { seq_number: Seq(7_000_000), ..syn(5000) });
    assert_eq!((again[0].control, again[0].ack), (TcpControl::Syn, Some(Seq(7_000_001))));
}

#[test]
fn a_million_spoofed_resets_kill_nothing() {
    let mut storage = Storage::new();
    let (mut host, connection, _) = established(&mut storage);
    let mut random = Random::new(2);
    for _ in 0..1_000_000 / 64 {
        for _ in 0..64 {
            let mut seq = random.next() as i32;
            if seq == 1001 {
                seq += 1;
            }
            host.stack.device.rx.push_back(frame(PEER, rst(5000, seq)));
        }
        host.settle();
    }
    assert_eq!(host.stack.status(connection), Ok(Status::Open));
}

#[test]
fn a_half_open_connection_whose_client_starts_anew_follows_it() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    host.arrives(syn(5000));
    let again = host.arrives(TcpRepr { seq_number: Seq(9000), ..syn(5000) });
    assert_eq!((again[0].control, again[0].ack), (TcpControl::Syn, Some(Seq(9001))));
}

#[test]
fn a_reset_of_a_half_open_connection_needs_the_exact_sequence_number() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    let synack = host.arrives(syn(5000))[0];
    for guess in [1000, 1002, 1003, 9999, -1] {
        assert_eq!(host.arrives(rst(5000, guess)), []);
        assert_eq!(host.free(), 0, "{guess}");
    }
    host.arrives(TcpRepr { ack_number: Some(synack.seq + 1), ..data(5000, b"") });
    assert_eq!(host.stack.accept(listener).unwrap().unwrap().1.port(), 5000);

    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    host.arrives(syn(5000));
    assert_eq!(host.arrives(rst(5000, 1001)), []);
    assert_eq!(host.free(), 1);
}

/// In every state after ESTABLISHED: a reset in the window and a SYN are challenged, an old acknowledgement is nothing new.
#[test]
fn blind_segments_change_nothing_while_a_connection_ends() {
    // Who has closed: this side, this side and was acknowledged, the peer.
    for (name, closes, acked, ends) in [
        ("FIN-WAIT-1", true, false, false),
        ("FIN-WAIT-2", true, true, false),
        ("CLOSE-WAIT", false, false, true),
        ("CLOSING", true, false, true),
        ("TIME-WAIT", true, true, true),
    ] {
        let mut storage = Storage::new();
        let (mut host, connection, seq) = established(&mut storage);
        if closes {
            host.stack.shutdown(connection).unwrap();
            host.settle();
        }
        let (next, expected) = (seq + usize::from(closes), 1001 + i32::from(ends));
        if acked {
            host.arrives(TcpRepr { ack_number: Some(next), ..data(5000, b"") });
        }
        if ends {
            host.arrives(fin(5000, if acked { next } else { seq }));
        }
        host.pass(Duration::from_millis(1));
        host.answers();
        let before = (host.stack.status(connection), host.stack.engine.slots[0].socket().unwrap().state());
        let stands =
            Answer { port: 5000, control: TcpControl::None, seq: next, ack: Some(Seq(expected)), payload: 0 };
        let old = TcpRepr { seq_number: Seq(expected), ack_number: Some(seq), ..data(5000, b"") };
        let reset: &[_] = if name == "TIME-WAIT" { &[] } else { &[stands] };
        for (segment, answers) in
            [(rst(5000, expected + 1), reset), (old, &[]), (rst(5000, expected + 9999), &[])]
        {
            assert_eq!(host.arrives(segment), answers, "{name}: {segment:?}");
        }
        // The next challenge may be sent.
        host.pass(Duration::from_secs(1));
        host.answers();
        assert_eq!(host.arrives(TcpRepr { seq_number: Seq(900), ..syn(5000) }), [stands], "{name}: a SYN");
        let after = (host.stack.status(connection), host.stack.engine.slots[0].socket().unwrap().state());
        assert_eq!(after, before, "{name}");
    }
}

#[test]
fn a_flood_cannot_starve_timers() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    host.arrives(syn(5000));
    host.pass(Duration::from_millis(9_999));
    let nobody = frame(PEER, TcpRepr { dst_port: 99, ..data(6000, b"") });
    host.stack.device.rx.extend(core::iter::repeat_n(nobody, 1000));
    for left in [936, 872, 808] {
        assert_eq!(host.stack.poll(host.now), Some(host.now), "more is there");
        assert_eq!(host.stack.device.rx.len(), left);
    }
    assert_eq!(host.free(), 0);
    host.now = host.now + Duration::from_millis(1);
    assert_eq!(host.stack.poll(host.now), Some(host.now));
    assert_eq!((host.stack.device.rx.len(), host.free()), (744, 1));
}

#[test]
fn in_a_flood_of_syns_an_honest_client_gets_in() {
    let mut storage = Storage::<2, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    let flood = |host: &mut Host<'_>, ports: core::ops::Range<u16>| {
        for port in ports {
            host.arrives(syn(port));
        }
    };
    flood(&mut host, 10_000..11_000);
    host.pass(Duration::from_secs(1));
    flood(&mut host, 11_000..12_000);
    let synack = host.arrives(TcpRepr { max_seg_size: Some(1460), ..syn(5000) })[0];
    assert_eq!(synack.control, TcpControl::Syn);
    flood(&mut host, 12_000..13_000);
    // Its slot has long been given to others; the sequence number remembers it, and its first bytes come along.
    let first = TcpRepr { ack_number: Some(synack.seq + 1), ..data(5000, b"honest") };
    host.arrives(first);
    let (connection, peer) = host.stack.accept(listener).unwrap().unwrap();
    assert_eq!(peer.port(), 5000);
    let mut buffer = [0; 16];
    assert_eq!(host.stack.recv(connection, &mut buffer), Ok(Received::Data(6)));
    assert_eq!(host.stack.send(connection, b"welcome"), Ok(Sent::Queued(7)));
    host.settle();
    let answer = host.answers().into_iter().find(|answer| answer.payload > 0).unwrap();
    assert_eq!((answer.seq, answer.payload, answer.ack), (synack.seq + 1, 7, Some(Seq(1007))));
    assert_eq!(host.stack.stats().cookies_returned, 1);
}

#[test]
fn a_guessed_acknowledgement_opens_nothing() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    host.arrives(syn(5000));
    host.pass(Duration::from_secs(1));
    host.arrives(syn(5001));
    assert_eq!(host.stack.stats().cookies_sent, 1);
    for guess in 0..10_000i32 {
        host.arrives(TcpRepr { ack_number: Some(Seq(guess.wrapping_mul(400_000))), ..data(6000, b"") });
    }
    assert_eq!(host.stack.stats().cookies_returned, 0);
}

#[test]
fn a_later_segment_of_a_forgotten_handshake_waits_for_the_first() {
    for backpressure in [Backpressure::Defer, Backpressure::Refuse] {
        wait_for_the_first(backpressure);
    }
}

#[track_caller]
fn wait_for_the_first(backpressure: Backpressure) {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let options = ListenOptions::default().with_backpressure(backpressure);
    let listener = host.stack.listen(addr(ECHO), &options).unwrap();
    host.arrives(syn(4999));
    host.pass(Duration::from_secs(1));
    host.answers();
    let synack = host.arrives(syn(5000))[0];
    host.arrives(syn(5001));
    let first = TcpRepr { ack_number: Some(synack.seq + 1), ..data(5000, b"one") };
    let second = TcpRepr { seq_number: Seq(1004), payload: b"two", ..first };
    assert_eq!(host.arrives(second), [], "neither taken for the first one nor reset");
    host.arrives(first);
    host.arrives(second);
    let (connection, _) = host.stack.accept(listener).unwrap().unwrap();
    let mut buffer = [0; 16];
    assert_eq!(host.stack.recv(connection, &mut buffer), Ok(Received::Data(6)));
    assert_eq!(&buffer[..6], b"onetwo");
}

#[test]
fn initial_sequence_numbers_follow_rfc_6528() {
    let mut storage = Storage::<64, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    host.stack.listen(addr(ECHO), &ListenOptions::backlog(64)).unwrap();
    let flow = |port| Flow {
        local: Address::from(IpAddr::V4(IP)),
        remote: Address::from(IpAddr::V4(PEER)),
        local_port: 7,
        remote_port: port,
    };
    for port in 5000..5060 {
        let expected = host.stack.engine.numbers.initial(&flow(port), host.now);
        assert_eq!(host.arrives(syn(port))[0].seq, Seq(expected as i32), "smoltcp took another number");
    }
}
