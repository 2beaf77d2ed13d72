//! What all ends of all connections say of themselves, compared.

use core::cell::RefCell;
use core::net::{IpAddr, SocketAddr};
use socklet::connection::{Deadline, Deadlines, Reason};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// The two addresses of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Pair {
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
}

impl Pair {
    fn host(&self, end: End) -> IpAddr {
        match end {
            End::Client => self.client.ip(),
            End::Server => self.server.ip(),
        }
    }
}

/// Which end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Client = 0,
    Server = 1,
}

impl End {
    fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// What has happened to the stack of a host.
#[derive(Debug, Clone, Copy, Default)]
struct Host {
    /// It was told that its link is gone.
    unlinked: bool,
    /// It has ended a TIME-WAIT early.
    forgets: bool,
}

/// What one end has done.
#[derive(Debug, Clone, Copy, Default)]
struct Account {
    sent: u64,
    received: u64,
    /// It received the end of the peer's stream.
    eos: bool,
    /// It closed or aborted without waiting for the peer's bytes.
    gave_up: bool,
    /// Its stack had forgotten it when the peer still spoke of it, and has reset what the peer said.
    forgotten: bool,
    over: Option<Reason>,
}

impl Account {
    /// What is wrong with how it ended, given the peer's end and its own host.
    fn wrong(&self, peer: Option<Self>, host: Host) -> Option<&'static str> {
        match self.over {
            None => Some("never heard of the end"),
            Some(Reason::PeerClosed | Reason::Finished) if !self.eos && !self.gave_up => {
                Some("ended in good order without the end of the peer's stream")
            }
            // A reset destroys what the peer has not read: who discards what comes may have sent one after its last byte.
            Some(Reason::PeerClosed | Reason::Finished) => {
                // So does a reset by a stack that has ended a TIME-WAIT early, and then hears of the connection once more.
                let reset = |peer: Self| peer.over == Some(Reason::Reset) && host.forgets;
                let lost = |peer: Self| peer.takes_all() && peer.received != self.sent && !reset(peer);
                (!self.resets() && self.sent > 0 && peer.is_none_or(lost))
                    .then_some("ended in good order, but the peer has not received all")
            }
            // A FIN that is repeated after the peer's TIME-WAIT meets nobody.
            Some(Reason::Reset) => peer
                .is_some_and(|peer| !peer.resets() && !peer.over.is_some_and(Reason::is_orderly))
                .then_some("was reset, but the peer has not done so"),
            Some(Reason::LinkDown) => (!host.unlinked).then_some("lost a link that was never given up"),
            Some(Reason::Aborted) => (!self.gave_up).then_some("was aborted by nobody"),
            Some(Reason::Rejected) => Some("was turned away after it was open"),
            Some(Reason::Failed(_)) => Some("was failed by a stack that has no cause to"),
            // A deadline is looked at where it is known. A stack may hear these two of a connection that is not open yet, and has an
            // account because its owner is clumsy.
            Some(Reason::TimedOut(_) | Reason::Refused | Reason::Unreachable) => None,
        }
    }

    /// Whether it ended before its time, for a reason of its own.
    const fn ended_early(&self) -> bool {
        match self.over {
            Some(Reason::Aborted | Reason::LinkDown | Reason::Rejected | Reason::TimedOut(_)) => true,
            None
            | Some(
                Reason::PeerClosed
                | Reason::Finished
                | Reason::Reset
                | Reason::Refused
                | Reason::Unreachable
                | Reason::Failed(_),
            ) => false,
        }
    }

    /// Whether it meant to receive all, and nothing but the peer can have kept it from that.
    const fn takes_all(&self) -> bool {
        !self.ended_early() && !self.gave_up
    }

    /// Whether it has cause to reset its peer: it ended early by itself, discards what comes, or was forgotten.
    const fn resets(&self) -> bool {
        self.ended_early() || self.gave_up || self.forgotten
    }
}

/// How connections ended.
pub type Reasons = HashMap<Reason, u64>;

/// The book that all ends write to.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger(Rc<RefCell<Book>>);

#[derive(Debug, Default)]
struct Book {
    accounts: HashMap<Pair, [Option<Account>; 2]>,
    failure: Option<String>,
    verified: u64,
    connections: u64,
    reasons: Reasons,
    hosts: HashMap<IpAddr, Host>,
    /// Connections whose ends may both be reset although neither has cause to.
    resettable: HashSet<Pair>,
}

impl Ledger {
    /// Something is wrong; the first such finding counts.
    pub(super) fn fail(&self, finding: impl Into<String>) {
        self.0.borrow_mut().failure.get_or_insert_with(|| finding.into());
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.0.borrow().failure.clone()
    }

    /// Connections that were open at a client, bytes that were compared, and how ends went.
    pub(super) fn totals(&self) -> (u64, u64, Reasons) {
        let book = self.0.borrow();
        (book.connections, book.verified, book.reasons.clone())
    }

    /// A client is connected.
    pub(super) fn connected(&self) {
        self.0.borrow_mut().connections += 1;
    }

    /// An end opens an account.
    pub(super) fn open(&self, pair: Pair, end: End) {
        let mut book = self.0.borrow_mut();
        book.connections += u64::from(end == End::Client);
        let account = &mut book.accounts.entry(pair).or_default()[end as usize];
        if account.replace(Account::default()).is_some() {
            drop(book);
            // Ports go round only after 16,384 connections; no run has so many.
            self.fail(format!("{pair:?}: {end:?} has had a connection with these addresses before"));
        }
    }

    /// Whether an end has had a connection with these addresses.
    pub(super) fn knows(&self, pair: Pair, end: End) -> bool {
        self.0.borrow().accounts.get(&pair).is_some_and(|accounts| accounts[end as usize].is_some())
    }

    fn with<R>(&self, pair: Pair, end: End, act: impl FnOnce(&mut Account, Option<Account>) -> R) -> R {
        let mut book = self.0.borrow_mut();
        let accounts = book.accounts.entry(pair).or_default();
        let peer = accounts[end.other() as usize];
        act(accounts[end as usize].get_or_insert_default(), peer)
    }

    pub(super) fn sent(&self, pair: Pair, end: End, count: usize) {
        self.with(pair, end, |account, _| account.sent += count as u64);
    }

    /// Bytes were received, and were the right ones.
    pub(super) fn received(&self, pair: Pair, end: End, count: usize) {
        self.with(pair, end, |account, _| account.received += count as u64);
        self.verified(count);
    }

    /// Counts bytes that were the right ones.
    pub(super) fn verified(&self, count: usize) {
        self.0.borrow_mut().verified += count as u64;
    }

    /// The end of the peer's stream comes after all that it sent.
    pub(super) fn end_of_stream(&self, pair: Pair, end: End) {
        let (received, sent) = self.with(pair, end, |account, peer| {
            account.eos = true;
            (account.received, peer.unwrap_or_default().sent)
        });
        if received != sent {
            self.fail(format!(
                "{pair:?}: {end:?} saw the end of the stream after {received} of {sent} bytes"
            ));
        }
    }

    /// This end will not receive all.
    pub(super) fn gave_up(&self, pair: Pair, end: End) {
        self.with(pair, end, |account, _| account.gave_up = true);
    }

    /// A stack was told that its link is gone.
    pub(super) fn link_lost(&self, host: IpAddr) {
        // TIME-WAIT is over as well.
        self.0.borrow_mut().hosts.insert(host, Host { unlinked: true, forgets: true });
    }

    /// A stack has taken the room of connections in TIME-WAIT.
    pub(super) fn forgets(&self, host: IpAddr) {
        self.0.borrow_mut().hosts.entry(host).or_default().forgets = true;
    }

    /// The peer of this end spoke to it after its end, and is reset.
    pub(super) fn forgotten(&self, pair: Pair, end: End) {
        self.with(pair, end, |account, _| account.forgotten = true);
    }

    /// A stack may have reset this connection while nobody had heard of it.
    pub(super) fn may_be_reset(&self, pair: Pair) {
        self.0.borrow_mut().resettable.insert(pair);
    }

    /// How an end that has an account is over, and what the core says it moved.
    pub(super) fn closed(&self, pair: Pair, end: End, reason: Reason, traffic: socklet::connection::Traffic) {
        let moved = self.with(pair, end, |account, _| {
            account.over = Some(reason);
            (account.received, account.sent)
        });
        if moved != (traffic.received, traffic.sent) {
            self.fail(format!("{pair:?}: {end:?} received and sent {moved:?}, but {traffic:?} was reported"));
        }
    }

    /// A deadline that has ended a connection was set. `drains` says whether the end has had a drain, which sets one.
    pub(super) fn check_deadline(&self, end: End, reason: Reason, deadlines: &Deadlines, drains: bool) {
        let Reason::TimedOut(deadline) = reason else { return };
        let set = match deadline {
            Deadline::Connect => end == End::Client,
            Deadline::FirstByte => deadlines.first_byte.is_some(),
            Deadline::Idle => deadlines.idle.is_some(),
            Deadline::WriteStall => deadlines.write_stall.is_some(),
            Deadline::Progress => deadlines.progress.is_some(),
            Deadline::Drain => deadlines.drain.is_some() || drains,
        };
        if !set {
            self.fail(format!("a {end:?} timed out by a deadline that it has not: {deadline:?}"));
        }
    }

    /// Counts an end, with or without an account.
    pub(super) fn count(&self, reason: Reason) {
        *self.0.borrow_mut().reasons.entry(reason).or_default() += 1;
    }

    /// At the end of the world: every end has a reason, and the reason has a cause.
    pub(super) fn settle(&self) {
        let book = self.0.borrow();
        let mut finding = None;
        for (pair, accounts) in &book.accounts {
            for end in [End::Client, End::Server] {
                let Some(own) = accounts[end as usize] else { continue };
                let over =
                    |account: &Option<Account>| account.is_some_and(|end| end.over == Some(Reason::Reset));
                if book.resettable.contains(pair) && accounts.iter().all(over) {
                    continue;
                }
                let host = book.hosts.get(&pair.host(end)).copied().unwrap_or_default();
                let Some(wrong) = own.wrong(accounts[end.other() as usize], host) else { continue };
                finding = Some(format!("{pair:?}: {end:?} {wrong}: {accounts:?}"));
            }
        }
        drop(book);
        if let Some(finding) = finding {
            self.fail(finding);
        }
    }
}
