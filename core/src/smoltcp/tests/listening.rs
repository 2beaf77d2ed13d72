//! Listeners, the backlog and newcomers.

use super::*;

#[test]
fn an_idle_listener_holds_no_slot_and_a_connection_holds_one() {
    let mut storage = Storage::<3, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    assert_eq!(host.free(), 3);
    host.open(5000);
    assert_eq!(host.free(), 2);
    let (connection, peer) = host.stack.accept(listener).unwrap().unwrap();
    assert_eq!(peer, addr("10.0.0.1:5000"));
    assert_eq!(host.stack.status(connection), Ok(Status::Open));
    assert_eq!(host.stack.local_addr(connection), Ok(addr("10.0.0.2:7")));
}

#[test]
fn a_repeated_syn_finds_its_own_slot() {
    let mut storage = Storage::<3, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    host.arrives(syn(5000));
    host.arrives(syn(5000));
    assert_eq!((host.free(), host.stack.stats().syns_admitted), (2, 1));
}

#[test]
fn connections_are_accepted_in_the_order_in_which_they_were_established() {
    let mut storage = Storage::<3, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    let first = host.arrives(syn(5000))[0].seq;
    host.open(5001);
    host.arrives(TcpRepr { ack_number: Some(first + 1), ..data(5000, b"") });
    let ports: Vec<_> =
        core::iter::from_fn(|| host.stack.accept(listener).unwrap()).map(|(_, peer)| peer.port()).collect();
    assert_eq!(ports, [5001, 5000]);
}

#[test]
fn a_connection_is_in_the_queue_that_it_waits_in() {
    let mut storage = Storage::<4, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    let other = host.stack.listen(addr("0.0.0.0:9"), &ListenOptions::default()).unwrap();
    let none = QueueLengths::default();
    assert_eq!(host.stack.queue_lengths(), none);
    let first = host.arrives(syn(5000))[0].seq;
    host.arrives(TcpRepr { dst_port: 9, ..syn(5001) });
    assert_eq!(host.stack.queue_lengths(), QueueLengths { half_open: 2, ..none });
    host.arrives(TcpRepr { ack_number: Some(first + 1), ..data(5000, b"") });
    assert_eq!(host.stack.queue_lengths(), QueueLengths { half_open: 1, to_accept: 1, ..none });
    host.stack.close_listener(other).unwrap();
    let (connection, _) = host.stack.accept(listener).unwrap().unwrap();
    assert_eq!(host.stack.queue_lengths(), none);
    // This side ends first, and is the one to wait.
    host.stack.close(connection).unwrap();
    host.settle();
    let fin = TcpRepr { control: TcpControl::Fin, ..data(5000, b"") };
    host.arrives(TcpRepr { ack_number: Some(first + 2), ..fin });
    assert_eq!(host.stack.queue_lengths(), QueueLengths { time_wait: 1, ..none });
    let stranger = addr("10.0.0.77:80");
    host.stack.connect(stranger, &ConnectOptions::default()).unwrap();
    host.settle();
    assert_eq!(host.stack.queue_lengths(), QueueLengths { time_wait: 1, awaiting_neighbor: 1, ..none });
}

#[test]
fn backlog_full_defers_or_refuses() {
    for (backpressure, answers) in [(Backpressure::Defer, 0), (Backpressure::Refuse, 1)] {
        let mut storage = Storage::<3, 512, 512>::new();
        let mut host = Host::new(&mut storage);
        let options = ListenOptions::backlog(1).with_backpressure(backpressure);
        let listener = host.stack.listen(addr(ECHO), &options).unwrap();
        host.open(5000);
        let refused = host.arrives(syn(5001));
        assert_eq!(refused.len(), answers, "{refused:?}");
        assert!(refused.iter().all(|answer| answer.control == TcpControl::Rst));
        // Room again: the retry gets in.
        host.stack.accept(listener).unwrap().unwrap();
        host.open(5001);
    }
}

#[test]
fn a_half_open_connection_is_dropped_at_its_deadline() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    host.arrives(syn(5000));
    host.pass(Duration::from_millis(9_999));
    assert_eq!(host.free(), 0);
    host.pass(Duration::from_millis(1));
    assert_eq!((host.free(), host.stack.stats().half_open_dropped), (1, 1));
}

#[test]
fn a_half_open_connection_that_does_not_answer_makes_room() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    host.arrives(syn(5000));
    assert_eq!(host.arrives(syn(5001)), [], "a young one is left alone");
    host.pass(Duration::from_secs(1));
    host.answers();
    host.open(5001);
}

#[test]
fn the_oldest_half_open_connection_makes_room_first() {
    let mut storage = Storage::<2, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    host.arrives(syn(5000));
    host.pass(Duration::from_millis(500));
    let younger = host.arrives(syn(5001)).into_iter().find(|answer| answer.port == 5001).unwrap();
    // Both have had time to answer.
    host.pass(Duration::from_millis(1100));
    host.answers();
    assert_eq!(host.arrives(syn(5002))[0].control, TcpControl::Syn);
    assert_eq!(host.stack.stats().half_open_dropped, 1);
    assert_eq!(host.arrives(TcpRepr { ack_number: Some(younger.seq + 1), ..data(5001, b"") }), []);
    assert_eq!(host.stack.accept(listener).unwrap().unwrap().1.port(), 5001);
}

#[test]
fn time_wait_makes_room_before_a_half_open_connection() {
    let mut storage = Storage::<2, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    let half_open = host.arrives(syn(5000))[0];
    host.pass(Duration::from_secs(1));
    host.answers();
    let seq = host.open(5001);
    let (connection, _) = host.stack.accept(listener).unwrap().unwrap();
    host.stack.close(connection).unwrap();
    host.settle();
    host.arrives(fin(5001, seq + 1));
    host.open(5002);
    let stats = host.stack.stats();
    assert_eq!((stats.time_waits_reclaimed, stats.half_open_dropped), (1, 0));
    assert_eq!(host.arrives(TcpRepr { ack_number: Some(half_open.seq + 1), ..data(5000, b"") }), []);
    let ports = [(); 2].map(|()| host.stack.accept(listener).unwrap().unwrap().1.port());
    assert_eq!(ports, [5002, 5000]);
}

#[test]
fn an_established_connection_is_never_taken() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    host.open(5000);
    host.pass(Duration::from_secs(100));
    assert_eq!(host.arrives(syn(5001)), []);
    assert!(host.stack.accept(listener).unwrap().is_some());
}

#[test]
fn a_full_flow_table_means_full_slots_and_then_a_newcomer_waits() {
    let mut storage = Storage::<3, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::backlog(100)).unwrap();
    for port in 5000..5003 {
        host.open(port);
    }
    assert_eq!(host.arrives(syn(5003)), []);
    assert_eq!(host.stack.stats().syns_deferred, 1);
    let (connection, _) = host.stack.accept(listener).unwrap().unwrap();
    host.stack.abort(connection).unwrap();
    host.answers();
    host.open(5003);
}

#[test]
fn a_queued_connection_that_was_reset_does_not_hide_its_siblings() {
    let mut storage = Storage::<3, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    host.open(5000);
    host.open(5001);
    host.arrives(TcpRepr { control: TcpControl::Rst, ..data(5000, b"") });
    assert_eq!(host.free(), 2);
    assert_eq!(host.stack.accept(listener).unwrap().unwrap().1.port(), 5001);
    assert_eq!(host.stack.accept(listener), Ok(None));
}

#[test]
fn closing_the_listener_resets_those_that_wait_and_keeps_the_accepted_ones() {
    let mut storage = Storage::<3, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    let seq = host.open(5000);
    let (connection, _) = host.stack.accept(listener).unwrap().unwrap();
    host.open(5001);
    host.stack.close_listener(listener).unwrap();
    assert_eq!(host.answers()[0].control, TcpControl::Rst);
    assert_eq!(host.arrives(syn(5002))[0].control, TcpControl::Rst);
    host.arrives(TcpRepr { ack_number: Some(seq), ..data(5000, b"still here") });
    assert!(host.stack.ready(listener).unwrap().readiness.readable);
    assert_eq!(host.stack.accept(listener), Err(ErrorKind::Closed));
    let again = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    assert_ne!(again, listener);
    host.stack.abort(connection).unwrap();
    assert_eq!(host.stack.accept(listener), Err(ErrorKind::StaleHandle));
}

#[test]
fn a_slot_that_waited_for_a_neighbour_answers_the_next_client_at_once() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    host.stack.device.rx.push_back(frame(Ipv4Addr::new(10, 0, 0, 9), syn(4000)));
    host.settle();
    assert!(host.answers().is_empty(), "nobody tells the stranger's hardware address");
    // Half a second after it was asked for again; for as long again smoltcp would be silent.
    host.pass(Duration::from_millis(1500));
    assert_eq!(host.arrives(syn(5000))[0].control, TcpControl::Syn);
}
