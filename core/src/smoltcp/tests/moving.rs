//! Bytes on their way: from one buffer to another, and through a poll.

use super::*;

fn segment(port: u16, offset: usize, ack: TcpSeqNumber, payload: &[u8]) -> TcpRepr<'_> {
    TcpRepr {
        control: TcpControl::Psh,
        seq_number: TcpSeqNumber(1001) + offset,
        ack_number: Some(ack),
        ..data(port, payload)
    }
}

fn bytes(from: usize, count: usize) -> Vec<u8> {
    (from..from + count).map(|n| (n % 251) as u8).collect()
}

#[test]
fn an_echo_moves_what_has_room_and_the_rest_stays() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    let seq = host.open(5000);
    let (connection, _) = host.stack.accept(listener).unwrap().unwrap();
    assert_eq!(host.stack.splice(connection, connection, 4096, |_| panic!("nothing has come")), Ok(0));

    host.arrives(segment(5000, 0, seq, &bytes(0, 300)));
    let mut seen = Vec::new();
    assert_eq!(
        host.stack.splice(connection, connection, 4096, |bytes| seen.extend_from_slice(bytes)),
        Ok(300)
    );
    assert_eq!(seen, bytes(0, 300));
    host.settle();
    assert_eq!(host.answers()[0].payload, 300);

    // The peer acknowledges nothing: 212 octets of room are left.
    host.arrives(segment(5000, 300, seq, &bytes(300, 300)));
    assert_eq!(
        host.stack.splice(connection, connection, 4096, |bytes| seen.extend_from_slice(bytes)),
        Ok(212)
    );
    assert_eq!(seen, bytes(0, 512));
    assert_eq!(host.stack.splice(connection, connection, 4096, |_| panic!("no room")), Ok(0));
    let mut rest = [0; 100];
    assert_eq!(host.stack.recv(connection, &mut rest), Ok(Received::Data(88)));
    assert_eq!(rest[..88], bytes(512, 88)[..]);
}

#[test]
fn from_one_connection_to_another_no_byte_is_lost() {
    let mut storage = Storage::<2, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    let acks = [host.open(5000), host.open(5001)];
    let (from, _) = host.stack.accept(listener).unwrap().unwrap();
    let (to, _) = host.stack.accept(listener).unwrap().unwrap();

    let (mut sent, mut moved, mut delivered) = (0, Vec::new(), 0);
    for _ in 0..11 {
        host.arrives(segment(5000, sent, acks[0], &bytes(sent, 200)));
        sent += 200;
        // In two pieces where the ring ends; and no more than asked for.
        let most = if sent % 400 == 0 { 150 } else { 4096 };
        let step = host.stack.splice(from, to, most, |bytes| moved.extend_from_slice(bytes)).unwrap();
        assert_eq!(step, if most == 150 { 150 } else { 250.min(sent) });
        host.settle();
        delivered += host.answers().iter().filter(|a| a.port == 5001).map(|a| a.payload).sum::<usize>();
        host.arrives(TcpRepr { ack_number: Some(acks[1] + delivered), ..data(5001, b"") });
    }
    assert_eq!(moved, bytes(0, sent));
    assert_eq!(delivered, sent);

    // Why nothing moves is for the other calls to say.
    host.arrives(segment(5000, sent, acks[0], b"late"));
    host.stack.shutdown(to).unwrap();
    assert_eq!(host.stack.splice(from, to, 4096, |_| panic!("the write side is closed")), Ok(0));
    assert_eq!(host.stack.send(to, b"late"), Err(ErrorKind::Closed));
    host.stack.close(to).unwrap();
    assert_eq!(host.stack.splice(from, to, 4096, |_| panic!("stale")), Err(ErrorKind::StaleHandle));
    assert_eq!(host.stack.recv(from, &mut [0; 8]), Ok(Received::Data(4)));
}

#[test]
fn a_poll_wakes_the_service_at_the_end_of_a_burst() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut host = Host::new(&mut storage);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    let seq = host.open(5000);
    let (connection, _) = host.stack.accept(listener).unwrap().unwrap();
    host.arrives(segment(5000, 0, seq, b"a"));

    let middle =
        |offset, payload| TcpRepr { control: TcpControl::None, ..segment(5000, offset, seq, payload) };
    let frames = [middle(1, b"b"), middle(2, b"c"), segment(5000, 3, seq, b"d"), segment(5000, 4, seq, b"e")];
    host.stack.device.rx.extend(frames.map(|segment| frame(PEER, segment)));
    let mut buffer = [0; 8];
    assert_eq!(host.stack.poll(host.now), Some(host.now));
    assert_eq!(host.stack.recv(connection, &mut buffer), Ok(Received::Data(5)), "what is there is taken");

    host.pass(Duration::from_secs(1));
    host.stack
        .device
        .rx
        .extend([frame(PEER, segment(5000, 5, seq, b"f")), frame(PEER, segment(5000, 6, seq, b"g"))]);
    assert_eq!(host.stack.poll(host.now), Some(host.now));
    assert_eq!(
        host.stack.recv(connection, &mut buffer),
        Ok(Received::Data(1)),
        "the first is answered first"
    );
}
