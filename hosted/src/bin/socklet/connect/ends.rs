//! What follows the end of a connection or of an attempt: another address, another attempt, or the exit code.

use super::host::name;
use super::say;
use super::way::Way;
use crate::args::{ConnectArgs, StackKind};
use crate::failure::Failure;
use core::cell::Cell;
use core::net::SocketAddr;
use socklet::client::Event;
use socklet::connection::Reason;
use socklet::stack::ErrorKind;
use socklet::time::Instant;
use std::rc::Rc;

/// How the last connection ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Last {
    reason: Reason,
    /// It had taken what cannot be sent to another one.
    spent: bool,
    /// It may have lost what it had taken.
    pub(super) lost: bool,
}

/// Decides what follows each connection's end, and says it.
pub(super) fn follow<W: Way>(
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
pub(super) enum Next {
    /// This address of the host, at once.
    Other(SocketAddr),
    /// All addresses from the first one, then.
    Again(Instant),
    Over,
}

/// Another address is for a host that was never `reached`: one that was may have taken input. Nobody gets the rest of an input whose
/// beginning was `spent` on another connection.
pub(super) fn next(
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

/// What the last end means for the exit code.
pub(super) fn verdict(last: Option<Last>, args: &ConnectArgs) -> Result<(), Failure> {
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
        Reason::Failed(kind) => return Err(cannot_connect(kind, args)),
        Reason::Rejected => "check the address",
    };
    Err(Failure::failed(format_args!("the connection to {} failed: {reason}; {remedy}", name(args))))
}

/// What the stack says of itself or of the system, not of the peer.
fn cannot_connect(kind: ErrorKind, args: &ConnectArgs) -> Failure {
    let (name, elsewhere) =
        (name(args), if args.stack == StackKind::Os { "" } else { ", or try --stack os" });
    match kind {
        // There is room for the one connection.
        ErrorKind::NoSlot => {
            Failure::failed(format_args!("no descriptor is left to connect to {name}: raise `ulimit -n`"))
        }
        kind => Failure::failed(format_args!(
            "the connection to {name} failed: {kind}; check the address{elsewhere}"
        )),
    }
}
