use crate::time::Duration;
use core::net::IpAddr;

/// What a listener does with a SYN when its backlog is full or no slot is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backpressure {
    /// Drop it: the peer tries again (a second later, usually) and gets in when there is room.
    #[default]
    Defer,
    /// Reset it: the peer knows at once.
    Refuse,
}

/// How to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenOptions {
    /// Connections that may wait to be accepted, half-open ones included. At least 1 is used.
    pub backlog: usize,
    /// What happens to the next one.
    pub backpressure: Backpressure,
}

impl ListenOptions {
    /// A backlog of `backlog` connections.
    pub const fn backlog(backlog: usize) -> Self {
        Self { backlog, backpressure: Backpressure::Defer }
    }

    /// The same with another [`Backpressure`].
    #[must_use]
    pub const fn with_backpressure(mut self, backpressure: Backpressure) -> Self {
        self.backpressure = backpressure;
        self
    }
}

/// A backlog of 8, deferring.
impl Default for ListenOptions {
    fn default() -> Self {
        Self::backlog(8)
    }
}

/// How to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectOptions {
    /// How long the handshake may take before the connection fails with `TimedOut`. `None`: as long as the stack likes.
    pub timeout: Option<Duration>,
    /// Bind this address instead of the one that the route suggests.
    pub local_addr: Option<IpAddr>,
    /// Bind this port instead of a free one.
    pub local_port: Option<u16>,
}

impl ConnectOptions {
    /// The same with another time limit on the handshake.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeout = timeout;
        self
    }

    /// The same, from this local port.
    #[must_use]
    pub const fn with_local_port(mut self, port: u16) -> Self {
        self.local_port = Some(port);
        self
    }

    /// The same, from this local address.
    #[must_use]
    pub const fn with_local_addr(mut self, addr: IpAddr) -> Self {
        self.local_addr = Some(addr);
        self
    }
}

/// 30 seconds, any address, any port.
impl Default for ConnectOptions {
    fn default() -> Self {
        Self { timeout: Some(Duration::from_secs(30)), local_addr: None, local_port: None }
    }
}

/// What a stack can do. A call that needs more gives `Unsupported`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// It can listen and accept.
    pub listen: bool,
    /// It honours [`ListenOptions::backlog`] and [`Backpressure`].
    pub backlog: bool,
    /// It can listen on one address of several.
    pub bind_addr: bool,
    /// It can close the write side alone and tell the end of the stream from "nothing yet".
    pub half_close: bool,
    /// Its `abort` sends a reset.
    pub reset: bool,
    /// [`send_with`](super::TcpStack::send_with) and [`recv_with`](super::TcpStack::recv_with) reach the stack's own buffers.
    pub zero_copy: bool,
    /// It knows how many bytes are not yet acknowledged.
    pub unsent: bool,
    /// It knows this end's address, and can bind it in `connect`.
    pub local_addr: bool,
    /// `connect` returns before the handshake is over.
    pub connect_in_background: bool,
}

impl Capabilities {
    /// Everything.
    pub const ALL: Self = Self {
        listen: true,
        backlog: true,
        bind_addr: true,
        half_close: true,
        reset: true,
        zero_copy: true,
        unsent: true,
        local_addr: true,
        connect_in_background: true,
    };

    /// Nothing but to connect, send, receive and close.
    pub const CLIENT_ONLY: Self = Self {
        listen: false,
        backlog: false,
        bind_addr: false,
        half_close: false,
        reset: false,
        zero_copy: false,
        unsent: false,
        local_addr: false,
        connect_in_background: true,
    };
}

/// Probes of a connection on which nothing moves (RFC 9293, section 3.8.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct KeepAlive {
    /// How long nothing has come before the first probe (`TCP_KEEPIDLE`). At least 1 s is used.
    pub idle: Duration,
    /// How long each probe may stay unanswered (`TCP_KEEPINTVL`). At least 1 s is used.
    pub interval: Duration,
    /// Unanswered probes that end the connection with `TimedOut` (`TCP_KEEPCNT`). At least 1 is used.
    pub count: u8,
}

impl KeepAlive {
    /// Probes after `idle`, then every tenth of that (at least each second), 5 times.
    pub const fn after(idle: Duration) -> Self {
        let tenth = idle.as_secs() / 10;
        Self { idle, interval: Duration::from_secs(if tenth == 0 { 1 } else { tenth }), count: 5 }
    }
}

/// What sets the congestion window of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum CongestionControl {
    /// CUBIC (RFC 9438) with HyStart++ (RFC 9406); NewReno where CUBIC is not built in.
    #[default]
    Cubic,
    /// NewReno (RFC 5681, RFC 6582).
    NewReno,
    /// A model of the path, after BBR: for paths that lose packets at random.
    Model,
}

impl CongestionControl {
    /// The default.
    pub const DEFAULT: Self = Self::Cubic;
}
