//! Devices and tokens around the real ones: one frame at a time on the way in, a look at each frame on the way out.

use super::frame::{self, FIN, Outgoing, SYN};
use super::slot::Slot;
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
    /// The window field of the last segment that left.
    pub(super) window: u16,
    /// Octets of payload in it.
    pub(super) payload: u32,
    /// Segments that left, and octets of payload in them.
    pub(super) segments: u32,
    pub(super) octets: u32,
    /// Those of them that had left before.
    pub(super) repeated: u32,
    /// Frames that left and were not segments: a question for a neighbour's hardware address.
    pub(super) others: u32,
    /// Transmissions that the device had no room for.
    pub(super) refused: u32,
    pub(super) link: usize,
    /// The window is offered in units of 2 to the power of this (RFC 7323). If not 0, one less is offered; see [`offer_one_unit_less`].
    pub(super) scale: u8,
    /// Whether the TCP checksum has been computed when the frame is seen.
    pub(super) checksummed: bool,
}

impl Watch {
    /// A look at what leaves for the connection of `slot`.
    pub(super) fn on(slot: &Slot<'_>, link: usize, checksummed: bool) -> Self {
        Self {
            sequence: slot.sequence,
            window: slot.room,
            payload: 0,
            segments: 0,
            octets: 0,
            repeated: 0,
            others: 0,
            refused: 0,
            link,
            scale: slot.scale,
            checksummed,
        }
    }

    /// The right edge of the window that was offered last.
    pub(super) fn edge(&self) -> u32 {
        self.sequence.expected.wrapping_add(u32::from(self.window) << self.scale)
    }

    /// Whether the last segment that left was of a size that others usually follow.
    pub(super) fn is_large(&self) -> bool {
        self.payload >= LARGE
    }

    #[inline]
    fn see(&mut self, frame: &mut [u8]) {
        let segment = frame::outgoing(frame, self.link);
        match segment {
            // Almost always.
            Some(segment) if segment.is_plain() && segment.seq == self.sequence.next && self.scale == 0 => {
                self.note(&segment);
                self.sequence.next = segment.end();
            }
            Some(segment) => self.see_odd(frame, &segment),
            None => self.see_odd_frame(frame),
        }
    }

    #[inline]
    fn note(&mut self, segment: &Outgoing) {
        self.segments += 1;
        self.octets = self.octets.wrapping_add(segment.payload);
        self.payload = segment.payload;
        self.sequence.expected = segment.ack;
        self.window = segment.window;
    }

    #[inline(never)]
    fn see_odd_frame(&mut self, frame: &mut [u8]) {
        match frame::outgoing_v6(frame, self.link) {
            Some(segment) => self.see_odd(frame, &segment),
            None => self.others += 1,
        }
    }

    #[inline(never)]
    fn see_odd(&mut self, frame: &mut [u8], segment: &Outgoing) {
        self.note(segment);
        let Outgoing { flags, seq, payload, .. } = *segment;
        let mut end = segment.end();
        // Retransmissions and keep-alives are behind what was sent before.
        let behind = is_before(seq, self.sequence.next);
        let repeats = if flags & SYN == 0 { behind && end != seq } else { end == self.sequence.next };
        self.repeated += u32::from(repeats);
        if flags & FIN != 0 && payload > 0 && behind && is_before(self.sequence.next, end) {
            clear_early_fin(frame, segment.offset, self.checksummed);
            end = end.wrapping_sub(1);
        }
        if flags & SYN != 0 || !is_before(end, self.sequence.next) {
            self.sequence.next = end;
        }
        if self.scale > 0 && flags & SYN == 0 {
            offer_one_unit_less(frame, segment.offset, self.checksummed);
        }
    }
}

/// Whether a sequence number comes before another.
fn is_before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) >= 1 << 31
}

/// Clears the FIN flag of a segment that repeats what was sent before, and adds bytes and a FIN that were not.
///
/// smoltcp's fast retransmission sends a whole segment whatever room the peer has, and a FIN behind it. A peer that takes the bytes for
/// which it has room, and the FIN at their end (as smoltcp does), loses the others. Without the FIN nothing is lost: it follows
/// when they are acknowledged, or with the next retransmission.
fn clear_early_fin(frame: &mut [u8], tcp: usize, checksummed: bool) {
    if let Some(word) = frame.get_mut(tcp + 12..tcp + 14).and_then(<[u8]>::first_chunk_mut) {
        let old = u16::from_be_bytes(*word);
        let new = old & !u16::from(FIN);
        *word = new.to_be_bytes();
        if checksummed {
            update_checksum(frame, tcp, old, new);
        }
    }
}

/// Corrects the checksum for a 16-bit word that has changed (RFC 1624, equation 3: HC' = ~(~HC + ~m + m')).
fn update_checksum(frame: &mut [u8], tcp: usize, old: u16, new: u16) {
    if let Some(field) = frame.get_mut(tcp + 16..tcp + 18).and_then(<[u8]>::first_chunk_mut) {
        let sum = u32::from(!u16::from_be_bytes(*field)) + u32::from(!old) + u32::from(new);
        let sum = (sum & 0xffff) + (sum >> 16);
        *field = (!(((sum & 0xffff) + (sum >> 16)) as u16)).to_be_bytes();
    }
}

/// Lowers the window field by one unit, unless it is zero.
///
/// With window scaling smoltcp offers `free >> shift`, so the right edge can move back by up to `2^shift - 1` octets, and it then drops
/// octets that the peer sent in good faith, and acknowledgements at that edge with their window updates: with both directions full, both
/// ends wait for ever. An edge that is always offered one unit short is never moved back behind what was offered (RFC 9293, section
/// 3.8.6: a receiver should not shrink the window).
fn offer_one_unit_less(frame: &mut [u8], tcp: usize, checksummed: bool) {
    if let Some(field) = frame.get_mut(tcp + 14..tcp + 16).and_then(<[u8]>::first_chunk_mut) {
        let window = u16::from_be_bytes(*field);
        let lowered = window.saturating_sub(1);
        *field = lowered.to_be_bytes();
        if checksummed {
            update_checksum(frame, tcp, window, lowered);
        }
    }
}

/// The one transmit token that smoltcp sees: its code for sending is in a firmware's image once.
///
/// With an operating system there is room for a second copy, inlined where connections send: `OUT` tells the two apart.
pub(super) struct Exit<'w, T, const OUT: bool> {
    /// The device's; without one the frame goes nowhere.
    pub(super) token: Option<T>,
    /// Who looks at what leaves.
    pub(super) watch: Option<&'w mut Watch>,
}

impl<T: TxToken, const OUT: bool> TxToken for Exit<'_, T, OUT> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let Self { token, watch } = self;
        let Some(token) = token else {
            // Room for the largest segment without payload: Ethernet, IPv6, TCP with all its options.
            let mut scratch = [0; 14 + 40 + 60];
            let (room, _) = scratch.split_at_mut(length.min(14 + 40 + 60));
            return fill(room);
        };
        token.consume(length, |frame| {
            let result = fill(frame);
            if let Some(watch) = watch {
                watch.see(frame);
            }
            result
        })
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        if let Some(token) = &mut self.token {
            token.set_meta(meta);
        }
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

/// What connections send goes through a copy of smoltcp's code that nothing else uses; on firmware, through the only one.
pub(super) const SECOND_COPY: bool = cfg!(not(target_os = "none"));

/// The real device on the way out, for one connection or for the interface itself.
pub(super) struct Egress<'d, 'w, D, const OUT: bool> {
    /// Without one, frames go nowhere.
    pub(super) device: Option<&'d mut D>,
    pub(super) watch: Option<&'w mut Watch>,
}

impl<D: Device, const OUT: bool> Device for Egress<'_, '_, D, OUT> {
    type RxToken<'t>
        = SeenRx<'t>
    where
        Self: 't;
    type TxToken<'t>
        = Exit<'t, D::TxToken<'t>, OUT>
    where
        Self: 't;

    fn receive(&mut self, _: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        None
    }

    fn transmit(&mut self, now: Instant) -> Option<Self::TxToken<'_>> {
        let token = match &mut self.device {
            None => None,
            Some(device) => {
                let token = device.transmit(now);
                if token.is_none() {
                    if let Some(watch) = &mut self.watch {
                        watch.refused += 1;
                    }
                    return None;
                }
                token
            }
        };
        Some(Exit { token, watch: self.watch.as_deref_mut() })
    }

    /// Not asked for on the way out either.
    fn capabilities(&self) -> DeviceCapabilities {
        DeviceCapabilities::default()
    }
}
