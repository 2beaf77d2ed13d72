//! From smoltcp in a private network, through a relay.

use super::host::resolve;
use super::way::Way;
use super::{GRACE, config, connect, driver, waker};
use crate::args::ConnectArgs;
use crate::failure::Failure;
use crate::stacks;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use rustix::io::Errno;
use socklet::connection::{Deadline, Reason};
use socklet::smoltcp::Memory;
use socklet::stack::ErrorKind;
use socklet_hosted::relay::{Failures, Options, Relay};
use std::io;
use std::net::TcpListener;
use std::sync::Arc;

const BUFFER: usize = 64 << 10;

/// smoltcp connects to the relay at Linux's end of the interface, and the relay to the host.
pub(super) fn run(args: &ConnectArgs) -> Result<(), Failure> {
    let (sandbox, tap) =
        stacks::sandbox().map_err(|error| Failure::failed(format_args!("{error}; or use --stack os")))?;
    let targets = resolve(args)?;
    let network = *sandbox.network();
    let no_relay =
        |error| Failure::failed(format_args!("no relay out of the sandbox ({error}): raise `ulimit -n`"));
    let (mut routes, mut doors) = (Vec::new(), Vec::new());
    for target in targets {
        let listener = sandbox.run(move || TcpListener::bind((network.host_v4, 0))).map_err(no_relay)?;
        doors.push(listener.local_addr().map_err(no_relay)?);
        routes.push((listener, target));
    }
    let options = Options { connect_timeout: config(args).connect.timeout, ..Options::default() };
    let relay = Relay::spawn(routes, options).map_err(no_relay)?;
    let mut stack = stacks::on_device(tap, 2, Memory::allocate(2, BUFFER, BUFFER, 0))?;
    stack
        .add_address(network.stack_v4.into(), network.prefix_v4)
        .map_err(|error| Failure::failed(format_args!("smoltcp has no room for its address ({error})")))?;
    let mut driver = driver()?;
    let way = Relayed { failures: relay.failures(), reached: Arc::default() };
    let (reached, waker) = (Arc::clone(&way.reached), waker(&driver)?);
    relay.on_reached(move || {
        reached.store(true, Ordering::Release);
        waker.wake();
    });
    let (result, stopped) = connect(&mut driver, &mut stack, doors, way, args);
    // Both ends of the way share the grace.
    relay.finish(GRACE.saturating_sub(stopped.map_or(Duration::ZERO, |stopped| stopped.elapsed())));
    result
}

/// Through the relay. That it was reached does not say that the host was.
#[derive(Clone)]
struct Relayed {
    failures: Failures,
    reached: Arc<AtomicBool>,
}

impl Way for Relayed {
    fn is_through(&self) -> bool {
        self.reached.load(Ordering::Acquire)
    }

    fn ended(&self, reason: Reason) -> Reason {
        let reached = self.reached.swap(false, Ordering::AcqRel);
        match (reason, self.failures.take()) {
            (Reason::Reset, Some(error)) => match error.kind() {
                io::ErrorKind::ConnectionRefused => Reason::Refused,
                io::ErrorKind::TimedOut => Reason::TimedOut(Deadline::Connect),
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Reason::Unreachable,
                _ => Reason::Failed(match Errno::from_io_error(&error) {
                    Some(Errno::MFILE | Errno::NFILE) => ErrorKind::NoSlot,
                    _ => ErrorKind::Other,
                }),
            },
            // What was idle had not begun.
            (Reason::TimedOut(_), _) if !reached => Reason::TimedOut(Deadline::Connect),
            (reason, _) => reason,
        }
    }
}
