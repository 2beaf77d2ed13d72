//! `socklet connect`.

use crate::args::{ConnectArgs, StackKind};
use crate::failure::Failure;
use crate::stacks;
use core::cell::RefCell;
use core::net::SocketAddr;
use core::sync::atomic::AtomicBool;
use core::time::Duration;
use signal_hook::consts::{SIGINT, SIGTERM};
use socklet::client::{Backoff, Client, ClientConfig, Event};
use socklet::connection::{Deadlines, Reason};
use socklet::stack::{ConnectOptions, TcpStack};
use socklet_hosted::driver::{Driver, End, Wait, Waker};
use socklet_hosted::os::OsOptions;
use socklet_hosted::service::{Feed, Pipe};
use socklet_hosted::text::{Decoder, Encoding};
use std::io::{self, Read, Write};
use std::net::ToSocketAddrs;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

/// How long the peer may take to close after Ctrl-C.
const GRACE: Duration = Duration::from_secs(2);
/// Pieces on the way between the loop and standard input or output.
const PIECES: usize = 4;
const PIECE: usize = 16 << 10;

pub(crate) fn run(args: &ConnectArgs) -> Result<(), Failure> {
    match args.stack {
        #[cfg(target_os = "linux")]
        StackKind::Tap => on_tap::run(args),
        StackKind::Os => {
            let mut stack = stacks::os(OsOptions::default().with_connections(1))?;
            connect(&mut stack, resolve(args)?, |reason| reason, args)
        }
        StackKind::Nal => connect(&mut stacks::nal(1), resolve(args)?, |reason| reason, args),
    }
}

#[cfg(target_os = "linux")]
mod on_tap {
    use super::*;
    use socklet::smoltcp::Memory;
    use socklet::stack::ErrorKind;
    use socklet_hosted::relay::{Options, Relay};
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
        let relay = Relay::spawn(routes, Options::default()).map_err(no_relay)?;
        let mut stack = stacks::on_device(tap, 2, Memory::allocate(2, BUFFER, BUFFER, 0))?;
        stack.add_address(network.stack_v4.into(), network.prefix_v4).map_err(|error| {
            Failure::failed(format_args!("smoltcp has no room for its address ({error})"))
        })?;
        let failures = relay.failures();
        // That the relay was reached does not say that the host was.
        let explain = move |reason| match (reason, failures.take()) {
            (Reason::Reset, Some(error)) => match error.kind() {
                io::ErrorKind::ConnectionRefused => Reason::Refused,
                io::ErrorKind::TimedOut => Reason::TimedOut(socklet::connection::Deadline::Connect),
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Reason::Unreachable,
                _ => Reason::Failed(ErrorKind::Other),
            },
            (reason, _) => reason,
        };
        let result = connect(&mut stack, doors, explain, args);
        relay.finish(GRACE);
        result
    }
}

/// The addresses of the host, in the order of the system's resolver.
fn resolve(args: &ConnectArgs) -> Result<Vec<SocketAddr>, Failure> {
    let host = &args.host;
    // As in a URL.
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match (bare, args.port).to_socket_addrs() {
        Ok(addresses) if addresses.len() > 0 => Ok(addresses.collect()),
        Ok(_) => Err(Failure::failed(format_args!("the host {host} has no address: check its name"))),
        Err(error) => {
            Err(Failure::failed(format_args!("the host {host} is unknown ({error}): check its name")))
        }
    }
}

/// Connects to the first of `addresses` that answers, and carries bytes until the peer closes.
fn connect<S: TcpStack + Wait>(
    stack: &mut S,
    addresses: Vec<SocketAddr>,
    explain: impl Fn(Reason) -> Reason + 'static,
    args: &ConnectArgs,
) -> Result<(), Failure> {
    let mut driver = driver().map_err(|error| {
        Failure::failed(format_args!("the loop cannot start ({error}): raise `ulimit -n`"))
    })?;
    let waker =
        || driver.waker().map_err(|error| Failure::failed(format_args!("no descriptor is left ({error})")));
    let feed = match &args.send {
        Some(text) => {
            let bytes = args.encoding.unwrap_or_default().encode(text);
            Feed::Text(bytes.map_err(|error| Failure::usage(format_args!("--send: {error}")))?.into_owned())
        }
        None => Feed::Stream(read_input(args.encoding, waker()?)),
    };
    if !stack.capabilities().half_close {
        log::info!("this stack cannot half-close: the peer must close first, or --timeout ends it");
    }
    let (output, writer) = write_output(args.encoding, waker()?);

    let last = Rc::new(RefCell::new(None));
    let on_event = {
        let (last, retry) = (Rc::clone(&last), args.retry);
        let mut others = addresses.clone().into_iter().cycle();
        let mut left = addresses.len();
        others.next();
        let name = format!("{}:{}", args.host, args.port);
        move |client: &mut Client<S>, event: &Event, now| match event {
            Event::Opened { .. } => log::info!("connected to {name}"),
            Event::Readable | Event::Writable => {}
            Event::Closed { reason, traffic, retry: at } => {
                let reason = explain(*reason);
                *last.borrow_mut() = Some(reason);
                left = left.saturating_sub(1);
                let never_open = traffic.received == 0 && !reason.is_orderly();
                if never_open && left > 0 {
                    client.set_remote(others.next().unwrap_or(client.remote()));
                    client.start();
                } else if let Some(at) = at.filter(|_| retry) {
                    let wait = at.since(now).as_secs_f64();
                    let _ = writeln!(io::stderr(), "socklet: {name}: {reason}; next attempt in {wait:.1} s");
                }
            }
        }
    };
    let first = addresses[0];
    let client = Client::new(first, config(args), stacks::seed()?);
    let mut pipe = Pipe::new(client, feed, output, on_event);
    let end = driver.run_until(stack, &mut pipe, |_, pipe, _| pipe.is_over());
    drop(pipe);
    let end = end.map_err(|error| Failure::failed(format_args!("the system refuses to wait ({error})")))?;
    // What it panics with has been printed.
    let _ = writer.join();
    match end {
        End::Finished => verdict(last.take(), args),
        End::Drained | End::Cut => Ok(()),
    }
}

/// The second signal ends the program also while standard output takes nothing.
fn driver() -> io::Result<Driver> {
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&asked))?;
        signal_hook::flag::register(signal, Arc::clone(&asked))?;
    }
    let mut driver = Driver::new()?.with_grace(GRACE);
    driver.stop_on_signals()?;
    Ok(driver)
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
fn verdict(reason: Option<Reason>, args: &ConnectArgs) -> Result<(), Failure> {
    let remedy = match reason {
        None | Some(Reason::PeerClosed | Reason::Finished | Reason::Aborted) => return Ok(()),
        Some(Reason::Refused) => "start the server, or check the port",
        Some(Reason::Unreachable | Reason::LinkDown) => "check the address and the network",
        Some(Reason::TimedOut(_)) => "check that the host is up, or raise --timeout",
        Some(Reason::Reset) => "the server gave the connection up; its log may say why",
        Some(Reason::Rejected | Reason::Failed(_)) => "check the address, or try --stack os",
    };
    let (host, port) = (&args.host, args.port);
    let reason = reason.map_or_else(String::new, |reason| reason.to_string());
    Err(Failure::failed(format_args!("the connection to {host}:{port} failed: {reason}; {remedy}")))
}

/// Reads standard input on a thread of its own, which is left behind at the end.
fn read_input(encoding: Option<Encoding>, waker: Waker) -> Receiver<Vec<u8>> {
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
                    log::warn!("standard input cannot be read ({error}): it ends here");
                    break;
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

/// Writes what it is given to standard output on a thread of its own, until nothing comes or nobody reads.
fn write_output(encoding: Option<Encoding>, waker: Waker) -> (SyncSender<Vec<u8>>, JoinHandle<()>) {
    let (sender, receiver) = sync_channel::<Vec<u8>>(PIECES);
    let body = move || {
        let mut out = io::stdout().lock();
        let mut write = |bytes: &[u8]| out.write_all(bytes).and_then(|()| out.flush());
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
