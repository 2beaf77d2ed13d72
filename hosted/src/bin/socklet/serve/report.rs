use super::TrueAddress;
use crate::args::{ServeArgs, ServiceKind};
use crate::output::Background;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use socklet::connection::{Reason, Traffic};
use socklet::server::ServerStats;
use socklet::service::Observer;
use socklet::storage::Id;
use socklet_hosted::text::{Decoder, Encoding};
use std::collections::BTreeMap;
use std::time::Instant;

/// Prints what happens to clients, and sums it up.
pub(super) struct Report {
    out: Background,
    true_address: TrueAddress,
    /// Of the lines of `--stats`.
    prefix: String,
    encoding: Encoding,
    /// Whether to print what clients send.
    messages: bool,
    /// By the index of their connection.
    clients: Vec<Option<Client>>,
    start: Instant,
    open: usize,
    most: usize,
    total: Traffic,
    /// How many ended for which reason.
    ends: BTreeMap<String, usize>,
}

struct Client {
    address: SocketAddr,
    decoder: Decoder,
}

impl Report {
    pub(super) fn new(args: &ServeArgs, out: Background, true_address: TrueAddress, worker: u16) -> Self {
        Self {
            out,
            true_address,
            prefix: if args.workers > 1 { format!("stats of worker {worker}: ") } else { "stats: ".into() },
            encoding: args.encoding,
            messages: args.service == ServiceKind::Reply,
            clients: Vec::new(),
            start: Instant::now(),
            open: 0,
            most: 0,
            total: Traffic::default(),
            ends: BTreeMap::new(),
        }
    }

    pub(super) fn line(&mut self, line: impl fmt::Display) {
        self.out.line(line);
    }

    /// Whether nobody reads what it prints.
    pub(super) fn is_closed(&self) -> bool {
        self.out.is_closed()
    }

    pub(super) fn stopping(&mut self, open: usize, grace: Duration) {
        if open > 0 {
            let seconds = grace.as_secs();
            self.line(format_args!(
                "stopping: {open} open, and the last is closed within {seconds} s; once more ends it at once"
            ));
        }
    }

    pub(super) fn stats(&mut self, lines: &[String]) {
        for line in lines {
            self.out.line(format_args!("{}{line}", self.prefix));
        }
    }

    /// Takes over what another server did at the same time.
    pub(super) fn add(&mut self, other: Self) {
        self.open += other.open;
        // Their most crowded moments need not be the same.
        self.most += other.most;
        self.total.received += other.total.received;
        self.total.sent += other.total.sent;
        for (reason, count) in other.ends {
            *self.ends.entry(reason).or_default() += count;
        }
    }

    fn client(&self, peer: SocketAddr) -> Client {
        Client { address: (self.true_address)(peer), decoder: Decoder::new(self.encoding) }
    }

    fn left(&mut self, client: Client, why: impl fmt::Display, traffic: Traffic) {
        let Client { address, decoder } = client;
        self.total.received += traffic.received;
        self.total.sent += traffic.sent;
        self.out.line(format_args!("{address} left: {why} ({})", told(traffic)));
        let encoding = self.encoding;
        match decoder.finish(&mut String::new()) {
            0 => {}
            1 => self.out.line(format_args!("{address} sent 1 sequence that is not {encoding}")),
            malformed => {
                self.out.line(format_args!("{address} sent {malformed} sequences that are not {encoding}"));
            }
        }
    }

    /// One is still open at the end.
    pub(super) fn cut_off(&mut self, id: Id, traffic: Traffic) {
        if let Some(client) = self.clients.get_mut(id.index()).and_then(Option::take) {
            self.left(client, "cut off", traffic);
        }
    }

    pub(super) fn summary(&mut self, stats: &ServerStats) {
        let ends: Vec<_> = self.ends.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        let traffic = told(self.total);
        let seconds = self.start.elapsed().as_secs_f64();
        let (served, most) = (stats.accepted, self.most);
        let plural = if served == 1 { "" } else { "s" };
        self.out.line(format_args!(
            "served {served} client{plural}, {most} at once, in {seconds:.1} s: {traffic}"
        ));
        if !ends.is_empty() {
            self.out.line(format_args!("ended: {}", ends.join("; ")));
        }
        if self.open > 0 {
            self.out.line(format_args!("cut off: {}", self.open));
        }
        if let Some(error) = stats.accept_error {
            let times = stats.accept_errors;
            self.out.line(format_args!("{times} times no client could be accepted, the last time: {error}"));
        }
    }
}

impl Observer for Report {
    fn opened(&mut self, id: Id, peer: SocketAddr) {
        let client = self.client(peer);
        let address = client.address;
        if self.clients.len() <= id.index() {
            self.clients.resize_with(id.index() + 1, || None);
        }
        self.clients[id.index()] = Some(client);
        self.open += 1;
        self.most = self.most.max(self.open);
        self.out.line(format_args!("{address} connected"));
    }

    fn received(&mut self, id: Id, data: &[u8]) {
        let client = self.clients.get_mut(id.index()).and_then(Option::as_mut);
        if let Some(client) = client.filter(|_| self.messages) {
            let mut text = String::new();
            client.decoder.decode(data, &mut text);
            let (address, len) = (client.address, bytes(data.len() as u64));
            self.out.line(format_args!("{address} sent {len}: \"{}\"", text.escape_debug()));
        }
    }

    fn closed(&mut self, id: Id, peer: SocketAddr, reason: Reason, traffic: Traffic) {
        let client = self.clients.get_mut(id.index()).and_then(Option::take);
        self.open -= usize::from(client.is_some());
        *self.ends.entry(reason.to_string()).or_default() += 1;
        let client = client.unwrap_or_else(|| self.client(peer));
        self.left(client, reason, traffic);
    }
}

/// As in "1 byte".
pub(super) fn bytes(count: u64) -> String {
    format!("{count} byte{}", if count == 1 { "" } else { "s" })
}

/// In words.
pub(super) fn told(traffic: Traffic) -> String {
    format!("{} received, {} sent", bytes(traffic.received), traffic.sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_is_not_several() {
        assert_eq!(told(Traffic { received: 1, sent: 0 }), "1 byte received, 0 sent");
        assert_eq!(told(Traffic { received: 0, sent: 1 }), "0 bytes received, 1 sent");
    }
}
