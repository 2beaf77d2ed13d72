//! Listeners: passive, without a slot of their own.

use super::flow::Address;
use super::slot::LifeList;
use crate::stack::Backpressure;
use crate::storage::List;

/// One listener's memory.
#[derive(Debug)]
pub struct ListenerSlot {
    pub(super) state: ListenerState,
    /// `None`: every address of the interface.
    pub(super) addr: Option<Address>,
    /// Whether it listens on IPv6; of an unspecified address only one family is meant.
    pub(super) ipv6: bool,
    pub(super) port: u16,
    pub(super) backlog: usize,
    pub(super) backpressure: Backpressure,
    pub(super) generation: u32,
    /// The handshake is not complete; oldest first.
    pub(super) half_open: List<LifeList>,
    /// Established, to be accepted; oldest first.
    pub(super) queue: List<LifeList>,
    /// Accepted, and changed since the owner last looked.
    pub(super) ready: List<LifeList>,
    /// Accepted connections that still have their handle.
    pub(super) accepted: u16,
}

/// Whether a listener takes newcomers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListenerState {
    Free,
    Open,
    /// Closed, but connections that it accepted live and report to it.
    Closed,
}

impl ListenerSlot {
    /// A listener's memory that nobody uses yet.
    pub const EMPTY: Self = Self {
        state: ListenerState::Free,
        addr: None,
        ipv6: false,
        port: 0,
        backlog: 0,
        backpressure: Backpressure::Defer,
        generation: 0,
        half_open: List::new(),
        queue: List::new(),
        ready: List::new(),
        accepted: 0,
    };

    /// Whether it serves `port` of the local address `addr`.
    pub(super) fn serves(&self, addr: Address, port: u16) -> bool {
        self.state == ListenerState::Open
            && self.port == port
            && match self.addr {
                Some(own) => own == addr,
                None => self.ipv6 == addr.ip().is_ipv6(),
            }
    }

    /// Whether another listener on `addr` and `port` would compete for the same segments.
    pub(super) fn conflicts(&self, addr: Option<Address>, ipv6: bool, port: u16) -> bool {
        let same_addr = match (self.addr, addr) {
            (Some(own), Some(other)) => own == other,
            (None, _) | (_, None) => self.ipv6 == ipv6,
        };
        self.state == ListenerState::Open && self.port == port && same_addr
    }

    /// Connections that wait to be accepted, half-open ones included.
    pub(super) fn waiting(&self) -> usize {
        self.half_open.len() + self.queue.len()
    }
}
