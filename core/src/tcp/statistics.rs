//! What a connection counts, and where it stands.

use crate::time::Duration;

/// What the sending half counts. The counters wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) retransmitted: u32,
    pub(super) timeouts: u32,
    pub(super) recoveries: u32,
    pub(super) tail_probes: u32,
    pub(super) window_probes: u32,
    pub(super) spurious: u32,
    pub(super) undone: u32,
    pub(super) sack_blocks: u32,
    pub(super) marks: u32,
}

impl Counters {
    pub(super) const NEW: Self = Self {
        retransmitted: 0,
        timeouts: 0,
        recoveries: 0,
        tail_probes: 0,
        window_probes: 0,
        spurious: 0,
        undone: 0,
        sack_blocks: 0,
        marks: 0,
    };
}

/// The counters of one connection, which wrap, and where it stands now: what `ss -ti` shows on Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Statistics {
    /// Segments received. Several that came in one frame count once.
    pub segments_received: u32,
    /// Segments sent. Several that left in one frame count once.
    pub segments_sent: u32,
    /// Segments sent again, for whatever reason; probes of a closed window are not among them.
    pub retransmitted: u32,
    /// Expiries of the retransmission timer.
    pub timeouts: u32,
    /// Losses that were found without the timer: each count is one reduction of the congestion window.
    pub recoveries: u32,
    /// Tail probes (RFC 8985, section 7).
    pub tail_probes: u32,
    /// Probes of a closed window.
    pub window_probes: u32,
    /// Segments that the peer reports to have received twice (RFC 2883).
    pub spurious: u32,
    /// Reductions of the congestion window that were taken back, because nothing was lost.
    pub undone: u32,
    /// SACK blocks received.
    pub sack_blocks: u32,
    /// Reductions of the congestion window because a router marked a packet (RFC 3168).
    pub marks: u32,
    /// Segments received that held nothing new.
    pub duplicates: u32,
    /// Segments received beyond a hole.
    pub out_of_order: u32,
    /// Segments received that anyone could have sent, and that were answered with a challenge (RFC 5961).
    pub challenges: u32,
    /// The smoothed round-trip time; zero before the first sample.
    pub round_trip: Duration,
    /// The variation of the round-trip time.
    pub round_trip_variation: Duration,
    /// The retransmission timeout, with its back-off.
    pub timeout: Duration,
    /// The congestion window in bytes.
    pub congestion_window: u32,
    /// The slow start threshold in bytes; `u32::MAX` before the first loss.
    pub slow_start_threshold: u32,
    /// Bytes on their way, for all that is known.
    pub in_flight: u32,
    /// The window that the peer offers, in bytes.
    pub peer_window: u32,
    /// Payload of a full segment, in bytes.
    pub segment_size: u32,
}
