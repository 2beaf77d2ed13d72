//! What runs in a user's world: services of the user's, and clients that check them.

use super::SimStack;
use super::ledger::Ledger;
use super::parties::{Events, Party};
use core::net::SocketAddr;
use socklet::client::{Client, ClientConfig, ClientState, Event};
use socklet::connection::Transitions;
use socklet::service::Service;
use socklet::stack::{Received, Sent};
use socklet::time::{Duration, Instant};

/// A service of the user's, into which the world cannot look.
pub(super) struct Opaque<T>(pub(super) T);

impl<T: Service<SimStack>> Service<SimStack> for Opaque<T> {
    fn poll(&mut self, stack: &mut SimStack, now: Instant) -> Option<Instant> {
        self.0.poll(stack, now)
    }
    fn drain(&mut self, stack: &mut SimStack, now: Instant, grace: Duration) {
        self.0.drain(stack, now, grace);
    }
    fn is_drained(&self) -> bool {
        self.0.is_drained()
    }
}

impl<T: Service<SimStack>> Party for Opaque<T> {
    fn live(&self) -> Option<usize> {
        None
    }
    fn is_done(&self) -> bool {
        true
    }
}

/// A client that sends a request, closes its write side, and knows what must come back.
pub(super) struct Exchange {
    client: Client<SimStack>,
    ledger: Ledger,
    request: Vec<u8>,
    reply: Vec<u8>,
    sent: usize,
    received: usize,
    succeeded: bool,
}

impl Exchange {
    pub(super) fn new(
        server: SocketAddr,
        request: Vec<u8>,
        reply: Vec<u8>,
        seed: u64,
        ledger: &Ledger,
    ) -> Self {
        let client = Client::new(server, ClientConfig::default(), seed);
        let ledger = ledger.clone();
        Self { client, ledger, request, reply, sent: 0, received: 0, succeeded: false }
    }

    fn send(&mut self, stack: &mut SimStack) {
        while let rest @ [_, ..] = &self.request[self.sent..] {
            let Ok(Sent::Queued(count)) = self.client.send(stack, rest) else { return };
            self.sent += count;
        }
        // Whatever fails here ends the connection, and it is tried again.
        let _ = self.client.shutdown(stack);
    }

    fn receive(&mut self, stack: &mut SimStack) {
        let mut buffer = [0; 1024];
        loop {
            match self.client.recv(stack, &mut buffer) {
                Ok(Received::Data(count)) => {
                    let expected = self.reply.get(self.received..self.received + count);
                    if expected != Some(&buffer[..count]) {
                        let got = String::from_utf8_lossy(&buffer[..count]);
                        self.ledger.fail(format!("byte {} of a reply is wrong: got {got:?}", self.received));
                    }
                    self.received += count;
                    self.ledger.verified(count);
                }
                Ok(Received::EndOfStream) => {
                    let (received, all) = (self.received, self.reply.len());
                    if received != all && self.sent == self.request.len() {
                        self.ledger
                            .fail(format!("a reply ended in good order after {received} of {all} bytes"));
                    }
                    self.succeeded = true;
                    self.client.stop();
                    return self.client.close(stack).unwrap_or(());
                }
                Ok(Received::WouldBlock) | Err(_) => return,
            }
        }
    }
}

impl Service<SimStack> for Exchange {
    fn poll(&mut self, stack: &mut SimStack, now: Instant) -> Option<Instant> {
        let mut events = Events::default();
        while let Some(event) = self.client.poll(stack, now) {
            if !events.count(&self.ledger, "client", now, &event) {
                break;
            }
            match event {
                Event::Opened { .. } => {
                    self.ledger.connected();
                    (self.sent, self.received) = (0, 0);
                    self.send(stack);
                }
                Event::Readable => self.receive(stack),
                Event::Writable => self.send(stack),
                Event::Closed { reason, .. } => self.ledger.count(reason),
            }
        }
        self.client.deadline()
    }
}

impl Party for Exchange {
    fn live(&self) -> Option<usize> {
        let connected = !matches!(
            self.client.state(),
            ClientState::Idle | ClientState::Waiting { .. } | ClientState::Stopped
        );
        Some(connected.into())
    }

    fn is_done(&self) -> bool {
        self.client.state() == ClientState::Stopped
    }

    fn stop(&mut self) {
        if !self.succeeded {
            self.ledger.fail(format!(
                "a client has not had its reply in time: {:?}, {} of {} bytes sent, {} received",
                self.client.state(),
                self.sent,
                self.request.len(),
                self.received
            ));
        }
    }

    fn transitions(&self) -> Transitions {
        *self.client.transitions()
    }
}
