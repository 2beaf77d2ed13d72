use crate::connection::Deadlines;
use crate::stack::ListenOptions;

/// How a [`Server`](super::Server) behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerConfig {
    /// How to listen: backlog, and what happens to those for whom it has no room.
    pub listen: ListenOptions,
    /// The limits in time of each connection.
    pub deadlines: Deadlines,
    /// How many connections one peer address may have open. Those above are aborted, with
    /// [`Reason::Rejected`](crate::connection::Reason::Rejected). `None` (the default): as many as there are slots.
    ///
    /// The count takes a look at every open connection for each one accepted.
    pub per_peer: Option<usize>,
}

impl ServerConfig {
    /// The defaults of [`ListenOptions`] and [`Deadlines::SERVER`], no limit per peer.
    pub const DEFAULT: Self =
        Self { listen: ListenOptions::backlog(8), deadlines: Deadlines::SERVER, per_peer: None };

    /// The same with other [`ListenOptions`].
    #[must_use]
    pub const fn with_listen(mut self, listen: ListenOptions) -> Self {
        self.listen = listen;
        self
    }

    /// The same with other [`Deadlines`].
    #[must_use]
    pub const fn with_deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// The same with another [`per_peer`](Self::per_peer).
    #[must_use]
    pub const fn with_per_peer(mut self, limit: Option<usize>) -> Self {
        self.per_peer = limit;
        self
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}
