//! What all ends of all connections say of themselves, compared.

use core::cell::RefCell;
use core::net::SocketAddr;
use socklet::connection::Reason;
use std::collections::HashMap;
use std::rc::Rc;

/// The two addresses of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Pair {
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
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

/// What one end has done.
#[derive(Debug, Clone, Copy, Default)]
struct Account {
    sent: u64,
    received: u64,
    /// It received the end of the peer's stream.
    eos: bool,
    /// It closed or aborted without waiting for the peer's bytes.
    gave_up: bool,
    over: Option<Reason>,
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

    /// Counts an end, with or without an account.
    pub(super) fn count(&self, reason: Reason) {
        *self.0.borrow_mut().reasons.entry(reason).or_default() += 1;
    }

    /// At the end of the world: every end has a reason, and one that ended in good order has seen the end of the peer's stream.
    pub(super) fn settle(&self) {
        let book = self.0.borrow();
        let mut finding = None;
        for (pair, accounts) in &book.accounts {
            for end in [End::Client, End::Server] {
                let Some(own) = accounts[end as usize] else { continue };
                let wrong = match own.over {
                    None => "never heard of the end",
                    Some(reason) if reason.is_orderly() && !own.eos && !own.gave_up => {
                        "ended in good order without the end of the peer's stream"
                    }
                    Some(_) => continue,
                };
                finding = Some(format!("{pair:?}: {end:?} {wrong}: {accounts:?}"));
            }
        }
        drop(book);
        if let Some(finding) = finding {
            self.fail(finding);
        }
    }
}
