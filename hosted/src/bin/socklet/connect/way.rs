use socklet::connection::Reason;

/// What lies between the stack and the host.
pub(super) trait Way: Clone + 'static {
    /// Whether a connection that is open reaches the host.
    fn is_through(&self) -> bool;
    /// Why the last connection ended, as seen from the host's side; the next one is not through yet.
    fn ended(&self, reason: Reason) -> Reason;
}

/// Nothing but the network.
#[derive(Clone, Copy)]
pub(super) struct Direct;

impl Way for Direct {
    fn is_through(&self) -> bool {
        true
    }

    fn ended(&self, reason: Reason) -> Reason {
        reason
    }
}
