//! How one connection behaves.

use crate::stack::{CongestionControl, KeepAlive};
use crate::time::Duration;

/// The explicit congestion notification bits of an IP packet (RFC 3168, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Ecn {
    /// The sender does not take part.
    #[default]
    NotCapable,
    /// The sender takes part; no router has marked the packet.
    Capable,
    /// A router has marked the packet instead of dropping it.
    CongestionExperienced,
}

/// How a [`Tcb`](super::Tcb) behaves: limits of the path and choices of its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Bytes of payload in the longest segment without options: the MTU less IP header and 20. At least 48 is used.
    pub mss: u16,
    /// Holds a small segment back until the one before is acknowledged (RFC 9293, section 3.7.4).
    pub nagle: bool,
    /// Delays acknowledgements of bulk data (RFC 9293, section 3.8.6.3). Off: each segment is acknowledged at once.
    pub delayed_ack: bool,
    /// Offers timestamps (RFC 7323).
    pub timestamps: bool,
    /// Offers selective acknowledgements (RFC 2018).
    pub sack: bool,
    /// Offers explicit congestion notification (RFC 3168).
    pub ecn: bool,
    /// What sets the congestion window.
    pub congestion: CongestionControl,
    /// Probes of an idle connection.
    pub keep_alive: Option<KeepAlive>,
    /// How long sent data may stay unacknowledged before the connection ends (RFC 9293, section 3.9.1,
    /// RFC 5482). `None`: about 100 s (RFC 1122, section 4.2.3.5, R2), and a zero window is probed as long as the peer answers.
    pub user_timeout: Option<Duration>,
}

impl Options {
    /// The defaults for segments of `mss` bytes: everything that is negotiated is offered, but ECN.
    pub const fn new(mss: u16) -> Self {
        Self {
            mss,
            nagle: false,
            delayed_ack: true,
            timestamps: true,
            sack: true,
            ecn: false,
            congestion: CongestionControl::DEFAULT,
            keep_alive: None,
            user_timeout: None,
        }
    }
}
