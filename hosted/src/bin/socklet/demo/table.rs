use super::plan::Outcome;
use super::{BUFFER, Row};
use crate::output::Output;
use core::time::Duration;
use indicatif::BinaryBytes;
use smoltcp::iface::{SocketSet, SocketStorage};
use smoltcp::phy::Loopback;
use socklet::server::ServerSlot;
use socklet::smoltcp::{Slot, SmoltcpStack};

/// The figures, and what a connection costs.
pub(super) fn print(rows: &[Row], out: &mut Output) {
    let mut row = |[title, connections, bytes, rate, p50, p99]: [&str; 6]| {
        out.line(format_args!("{title:<31} {connections:>11} {bytes:>15} {rate:>13} {p50:>15} {p99:>9}"));
    };
    row(["", "connections", "bytes each way", "throughput", "round trip p50", "p99"]);
    for Row { title, outcome } in rows {
        let connections = outcome.connections.to_string();
        let bytes = BinaryBytes(outcome.bytes).to_string();
        let rate = format!("{}/s", BinaryBytes(rate(outcome)));
        let [p50, p99] = [50, 99].map(|percent| micros(outcome.percentile(percent)));
        row([title, &connections, &bytes, &rate, &p50, &p99]);
    }
    let set = size_of::<SocketSet<'_>>();
    let own = size_of::<Slot<'_>>() - set + size_of::<ServerSlot<SmoltcpStack<'_, Loopback>>>();
    let socket = size_of::<SocketStorage<'_>>() + set;
    let sum = 2 * BUFFER + own + socket;
    out.line(format_args!(
        "memory per connection: {sum} bytes (two buffers of {BUFFER}, smoltcp's socket and its set {socket}, socklet {own})"
    ));
}

/// Bytes per second in each direction.
fn rate(outcome: &Outcome) -> u64 {
    let micros = outcome.elapsed.as_micros().max(1);
    u64::try_from(u128::from(outcome.bytes) * 1_000_000 / micros).unwrap_or(u64::MAX)
}

fn micros(time: Duration) -> String {
    format!("{} us", time.as_micros())
}
