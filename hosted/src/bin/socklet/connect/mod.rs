//! `socklet connect`.

mod ends;
mod host;
#[cfg(target_os = "linux")]
mod on_tap;
mod stdio;
#[cfg(test)]
mod tests;
mod way;

use crate::args::{ConnectArgs, StackKind};
use crate::failure::Failure;
use crate::signals::Unheard;
use crate::stacks;
use core::cell::Cell;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use ends::{Last, Next, follow, verdict};
use host::{bare, name, resolve};
use socklet::client::{Backoff, Client, ClientConfig, Event};
use socklet::connection::Deadlines;
use socklet::service::Service;
use socklet::stack::{ConnectOptions, TcpStack};
use socklet::time::Instant;
use socklet_hosted::driver::{Driver, End, Wait, Waker};
use socklet_hosted::os::OsOptions;
use socklet_hosted::service::{Feed, Pipe};
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use stdio::{Broken, read_input, write_output};
use way::{Direct, Way};

/// How long the peer may take to close after Ctrl-C.
const GRACE: Duration = Duration::from_secs(2);

pub(crate) fn run(args: &ConnectArgs) -> Result<(), Failure> {
    if bare(&args.host).is_empty() {
        return Err(Failure::usage("the host is empty: give a name or an address"));
    }
    match args.stack {
        #[cfg(target_os = "linux")]
        StackKind::Tap => on_tap::run(args),
        StackKind::Os => {
            let mut stack = stacks::os(OsOptions::default().with_connections(1))?;
            connect(&mut driver()?, &mut stack, resolve(args)?, Direct, args).0
        }
        StackKind::Nal => connect(&mut driver()?, &mut stacks::nal(1), resolve(args)?, Direct, args).0,
    }
}

/// Connects to the first of `addresses` that answers, and carries bytes until the peer closes. Gives also when it was asked to stop.
fn connect<S: TcpStack + Wait>(
    driver: &mut Driver,
    stack: &mut S,
    addresses: Vec<SocketAddr>,
    way: impl Way,
    args: &ConnectArgs,
) -> (Result<(), Failure>, Option<std::time::Instant>) {
    match session(driver, stack, addresses, way, args) {
        Ok((mut session, writer)) => {
            let end = driver.run_until(stack, &mut session, |_, session, _| session.pipe.is_over());
            let stopped = session.stopped;
            (outcome(end, session, writer, stack, args), stopped)
        }
        Err(failure) => (Err(failure), None),
    }
}

/// Everything ready to connect, and the thread that writes standard output.
fn session<S: TcpStack>(
    driver: &Driver,
    stack: &S,
    addresses: Vec<SocketAddr>,
    way: impl Way,
    args: &ConnectArgs,
) -> Result<(Session<S>, JoinHandle<()>), Failure> {
    let broken = Broken::default();
    let feed = match &args.send {
        Some(text) => {
            let bytes = args.encoding.unwrap_or_default().encode(text);
            Feed::Text(bytes.map_err(|error| Failure::usage(format_args!("--send: {error}")))?.into_owned())
        }
        None => Feed::Stream(read_input(args.encoding, waker(driver)?, Arc::clone(&broken))),
    };
    let (output, writer) = write_output(args.encoding, waker(driver)?, Arc::clone(&broken));
    let last = Rc::new(Cell::new(None));
    let first = addresses[0];
    let client = Client::new(first, config(args), stacks::seed()?);
    let mut follow = follow(addresses, way.clone(), Rc::clone(&last), args);
    let on_event = move |client: &mut Client<S>, event: &Event, now| match follow(event, now) {
        None => {}
        Some(Next::Again(_)) => client.set_remote(first),
        Some(Next::Other(address)) => {
            client.set_remote(address);
            client.start();
        }
        Some(Next::Over) => client.stop(),
    };
    let pipe = Pipe::new(client, feed, output, on_event).with_gate(move || way.is_through());
    let mute = args.send.is_none() && !stack.capabilities().half_close;
    Ok((Session { pipe, broken, last, mute, stopped: None }, writer))
}

/// A pipe that says what its user cannot see.
struct Session<S: TcpStack> {
    pipe: Pipe<S>,
    broken: Broken,
    last: Rc<Cell<Option<Last>>>,
    /// The end of the input cannot be passed on, and nobody was told so.
    mute: bool,
    /// When it was asked to stop.
    stopped: Option<std::time::Instant>,
}

impl<S: TcpStack> Service<S> for Session<S> {
    fn poll(&mut self, stack: &mut S, now: Instant) -> Option<Instant> {
        if self.broken.get().is_some() {
            self.pipe.abort();
        }
        let next = self.pipe.poll(stack, now);
        if self.mute && self.pipe.has_ended() {
            self.mute = false;
            say("the peer is not told that the input has ended: --stack nal cannot half-close");
        }
        next
    }

    fn drain(&mut self, stack: &mut S, now: Instant, grace: Duration) {
        self.stopped = Some(std::time::Instant::now());
        if self.pipe.is_open() {
            say("stopping; once more ends it at once");
        }
        self.pipe.drain(stack, now, grace);
    }

    fn is_drained(&self) -> bool {
        self.pipe.is_drained()
    }
}

/// Tells the user; nobody reads it if standard error is closed.
fn say(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "socklet: {line}");
}

/// What the end of `session` means for the exit code.
fn outcome<S: TcpStack>(
    end: io::Result<End>,
    session: Session<S>,
    writer: JoinHandle<()>,
    stack: &S,
    args: &ConnectArgs,
) -> Result<(), Failure> {
    let Session { pipe, broken, last, .. } = session;
    let unsent = pipe.has_unsent(stack);
    // The writer ends with it.
    drop(pipe);
    let end = end.map_err(|error| Failure::failed(format_args!("the system refuses to wait ({error})")))?;
    // What it panics with has been printed.
    let _ = writer.join();
    if let Some(text) = broken.get() {
        return Err(Failure::failed(text));
    }
    match end {
        End::Finished => verdict(last.take(), args),
        End::Drained | End::Cut if unsent || last.take().is_some_and(|last| last.lost) => {
            Err(Failure::failed(format_args!(
                "interrupted before all of the input had reached {}: send the rest again",
                name(args)
            )))
        }
        End::Drained | End::Cut => Ok(()),
    }
}

fn waker(driver: &Driver) -> Result<Waker, Failure> {
    driver
        .waker()
        .map_err(|error| Failure::failed(format_args!("no descriptor is left ({error}): raise `ulimit -n`")))
}

/// The second signal ends the program also while standard output takes nothing.
fn driver() -> Result<Driver, Failure> {
    let try_driver = || -> io::Result<Driver> {
        Unheard::watch()?;
        let mut driver = Driver::new()?.with_grace(GRACE);
        driver.stop_on_signals()?;
        Ok(driver)
    };
    try_driver()
        .map_err(|error| Failure::failed(format_args!("the loop cannot start ({error}): raise `ulimit -n`")))
}

fn config(args: &ConnectArgs) -> ClientConfig {
    let limit = args.timeout.filter(|timeout| !timeout.is_zero());
    let mut connect = ConnectOptions::default();
    if args.timeout.is_some() {
        connect = connect.with_timeout(limit);
    }
    let deadlines = Deadlines::CLIENT.with_idle(limit).with_write_stall(limit);
    let backoff = Backoff { cap: Duration::from_secs(15), ..Backoff::DEFAULT };
    ClientConfig::default()
        .with_connect(connect)
        .with_deadlines(deadlines)
        .with_retry(args.retry.then_some(backoff))
}
