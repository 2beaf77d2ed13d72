//! Devices and tokens around the real ones: one frame at a time on the way in, a look at each frame on the way out.

use super::frame::{self, Frame, SYN};
use ::smoltcp::phy::{Device, DeviceCapabilities, PacketMeta, RxToken, TxToken};
use ::smoltcp::time::Instant;

/// Where a connection's sequence numbers stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sequence {
    /// The next sequence number expected from the peer (RCV.NXT).
    pub(super) expected: u32,
    /// The sequence number after the last segment sent (SND.NXT).
    pub(super) next: u32,
}

impl Sequence {
    pub(super) const NOTHING: Self = Self { expected: 0, next: 0 };
}

/// The smallest MSS that is common (RFC 9293, section 3.7.1).
const LARGE: u32 = 536;

/// Looks at what leaves for one connection.
pub(super) struct Watch {
    pub(super) sequence: Sequence,
    /// Segments that left.
    pub(super) segments: u32,
    /// Frames that left and were not segments: a question for a neighbour's hardware address.
    pub(super) others: u32,
    /// Transmissions that the device had no room for.
    pub(super) refused: u32,
    /// The last segment that left was of a size that others usually follow.
    pub(super) large: bool,
    pub(super) link: usize,
    /// Lower each offered window by one unit; see [`offer_one_unit_less`].
    pub(super) trim_window: bool,
    /// Whether the TCP checksum has been computed when the frame is seen.
    pub(super) checksummed: bool,
}

impl Watch {
    fn see(&mut self, frame: &mut [u8]) {
        let Frame::Segment(segment) = frame::parse(frame, self.link) else {
            self.others += 1;
            return;
        };
        self.segments += 1;
        self.sequence.expected = segment.ack;
        self.large = segment.payload >= LARGE;
        // Retransmissions and keep-alives are behind what was sent before.
        let end = segment.end();
        if segment.flags & SYN != 0 || end.wrapping_sub(self.sequence.next) < 1 << 31 {
            self.sequence.next = end;
        }
        if self.trim_window && segment.flags & SYN == 0 {
            offer_one_unit_less(frame, segment.offset, self.checksummed);
        }
    }
}

/// Lowers the window field by one unit, unless it is zero.
///
/// With window scaling smoltcp offers `free >> shift`, so the right edge can move back by up to `2^shift - 1` octets, and it then drops
/// octets that the peer sent in good faith, and acknowledgements at that edge with their window updates: with both directions full, both
/// ends wait for ever. An edge that is always offered one unit short is never moved back behind what was offered (RFC 9293, section
/// 3.8.6: a receiver should not shrink the window).
fn offer_one_unit_less(frame: &mut [u8], tcp: usize, checksummed: bool) {
    let Some(field) = frame.get_mut(tcp + 14..tcp + 18) else { return };
    let window = u16::from_be_bytes([field[0], field[1]]);
    if window == 0 {
        return;
    }
    let lowered = (window - 1).to_be_bytes();
    field[0] = lowered[0];
    field[1] = lowered[1];
    if checksummed {
        // RFC 1624, equation 3: HC' = ~(~HC + ~m + m').
        let checksum = u16::from_be_bytes([field[2], field[3]]);
        let sum = u32::from(!checksum) + u32::from(!window) + u32::from(window - 1);
        let sum = (sum & 0xffff) + (sum >> 16);
        let checksum = !(((sum & 0xffff) + (sum >> 16)) as u16);
        let checksum = checksum.to_be_bytes();
        field[2] = checksum[0];
        field[3] = checksum[1];
    }
}

/// A transmit token that shows the frame to a [`Watch`].
pub(super) struct WatchedTx<'w, T> {
    pub(super) token: T,
    pub(super) watch: &'w mut Watch,
}

impl<T: TxToken> TxToken for WatchedTx<'_, T> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let Self { token, watch } = self;
        token.consume(length, |frame| {
            let result = fill(frame);
            watch.see(frame);
            result
        })
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.token.set_meta(meta);
    }
}

/// A received frame that has been looked at, handed on.
pub(super) struct SeenRx<'f>(&'f [u8], PacketMeta);

impl RxToken for SeenRx<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(self.0)
    }

    fn meta(&self) -> PacketMeta {
        self.1
    }
}

/// A transmit token whose frame goes nowhere: for segments that smoltcp does not answer at once.
pub(super) struct NoTx;

impl TxToken for NoTx {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        // Room for the largest reply without payload: Ethernet, IPv6, TCP with all its options.
        let mut scratch = [0; 14 + 40 + 60];
        let (room, _) = scratch.split_at_mut(length.min(14 + 40 + 60));
        fill(room)
    }
}

/// A device that holds one received frame, and the token for the answer to it.
pub(super) struct OneFrame<'f, T> {
    frame: Option<(SeenRx<'f>, T)>,
}

impl<'f, T> OneFrame<'f, T> {
    pub(super) fn new(frame: &'f [u8], meta: PacketMeta, answer: T) -> Self {
        Self { frame: Some((SeenRx(frame, meta), answer)) }
    }
}

impl<'f, T: TxToken> Device for OneFrame<'f, T> {
    type RxToken<'t>
        = SeenRx<'f>
    where
        Self: 't;
    type TxToken<'t>
        = T
    where
        Self: 't;

    fn receive(&mut self, _: Instant) -> Option<(SeenRx<'f>, T)> {
        self.frame.take()
    }

    fn transmit(&mut self, _: Instant) -> Option<T> {
        None
    }

    /// Not asked for on the way in: smoltcp keeps what the real device said when the interface was made.
    fn capabilities(&self) -> DeviceCapabilities {
        DeviceCapabilities::default()
    }
}

/// The real device on the way out for one connection.
pub(super) struct Egress<'d, 'w, D> {
    pub(super) device: &'d mut D,
    pub(super) watch: &'w mut Watch,
}

impl<D: Device> Device for Egress<'_, '_, D> {
    type RxToken<'t>
        = SeenRx<'t>
    where
        Self: 't;
    type TxToken<'t>
        = WatchedTx<'t, D::TxToken<'t>>
    where
        Self: 't;

    fn receive(&mut self, _: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        None
    }

    fn transmit(&mut self, now: Instant) -> Option<Self::TxToken<'_>> {
        let Some(token) = self.device.transmit(now) else {
            self.watch.refused += 1;
            return None;
        };
        Some(WatchedTx { token, watch: self.watch })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.device.capabilities()
    }
}
