//! Many socklet clients as one service.

use super::plan::{Outcome, PATIENCE, PING, Plan, SLICE, Stream};
use core::net::SocketAddr;
use socklet::client::{Client, ClientConfig, Event};
use socklet::connection::{Deadlines, Reason};
use socklet::service::Service;
use socklet::stack::{ConnectOptions, Received, Sent, TcpStack};
use socklet::time::{Instant, earliest};

/// As many clients as planned, at once, on one stack.
pub(super) struct Load<S: TcpStack> {
    plan: Plan,
    workers: Vec<Worker<S>>,
    phase: Phase,
    outcome: Outcome,
    started: std::time::Instant,
    finished: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting,
    Pinging,
    Streaming,
}

struct Worker<S: TcpStack> {
    client: Client<S>,
    sent: Stream,
    back: Stream,
    /// How far it may send.
    goal: u64,
    pinged: std::time::Instant,
    open: bool,
    over: bool,
}

impl<S: TcpStack> Load<S> {
    pub(super) fn new(server: SocketAddr, plan: &Plan) -> Self {
        let config = ClientConfig::default()
            .with_connect(ConnectOptions::default().with_timeout(Some(PATIENCE)))
            .with_deadlines(Deadlines::CLIENT.with_idle(Some(PATIENCE)))
            .with_retry(None);
        let now = std::time::Instant::now();
        let worker = |index| Worker {
            client: Client::new(server, config, plan.seed.wrapping_add(index as u64)),
            sent: plan.stream(index),
            back: plan.stream(index),
            goal: 0,
            pinged: now,
            open: false,
            over: false,
        };
        Self {
            workers: (0..plan.clients).map(worker).collect(),
            plan: plan.clone(),
            phase: Phase::Connecting,
            outcome: Outcome::default(),
            started: now,
            finished: 0,
        }
    }

    /// Whether all clients are done.
    pub(super) fn is_over(&self) -> bool {
        self.finished == self.workers.len()
    }

    pub(super) fn into_outcome(self) -> Outcome {
        self.outcome
    }

    /// Goes on to the next phase once all clients are there.
    fn next_phase(&mut self) -> bool {
        let pings = self.plan.pings;
        let ready = |worker: &Worker<S>| match self.phase {
            Phase::Connecting => worker.open,
            Phase::Pinging => worker.back.position == pings,
            Phase::Streaming => false,
        };
        if !self.workers.iter().all(|worker| worker.over || ready(worker)) || self.is_over() {
            return false;
        }
        let goal = match self.phase {
            Phase::Connecting => {
                self.phase = Phase::Pinging;
                PING
            }
            Phase::Pinging | Phase::Streaming => {
                self.phase = Phase::Streaming;
                self.plan.bytes
            }
        };
        self.started = std::time::Instant::now();
        for worker in &mut self.workers {
            worker.goal = goal;
            worker.pinged = self.started;
        }
        true
    }
}

impl<S: TcpStack> Service<S> for Load<S> {
    fn poll(&mut self, stack: &mut S, now: Instant) -> Option<Instant> {
        let Self { plan, workers, phase, outcome, started, finished } = self;
        let mut deadline = None;
        for (index, worker) in workers.iter_mut().enumerate().filter(|(_, worker)| !worker.over) {
            let mut wrong = None;
            while let Some(event) = worker.client.poll(stack, now) {
                match event {
                    Event::Opened { .. } => worker.open = true,
                    Event::Writable => {}
                    Event::Readable => match worker.receive(stack, plan) {
                        Ok(trip) => outcome.round_trips.extend(trip.filter(|_| *phase == Phase::Pinging)),
                        Err(error) => wrong = Some(error),
                    },
                    Event::Closed { reason, .. } => {
                        worker.over = true;
                        *finished += 1;
                        outcome.elapsed = started.elapsed();
                        match worker.verdict(reason, plan) {
                            Ok(()) => {
                                outcome.connections += 1;
                                outcome.bytes += plan.bytes;
                            }
                            Err(error) => outcome.errors.push(format!("client {index}: {error}")),
                        }
                    }
                }
            }
            if let Some(error) = wrong {
                outcome.errors.push(format!("client {index}: {error}"));
                worker.over = true;
                *finished += 1;
                // Its only error is that nothing is open.
                let _ = worker.client.abort();
            }
            worker.send(stack, plan);
            deadline = earliest(deadline, worker.client.deadline());
        }
        if self.next_phase() { Some(now) } else { deadline }
    }
}

impl<S: TcpStack> Worker<S> {
    /// Compares what has come. Gives the time of a round trip that is complete.
    fn receive(&mut self, stack: &mut S, plan: &Plan) -> Result<Option<core::time::Duration>, String> {
        let before = self.back.position;
        loop {
            let back = &mut self.back;
            let received = self.client.recv_with(stack, |data| {
                let data = &data[..data.len().min(SLICE)];
                (data.len(), back.check(data).map(|()| data.len()))
            });
            match received {
                Ok(Received::Data(checked)) => plan.count(checked?),
                // What ends the connection comes as an event.
                Ok(Received::WouldBlock) | Err(_) => break,
                Ok(Received::EndOfStream) => {
                    let _ = self.client.close(stack);
                    break;
                }
            }
        }
        let came = self.back.position > before;
        let pinging = came && self.goal <= plan.pings && self.back.position == self.goal;
        let trip = pinging.then(|| self.pinged.elapsed());
        if pinging && self.goal < plan.pings {
            self.goal += PING;
            self.pinged = std::time::Instant::now();
        }
        Ok(trip)
    }

    fn send(&mut self, stack: &mut S, plan: &Plan) {
        while self.sent.position < self.goal {
            match self.client.send(stack, self.sent.next(self.goal)) {
                Ok(Sent::Queued(count)) => self.sent.position += count as u64,
                Ok(Sent::WouldBlock) | Err(_) => return,
            }
        }
        if self.sent.position == plan.bytes {
            // Doing it twice is harmless.
            let _ = self.client.shutdown(stack);
        }
    }

    fn verdict(&self, reason: Reason, plan: &Plan) -> Result<(), String> {
        match plan.bytes - self.back.position {
            0 if reason.is_orderly() => Ok(()),
            missing => Err(format!("{reason}; {missing} bytes did not come back")),
        }
    }
}
