use super::os::{loopback, os_stack, silent_port};
use super::real::{RealTime, unused_port};
use super::{CLIENT_SLOTS, SERVER_SLOTS};
use crate::{Facts, Host, IpVersion, Side, Stack, World, stream_bytes};
use socket2::Socket;
use socklet::time::{Duration, Instant};
use socklet_hosted::nal_std::nal_std;
use std::os::fd::AsRawFd;

/// std-embedded-nal on one side, the same machine's sockets on the other, on the loopback interface, in real time.
#[expect(missing_debug_implementations, reason = "a host need not have it")]
pub struct NalStdWorld {
    server: Box<dyn Host>,
    client: Box<dyn Host>,
    facts: Facts,
    time: RealTime,
    _silence: [Socket; 3],
}

impl NalStdWorld {
    /// A new world in which std-embedded-nal is at `side`.
    pub fn new(version: IpVersion, side: Side) -> Self {
        let (nal_slots, os_slots) = match side {
            Side::Server => (SERVER_SLOTS, CLIENT_SLOTS),
            Side::Client => (CLIENT_SLOTS, SERVER_SLOTS),
        };
        let nal = Stack::new(nal_std(4, nal_slots, Duration::from_millis(1)));
        let os = os_stack(os_slots);
        let time = RealTime::new(&[os.as_raw_fd()]);
        let os = Stack::new(os);
        let (server, client): (Box<dyn Host>, Box<dyn Host>) = match side {
            Side::Server => (Box::new(nal), Box::new(os)),
            Side::Client => (Box::new(os), Box::new(nal)),
        };
        let ip = loopback(version);
        let (silent, silence) = silent_port(ip);
        let facts = Facts {
            server_ip: ip,
            client_ip: ip,
            silent: Some(silent),
            server_slots: Some(SERVER_SLOTS),
            client_slots: Some(CLIENT_SLOTS),
            settle: Duration::from_millis(20),
            stream: stream_bytes(32 << 20),
            churn: 100,
        };
        Self { server, client, facts, time, _silence: silence }
    }
}

impl World for NalStdWorld {
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
        self.time.now()
    }

    fn wait(&mut self, deadline: Option<Instant>) {
        self.time.wait(deadline);
    }

    fn unused_port(&mut self) -> u16 {
        unused_port(self.facts.server_ip)
    }
}
