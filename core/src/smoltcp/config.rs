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
