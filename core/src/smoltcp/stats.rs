//! What the backend counts.

use super::craft::Flaw;
use super::token::Watch;

/// What the backend has counted since it was made. The counters wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Stats {
    /// Frames received, of all kinds.
    pub frames_received: u64,
    /// TCP segments received for connections; several segments that come in one frame count once.
    pub segments_received: u64,
    /// Octets received in order by connections.
    pub octets_received: u64,
    /// TCP segments sent by connections; several that leave in one frame count once.
    pub segments_sent: u64,
    /// Octets of payload in them, repeated ones included.
    pub octets_sent: u64,
    /// Segments sent again, probes of a closed window included.
    pub retransmitted: u64,
    /// Frames that waited because the device had no room for them.
    pub device_full: u64,
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
    /// Segments that were not believed, and are due a challenge ACK (RFC 5961): each connection sends one a second at most.
    pub challenges: u64,
    /// Segments for no connection and no listener: answered with a reset, if they may be.
    pub for_nobody: u64,
    /// Frames dropped before smoltcp saw them, by reason.
    ///
    /// What smoltcp drops by itself is in no counter, for it does not tell: data and acknowledgements with a wrong checksum or outside the
    /// window, and what is broken in anything but TCP.
    pub dropped: Drops,
}

/// Frames dropped before smoltcp saw them, by reason. What is answered is not here, and neither are SYNs for which there is no room:
/// see [`Stats`]. The counters wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Drops {
    /// IP packets with something in them that says it is TCP, and is too short or of contradictory lengths.
    pub malformed: u32,
    /// SYNs and resets whose checksum is wrong, and first segments after a cookie.
    pub wrong_checksum: u32,
    /// Fragments of IPv4 packets with TCP in them: nothing is put together from them.
    pub fragments: u32,
    /// Segments to an address that is not the interface's, or in a frame for another host.
    pub not_for_us: u32,
    /// Segments from an address that no peer can have: multicast, broadcast, unspecified, or the interface's own (RFC 1122, section
    /// 4.2.3.10).
    pub bad_source: u32,
    /// Segments to a listener with neither SYN, ACK nor RST (RFC 9293, section 3.10.7.2).
    pub no_flags: u32,
    /// Resets that anyone could have sent: outside the window (RFC 5961, section 3.2), or in TIME-WAIT (RFC 1337).
    pub blind_resets: u32,
}

impl Drops {
    /// All of them.
    pub fn total(&self) -> u64 {
        let Self { malformed, wrong_checksum, fragments, not_for_us, bad_source, no_flags, blind_resets } =
            *self;
        let all = [malformed, wrong_checksum, fragments, not_for_us, bad_source, no_flags, blind_resets];
        all.into_iter().map(u64::from).sum()
    }

    pub(super) fn flawed(&mut self, flaw: Flaw) {
        one_more(match flaw {
            Flaw::Malformed => &mut self.malformed,
            Flaw::WrongChecksum => &mut self.wrong_checksum,
            Flaw::ForAnother => &mut self.not_for_us,
        });
    }
}

pub(super) fn one_more(counter: &mut u32) {
    *counter = counter.wrapping_add(1);
}

impl Stats {
    /// Takes over what left for a connection.
    pub(super) fn add(&mut self, watch: &Watch) {
        self.segments_sent = self.segments_sent.wrapping_add(watch.segments.into());
        self.octets_sent = self.octets_sent.wrapping_add(watch.octets.into());
        self.retransmitted = self.retransmitted.wrapping_add(watch.repeated.into());
        self.device_full = self.device_full.wrapping_add(watch.refused.into());
    }
}

/// How many connections wait for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct QueueLengths {
    /// For the end of their handshake: of all listeners together.
    pub half_open: usize,
    /// For `accept`: of all listeners together.
    pub to_accept: usize,
    /// For a neighbour to tell its hardware address, with something to send to it or beyond it.
    pub awaiting_neighbor: usize,
    /// For the end of TIME-WAIT, without an owner: a newcomer that finds no free slot takes the oldest one's.
    pub time_wait: usize,
}

/// Where a connection stands. The octets that it has moved are in its owner's [`Traffic`](crate::connection::Traffic), also at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ConnectionStats {
    /// Octets received and not yet taken, and how many there is room for.
    pub receive_queue: usize,
    /// See [`receive_queue`](Self::receive_queue).
    pub receive_capacity: usize,
    /// Octets queued and not yet acknowledged, and how many there is room for.
    pub send_queue: usize,
    /// See [`send_queue`](Self::send_queue).
    pub send_capacity: usize,
    /// TCP segments received for it since the handshake began, without the peer's first SYN; several segments that come in one frame
    /// count once. It wraps.
    pub segments_received: u32,
    /// TCP segments sent by it; several that leave in one frame count once. It wraps.
    pub segments_sent: u32,
    /// Those of them that had left before, and probes of a closed window; 255 means that many or more.
    ///
    /// What the peer had to send again is not visible here.
    pub retransmitted: u8,
}
