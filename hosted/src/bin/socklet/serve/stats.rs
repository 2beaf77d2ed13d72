//! What `--stats` prints.

use super::report::told;
use socklet::server::Server;
use socklet::stack::TcpStack;
use socklet::time::{Duration, Instant};
use socklet_hosted::nal_std::NalStd;
use socklet_hosted::os::OsStack;

/// Connections of which each has a line.
const MOST: usize = 16;

/// A stack that may have counted something.
pub(super) trait Counted: TcpStack {
    /// In lines.
    fn counted(&self) -> Vec<String> {
        Vec::new()
    }

    /// Of one connection, beside what its server knows.
    fn counted_of(&self, connection: Self::Connection) -> String {
        let _ = connection;
        String::new()
    }
}

impl Counted for OsStack {}
impl Counted for NalStd {}

/// When to print next.
pub(super) struct Periodic {
    every: Option<Duration>,
    next: Option<Instant>,
}

impl Periodic {
    pub(super) fn new(every: Option<Duration>) -> Self {
        Self { every: every.filter(|every| !every.is_zero()), next: None }
    }

    /// Whether it is time to print, and when the next time is.
    pub(super) fn due(&mut self, now: Instant) -> (bool, Option<Instant>) {
        let Some(every) = self.every else { return (false, None) };
        let due = self.next.is_some_and(|next| next <= now);
        if due || self.next.is_none() {
            self.next = Some(now + every);
        }
        (due, self.next)
    }
}

/// All that there is to say, in lines.
pub(super) fn lines<S: Counted>(server: &Server<'_, S>, stack: &S) -> Vec<String> {
    let stats = server.stats();
    let (open, accepted, rejected) = (server.len(), stats.accepted, stats.rejected);
    let mut lines = vec![format!("{open} open, {accepted} accepted, {rejected} rejected")];
    lines.extend(stack.counted());
    for id in server.ids().take(MOST) {
        let (Ok(peer), Some(traffic)) = (server.peer(stack, id), server.traffic(id)) else { continue };
        let more = server.handle(id).map_or_else(String::new, |handle| stack.counted_of(handle));
        lines.push(format!("{peer}: {}{more}", told(traffic)));
    }
    if open > MOST {
        lines.push(format!("and {} more connections", open - MOST));
    }
    lines
}

#[cfg(target_os = "linux")]
mod on_tap {
    use super::Counted;
    use smoltcp::phy::{Device, PcapSink, PcapWriter};
    use socklet::smoltcp::{ConnectionHandle, SmoltcpStack};
    use socklet_hosted::tap::{Stats, Tap};

    /// A device that is a TAP, or around one.
    pub(in super::super) trait Carrier: Device {
        fn carried(&self) -> Stats;
    }

    impl Carrier for Tap {
        fn carried(&self) -> Stats {
            self.stats()
        }
    }

    impl<S: PcapSink> Carrier for PcapWriter<Tap, S> {
        fn carried(&self) -> Stats {
            self.get_ref().stats()
        }
    }

    impl<D: Carrier> Counted for SmoltcpStack<'_, D> {
        fn counted(&self) -> Vec<String> {
            let (stack, tap, (slots, free)) = (self.stats(), self.device().carried(), self.slots());
            let (queues, drops) = (self.queue_lengths(), stack.dropped);
            vec![
                format!("slots: {slots}, {free} free, {} owned by the server", self.owned()),
                format!(
                    "queues: {} half open, {} to be accepted, {} await a neighbour's address, {} in TIME-WAIT",
                    queues.half_open, queues.to_accept, queues.awaiting_neighbor, queues.time_wait
                ),
                format!(
                    "frames: {} in, {} of them of several segments; {} out, {} of them of several segments",
                    tap.rx_frames, tap.rx_super, tap.tx_frames, tap.tx_super
                ),
                format!(
                    "segments: {} in, {} out, {} of them again; octets: {} in, {} out",
                    stack.segments_received,
                    stack.segments_sent,
                    stack.retransmitted,
                    stack.octets_received,
                    stack.octets_sent
                ),
                format!(
                    "newcomers: {} admitted, {} deferred, {} refused, {} given up; cookies: {} sent, {} returned",
                    stack.syns_admitted,
                    stack.syns_deferred,
                    stack.syns_refused,
                    stack.half_open_dropped,
                    stack.cookies_sent,
                    stack.cookies_returned
                ),
                format!("answered: {} challenged, {} for nobody", stack.challenges, stack.for_nobody),
                format!(
                    "dropped in: {} malformed, {} wrong checksum, {} fragments, {} not for us, {} from no peer, \
                     {} without flags, {} blind resets, {} read errors",
                    u64::from(drops.malformed) + tap.rx_short,
                    u64::from(drops.wrong_checksum) + tap.rx_bad_checksum,
                    drops.fragments,
                    drops.not_for_us,
                    drops.bad_source,
                    drops.no_flags,
                    drops.blind_resets,
                    tap.rx_errors
                ),
                format!(
                    "dropped out: {} no buffers, {} link down, {} other errors",
                    tap.tx_no_buffers, tap.tx_link_down, tap.tx_errors
                ),
            ]
        }

        fn counted_of(&self, connection: ConnectionHandle) -> String {
            let Ok(stats) = self.connection_stats(connection) else { return String::new() };
            format!(
                "; queues {}/{} in, {}/{} out; segments: {} in, {} out, {} again",
                stats.receive_queue,
                stats.receive_capacity,
                stats.send_queue,
                stats.send_capacity,
                stats.segments_received,
                stats.segments_sent,
                stats.retransmitted
            )
        }
    }
}

#[cfg(target_os = "linux")]
pub(super) use on_tap::Carrier;
