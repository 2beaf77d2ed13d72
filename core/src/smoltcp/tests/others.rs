//! Sockets of other protocols beside the connections.

use super::*;
use ::smoltcp::iface::{SocketHandle, SocketSet, SocketStorage};
use ::smoltcp::socket::{dhcpv4, udp};
use ::smoltcp::wire::{DHCP_MAX_DNS_SERVER_COUNT, DhcpMessageType, DhcpPacket, DhcpRepr, UdpPacket, UdpRepr};

/// A frame with a datagram, from the peer's hardware to ours.
fn datagram(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let caps = ChecksumCapabilities::default();
    let udp = UdpRepr { src_port: from.1, dst_port: to.1 };
    let length = udp.header_len() + payload.len();
    let ip = Ipv4Repr {
        src_addr: from.0,
        dst_addr: to.0,
        next_header: IpProtocol::Udp,
        payload_len: length,
        hop_limit: 64,
    };
    let mut frame = vec![0; 14 + ip.buffer_len() + length];
    let mut ethernet = EthernetFrame::new_unchecked(&mut frame[..]);
    EthernetRepr { src_addr: PEER_MAC, dst_addr: MAC, ethertype: EthernetProtocol::Ipv4 }.emit(&mut ethernet);
    let mut packet = Ipv4Packet::new_unchecked(ethernet.payload_mut());
    ip.emit(&mut packet, &caps);
    let mut packet = UdpPacket::new_unchecked(packet.payload_mut());
    let (from, to) = (from.0.into(), to.0.into());
    udp.emit(&mut packet, &from, &to, payload.len(), |room| room.copy_from_slice(payload), &caps);
    frame
}

/// The payloads of datagrams that left, and the ports they went to; other frames are left out.
fn datagrams(host: &mut Host<'_>) -> Vec<(u16, Vec<u8>)> {
    let payload = |frame: Vec<u8>| {
        let ethernet = EthernetFrame::new_checked(&frame[..]).unwrap();
        let ip = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
        (ip.next_header() == IpProtocol::Udp).then(|| {
            let udp = UdpPacket::new_checked(ip.payload()).unwrap();
            (udp.dst_port(), udp.payload().to_vec())
        })
    };
    host.stack.device.tx.drain(..).filter_map(payload).collect()
}

/// Room for four datagrams each way.
fn udp_socket() -> udp::Socket<'static> {
    let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 4].leak(), vec![0; 1024].leak());
    let mut socket = udp::Socket::new(buffer(), buffer());
    socket.bind(9).unwrap();
    socket
}

/// A host with such a socket beside its connections.
fn with_udp<'a>(
    storage: &'a mut Storage<'a, 1, 512, 512>,
    room: &'a mut [SocketStorage<'a>; 1],
) -> (Host<'a>, SocketHandle) {
    let mut sockets = SocketSet::new(&mut room[..]);
    let handle = sockets.add(udp_socket());
    let Host { stack, now } = Host::new(storage);
    (Host { stack: stack.with_sockets(sockets), now }, handle)
}

fn udp_of<'s, 'a>(host: &'s mut Host<'a>, handle: SocketHandle) -> &'s mut udp::Socket<'a> {
    host.stack.sockets().0.get_mut(handle)
}

#[test]
fn a_datagram_is_answered_beside_a_connection() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut room = [SocketStorage::EMPTY];
    let (mut host, handle) = with_udp(&mut storage, &mut room);
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    let seq = host.open(5000);
    let (connection, _) = host.stack.accept(listener).unwrap().unwrap();

    host.stack.device.rx.push_back(datagram((PEER, 4000), (IP, 9), b"ask"));
    host.stack.device.rx.push_back(frame(PEER, TcpRepr { ack_number: Some(seq), ..data(5000, b"hello") }));
    host.settle();
    let (asked, from) = udp_of(&mut host, handle).recv().map(|(data, from)| (data.to_vec(), from)).unwrap();
    assert_eq!(asked, b"ask");
    assert_eq!(host.stack.recv(connection, &mut [0; 8]), Ok(Received::Data(5)));
    // All of them leave with the next poll, though smoltcp takes one of a socket at a time.
    for answer in [b"one", b"two", b"six"] {
        udp_of(&mut host, handle).send_slice(answer, from).unwrap();
    }
    host.settle();
    let sent = datagrams(&mut host);
    assert_eq!(sent, [b"one", b"two", b"six"].map(|answer| (4000, answer.to_vec())));
}

#[test]
fn a_datagram_that_finds_the_device_full_leaves_soon() {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut room = [SocketStorage::EMPTY];
    let (mut host, handle) = with_udp(&mut storage, &mut room);
    host.stack.device.full = true;
    udp_of(&mut host, handle).send_slice(b"late", (PEER, 4000)).unwrap();
    let due = host.settle().expect("it is not forgotten");
    assert!(due > host.now && due <= host.now + Duration::from_millis(1), "{due}");
    host.stack.device.full = false;
    host.now = due;
    host.settle();
    assert_eq!(datagrams(&mut host), [(4000, b"late".to_vec())]);
}

/// What the server answers to the client's only message.
fn lease_answer(
    host: &mut Host<'_>,
    kind: DhcpMessageType,
    expected: DhcpMessageType,
    router: Option<Ipv4Addr>,
) {
    let sent = datagrams(host);
    let [(67, message)] = &sent[..] else { panic!("no message but {sent:?}") };
    let message = DhcpPacket::new_checked(&message[..]).unwrap();
    let asked = DhcpRepr::parse(&message).unwrap();
    assert_eq!((asked.message_type, asked.client_hardware_address), (expected, MAC));
    let repr = DhcpRepr {
        message_type: kind,
        transaction_id: asked.transaction_id,
        secs: 0,
        client_hardware_address: MAC,
        client_ip: Ipv4Addr::UNSPECIFIED,
        your_ip: IP,
        server_ip: PEER,
        router,
        subnet_mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
        relay_agent_ip: Ipv4Addr::UNSPECIFIED,
        broadcast: false,
        requested_ip: None,
        client_identifier: None,
        server_identifier: Some(PEER),
        parameter_request_list: None,
        dns_servers: Some([PEER].into_iter().collect()),
        max_size: None,
        lease_duration: Some(600),
        renew_duration: None,
        rebind_duration: None,
        additional_options: &[],
    };
    let mut answer = vec![0; repr.buffer_len()];
    repr.emit(&mut DhcpPacket::new_unchecked(&mut answer[..])).unwrap();
    host.stack.device.rx.push_back(datagram((PEER, 67), (IP, 68), &answer));
}

#[test]
fn an_address_comes_from_a_dhcp_server_and_goes_with_the_lease() {
    const _: () = assert!(DHCP_MAX_DNS_SERVER_COUNT == 3);
    let mut storage = Storage::<1, 512, 512>::new();
    let mut room = [SocketStorage::EMPTY];
    let mut sockets = SocketSet::new(&mut room[..]);
    sockets.add(dhcpv4::Socket::new());
    let mut dhcp = Dhcp::NEW;
    let config = Config::new(HardwareAddress::Ethernet(MAC), 42);
    let stack = SmoltcpStack::new(Queues::default(), config, &mut storage).unwrap().with_sockets(sockets);
    let mut host = Host { stack, now: Instant::from_secs(1) };
    let listener = host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();

    // Nobody answers the first message; the deadline is that of the second.
    let again = host.settle().expect("the client will try again");
    assert!(!dhcp.poll(&mut host.stack) && dhcp.lease().is_none());
    assert_eq!(datagrams(&mut host).len(), 1);
    host.now = again;
    host.settle();
    lease_answer(&mut host, DhcpMessageType::Offer, DhcpMessageType::Discover, Some(PEER));
    host.settle();
    lease_answer(&mut host, DhcpMessageType::Ack, DhcpMessageType::Request, Some(PEER));
    host.settle();
    assert!(dhcp.poll(&mut host.stack) && !dhcp.poll(&mut host.stack));
    let lease = Lease { address: IP, prefix: 24, gateway: Some(PEER), dns_servers: [Some(PEER), None, None] };
    assert_eq!(dhcp.lease(), Some(&lease));

    host.learn_peer();
    host.open(5000);
    let (connection, _) = host.stack.accept(listener).unwrap().unwrap();
    host.stack.device.tx.clear();
    // It is prolonged, without a gateway: the address stays, and its connection.
    while !host.stack.device.tx.iter().any(|frame| frame.len() > 200) {
        host.now = host.settle().expect("half of the lease is not for ever");
        // It asks for the server's hardware address first, which is forgotten by then.
        host.stack.device.tx.clear();
        host.learn_peer();
    }
    lease_answer(&mut host, DhcpMessageType::Ack, DhcpMessageType::Request, None);
    host.settle();
    assert!(dhcp.poll(&mut host.stack));
    assert_eq!(dhcp.lease(), Some(&Lease { gateway: None, ..lease }));
    assert_eq!(host.stack.status(connection), Ok(Status::Open));
    assert!(host.stack.engine.iface.routes_mut().get_default_ipv4_route().is_none());

    // Nobody prolongs it again: it ends, and the address with it.
    let end = host.now + Duration::from_secs(601);
    while host.now < end {
        host.now = host.settle().map_or(end, |due| due.min(end));
    }
    host.settle();
    assert!(dhcp.poll(&mut host.stack) && dhcp.lease().is_none());
    assert_eq!(host.stack.status(connection), Ok(Status::Failed(ErrorKind::NoAddress)));
    assert!(host.stack.engine.iface.routes_mut().get_default_ipv4_route().is_none());
}
