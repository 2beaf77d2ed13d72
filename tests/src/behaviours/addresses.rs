//! Who is who: ports and addresses at both ends.

use crate::testbed::{Side, Testbed, fails};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use socklet::stack::{ConnectOptions, ErrorKind, ListenOptions};

/// `connect` without a bind: the stack chooses a port, another one each time, and the address.
pub fn a_client_needs_no_bind_and_gets_a_free_port(t: &mut Testbed) {
    let (listener, addr) = t.listening();
    let (first, first_accepted) = t.pair_on(listener, addr);
    let (_second, second_accepted) = t.pair_on(listener, addr);
    let ports = [first_accepted, second_accepted].map(|socket| t.peer_addr(socket).unwrap().port());
    assert!(ports[0] != ports[1] && !ports.contains(&0), "{ports:?}");
    if t.can(Side::Client).local_addr {
        assert_eq!(t.local_addr(first), Ok(SocketAddr::new(t.facts().client_ip, ports[0])));
    } else {
        fails(t.local_addr(first), ErrorKind::Unsupported);
    }
}

/// A listener has the port that it was given, and no other port answers.
pub fn a_servers_port_must_be_bound(t: &mut Testbed) {
    let (listener, addr) = t.listening();
    match t.listener_addr(listener) {
        Ok(local) => assert_eq!(local.port(), addr.port()),
        Err(kind) => assert_eq!(kind, ErrorKind::Unsupported),
    }
    let other = t.unused_port();
    let other = t.server_addr(other);
    assert_eq!(t.failure(other, &ConnectOptions::default()), ErrorKind::Refused);
}

/// Port 0 is either chosen by the stack, which then tells which, or an error.
pub fn listening_on_port_0_gets_a_free_port_or_an_error(t: &mut Testbed) {
    let any = t.bind_addr(0);
    match t.listen(any, &ListenOptions::default()) {
        Ok(listener) => {
            let port = t.listener_addr(listener).expect("the address of a port that was chosen").port();
            assert_ne!(port, 0);
            let (client, server) = t.pair_on(listener, t.server_addr(port));
            t.works(client, server);
        }
        Err(kind) => assert!(matches!(kind, ErrorKind::InvalidState | ErrorKind::Unsupported), "{kind}"),
    }
}

/// `accept` gives a connection of its own, and the listener goes on listening.
pub fn accept_gives_a_new_socket_and_the_peers_address(t: &mut Testbed) {
    let (listener, addr) = t.listening();
    let client = t.connected(addr);
    let (server, peer) = t.accepted(listener);
    assert_eq!(peer.ip(), t.facts().client_ip);
    assert_eq!(t.peer_addr(server), Ok(peer));
    assert_eq!(t.accept(listener), Ok(None));
    t.works(client, server);
    let (another_client, another_server) = t.pair_on(listener, addr);
    assert_ne!(server, another_server);
    t.works(another_client, another_server);
    t.works(client, server);
}

/// Each end's local address is the other's peer address.
pub fn both_ends_agree_on_the_addresses(t: &mut Testbed) {
    let (listener, addr) = t.listening();
    let (client, server) = t.pair_on(listener, addr);
    assert_eq!(t.peer_addr(client), Ok(addr));
    for (near, far) in [(client, server), (server, client)] {
        if t.can(near.side).local_addr {
            assert_eq!(t.local_addr(near), t.peer_addr(far));
        } else {
            fails(t.local_addr(near), ErrorKind::Unsupported);
        }
    }
}

/// A client that binds a port has that port.
pub fn a_client_can_bind_its_port(t: &mut Testbed) {
    let (listener, addr) = t.listening();
    let port = t.unused_port();
    let options = ConnectOptions::default().with_local_port(port);
    if !t.can(Side::Client).local_addr {
        return fails(t.connect(addr, &options), ErrorKind::Unsupported);
    }
    let client = t.connect(addr, &options).unwrap();
    let (server, peer) = t.accepted(listener);
    assert_eq!(peer.port(), port);
    t.works(client, server);
}

/// A client that binds an address of its host has that address.
pub fn a_client_can_bind_its_address(t: &mut Testbed) {
    let (listener, addr) = t.listening();
    let options = ConnectOptions::default().with_local_addr(t.facts().client_ip);
    if !t.can(Side::Client).local_addr {
        return fails(t.connect(addr, &options), ErrorKind::Unsupported);
    }
    let client = t.connect(addr, &options).unwrap();
    let (server, peer) = t.accepted(listener);
    assert_eq!(peer.ip(), t.facts().client_ip);
    t.works(client, server);
}

/// One from the blocks for documentation, which no host here has: RFC 5737, RFC 3849.
fn foreign_address(t: &Testbed) -> IpAddr {
    match t.facts().server_ip {
        IpAddr::V4(_) => Ipv4Addr::new(203, 0, 113, 77).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 0x77).into(),
    }
}

/// Nobody binds an address that the host does not have.
pub fn an_address_of_another_host_cannot_be_bound(t: &mut Testbed) {
    let foreign = foreign_address(t);
    let local = SocketAddr::new(foreign, t.unused_port());
    let expected = if t.can(Side::Server).bind_addr { ErrorKind::NoAddress } else { ErrorKind::Unsupported };
    fails(t.listen(local, &ListenOptions::default()), expected);

    let (_, addr) = t.listening();
    let options = ConnectOptions::default().with_local_addr(foreign);
    let expected = if t.can(Side::Client).local_addr { ErrorKind::NoAddress } else { ErrorKind::Unsupported };
    fails(t.connect(addr, &options), expected);
}

/// A listener on the unspecified address serves the host's own.
pub fn an_unspecified_address_means_every_address(t: &mut Testbed) {
    let any = if t.facts().server_ip.is_ipv4() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    } else {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    };
    let port = t.unused_port();
    let listener = t.listen(SocketAddr::new(any, port), &ListenOptions::default()).unwrap();
    let (client, server) = t.pair_on(listener, t.server_addr(port));
    assert_eq!(t.peer_addr(server).unwrap().ip(), t.facts().client_ip);
    t.works(client, server);
}

/// A port has one listener.
pub fn two_listeners_on_one_port_is_address_in_use(t: &mut Testbed) {
    let (_, addr) = t.listening();
    let local = t.bind_addr(addr.port());
    fails(t.listen(local, &ListenOptions::default()), ErrorKind::AddressInUse);
}

/// A 4-tuple names one connection.
pub fn one_local_port_does_not_connect_twice_to_one_peer(t: &mut Testbed) {
    let (listener, addr) = t.listening();
    let options = ConnectOptions::default().with_local_port(t.unused_port());
    if !t.can(Side::Client).local_addr {
        return fails(t.connect(addr, &options), ErrorKind::Unsupported);
    }
    let client = t.connect(addr, &options).unwrap();
    let (server, _) = t.accepted(listener);
    assert_eq!(t.failure(addr, &options), ErrorKind::AddressInUse);
    t.works(client, server);
}

/// After `close_listener` the port can be listened on at once.
pub fn a_port_is_free_again_after_close_listener(t: &mut Testbed) {
    let (first, addr) = t.listening();
    t.close_listener(first).unwrap();
    let local = t.bind_addr(addr.port());
    let second = t.listen(local, &ListenOptions::default()).unwrap();
    let (client, server) = t.pair_on(second, addr);
    t.works(client, server);
}
