use super::{CLIENT_SLOTS, SERVER_SLOTS, private_ip};
use crate::ideal::Ideal;
use crate::{Facts, Host, IpVersion, Side, Stack, World, stream_bytes};
use core::net::SocketAddr;
use socklet::time::{Duration, Instant};

/// Two hosts without packets, in virtual time.
#[expect(missing_debug_implementations, reason = "a host need not have it")]
pub struct IdealWorld {
    server: Box<dyn Host>,
    client: Box<dyn Host>,
    facts: Facts,
    now: Instant,
    port: u16,
}

impl IdealWorld {
    /// A new world at time zero.
    pub fn new(version: IpVersion) -> Self {
        Self::wrapped(version, |stack| Box::new(stack))
    }

    /// The same with something around each host.
    pub fn wrapped(version: IpVersion, wrap: impl FnMut(Stack<Ideal>) -> Box<dyn Host>) -> Self {
        let [server_ip, client_ip] = [1, 2].map(|number| private_ip(version, number));
        let [server, client] =
            Ideal::pair([server_ip, client_ip], [SERVER_SLOTS, CLIENT_SLOTS]).map(Stack::new).map(wrap);
        let facts = Facts {
            server_ip,
            client_ip,
            silent: Some(SocketAddr::new(private_ip(version, 99), 7)),
            server_slots: Some(SERVER_SLOTS),
            client_slots: Some(CLIENT_SLOTS),
            settle: Duration::from_millis(100),
            stream: stream_bytes(100 << 20),
            churn: 1000,
        };
        Self { server, client, facts, now: Instant::ZERO, port: 1000 }
    }
}

impl World for IdealWorld {
    fn host(&mut self, side: Side) -> &mut dyn Host {
        match side {
            Side::Server => &mut *self.server,
            Side::Client => &mut *self.client,
        }
    }

    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn wait(&mut self, deadline: Option<Instant>) {
        let soon = self.now + Duration::from_millis(10);
        self.now = deadline.map_or(soon, |deadline| deadline.min(soon));
    }

    fn unused_port(&mut self) -> u16 {
        self.port += 1;
        self.port
    }
}
