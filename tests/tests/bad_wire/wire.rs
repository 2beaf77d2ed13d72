//! Two private networks, the relay between them, and the parties.

use super::party::{PORT, Role};
use super::relay::{self, Frames, Shared, lock};
use core::net::Ipv4Addr;
use core::time::Duration;
use socklet_hosted::sandbox::{Network, Sandbox};
use socklet_hosted::tap::{Options, Tap};
use socklet_tests::sim::Faults;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// The interface at either end.
pub(crate) const INTERFACE: &str = "wire0";

/// How soon a party that listens says so.
const STARTED: Duration = Duration::from_secs(180);

/// A cable with Linux at one end and socklet at the other.
pub(crate) struct Wire {
    linux: Sandbox,
    socklet: Sandbox,
    control: Shared,
    relay: Option<JoinHandle<()>>,
    /// What a failure says first.
    what: String,
    seed: u64,
}

/// Who is at the ends.
pub(crate) struct Pair {
    pub(crate) server: Party,
    pub(crate) client: Party,
}

impl Pair {
    /// Waits until both have said such a line. A failure tells what either said.
    #[track_caller]
    pub(crate) fn both(&mut self, start: &str, limit: Duration) {
        let wait = |party: &mut Party| party.wait_for(start, limit);
        if let Err(why) = wait(&mut self.client).and_then(|_| wait(&mut self.server)) {
            panic!("{why}; {}; {}", self.client.last_words(), self.server.last_words());
        }
    }
}

impl Wire {
    /// A good cable.
    pub(crate) fn new(what: &str, seed: u64) -> Self {
        let linux = Sandbox::new().unwrap_or_else(|error| panic!("{error}"));
        // Linux there has an address that is nobody's on this wire, and takes no part.
        let elsewhere = Network {
            host_v4: Ipv4Addr::new(10, 78, 0, 1),
            stack_v4: Ipv4Addr::new(10, 78, 0, 2),
            host_v6: "fd78::1".parse().expect("an address"),
            stack_v6: "fd78::2".parse().expect("an address"),
            ..Network::default()
        };
        let socklet = Sandbox::with_network(elsewhere).unwrap_or_else(|error| panic!("{error}"));
        let taps = [tap(&linux), tap(&socklet)];
        let control = Shared::default();
        let relay = {
            let control = Shared::clone(&control);
            thread::spawn(move || relay::run(taps, seed, &control))
        };
        Self { linux, socklet, control, relay: Some(relay), what: what.to_owned(), seed }
    }

    /// Makes the cable as bad as this, both ways.
    pub(crate) fn set(&self, faults: Faults) {
        lock(&self.control).faults = faults;
    }

    /// Pulls the plug, or puts it in again.
    pub(crate) fn plug(&self, is_in: bool) {
        lock(&self.control).unplugged = !is_in;
    }

    /// Floods socklet's server with so many SYNs per second, from random sources; 0 ends it.
    pub(crate) fn flood(&self, rate: u64) {
        lock(&self.control).flood = rate;
    }

    pub(crate) fn frames(&self) -> Frames {
        lock(&self.control).frames
    }

    /// A server, and a client that exchanges so many bytes with it each way.
    pub(crate) fn pair(&mut self, socklet: Role, bytes: u64) -> Pair {
        let server = self.server(socklet);
        Pair { server, client: self.client(socklet, bytes) }
    }

    /// A server that listens.
    pub(crate) fn server(&self, socklet: Role) -> Party {
        let mut server = self.party(socklet, Role::Server, &[]);
        server.expect("ready", STARTED);
        server
    }

    /// A client. Each has a stream of its own.
    pub(crate) fn client(&mut self, socklet: Role, bytes: u64) -> Party {
        self.seed += 2;
        self.party(socklet, Role::Client, &[bytes, self.seed])
    }

    fn party(&self, socklet: Role, role: Role, numbers: &[u64]) -> Party {
        let (sandbox, kind, peer) = if socklet == role {
            (&self.socklet, "socklet", self.linux.network().host_v4)
        } else {
            (&self.linux, "linux", self.linux.network().stack_v4)
        };
        let address = format!("{peer}:{PORT}");
        let mut command = Command::new(std::env::current_exe().expect("the path of this program"));
        command.args(["party", kind, role.name(), &address]).args(numbers.iter().map(u64::to_string));
        // Its input ends with this process, and it with its input.
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = sandbox.run(move || command.spawn()).expect("a party");
        Party::new(child, format!("{}, {kind} as {}", self.what, role.name()))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        lock(&self.control).stop = true;
        if let Some(relay) = self.relay.take() {
            // Its panic has been printed.
            let _ = relay.join();
        }
    }
}

/// An end of the cable, without offloads: whole frames with their checksums, as on a wire.
fn tap(sandbox: &Sandbox) -> Tap {
    let options = Options { offload: false, ..Options::tap(INTERFACE) };
    sandbox.open_tap(&options).unwrap_or_else(|error| panic!("{error}"))
}

/// A process at one end.
pub(crate) struct Party {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
    name: String,
}

impl Party {
    fn new(mut child: Child, name: String) -> Self {
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines, said: Vec::new(), name }
    }

    /// Waits until it says a line that starts so. An end that is not waited for is a failure.
    #[track_caller]
    pub(crate) fn expect(&mut self, start: &str, limit: Duration) -> String {
        self.wait_for(start, limit).unwrap_or_else(|why| panic!("{why}; {}", self.last_words()))
    }

    /// Waits until it has said a line of each kind, in any order: what happens on two connections has none.
    #[track_caller]
    pub(crate) fn expect_each(&mut self, kinds: &[fn(&str) -> bool], limit: Duration) {
        let until = Instant::now() + limit;
        let mut heard = vec![false; kinds.len()];
        while heard.contains(&false) {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    for (heard, is_kind) in heard.iter_mut().zip(kinds) {
                        *heard |= is_kind(&line);
                    }
                    self.said.push(line);
                }
                Err(why) => panic!("not all was said: {why}; {}", self.last_words()),
            }
        }
    }

    /// The line; or why none came.
    fn wait_for(&mut self, start: &str, limit: Duration) -> Result<String, String> {
        let until = Instant::now() + limit;
        let never = |why: &str| Err(format!("{} never said \"{start}\": {why}", self.name));
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) if line.starts_with(start) => return Ok(line),
                Ok(line) => {
                    let is_end = line.starts_with("end");
                    self.said.push(line);
                    if is_end {
                        return never("its connection ended");
                    }
                }
                Err(RecvTimeoutError::Timeout) => return never(&format!("not within {limit:?}")),
                Err(RecvTimeoutError::Disconnected) => return never("it is dead"),
            }
        }
    }

    /// What it said last, with what it has said since.
    fn last_words(&mut self) -> String {
        self.said.extend(self.lines.try_iter());
        let said = &self.said[self.said.len().saturating_sub(5)..];
        format!("the last words of {}: {said:?}", self.name)
    }

    /// How many bytes it has received, as far as it has said so.
    pub(crate) fn received(&mut self) -> u64 {
        self.said.extend(self.lines.try_iter());
        let told = self.said.iter().rev().find_map(|line| line.strip_prefix("some "));
        told.map_or(0, |bytes| bytes.parse().expect("a number"))
    }

    /// As `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("kill it");
        self.child.wait().expect("its end");
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
