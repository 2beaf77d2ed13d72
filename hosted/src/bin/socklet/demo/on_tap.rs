//! smoltcp on one side of a TAP interface, Linux on the other.

use super::load::Load;
use super::plan::{Outcome, Plan};
use super::{PORT, Row, echo_server, linux, progress, stack};
use crate::args::DemoArgs;
use crate::failure::Failure;
use core::net::SocketAddr;
use core::sync::atomic::Ordering;
use indicatif::ProgressBar;
use socklet::smoltcp::SmoltcpStack;
use socklet_hosted::driver::Driver;
use socklet_hosted::sandbox::Sandbox;
use socklet_hosted::tap::Tap;
use std::io;
use std::net::TcpListener;

type Stack = SmoltcpStack<'static, Tap>;
type Direction = fn(&Sandbox, &mut Stack, &Plan, &ProgressBar) -> io::Result<Outcome>;

pub(super) fn run(sandbox: &Sandbox, tap: Tap, args: &DemoArgs, seed: u64) -> Result<Vec<Row>, Failure> {
    let plan = || Plan::new(args, seed);
    let network = sandbox.network();
    let mut stack = stack(tap, 2, (network.stack_v4.into(), network.prefix_v4), &plan())?;
    let mut rows = Vec::new();
    let directions: [(_, Direction); 2] =
        [("Linux clients, socklet server", serve), ("socklet clients, Linux server", connect)];
    for (title, direction) in directions {
        let plan = plan();
        let bar = progress(&plan, title);
        let outcome = direction(sandbox, &mut stack, &plan, &bar);
        bar.finish_and_clear();
        let no_resources = |error| {
            Failure::failed(format_args!("the demo cannot start ({error}): raise `ulimit -n` and `-u`"))
        };
        let outcome = outcome.map_err(no_resources)?;
        let failed = !outcome.errors.is_empty();
        rows.push(Row { title, outcome });
        if failed {
            // What failed here would fail there too, and take its time.
            break;
        }
    }
    Ok(rows)
}

/// The server on smoltcp, the clients on Linux.
fn serve(sandbox: &Sandbox, stack: &mut Stack, plan: &Plan, bar: &ProgressBar) -> io::Result<Outcome> {
    let address = SocketAddr::new(sandbox.network().stack_v4.into(), PORT);
    let mut server = echo_server(stack, address, plan).map_err(io::Error::other)?;
    let mut driver = Driver::new()?;
    let stopper = driver.stopper()?;
    let clients = {
        let plan = plan.clone();
        sandbox.spawn("clients", move || {
            let outcome = linux::clients(address, &plan);
            stopper.stop();
            outcome
        })?
    };
    driver.run_until(stack, &mut server, |_, _, _| {
        bar.set_position(plan.checked.load(Ordering::Relaxed));
        false
    })?;
    clients.join().map_err(|_| io::Error::other("a client panicked"))
}

/// The clients on smoltcp, the server on Linux.
fn connect(sandbox: &Sandbox, stack: &mut Stack, plan: &Plan, bar: &ProgressBar) -> io::Result<Outcome> {
    let host = sandbox.network().host_v4;
    let listener = sandbox.run(move || TcpListener::bind((host, 0)))?;
    let mut load = Load::new(listener.local_addr()?, plan);
    let count = plan.clients;
    // It ends with the last client, or with the process.
    sandbox.spawn("server", move || linux::echo_server(&listener, count))?;
    Driver::new()?.run_until(stack, &mut load, |_, load, _| {
        bar.set_position(plan.checked.load(Ordering::Relaxed));
        load.is_over()
    })?;
    Ok(load.into_outcome())
}
