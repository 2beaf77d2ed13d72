use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::{AtomicU16, Ordering};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socklet::time::{Duration, Instant};
use std::net::TcpListener;
use std::os::fd::RawFd;

/// The machine's own clock, and a wait that ends when a descriptor has something.
#[derive(Debug)]
pub(super) struct RealTime {
    start: std::time::Instant,
    poll: Poll,
    events: Events,
}

/// So that a stack whose descriptor says nothing is asked all the same.
const LONGEST_WAIT: Duration = Duration::from_millis(10);

impl RealTime {
    pub(super) fn new(descriptors: &[RawFd]) -> Self {
        let poll = Poll::new().expect("a descriptor to wait with");
        for (token, descriptor) in descriptors.iter().enumerate() {
            let mut source = SourceFd(descriptor);
            poll.registry()
                .register(&mut source, Token(token), Interest::READABLE)
                .expect("wait for a descriptor");
        }
        Self { start: std::time::Instant::now(), poll, events: Events::with_capacity(8) }
    }

    pub(super) fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }

    pub(super) fn wait(&mut self, deadline: Option<Instant>) {
        let until_deadline = deadline.map_or(LONGEST_WAIT, |deadline| deadline.since(self.now()));
        match self.poll.poll(&mut self.events, Some(until_deadline.min(LONGEST_WAIT))) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => panic!("wait: {error}"),
            _ => {}
        }
    }
}

/// A port that nobody on `ip` has, below those that the system gives to clients.
pub(super) fn unused_port(ip: IpAddr) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 10_000 + (std::process::id() % 20) as u16 * 1_000;
    loop {
        let port = base + NEXT.fetch_add(1, Ordering::Relaxed) % 2_000;
        if TcpListener::bind(SocketAddr::new(ip, port)).is_ok() {
            return port;
        }
    }
}
