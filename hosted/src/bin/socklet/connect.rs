//! `socklet connect`.

use crate::args::{ConnectArgs, StackKind};
use crate::failure::Failure;
use crate::signals::Unheard;
use crate::stacks;
use core::cell::Cell;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use socklet::client::{Backoff, Client, ClientConfig, Event};
use socklet::connection::{Deadlines, Reason};
use socklet::service::Service;
use socklet::stack::{ConnectOptions, TcpStack};
use socklet::time::Instant;
use socklet_hosted::driver::{Driver, End, Wait, Waker};
use socklet_hosted::os::OsOptions;
use socklet_hosted::service::{Feed, Pipe};
use socklet_hosted::text::{Decoder, Encoding};
use std::io::{self, Read, Write};
use std::net::ToSocketAddrs;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

/// How long the peer may take to close after Ctrl-C.
const GRACE: Duration = Duration::from_secs(2);
/// Pieces on the way between the loop and standard input or output.
const PIECES: usize = 4;
const PIECE: usize = 16 << 10;

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

/// What lies between the stack and the host.
trait Way: Clone + 'static {
    /// Whether a connection that is open reaches the host.
    fn is_through(&self) -> bool;
    /// Why the last connection ended, as seen from the host's side; the next one is not through yet.
    fn ended(&self, reason: Reason) -> Reason;
}

/// Nothing but the network.
#[derive(Clone, Copy)]
struct Direct;

impl Way for Direct {
    fn is_through(&self) -> bool {
        true
    }

    fn ended(&self, reason: Reason) -> Reason {
        reason
    }
}

#[cfg(target_os = "linux")]
mod on_tap {
    use super::*;
    use core::sync::atomic::{AtomicBool, Ordering};
    use socklet::connection::Deadline;
    use socklet::smoltcp::Memory;
    use socklet::stack::ErrorKind;
    use socklet_hosted::relay::{Failures, Options, Relay};
    use std::net::TcpListener;

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
        stack.add_address(network.stack_v4.into(), network.prefix_v4).map_err(|error| {
            Failure::failed(format_args!("smoltcp has no room for its address ({error})"))
        })?;
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
                    _ => Reason::Failed(ErrorKind::Other),
                },
                // What was idle had not begun.
                (Reason::TimedOut(_), _) if !reached => Reason::TimedOut(Deadline::Connect),
                (reason, _) => reason,
            }
        }
    }
}

/// A name for what is connected to, as in a URL.
fn name(args: &ConnectArgs) -> String {
    let (host, port) = (bare(&args.host), args.port);
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A host without the brackets that an IPv6 address has in a URL.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// The addresses of the host, in the order of the system's resolver.
fn resolve(args: &ConnectArgs) -> Result<Vec<SocketAddr>, Failure> {
    let host = &args.host;
    match (bare(host), args.port).to_socket_addrs() {
        Ok(addresses) if addresses.len() > 0 => Ok(addresses.collect()),
        Ok(_) => Err(Failure::failed(format_args!("the host {host} has no address: check its name"))),
        Err(error) => {
            Err(Failure::failed(format_args!("the host {host} is unknown ({error}): check its name")))
        }
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

/// How the last connection ended.
#[derive(Debug, Clone, Copy)]
struct Last {
    reason: Reason,
    /// It had taken what cannot be sent to another one.
    spent: bool,
    /// It may have lost what it had taken.
    lost: bool,
}

/// Decides what follows each connection's end, and says it.
fn follow<W: Way>(
    addresses: Vec<SocketAddr>,
    way: W,
    last: Rc<Cell<Option<Last>>>,
    args: &ConnectArgs,
) -> impl FnMut(&Event, Instant) -> Option<Next> + use<W> {
    let (name, streams) = (name(args), args.send.is_none());
    let others_of = move || addresses.clone().into_iter().skip(1);
    let mut others = others_of();
    let mut opened = false;
    move |event, now| match event {
        Event::Opened { .. } => {
            opened = true;
            last.set(None);
            log::info!("connected to {name}");
            None
        }
        Event::Readable | Event::Writable => None,
        Event::Closed { reason, traffic, retry } => {
            let reached = core::mem::take(&mut opened) && way.is_through();
            let reason = way.ended(*reason);
            let spent = streams && traffic.sent > 0;
            last.set(Some(Last { reason, spent, lost: traffic.sent > 0 && !reason.is_orderly() }));
            let next = next(reason, reached, spent, &mut others, *retry);
            if let Next::Again(at) = next {
                others = others_of();
                let wait = at.since(now).as_secs_f64();
                say(format_args!("{name}: {reason}; next attempt in {wait:.1} s"));
            }
            Some(next)
        }
    }
}

/// What follows the end of a connection, or of an attempt.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// This address of the host, at once.
    Other(SocketAddr),
    /// All addresses from the first one, then.
    Again(Instant),
    Over,
}

/// Another address is for a host that was never `reached`: one that was may have taken input. Nobody gets the rest of an input whose
/// beginning was `spent` on another connection.
fn next(
    reason: Reason,
    reached: bool,
    spent: bool,
    others: &mut impl Iterator<Item = SocketAddr>,
    retry: Option<Instant>,
) -> Next {
    // It was asked for here, or all is done.
    if reason == Reason::Aborted || reason.is_orderly() || spent {
        return Next::Over;
    }
    let other = if reached { None } else { others.next() };
    match (other, retry) {
        (Some(address), _) => Next::Other(address),
        (None, Some(at)) => Next::Again(at),
        (None, None) => Next::Over,
    }
}

/// Why standard input cannot be read to its end, or standard output not be written: the first one counts, and nothing goes on.
type Broken = Arc<OnceLock<String>>;

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
    driver.waker().map_err(|error| Failure::failed(format_args!("no descriptor is left ({error})")))
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

/// What the last end means for the exit code.
fn verdict(last: Option<Last>, args: &ConnectArgs) -> Result<(), Failure> {
    let Some(Last { reason, spent, .. }) = last else { return Ok(()) };
    let remedy = match reason {
        Reason::PeerClosed | Reason::Finished | Reason::Aborted => return Ok(()),
        _ if spent && args.retry => {
            "part of standard input was sent and cannot be sent again by --retry; start again with all of it"
        }
        Reason::Refused => "start the server, or check the port",
        Reason::Unreachable | Reason::LinkDown => "check the address and the network",
        Reason::TimedOut(_) => "check that the host is up, or raise --timeout",
        Reason::Reset => "the server gave the connection up; its log may say why",
        Reason::Rejected | Reason::Failed(_) => "check the address, or try --stack os",
    };
    Err(Failure::failed(format_args!("the connection to {} failed: {reason}; {remedy}", name(args))))
}

/// Reads standard input on a thread of its own, which is left behind at the end.
fn read_input(encoding: Option<Encoding>, waker: Waker, broken: Broken) -> Receiver<Vec<u8>> {
    let (sender, receiver) = sync_channel(PIECES);
    thread::spawn(move || {
        let mut input = io::stdin().lock();
        let mut decoder = Decoder::new(Encoding::Utf8);
        let mut buffer = vec![0; PIECE];
        loop {
            let piece = match input.read(&mut buffer) {
                Ok(0) => break,
                Ok(len) => &buffer[..len],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let text = format!("standard input cannot be read ({error}): give it a file or a pipe");
                    let _ = broken.set(text);
                    waker.wake();
                    // A sender that is gone would be an end, and the peer be told of it.
                    core::mem::forget(sender);
                    return;
                }
            };
            let piece = match encoding {
                None | Some(Encoding::Utf8) => piece.to_vec(),
                Some(encoding) => {
                    let mut text = String::new();
                    decoder.decode(piece, &mut text);
                    encode(encoding, text)
                }
            };
            if sender.send(piece).is_err() {
                break;
            }
            waker.wake();
        }
        drop(sender);
        waker.wake();
    });
    receiver
}

/// What `encoding` does not have becomes a question mark.
fn encode(encoding: Encoding, mut text: String) -> Vec<u8> {
    loop {
        match encoding.encode(&text) {
            Ok(bytes) => return bytes.into_owned(),
            Err(unmappable) => {
                log::warn!("{unmappable}; it is sent as a question mark");
                text = text.replace(unmappable.character, "?");
            }
        }
    }
}

/// Writes what it is given to standard output on a thread of its own, until nothing comes or it cannot be written.
fn write_output(
    encoding: Option<Encoding>,
    waker: Waker,
    broken: Broken,
) -> (SyncSender<Vec<u8>>, JoinHandle<()>) {
    let (sender, receiver) = sync_channel::<Vec<u8>>(PIECES);
    let body = move || {
        let mut out = io::stdout().lock();
        let mut write = |bytes: &[u8]| {
            let written = out.write_all(bytes).and_then(|()| out.flush());
            written.inspect_err(|error| {
                // That the reader went away is a quiet end.
                if error.kind() != io::ErrorKind::BrokenPipe {
                    let _ = broken.set(format!(
                        "standard output cannot be written ({error}): free the disk or redirect it elsewhere"
                    ));
                }
            })
        };
        let mut decoder = encoding.map(Decoder::new);
        let mut text = String::new();
        for piece in receiver.iter() {
            let bytes = match &mut decoder {
                None => &piece[..],
                Some(decoder) => {
                    text.clear();
                    decoder.decode(&piece, &mut text);
                    text.as_bytes()
                }
            };
            if write(bytes).is_err() {
                break;
            }
            waker.wake();
        }
        drop(receiver);
        waker.wake();
        if let (Some(decoder), Some(encoding)) = (decoder, encoding) {
            text.clear();
            let malformed = decoder.finish(&mut text);
            let _ = write(text.as_bytes());
            if malformed > 0 {
                log::warn!("{malformed} sequences that are not {encoding} were replaced");
            }
        }
    };
    (sender, thread::spawn(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command};
    use clap::Parser;
    use socklet::connection::Traffic;
    use std::net::TcpListener;

    fn args(more: &[&str]) -> ConnectArgs {
        match Args::parse_from([&["socklet", "connect", "host", "80"], more].concat()).command {
            Some(Command::Connect(args)) => args,
            command => panic!("{command:?}"),
        }
    }

    #[test]
    fn only_a_host_that_was_never_reached_has_other_addresses() {
        let other = SocketAddr::from(([127, 0, 0, 2], 80));
        let at = Some(Instant::ZERO);
        for (reason, reached, spent, retry, expected) in [
            (Reason::Refused, false, false, None, Next::Other(other)),
            (Reason::Refused, false, false, at, Next::Other(other)),
            (Reason::Reset, true, false, None, Next::Over),
            (Reason::Reset, true, false, at, Next::Again(Instant::ZERO)),
            (Reason::Reset, true, true, at, Next::Over),
            (Reason::Aborted, false, false, None, Next::Over),
            (Reason::PeerClosed, true, true, None, Next::Over),
        ] {
            let mut others = [other].into_iter();
            assert_eq!(
                next(reason, reached, spent, &mut others, retry),
                expected,
                "{reason} {reached} {spent}"
            );
        }
        let mut none = [].into_iter();
        assert_eq!(next(Reason::Refused, false, false, &mut none, at), Next::Again(Instant::ZERO));
        assert_eq!(next(Reason::Refused, false, false, &mut none, None), Next::Over);
    }

    #[test]
    fn an_address_that_takes_input_and_resets_is_the_last_one() {
        let [first, second] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let addresses = vec![first.local_addr().unwrap(), second.local_addr().unwrap()];
        let server = thread::spawn(move || {
            let (mut stream, _) = first.accept().unwrap();
            // What is left unread makes the close a reset.
            stream.read_exact(&mut [0]).unwrap();
        });
        let mut stack = stacks::os(OsOptions::default().with_connections(1)).unwrap();
        let (result, _) =
            connect(&mut driver().unwrap(), &mut stack, addresses, Direct, &args(&["--send", "text"]));
        assert!(matches!(&result, Err(Failure::Failed(text)) if text.contains("host:80")), "{result:?}");
        server.join().unwrap();
        second.set_nonblocking(true).unwrap();
        assert_eq!(second.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn an_address_that_refuses_is_followed_by_the_next() {
        let [first, second] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let addresses = vec![first.local_addr().unwrap(), second.local_addr().unwrap()];
        drop(first);
        let server = thread::spawn(move || {
            let mut got = Vec::new();
            second.accept().unwrap().0.read_to_end(&mut got).unwrap();
            got
        });
        let mut stack = stacks::os(OsOptions::default().with_connections(1)).unwrap();
        let (result, _) =
            connect(&mut driver().unwrap(), &mut stack, addresses, Direct, &args(&["--send", "text"]));
        assert_eq!(result, Ok(()));
        assert_eq!(server.join().unwrap(), b"text");
    }

    #[test]
    fn each_round_of_attempts_begins_with_the_first_address() {
        let [first, second] = [1, 2].map(|last| SocketAddr::from(([127, 0, 0, last], 80)));
        let mut follow = follow(vec![first, second], Direct, Rc::default(), &args(&["--retry"]));
        let retry = Some(Instant::ZERO);
        let refused = Event::Closed { reason: Reason::Refused, traffic: Traffic::default(), retry };
        for _ in 0..2 {
            assert_eq!(follow(&refused, Instant::ZERO), Some(Next::Other(second)));
            assert_eq!(follow(&refused, Instant::ZERO), Some(Next::Again(Instant::ZERO)));
        }
    }

    #[test]
    fn an_ipv6_address_has_brackets() {
        for (host, expected) in [("::1", "[::1]:80"), ("[::1]", "[::1]:80"), ("a.example", "a.example:80")] {
            let named = ConnectArgs { host: host.to_owned(), ..args(&[]) };
            assert_eq!(name(&named), expected);
        }
    }
}
