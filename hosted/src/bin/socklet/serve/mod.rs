//! `socklet serve`.

mod places;
mod report;

use crate::args::{ServeArgs, ServiceKind};
use crate::failure::Failure;
use crate::stacks::cannot_listen;
use core::net::SocketAddr;
use report::Report;
use socklet::connection::{Deadlines, Error};
use socklet::server::{Server, ServerConfig, ServerSlot};
use socklet::service::{Chargen, Discard, Echo, Next, Observer, Protocol, Reply, Serve, Service};
use socklet::stack::{Backpressure, ListenOptions, StackError, TcpStack};
use socklet::storage::Id;
use socklet::time::{Duration, Instant};
use socklet_hosted::driver::{Driver, End, Wait};
use socklet_hosted::service::{Chat, ChatLimits};
use std::rc::Rc;

pub(crate) use places::run;

/// How long clients may take to finish after Ctrl-C.
const GRACE: Duration = Duration::from_secs(5);
/// What a stack without zero-copy holds back for each connection.
const HOLDBACK: usize = 4096;

/// The client's own address, for the one that the stack sees.
type TrueAddress = Rc<dyn Fn(SocketAddr) -> SocketAddr>;

/// Where a stack listens, and where that is reached.
struct Place {
    bind: SocketAddr,
    /// `None`: where the stack listens.
    reached_at: Option<SocketAddr>,
    /// In words.
    stack: &'static str,
    true_address: TrueAddress,
}

/// Serves on any stack until Ctrl-C.
fn serve<S: TcpStack + Wait>(stack: &mut S, place: Place, args: &ServeArgs) -> Result<End, Failure> {
    let slots: Vec<ServerSlot<S>> = (0..args.connections).map(|_| ServerSlot::<S>::EMPTY).collect();
    let mut server = Server::new(slots, config(args));
    if !stack.capabilities().zero_copy {
        server = server.with_holdback(vec![0; HOLDBACK * usize::from(args.connections)]);
    }
    server.listen(stack, place.bind).map_err(|error| cannot_listen(place.bind, error.kind(), &error))?;
    let address = match place.reached_at {
        Some(address) => address,
        None => server.local_addr(stack).unwrap_or(place.bind),
    };
    let protocol = Chosen::new(args, &place.true_address)?;
    let mut report = Report::new(args, place.true_address);
    let mut driver = Driver::new()
        .and_then(|mut driver| driver.stop_on_signals().map(|()| driver.with_grace(GRACE)))
        .map_err(|error| {
            Failure::failed(format_args!("the loop cannot start ({error}): raise `ulimit -n`"))
        })?;
    let service = args.service_name();
    report.line(format_args!("listening on {address} ({service} on {}); Ctrl-C ends it", place.stack));
    let mut serving = Serving(Serve::new(server, protocol).observed_by(report));
    let end = driver.run_until(stack, &mut serving, |_, serving, _| serving.0.observer.is_closed());
    serving.0.observer.summary(&serving.0.server.stats());
    end.map_err(|error| Failure::failed(format_args!("the system refuses to wait for clients ({error})")))
}

fn config(args: &ServeArgs) -> ServerConfig {
    let backpressure = if args.refuse { Backpressure::Refuse } else { Backpressure::Defer };
    let listen = ListenOptions::backlog(args.backlog).with_backpressure(backpressure);
    let idle = (!args.idle.is_zero()).then_some(args.idle);
    let deadlines = Deadlines::SERVER.with_first_byte(None).with_idle(idle);
    ServerConfig::DEFAULT.with_listen(listen).with_deadlines(deadlines)
}

/// Tells when it is asked to stop.
struct Serving<'a, S: TcpStack>(Serve<'a, S, Chosen, Report>);

impl<S: TcpStack> Service<S> for Serving<'_, S> {
    fn poll(&mut self, stack: &mut S, now: Instant) -> Option<Instant> {
        self.0.poll(stack, now)
    }

    fn drain(&mut self, stack: &mut S, now: Instant, grace: Duration) {
        self.0.observer.stopping(self.0.server.len(), grace);
        self.0.drain(stack, now, grace);
    }

    fn is_drained(&self) -> bool {
        self.0.is_drained()
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
                let text = args.encoding.encode(&args.reply);
                let text = text.map_err(|error| Failure::usage(format_args!("--reply: {error}")))?;
                Self::Reply(Reply::new(text.into_owned()))
            }
            ServiceKind::Chat => {
                let true_address = Rc::clone(true_address);
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
