//! `socklet demo`: many clients at once, both ways, every byte checked.

mod cable;
mod in_memory;
#[cfg(target_os = "linux")]
mod linux;
mod load;
#[cfg(target_os = "linux")]
mod on_tap;
mod plan;
mod table;

use crate::args::DemoArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::stacks;
use core::net::SocketAddr;
use indicatif::{ProgressBar, ProgressStyle};
use plan::{Outcome, PATIENCE, Plan};
use smoltcp::phy::Device;
use socklet::connection::Deadlines;
use socklet::server::{Server, ServerConfig, ServerSlot};
use socklet::service::{Echo, Serve};
use socklet::smoltcp::SmoltcpStack;
use socklet::stack::ListenOptions;

/// Each of the two buffers of a connection, in bytes.
const BUFFER: usize = 64 << 10;
/// The echo service (RFC 862).
const PORT: u16 = 7;

pub(crate) fn run(args: &DemoArgs) -> Result<(), Failure> {
    let mut out = Output::default();
    let seed = args.seed.map_or_else(stacks::seed, Ok)?;
    let rows = rows(args, seed, &mut out)?;
    table::print(&rows, &mut out);
    let bytes = Plan::new(args, seed).bytes * u64::from(args.clients);
    let whole = |outcome: &Outcome| outcome.errors.is_empty() && outcome.bytes == bytes;
    if rows.iter().all(|row| whole(&row.outcome)) {
        out.line("every byte was right");
        return Ok(());
    }
    let mut errors = rows.iter().flat_map(|row| &row.outcome.errors);
    let first = errors.next().map_or("not all clients came to an end", String::as_str);
    let more = match errors.count() {
        0 => String::new(),
        1 => " (and 1 more error)".into(),
        more => format!(" (and {more} more errors)"),
    };
    Err(Failure::failed(format_args!("{first}{more}; `--seed {seed}` sends the same bytes again")))
}

/// One direction of the demo.
struct Row {
    title: &'static str,
    outcome: Outcome,
}

#[cfg(target_os = "linux")]
fn rows(args: &DemoArgs, seed: u64, out: &mut Output) -> Result<Vec<Row>, Failure> {
    if !args.in_memory {
        match stacks::sandbox() {
            Ok((sandbox, tap)) => {
                out.line("smoltcp and Linux, joined by a TAP interface in a private network:");
                return on_tap::run(&sandbox, tap, args, seed);
            }
            Err(error) => out.line(format_args!("no TAP interface here: {error}. So in memory:")),
        }
    }
    in_memory::run(args, seed, out)
}

#[cfg(not(target_os = "linux"))]
fn rows(args: &DemoArgs, seed: u64, out: &mut Output) -> Result<Vec<Row>, Failure> {
    out.line("TAP interfaces are a thing of Linux: run this there to use one. So in memory:");
    in_memory::run(args, seed, out)
}

/// A bar that counts the checked bytes, on a terminal.
fn progress(plan: &Plan, title: &'static str) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{msg} {wide_bar} {bytes} of {total_bytes}, {binary_bytes_per_sec}");
    let bar = ProgressBar::new(plan.bytes * plan.clients as u64).with_message(title);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// An echo server for as many clients as planned.
fn echo_server<D: Device>(
    stack: &mut SmoltcpStack<'static, D>,
    address: SocketAddr,
    plan: &Plan,
) -> Result<Serve<'static, SmoltcpStack<'static, D>, Echo>, Failure> {
    let slots: Vec<_> = (0..plan.clients).map(|_| ServerSlot::<SmoltcpStack<'static, D>>::EMPTY).collect();
    let deadlines = Deadlines::SERVER.with_idle(Some(PATIENCE)).with_first_byte(Some(PATIENCE));
    let listen = ListenOptions::backlog(plan.clients);
    let mut server = Server::new(slots, ServerConfig::DEFAULT.with_listen(listen).with_deadlines(deadlines));
    server
        .listen(stack, address)
        .map_err(|error| Failure::failed(format_args!("the demo's server cannot listen: {error}")))?;
    Ok(Serve::new(server, Echo))
}

/// smoltcp with an address.
fn stack<D: Device>(
    device: D,
    number: u8,
    address: (core::net::IpAddr, u8),
    plan: &Plan,
) -> Result<SmoltcpStack<'static, D>, Failure> {
    let memory = socklet::smoltcp::Memory::allocate(plan.clients, BUFFER, BUFFER, 1);
    let mut stack = stacks::on_device(device, number, memory)?;
    stack
        .add_address(address.0, address.1)
        .map_err(|error| Failure::failed(format_args!("smoltcp has no room for its address ({error})")))?;
    Ok(stack)
}
