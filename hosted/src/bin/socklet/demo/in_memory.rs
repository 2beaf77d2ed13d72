//! Two smoltcp stacks in this process, joined by a simulated cable.

use super::cable::Plug;
use super::load::Load;
use super::plan::Plan;
use super::{PORT, Row, echo_server, progress, stack};
use crate::args::DemoArgs;
use crate::failure::Failure;
use crate::output::Output;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::sync::atomic::Ordering;
use core::time::Duration;
use socklet::service::Service;
use socklet::stack::TcpStack;
use socklet::time::{Instant, earliest};
use std::thread;

const NETWORK: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1)), IpAddr::V4(Ipv4Addr::new(10, 77, 0, 2))];
/// The longest sleep.
const NAP: Duration = Duration::from_millis(10);

pub(super) fn run(args: &DemoArgs, seed: u64, out: &mut Output) -> Result<Vec<Row>, Failure> {
    out.line("smoltcp and smoltcp, joined by a simulated cable in memory:");
    let title = "socklet clients, socklet server";
    let plan = Plan::new(args, seed);
    let [near, far] = Plug::pair();
    let mut near = stack(near, 1, (NETWORK[0], 24), &plan)?;
    let mut far = stack(far, 2, (NETWORK[1], 24), &plan)?;
    let address = SocketAddr::new(NETWORK[1], PORT);
    let mut server = echo_server(&mut far, address, &plan)?;
    let mut load = Load::new(address, &plan);
    let bar = progress(&plan, title);
    let start = std::time::Instant::now();
    while !load.is_over() {
        let now = Instant::ZERO + start.elapsed();
        let services = earliest(server.poll(&mut far, now), load.poll(&mut near, now));
        let stacks = earliest(far.poll(now), near.poll(now));
        bar.set_position(plan.checked.load(Ordering::Relaxed));
        let quiet = !near.device().has_frame() && !far.device().has_frame();
        let wait = earliest(services, stacks).map_or(NAP, |deadline| deadline.since(now).min(NAP));
        if quiet && !wait.is_zero() {
            thread::sleep(wait);
        }
    }
    bar.finish_and_clear();
    Ok(vec![Row { title, outcome: load.into_outcome() }])
}
