//! `socklet serve`.

mod places;
mod report;
mod stats;

use crate::args::{ServeArgs, ServiceKind};
use crate::failure::Failure;
use crate::output::Background;
use crate::signals::Unheard;
use crate::stacks::cannot_listen;
use core::net::SocketAddr;
use report::Report;
use socklet::connection::{Deadlines, Error};
use socklet::server::{Server, ServerConfig, ServerSlot, ServerStats};
use socklet::service::{Chargen, Discard, Echo, Next, Observer, Protocol, Reply, Serve, Service};
use socklet::stack::{Backpressure, ListenOptions, StackError, TcpStack};
use socklet::storage::Id;
use socklet::time::{Duration, Instant, earliest};
use socklet_hosted::driver::{Driver, End, Wait};
use socklet_hosted::service::{Chat, ChatLimits};
use stats::{Counted, Periodic};
use std::io;
use std::sync::Arc;

pub(crate) use places::run;

/// How long the end takes after Ctrl-C at most.
const GRACE: Duration = Duration::from_secs(5);
/// The part of it in which clients cannot finish any more: what is left is closed, and the relay passes on the last bytes.
const CLOSING: Duration = Duration::from_secs(1);
/// What `reply` answers unless told.
const REPLY: &str = "ok\n";
/// What a stack without zero-copy holds back for each connection.
const HOLDBACK: usize = 4096;

/// The client's own address, for the one that the stack sees.
type TrueAddress = Arc<dyn Fn(SocketAddr) -> SocketAddr + Send + Sync>;

/// Where a stack listens, and where that is reached.
#[derive(Clone)]
struct Place {
    bind: SocketAddr,
    /// `None`: where the stack listens.
    reached_at: Option<SocketAddr>,
    /// In words.
    stack: &'static str,
    out: Background,
    true_address: TrueAddress,
    /// Which of several servers it is, counted from 0.
    worker: u16,
}

/// Serves on any stack until Ctrl-C, and sums up.
fn serve<S: Counted + Wait>(stack: &mut S, place: Place, args: &ServeArgs) -> Result<End, Failure> {
    work(stack, place, args).and_then(|served| sum_up([served]))
}

/// What one server did.
struct Served {
    end: Result<End, Failure>,
    report: Report,
    accepted: ServerStats,
    /// What `--stats` prints at the end.
    stats: Vec<String>,
}

/// The summary of servers that worked side by side, and how they ended.
fn sum_up(served: impl IntoIterator<Item = Served>) -> Result<End, Failure> {
    let mut served = served.into_iter();
    let Some(mut all) = served.next() else { return Ok(End::Drained) };
    all.print_stats();
    for mut other in served {
        other.print_stats();
        all.accepted.accepted += other.accepted.accepted;
        all.accepted.accept_errors += other.accepted.accept_errors;
        all.accepted.accept_error = all.accepted.accept_error.or(other.accepted.accept_error);
        all.report.add(other.report);
        all.end = match (all.end, other.end) {
            (Err(failure), _) | (_, Err(failure)) => Err(failure),
            (Ok(end), Ok(End::Drained)) | (Ok(_), Ok(end)) => Ok(end),
        };
    }
    all.report.summary(&all.accepted);
    all.end
}

impl Served {
    fn print_stats(&mut self) {
        self.report.stats(&self.stats);
    }
}

/// Serves on any stack until Ctrl-C.
fn work<S: Counted + Wait>(stack: &mut S, place: Place, args: &ServeArgs) -> Result<Served, Failure> {
    let slots: Vec<ServerSlot<S>> = (0..args.share()).map(|_| ServerSlot::<S>::EMPTY).collect();
    let mut server = Server::new(slots, config(args));
    if !stack.capabilities().zero_copy {
        server = server.with_holdback(vec![0; HOLDBACK * args.share()]);
    }
    server.listen(stack, place.bind).map_err(|error| cannot_listen(place.bind, error.kind(), &error))?;
    let address = match place.reached_at {
        Some(address) => address,
        None => server.local_addr(stack).unwrap_or(place.bind),
    };
    let protocol = Chosen::new(args, &place.true_address)?;
    let (mut driver, unheard) = driver(&place.out, args).map_err(|error| {
        Failure::failed(format_args!("the loop cannot start ({error}): raise `ulimit -n`"))
    })?;
    let mut report = Report::new(args, place.out, place.true_address, place.worker);
    let service = args.service_name();
    if place.worker == 0 {
        report.line(format_args!("listening on {address} ({service} on {}); Ctrl-C ends it", place.stack));
    }
    let serve = Serve::new(server, protocol).observed_by(report);
    let mut serving = Serving { serve, unheard, stats: Periodic::new(args.stats) };
    let end = driver.run_until(stack, &mut serving, |_, serving, _| serving.serve.observer.is_closed());
    let end = end.map_err(|error| cannot_wait(&error, args));
    let Serve { server, observer: mut report, .. } = serving.serve;
    server.ids().for_each(|id| report.cut_off(id, server.traffic(id).unwrap_or_default()));
    let stats = args.stats.map_or_else(Vec::new, |_| stats::lines(&server, stack));
    Ok(Served { end, report, accepted: server.stats(), stats })
}

/// The loop, which looks when nobody reads any more, and whether it hears signals.
fn driver(out: &Background, args: &ServeArgs) -> io::Result<(Driver, Unheard)> {
    let unheard = Unheard::watch()?;
    let mut driver = Driver::new()?.with_grace(GRACE - CLOSING).with_spin(Duration::from_micros(args.spin));
    driver.stop_on_signals()?;
    out.wakes(driver.waker()?);
    Ok((driver, unheard))
}

/// Why the loop ended by itself.
fn cannot_wait(error: &io::Error, args: &ServeArgs) -> Failure {
    match (error.kind(), &args.tap) {
        (io::ErrorKind::NotConnected, Some(name)) => {
            Failure::failed(format_args!("the interface {name} has gone: make it again and start again"))
        }
        (io::ErrorKind::NotConnected, None) => {
            Failure::failed("the interface in the sandbox has gone: start again")
        }
        _ => Failure::failed(format_args!("the system refuses to wait for clients ({error})")),
    }
}

fn config(args: &ServeArgs) -> ServerConfig {
    let backpressure = if args.refuse { Backpressure::Refuse } else { Backpressure::Defer };
    let listen = ListenOptions::backlog(args.backlog).with_backpressure(backpressure);
    let idle = (!args.idle.is_zero()).then_some(args.idle);
    let deadlines = Deadlines::SERVER.with_first_byte(None).with_idle(idle);
    ServerConfig::DEFAULT.with_listen(listen).with_deadlines(deadlines)
}

/// Tells when it is asked to stop, and what was counted.
struct Serving<'a, S: TcpStack> {
    serve: Serve<'a, S, Chosen, Report>,
    unheard: Unheard,
    stats: Periodic,
}

impl<S: Counted> Service<S> for Serving<'_, S> {
    fn poll(&mut self, stack: &mut S, now: Instant) -> Option<Instant> {
        let (due, next) = self.stats.due(now);
        if due {
            self.serve.observer.stats(&stats::lines(&self.serve.server, stack));
        }
        earliest(next, self.serve.poll(stack, now))
    }

    fn drain(&mut self, stack: &mut S, now: Instant, grace: Duration) {
        self.unheard.heard();
        self.serve.observer.stopping(self.serve.server.len(), GRACE);
        self.serve.drain(stack, now, grace);
    }

    fn is_drained(&self) -> bool {
        self.serve.is_drained()
    }
}

/// The service of the command line.
enum Chosen {
    Echo,
    Discard,
    Chargen,
    Reply(Reply<Vec<u8>>),
    Chat(Chat),
}

impl Chosen {
    fn new(args: &ServeArgs, true_address: &TrueAddress) -> Result<Self, Failure> {
        Ok(match args.service {
            ServiceKind::Echo => Self::Echo,
            ServiceKind::Discard => Self::Discard,
            ServiceKind::Chargen => Self::Chargen,
            ServiceKind::Reply => {
                let text = args.encoding.encode(args.reply.as_deref().unwrap_or(REPLY));
                let text = text.map_err(|error| Failure::usage(format_args!("--reply: {error}")))?;
                Self::Reply(Reply::new(text.into_owned()))
            }
            ServiceKind::Chat => {
                let true_address = Arc::clone(true_address);
                Self::Chat(Chat::new(ChatLimits::default(), move |seen| true_address(seen)))
            }
        })
    }
}

impl<S: TcpStack> Protocol<S> for Chosen {
    fn advance(
        &mut self,
        server: &mut Server<'_, S>,
        stack: &mut S,
        id: Id,
        observer: &mut impl Observer,
    ) -> Result<Next, Error<S::Error>> {
        match self {
            Self::Echo => Echo.advance(server, stack, id, observer),
            Self::Discard => Discard.advance(server, stack, id, observer),
            Self::Chargen => Chargen.advance(server, stack, id, observer),
            Self::Reply(reply) => reply.advance(server, stack, id, observer),
            Self::Chat(chat) => chat.advance(server, stack, id, observer),
        }
    }
}
