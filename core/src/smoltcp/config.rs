use crate::time::Duration;
use ::smoltcp::wire::HardwareAddress;

/// How the backend behaves. Every wait in it is finite.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Config {
    /// The interface's own hardware address; `HardwareAddress::Ip` for a medium without.
    pub hardware_addr: HardwareAddress,
    /// What initial sequence numbers, ports and the flow table's key come from. Different at every start, and secret.
    pub seed: u64,
    /// How long a half-open connection may take to complete. 10 s.
    pub half_open: Duration,
    /// A half-open connection of this age may be given up for a newcomer when there is no room. 1 s: it has not answered one SYN|ACK.
    pub half_open_reclaim: Duration,
    /// How long a closed connection may take to deliver what is queued, before it is reset. 20 s.
    pub linger: Duration,
    /// How long an ended connection answers the peer's repeated FIN, if nobody needs its slot. 8 s; 9 s at most.
    pub time_wait: Duration,
    /// Frames that one poll receives at most. 64.
    pub frames_per_poll: usize,
}

impl Config {
    /// The defaults, for this hardware address and seed.
    ///
    /// A seed that is the same at every start makes sequence numbers and ports predictable: take it from a hardware random number
    /// generator, an ADC's noise, or a counter kept in flash mixed with the device's serial number.
    pub const fn new(hardware_addr: HardwareAddress, seed: u64) -> Self {
        Self {
            hardware_addr,
            seed,
            half_open: Duration::from_secs(10),
            half_open_reclaim: Duration::from_secs(1),
            linger: Duration::from_secs(20),
            time_wait: Duration::from_secs(8),
            frames_per_poll: 64,
        }
    }
}

/// What the backend has counted since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Frames received, of all kinds.
    pub frames_received: u64,
    /// TCP segments sent by connections.
    pub segments_sent: u64,
    /// SYNs that took a slot.
    pub syns_admitted: u64,
    /// SYNs dropped for want of room, for the peer to try again.
    pub syns_deferred: u64,
    /// SYNs answered with a reset for want of room.
    pub syns_refused: u64,
    /// Half-open connections given up: at their deadline, or for a newcomer.
    pub half_open_dropped: u64,
    /// TIME-WAIT cut short for a newcomer.
    pub time_waits_reclaimed: u64,
    /// SYNs answered with a cookie, because they took the last room.
    pub cookies_sent: u64,
    /// Connections made again from the acknowledgement of a cookie.
    pub cookies_returned: u64,
    /// Segments that were answered with a challenge ACK instead of being believed (RFC 5961).
    pub challenges: u64,
    /// Frames dropped unseen: fragments, segments from or to addresses that no connection can have, broken SYNs and resets.
    pub frames_dropped: u64,
}
