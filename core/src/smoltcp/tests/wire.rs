//! Frames, flows, clocks and devices.

use super::*;
use crate::smoltcp::flow::{Address, Flow};

#[test]
fn bytes_go_round() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    let seq = host.open(5000);
    let (connection, _) = host.stack.accept(listener).unwrap().unwrap();
    host.stack.set_tag(connection, crate::stack::Tag(9)).unwrap();
    host.arrives(TcpRepr { ack_number: Some(seq), ..data(5000, b"hello") });
    let ready = host.stack.ready(listener).unwrap();
    assert_eq!((ready.connection, ready.tag.0, ready.readiness.readable), (connection, 9, true));
    assert_eq!(host.stack.ready(listener), None);
    let mut buffer = [0; 8];
    assert_eq!(host.stack.recv(connection, &mut buffer), Ok(Received::Data(5)));
    assert_eq!(host.stack.recv(connection, &mut buffer), Ok(Received::WouldBlock));
    assert_eq!(host.stack.send(connection, &buffer[..5]), Ok(Sent::Queued(5)));
    host.settle();
    let answer = host.answers();
    assert_eq!((answer.len(), answer[0].payload, answer[0].ack), (1, 5, Some(TcpSeqNumber(1006))));
}

/// Flows that share a bucket: with two slots there are two buckets, so three flows cannot all be alone.
#[test]
fn flows_whose_hashes_collide_are_kept_apart() {
    let key = Random::new(3).key();
    let table = FlowTable::new(key);
    let mut slots = [const { Slot::EMPTY }; 16];
    let flow = |port| Flow {
        local: Address::from(IpAddr::V4(IP)),
        remote: Address::from(IpAddr::V4(PEER)),
        local_port: 7,
        remote_port: port,
    };
    let bucket = |port| (u64::from(flow(port).hash(key)) * 16) >> 32;
    let colliding: Vec<u16> = (1..u16::MAX).filter(|port| bucket(*port) == 5).take(16).collect();
    for (index, port) in colliding.iter().enumerate() {
        slots[index].flow = flow(*port);
        table.insert(&mut slots, index as u16);
    }
    for (index, port) in colliding.iter().enumerate() {
        assert_eq!(table.find(&slots, &flow(*port)), Some(index as u16));
    }
    // From the middle, from the head, from the tail.
    for index in [7, 15, 0] {
        table.remove(&mut slots, index);
        assert_eq!(table.find(&slots, &flow(colliding[usize::from(index)])), None);
    }
    assert_eq!(table.find(&slots, &flow(colliding[6])), Some(6));
    assert_eq!(table.find(&slots, &flow(1)), None);
}

#[test]
fn a_device_without_room_is_tried_again_soon_and_nothing_is_lost() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    host.open(5000);
    let (connection, _) = host.stack.accept(listener).unwrap().unwrap();
    host.settle();
    host.stack.device.full = true;
    host.stack.send(connection, b"patience").unwrap();
    let again = host.settle().unwrap();
    assert_eq!(again.since(host.now), Duration::from_millis(1));
    host.stack.device.full = false;
    host.pass(Duration::from_millis(1));
    assert_eq!(host.answers()[0].payload, 8);
}

#[test]
fn a_clock_that_steps_back_loses_no_connection() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    host.now = Instant::from_secs(1_000_000);
    host.learn_peer();
    let seq = host.open(5000);
    host.now = Instant::from_secs(5);
    host.arrives(TcpRepr { ack_number: Some(seq), ..data(5000, b"hello") });
    let (connection, _) = host.stack.accept(listener).unwrap().unwrap();
    assert_eq!(host.stack.recv(connection, &mut [0; 8]), Ok(Received::Data(5)));
    host.stack.send(connection, b"unheard").unwrap();
    let next = host.settle().unwrap();
    assert!(next.since(host.now) < Duration::from_secs(2), "the retransmission is due soon: {next}");
}

#[test]
fn a_segment_from_an_address_that_no_connection_can_have_is_dropped() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    let broadcasts = [Ipv4Addr::BROADCAST, Ipv4Addr::new(10, 0, 0, 255)];
    for from in broadcasts.into_iter().chain([IP, Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(224, 0, 0, 1)]) {
        host.stack.device.rx.push_back(frame(from, syn(5000)));
        host.settle();
        assert_eq!((host.answers(), host.free()), (Vec::new(), 1), "{from}");
    }
    assert_eq!(host.stack.stats().dropped, Drops { bad_source: 5, ..Drops::default() });
}

/// The frame arrives, is dropped for this reason alone, and is not answered.
#[track_caller]
fn drops(host: &mut Host<'_>, frame: Vec<u8>, reason: impl FnOnce(&mut Drops)) {
    let mut expected = host.stack.stats();
    host.stack.device.rx.push_back(frame);
    host.settle();
    expected.frames_received += 1;
    reason(&mut expected.dropped);
    assert_eq!(host.stack.stats(), expected);
    assert_eq!(host.answers(), []);
}

#[test]
fn every_frame_that_is_dropped_has_its_reason() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    let changed = |at: usize, value: u8| {
        let mut frame = frame(PEER, syn(5000));
        frame[at] = value;
        frame
    };
    // The length of the IPv4 packet is less than that of its headers; the same of the IPv4 header, and of the TCP header.
    for malformed in [changed(14 + 3, 30), changed(14, 0x4f), changed(14 + 20 + 12, 0x40)] {
        drops(&mut host, malformed, |drops| drops.malformed += 1);
    }
    drops(&mut host, frame(PEER, syn(5000))[..14 + 20 + 10].to_vec(), |drops| drops.malformed += 1);
    // Of IPv4's checksum, and of TCP's.
    for broken in [changed(14 + 10, 0), changed(14 + 20 + 16, 0)] {
        drops(&mut host, broken, |drops| drops.wrong_checksum += 1);
    }
    let mut to_another = frame(PEER, syn(5000));
    to_another[5] ^= 1;
    drops(&mut host, to_another, |drops| drops.not_for_us += 1);
    host.stack.engine.iface.update_ip_addrs(|addrs| addrs.clear());
    drops(&mut host, frame(PEER, syn(5000)), |drops| drops.not_for_us += 1);
    let drops = host.stack.stats().dropped;
    assert_eq!((drops.malformed, drops.wrong_checksum, drops.not_for_us, drops.total()), (4, 2, 2, 8));
}

#[cfg(feature = "ipv6")]
#[test]
fn what_is_said_to_be_tcp_over_ipv6_and_is_too_short_is_malformed() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    // TCP in 8 octets, at once and behind hop-by-hop options.
    for (next, length) in [(6, 8), (0, 16)] {
        let mut frame = vec![0; 14 + 40 + usize::from(length)];
        frame[..6].copy_from_slice(MAC.as_bytes());
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        frame[14..22].copy_from_slice(&[0x60, 0, 0, 0, 0, length, next, 64]);
        frame[14 + 40] = 6;
        drops(&mut host, frame, |drops| drops.malformed += 1);
    }
}

/// Whatever smoltcp was built to do with fragments: no segment is put together from them, and none is taken for a whole one.
#[test]
fn a_fragment_of_a_segment_is_dropped_unseen() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    let seq = host.open(5000);
    let (connection, _) = host.stack.accept(listener).unwrap().unwrap();
    host.settle();
    let ours = TcpRepr { ack_number: Some(seq), ..data(5000, b"text") };
    let to_nobody = TcpRepr { dst_port: 99, ..ours };
    for segment in [ours, to_nobody] {
        // More fragments follow; this is not the first one.
        for (at, bits) in [(14 + 6, 0x20), (14 + 7, 1)] {
            let mut fragment = frame(PEER, segment);
            fragment[at] |= bits;
            Ipv4Packet::new_unchecked(&mut fragment[14..]).fill_checksum();
            host.stack.device.rx.push_back(fragment);
            host.settle();
            assert_eq!(host.answers(), []);
        }
    }
    assert_eq!(host.stack.recv(connection, &mut [0; 8]), Ok(Received::WouldBlock));
    assert_eq!(host.stack.stats().dropped, Drops { fragments: 4, ..Drops::default() });
    assert_eq!(host.stack.stats().for_nobody, 0);
}

/// The right edge of the window in the last segment that the stack sends within 50 ms, in units of 2 to the power of `scale`.
fn edge(host: &mut Host<'_>, segment: TcpRepr<'_>, scale: u8) -> Option<u32> {
    host.stack.device.rx.push_back(frame(PEER, segment));
    host.settle();
    host.pass(Duration::from_millis(50));
    let mut frames = host.stack.device.tx.drain(..).filter(|frame| answer(frame).is_some());
    let frame = frames.next_back()?;
    let tcp = TcpPacket::new_unchecked(&frame[34..]);
    Some(tcp.ack_number().0 as u32 + (u32::from(tcp.window_len()) << scale))
}

/// smoltcp rounds a scaled window down, and would move the edge back: what stands in between would be dropped, for ever.
#[test]
fn a_byte_within_a_scaled_window_that_was_once_offered_is_taken() {
    let mut storage = Storage::<1, 200_000, 512>::new();
    let mut host = Host::configured(&mut storage, |_| {});
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    let synack = host.arrives(TcpRepr { window_scale: Some(0), ..syn(5000) })[0];
    let next = TcpRepr { ack_number: Some(synack.seq + 1), ..data(5000, b"") };
    host.arrives(next);
    host.stack.accept(listener).unwrap().unwrap();
    host.settle();
    // A keep-alive makes it say where the edge is; 200,000 octets take a scale of 2.
    let offered = edge(&mut host, TcpRepr { seq_number: TcpSeqNumber(1000), ..next }, 2).unwrap();
    assert!(offered > 190_000, "{offered}");
    // One octet, so that no later one stands at a multiple of the unit; then all that is offered.
    let (mut at, mut length) = (1001, 1);
    while at < offered {
        let payload = &[7; 1460][..length.min((offered - at) as usize)];
        edge(&mut host, TcpRepr { seq_number: TcpSeqNumber(at as i32), payload, ..next }, 2);
        at += payload.len() as u32;
        length = 1460;
    }
    assert_eq!(host.stack.engine.slots[0].sequence.expected, offered);
}

#[test]
fn a_syn_that_smoltcp_does_not_take_leaves_its_slot_free() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    let mut broken = frame(PEER, syn(5000));
    broken[14 + 20 + 16] ^= 0xff;
    host.stack.device.rx.push_back(broken);
    host.settle();
    assert_eq!((host.answers(), host.free()), (Vec::new(), 1));
}

#[test]
fn frames_of_every_length_and_random_content_do_no_harm() {
    let mut storage = Storage::<2, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    let mut random = Random::new(11);
    let template = frame(PEER, TcpRepr { payload: &[7; 40], ..syn(5000) });
    for length in (0..template.len()).cycle().take(20_000) {
        let mut bytes = template[..length].to_vec();
        for _ in 0..random.next() % 4 {
            let at = random.next() as usize % bytes.len().max(1);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = random.next() as u8;
            }
        }
        host.stack.device.rx.push_back(bytes);
        host.settle();
        host.stack.device.tx.clear();
    }
    host.pass(Duration::from_secs(60));
    assert_eq!(host.free(), 2);
}

/// The segment arrives, and of all counters these have changed.
#[track_caller]
fn counts(host: &mut Host<'_>, segment: TcpRepr<'_>, change: impl FnOnce(&mut Stats)) {
    let mut expected = host.stack.stats();
    host.arrives(segment);
    host.pass(Duration::from_millis(20));
    expected.frames_received += 1;
    change(&mut expected);
    assert_eq!(host.stack.stats(), expected);
}

#[test]
fn every_segment_is_counted_as_what_it_is() {
    let mut storage = Storage::<2, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    assert_eq!(host.stack.stats(), Stats { frames_received: 1, ..Stats::default() }, "an ARP reply");
    let options = ListenOptions::backlog(1).with_backpressure(Backpressure::Refuse);
    let listener = host.stack.listen(addr(ECHO), &options).unwrap();
    counts(&mut host, syn(5000), |stats| {
        stats.syns_admitted += 1;
        stats.segments_sent += 1;
    });
    let seq = TcpSeqNumber(host.stack.engine.slots[0].sequence.next as i32);
    let next = TcpRepr { ack_number: Some(seq), ..data(5000, b"") };
    counts(&mut host, next, |stats| stats.segments_received += 1);
    counts(&mut host, syn(5001), |stats| {
        stats.syns_refused += 1;
        stats.for_nobody += 1;
    });
    let (connection, _) = host.stack.accept(listener).unwrap().unwrap();
    counts(&mut host, TcpRepr { payload: b"hello", ..next }, |stats| {
        stats.segments_received += 1;
        stats.octets_received += 5;
        stats.segments_sent += 1;
    });
    let reset = TcpRepr { control: TcpControl::Rst, seq_number: TcpSeqNumber(1007), ..data(5000, b"") };
    counts(&mut host, reset, |stats| {
        stats.segments_received += 1;
        stats.challenges += 1;
        stats.segments_sent += 1;
    });
    // The next one too soon after it is not answered.
    counts(&mut host, reset, |stats| {
        stats.segments_received += 1;
        stats.challenges += 1;
    });
    let far = TcpRepr { seq_number: TcpSeqNumber(9999), ..reset };
    counts(&mut host, far, |stats| stats.dropped.blind_resets += 1);
    counts(&mut host, data(5001, b"no flags"), |stats| stats.dropped.no_flags += 1);
    counts(&mut host, TcpRepr { dst_port: 99, ..syn(5001) }, |stats| stats.for_nobody += 1);
    let before = host.stack.stats();
    host.stack.device.full = true;
    host.stack.send(connection, b"hi").unwrap();
    host.settle();
    let full = host.stack.stats();
    assert!(full.device_full > before.device_full);
    assert_eq!(Stats { device_full: before.device_full, ..full }, before, "nothing has left");
    host.stack.device.full = false;
    host.pass(Duration::from_millis(1));
    let sent = Stats { segments_sent: full.segments_sent + 1, octets_sent: 2, ..full };
    assert_eq!(host.stack.stats(), sent);
    // All of them were for the one connection.
    let here = host.stack.connection_stats(connection).unwrap();
    assert_eq!(u64::from(here.segments_received), sent.segments_received);
    assert_eq!((u64::from(here.segments_sent), here.retransmitted), (sent.segments_sent, 0));
    host.pass(Duration::from_secs(2));
    let again = host.stack.connection_stats(connection).unwrap();
    assert!(again.retransmitted > 0);
    assert_eq!(again.segments_sent, here.segments_sent + u32::from(again.retransmitted));
    // The next in the slot begins at zero.
    host.stack.abort(connection).unwrap();
    host.answers();
    host.open(5002);
    let (next, _) = host.stack.accept(listener).unwrap().unwrap();
    let of_next = host.stack.connection_stats(next).unwrap();
    assert_eq!((of_next.segments_received, of_next.segments_sent, of_next.retransmitted), (1, 1, 0));
}
