use super::real::{RealTime, unused_port};
use super::{CLIENT_SLOTS, SERVER_SLOTS};
use crate::{Facts, Host, IpVersion, Side, Stack, World, stream_bytes};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use socket2::{Domain, SockAddr, Socket, Type};
use socklet::time::{Duration, Instant};
use socklet_hosted::os::{OsOptions, OsStack};
use std::os::fd::AsRawFd;

/// Two stacks on the sockets of this machine, on its loopback interface, in real time.
#[derive(Debug)]
pub struct OsWorld {
    server: Stack<OsStack>,
    client: Stack<OsStack>,
    facts: Facts,
    time: RealTime,
    _silence: [Socket; 3],
}

impl OsWorld {
    /// A new world.
    pub fn new(version: IpVersion) -> Self {
        let ip = loopback(version);
        let [server, client] = [SERVER_SLOTS, CLIENT_SLOTS].map(os_stack);
        let (silent, silence) = silent_port(ip);
        let facts = Facts {
            server_ip: ip,
            client_ip: ip,
            silent: Some(silent),
            server_slots: Some(SERVER_SLOTS),
            client_slots: Some(CLIENT_SLOTS),
            settle: Duration::from_millis(20),
            stream: stream_bytes(100 << 20),
            churn: 200,
        };
        let time = RealTime::new(&[server.as_raw_fd(), client.as_raw_fd()]);
        Self { server: Stack::new(server), client: Stack::new(client), facts, time, _silence: silence }
    }
}

/// A stack with so many connections, and small buffers so that they are full soon.
pub(super) fn os_stack(connections: usize) -> OsStack {
    let options = OsOptions::default().with_connections(connections).with_buffers(64 * 1024, 64 * 1024);
    OsStack::new(options).expect("a descriptor for the stack")
}

pub(super) fn loopback(version: IpVersion) -> IpAddr {
    match version {
        IpVersion::V4 => Ipv4Addr::LOCALHOST.into(),
        IpVersion::V6 => Ipv6Addr::LOCALHOST.into(),
    }
}

/// A listener whose backlog is full: the system drops each further SYN.
pub(super) fn silent_port(ip: IpAddr) -> (SocketAddr, [Socket; 3]) {
    let [listener, first, second] = [(); 3].map(|()| {
        let domain = Domain::for_address(SocketAddr::new(ip, 0));
        Socket::new(domain, Type::STREAM, None).expect("a socket")
    });
    listener.bind(&SockAddr::from(SocketAddr::new(ip, 0))).expect("bind any port");
    listener.listen(0).expect("listen");
    let silent = listener.local_addr().ok().and_then(|addr| addr.as_socket()).expect("an internet address");
    for filler in [&first, &second] {
        filler.set_nonblocking(true).expect("non-blocking");
        // The first takes the only place, at once or soon; the second waits for one for ever.
        let _ = filler.connect(&SockAddr::from(silent));
    }
    (silent, [listener, first, second])
}

impl World for OsWorld {
    fn host(&mut self, side: Side) -> &mut dyn Host {
        match side {
            Side::Server => &mut self.server,
            Side::Client => &mut self.client,
        }
    }

    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn now(&self) -> Instant {
        self.time.now()
    }

    fn wait(&mut self, deadline: Option<Instant>) {
        self.time.wait(deadline);
    }

    fn unused_port(&mut self) -> u16 {
        unused_port(self.facts.server_ip)
    }
}
