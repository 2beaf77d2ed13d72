//! The end of connections: close, TIME-WAIT, freed slots.

use super::*;

/// The service closes first, so TIME-WAIT is on this side.
#[track_caller]
fn into_time_wait(host: &mut Host<'_>, listener: ListenerHandle, port: u16) {
    let seq = host.open(port);
    let (connection, _) = host.stack.accept(listener).unwrap().unwrap();
    host.stack.close(connection).unwrap();
    host.settle();
    assert_eq!(host.answers()[0].control, TcpControl::Fin);
    host.arrives(fin(port, seq + 1));
}

#[test]
fn time_wait_makes_room_for_a_newcomer() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    into_time_wait(&mut host, listener, 5000);
    assert_eq!(host.free(), 0);
    host.open(5001);
    assert_eq!(host.stack.stats().time_waits_reclaimed, 1);
}

#[test]
fn the_same_client_port_may_come_back_in_time_wait() {
    let mut storage = Storage::<2, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    into_time_wait(&mut host, listener, 5000);
    let again = TcpRepr { seq_number: TcpSeqNumber(2000), ..syn(5000) };
    assert_eq!(host.arrives(again)[0].ack, Some(TcpSeqNumber(2001)));
}

/// RFC 1337: an old reset would let an old segment into the next connection.
#[test]
fn a_reset_does_not_end_time_wait() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    into_time_wait(&mut host, listener, 5000);
    for seq in [1001, 1002, 1003] {
        let reset = TcpRepr { control: TcpControl::Rst, seq_number: TcpSeqNumber(seq), ..data(5000, b"") };
        assert_eq!(host.arrives(reset), []);
        assert_eq!(host.free(), 0, "{seq}");
    }
}

#[test]
fn time_wait_ends_by_itself() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    into_time_wait(&mut host, listener, 5000);
    host.pass(Duration::from_secs(8));
    assert_eq!(host.free(), 1);
    assert_eq!(host.settle(), None, "nothing is left to wait for");
}

#[test]
fn close_delivers_what_is_queued_and_gives_up_at_the_linger_deadline() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    host.open(5000);
    let (connection, _) = host.stack.accept(listener).unwrap().unwrap();
    host.stack.send(connection, b"last words").unwrap();
    host.stack.close(connection).unwrap();
    assert_eq!(host.stack.status(connection), Err(ErrorKind::StaleHandle));
    host.settle();
    let sent = host.answers();
    assert_eq!((sent[0].payload, sent[0].control), (10, TcpControl::Fin));
    for _ in 0..20 {
        host.pass(Duration::from_secs(1));
    }
    assert_eq!(host.answers().last().unwrap().control, TcpControl::Rst);
    assert_eq!(host.free(), 1);
}

#[test]
fn what_came_before_time_wait_can_still_be_read_long_after() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    let seq = host.open(5000);
    let (connection, _) = host.stack.accept(listener).unwrap().unwrap();
    host.stack.shutdown(connection).unwrap();
    host.settle();
    let last = TcpRepr { payload: b"bye", ..fin(5000, seq + 1) };
    host.arrives(last);
    assert_eq!(host.stack.status(connection), Ok(Status::Finished));
    host.pass(Duration::from_secs(60));
    let mut buffer = [0; 8];
    assert_eq!(host.stack.recv(connection, &mut buffer), Ok(Received::Data(3)));
    assert_eq!(host.stack.recv(connection, &mut buffer), Ok(Received::EndOfStream));
    host.stack.close(connection).unwrap();
    assert_eq!(host.free(), 1);
}

#[test]
fn a_slot_freed_while_frames_for_it_are_queued_answers_them_with_a_reset() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    let seq = host.open(5000);
    let (connection, _) = host.stack.accept(listener).unwrap().unwrap();
    host.stack.device.rx.push_back(frame(PEER, TcpRepr { ack_number: Some(seq), ..data(5000, b"late") }));
    host.stack.abort(connection).unwrap();
    host.settle();
    let answers = host.answers();
    assert_eq!(answers.iter().map(|a| a.control).collect::<Vec<_>>(), [TcpControl::Rst; 2]);
    assert_eq!(host.free(), 1);
}

#[test]
fn a_frame_for_a_slot_that_serves_another_flow_by_now_does_not_reach_it() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    let seq = host.open(5000);
    let (old, _) = host.stack.accept(listener).unwrap().unwrap();
    host.stack.abort(old).unwrap();
    host.answers();
    host.open(5001);
    let (new, _) = host.stack.accept(listener).unwrap().unwrap();
    host.arrives(TcpRepr { ack_number: Some(seq), ..data(5000, b"for the old one") });
    assert_eq!(host.stack.recv(new, &mut [0; 8]), Ok(Received::WouldBlock));
    assert_eq!(host.stack.recv(old, &mut [0; 8]), Err(ErrorKind::StaleHandle));
}

#[test]
fn a_lost_link_ends_every_connection_with_its_reason() {
    let mut storage = Storage::<3, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    host.open(5000);
    host.open(5001);
    let (connection, _) = host.stack.accept(listener).unwrap().unwrap();
    host.stack.link_lost();
    assert_eq!(host.stack.status(connection), Ok(Status::Failed(ErrorKind::LinkDown)));
    assert_eq!(host.stack.accept(listener), Ok(None));
    host.stack.close(connection).unwrap();
    assert_eq!(host.free(), 3);
}

#[test]
fn a_fin_behind_bytes_for_which_there_is_no_room_does_not_end_the_stream() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    let seq = host.open(5000);
    let (connection, _) = host.stack.accept(listener).unwrap().unwrap();
    let mut received = Vec::new();
    // 512 octets have room; these are 600.
    host.arrives(TcpRepr { payload: &[7; 600], ..fin(5000, seq) });
    let mut buffer = [0; 600];
    while let Received::Data(count) = host.stack.recv(connection, &mut buffer).unwrap() {
        received.extend_from_slice(&buffer[..count]);
    }
    assert_eq!(host.stack.recv(connection, &mut buffer), Ok(Received::WouldBlock));
    // What a peer sends that keeps to the window.
    let rest = 600 - received.len();
    let next = TcpSeqNumber(1001 + received.len() as i32);
    for (seq_number, payload) in
        [(next, &[7; 600][..rest.min(500)]), (next + rest.min(500), &[7; 600][..rest - rest.min(500)])]
    {
        let segment = TcpRepr { seq_number, payload, ..data(5000, b"") };
        host.arrives(TcpRepr { ack_number: Some(seq), ..segment });
        while let Ok(Received::Data(count)) = host.stack.recv(connection, &mut buffer) {
            received.extend_from_slice(&buffer[..count]);
        }
    }
    host.arrives(TcpRepr { seq_number: TcpSeqNumber(1601), ..fin(5000, seq) });
    assert_eq!(host.stack.recv(connection, &mut buffer), Ok(Received::EndOfStream));
    assert_eq!(received, [7; 600]);
}

#[test]
fn a_fast_retransmission_does_not_put_a_fin_behind_new_bytes() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    let seq = host.open(5000);
    let (connection, _) = host.stack.accept(listener).unwrap().unwrap();
    // The peer has room for 10 octets, and keeps acknowledging none of them.
    let ack = TcpRepr { ack_number: Some(seq), window_len: 10, ..data(5000, b"") };
    host.arrives(ack);
    host.stack.send(connection, &[7; 30]).unwrap();
    host.stack.shutdown(connection).unwrap();
    host.settle();
    let sent: Vec<_> = host.answers().iter().map(|answer| (answer.seq, answer.payload)).collect();
    assert_eq!(sent, [(seq, 10)]);
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.extend(host.arrives(ack));
    }
    let [Answer { seq: repeated, payload: 30, control, .. }] = answers[..] else { panic!("{answers:?}") };
    assert_eq!((repeated, control), (seq, TcpControl::None));
}

#[test]
fn what_is_moved_and_what_is_sent_again_is_counted() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    let seq = host.open(5000);
    let (connection, _) = host.stack.accept(listener).unwrap().unwrap();
    host.arrives(TcpRepr { ack_number: Some(seq), ..data(5000, b"hello") });
    host.stack.send(connection, b"hi").unwrap();
    host.settle();
    let before = host.stack.stats();
    assert_eq!((before.octets_received, before.octets_sent, before.retransmitted), (5, 2, 0));
    host.pass(Duration::from_secs(2));
    let (after, here) = (host.stack.stats(), host.stack.connection_stats(connection).unwrap());
    assert_eq!(u64::from(here.retransmitted), after.retransmitted);
    assert!(after.retransmitted > 0 && after.octets_sent > before.octets_sent);
    assert_eq!((here.receive_queue, here.send_queue, here.send_capacity), (5, 2, 512));
    host.arrives(TcpRepr { ack_number: Some(seq), ..data(6000, b"who?") });
    assert_eq!(host.stack.stats().for_nobody, 1);
}

/// Found by the fuzzer: smoltcp alone sends acknowledgements without end here.
#[test]
fn a_window_that_stays_closed_behind_our_fin_makes_no_storm() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    let seq = host.open(5000);
    let (connection, _) = host.stack.accept(listener).unwrap().unwrap();
    let closed = TcpRepr { window_len: 0, ..data(5000, b"") };
    host.arrives(TcpRepr { ack_number: Some(seq), ..closed });
    assert_eq!(host.stack.send(connection, b"x"), Ok(Sent::Queued(1)));
    host.stack.shutdown(connection).unwrap();
    // A probe of the window has the last byte, and the FIN behind it.
    host.pass(Duration::from_secs(2));
    let probes = host.answers();
    assert!(probes.iter().any(|probe| (probe.payload, probe.control) == (1, TcpControl::Fin)), "{probes:?}");
    host.arrives(TcpRepr { ack_number: Some(seq + 2), ..closed });
    assert_eq!(host.stack.unsent(connection), Ok(0));
    for _ in 0..60 {
        host.pass(Duration::from_secs(1));
    }
    assert!(host.answers().len() < 3);
    // The peer can still send.
    let mut answers =
        host.arrives(TcpRepr { ack_number: Some(seq + 2), window_len: 0, ..data(5000, b"late") });
    host.pass(Duration::from_millis(20));
    answers.extend(host.answers());
    assert_eq!(answers.last().and_then(|answer| answer.ack), Some(TcpSeqNumber(1005)));
    assert_eq!(host.stack.recv(connection, &mut [0; 8]), Ok(Received::Data(4)));
}
