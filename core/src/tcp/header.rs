//! The TCP header (RFC 9293, section 3.1) with the options of RFC 7323 and RFC 2018.

use super::Seq;

/// The control bits of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Flags(pub u8);

impl Flags {
    /// The sender has no more data.
    pub const FIN: Self = Self(0x01);
    /// Opens a connection.
    pub const SYN: Self = Self(0x02);
    /// Ends a connection at once.
    pub const RST: Self = Self(0x04);
    /// The sender has handed over all that it has.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement number is valid.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer is valid.
    pub const URG: Self = Self(0x20);
    /// ECN echo (RFC 3168).
    pub const ECE: Self = Self(0x40);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: Self = Self(0x80);

    /// Returns `true` if any bit of `other` is set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Returns these bits and those of `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns these bits without those of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// The timestamps option (RFC 7323, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Timestamp {
    /// TSval, the sender's clock.
    pub value: u32,
    /// TSecr, the echo of the other side's clock.
    pub echo: u32,
}

/// The SACK blocks of a header hold at most so many ranges (RFC 2018, section 3).
pub const MAX_SACK_BLOCKS: usize = 4;

/// A decoded header, without ports and checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Header {
    /// The sequence number of the first byte, or of the SYN.
    pub seq: Seq,
    /// The acknowledgement number; valid with [`Flags::ACK`].
    pub ack: Seq,
    /// The control bits.
    pub flags: Flags,
    /// The window field as it stands in the header, not scaled.
    pub window: u16,
    /// Maximum segment size (RFC 9293, section 3.7.1).
    pub mss: Option<u16>,
    /// Window scale (RFC 7323, section 2), at most 14.
    pub scale: Option<u8>,
    /// SACK permitted (RFC 2018, section 2).
    pub sack_permitted: bool,
    /// Timestamps (RFC 7323, section 3).
    pub timestamp: Option<Timestamp>,
    pub(super) sacks: [(Seq, Seq); MAX_SACK_BLOCKS],
    pub(super) sack_count: u8,
}

/// The ports of a segment, as they stand in its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ports {
    /// The sender's port.
    pub source: u16,
    /// The receiver's port.
    pub destination: u16,
}

const FIXED: usize = 20;

/// NOP, NOP, kind 8, length 10: how nearly every sender lays timestamps out (RFC 7323, appendix A).
const TIMESTAMP_WORD: u32 = 0x0101_080a;

impl Header {
    /// Returns the SACK blocks: the start of each range and the number after its end.
    pub fn sacks(&self) -> &[(Seq, Seq)] {
        self.sacks.get(..usize::from(self.sack_count)).unwrap_or(&[])
    }

    /// Adds a SACK block. Returns `false` if no room is left beside the other options.
    pub fn push_sack(&mut self, start: Seq, end: Seq) -> bool {
        let most = if self.timestamp.is_some() { MAX_SACK_BLOCKS - 1 } else { MAX_SACK_BLOCKS };
        let place = self.sacks.get_mut(usize::from(self.sack_count));
        match place.filter(|_| usize::from(self.sack_count) < most) {
            Some(place) => {
                *place = (start, end);
                self.sack_count += 1;
                true
            }
            None => false,
        }
    }

    /// Returns the length of the header with its options and their padding, in bytes: 20 to 60.
    pub fn header_len(&self) -> usize {
        let option = |present: bool, bytes: usize| if present { bytes } else { 0 };
        FIXED
            + option(self.mss.is_some(), 4)
            + option(self.sack_permitted, 4)
            + option(self.timestamp.is_some(), 12)
            + option(self.scale.is_some(), 4)
            + option(self.sack_count > 0, 4 + 8 * usize::from(self.sack_count))
    }

    /// Returns the number of sequence numbers that a segment with `payload` bytes takes: SYN and FIN count.
    pub fn sequence_len(&self, payload: usize) -> u32 {
        let control = u32::from(self.flags.has(Flags::SYN)) + u32::from(self.flags.has(Flags::FIN));
        payload as u32 + control
    }

    /// Decodes what stands behind an IP header: the ports, the header, and its length with options.
    ///
    /// Returns `None` if the bytes are too short for the header that they promise. Unknown and
    /// malformed options are skipped (RFC 9293, section 3.1, MUST-7). The checksum is the caller's to verify.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Option<(Ports, Self, usize)> {
        let fixed: &[u8; FIXED] = bytes.first_chunk()?;
        let word = |at: usize| u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        let half = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
        let len = usize::from(fixed[12] >> 4) * 4;
        let options = bytes.get(FIXED..len)?;
        let mut header = Self {
            seq: Seq(word(4)),
            ack: Seq(word(8)),
            flags: Flags(fixed[13]),
            window: half(14),
            ..Self::default()
        };
        if !options.is_empty() {
            header.parse_options(options);
        }
        Some((Ports { source: half(0), destination: half(2) }, header, len))
    }

    #[inline]
    fn parse_options(&mut self, options: &[u8]) {
        if let Some(common) = options.first_chunk::<12>()
            && options.len() == 12
            && be32(common) == TIMESTAMP_WORD
        {
            self.timestamp = Some(Timestamp { value: be32(&common[4..]), echo: be32(&common[8..]) });
            return;
        }
        self.parse_any_options(options);
    }

    fn parse_any_options(&mut self, mut options: &[u8]) {
        loop {
            options = match *options {
                [] | [0, ..] => return,
                [1, ref rest @ ..] => rest,
                [kind, length, ref rest @ ..] => {
                    let value =
                        usize::from(length).checked_sub(2).and_then(|length| rest.split_at_checked(length));
                    let Some((value, rest)) = value else { return };
                    self.parse_option(kind, value);
                    rest
                }
                [_] => return,
            };
        }
    }

    fn parse_option(&mut self, kind: u8, value: &[u8]) {
        match (kind, value) {
            (2, &[high, low]) => self.mss = Some(u16::from_be_bytes([high, low])),
            // RFC 7323, section 2.3: a larger shift counts as 14.
            (3, &[scale]) => self.scale = Some(scale.min(14)),
            (4, []) => self.sack_permitted = true,
            (5, blocks) => {
                let (blocks, _) = blocks.as_chunks::<8>();
                for (place, block) in self.sacks.iter_mut().zip(blocks) {
                    *place = (Seq(be32(block)), Seq(be32(&block[4..])));
                }
                self.sack_count = blocks.len().min(MAX_SACK_BLOCKS) as u8;
            }
            (8, value) if value.len() == 8 => {
                let (value, echo) = value.split_at(4);
                self.timestamp = Some(Timestamp { value: be32(value), echo: be32(echo) });
            }
            _ => {}
        }
    }

    /// Writes the header with a checksum of zero at the start of `out`.
    ///
    /// Returns `None`, with nothing written, if `out` is shorter than [`header_len`](Self::header_len).
    #[inline]
    pub fn emit(&self, ports: Ports, out: &mut [u8]) -> Option<()> {
        let len = self.header_len();
        let (fixed, options) = out.get_mut(..len)?.split_first_chunk_mut::<FIXED>()?;
        fixed[0..2].copy_from_slice(&ports.source.to_be_bytes());
        fixed[2..4].copy_from_slice(&ports.destination.to_be_bytes());
        fixed[4..8].copy_from_slice(&self.seq.0.to_be_bytes());
        fixed[8..12].copy_from_slice(&self.ack.0.to_be_bytes());
        fixed[12] = (len as u8 / 4) << 4;
        fixed[13] = self.flags.0;
        fixed[14..16].copy_from_slice(&self.window.to_be_bytes());
        fixed[16..20].fill(0);
        let (words, _) = options.as_chunks_mut::<4>();
        let mut words = words.iter_mut();
        let mut put = |word: u32| {
            if let Some(place) = words.next() {
                *place = word.to_be_bytes();
            }
        };
        if let Some(mss) = self.mss {
            put(0x0204_0000 | u32::from(mss));
        }
        if self.sack_permitted {
            put(0x0101_0402);
        }
        if let Some(Timestamp { value, echo }) = self.timestamp {
            put(TIMESTAMP_WORD);
            put(value);
            put(echo);
        }
        if let Some(scale) = self.scale {
            put(0x0103_0300 | u32::from(scale));
        }
        if self.sack_count > 0 {
            put(0x0101_0502 + 8 * u32::from(self.sack_count));
            for (start, end) in self.sacks() {
                put(start.0);
                put(end.0);
            }
        }
        Some(())
    }

    /// Returns the reset that answers this segment when no connection takes it (RFC 9293, section 3.10.7.1).
    ///
    /// Returns `None` for a reset, which is never answered.
    pub fn reset(&self, payload: usize) -> Option<Self> {
        if self.flags.has(Flags::RST) {
            return None;
        }
        let reset = Self { flags: Flags::RST, ..Self::default() };
        Some(if self.flags.has(Flags::ACK) {
            Self { seq: self.ack, ..reset }
        } else {
            let ack = self.seq + self.sequence_len(payload);
            Self { ack, flags: Flags::RST.with(Flags::ACK), ..reset }
        })
    }
}

#[inline]
fn be32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: Ports = Ports { source: 0x1234, destination: 7 };

    fn round_trip(header: &Header) -> Header {
        let mut bytes = [0xaa; 60];
        header.emit(PORTS, &mut bytes).unwrap();
        let (ports, parsed, len) = Header::parse(&bytes).unwrap();
        assert_eq!((ports, len), (PORTS, header.header_len()));
        parsed
    }

    #[test]
    fn what_is_emitted_is_parsed() {
        let plain = Header { seq: Seq(1), ack: Seq(2), flags: Flags::ACK, window: 3, ..Header::default() };
        let mut full = Header { timestamp: Some(Timestamp { value: 5, echo: 6 }), ..plain };
        for block in 0..3 {
            assert!(full.push_sack(Seq(block), Seq(block + 10)));
        }
        assert!(!full.push_sack(Seq(0), Seq(1)), "40 bytes of options are full");
        let syn = Header {
            flags: Flags::SYN,
            mss: Some(1460),
            scale: Some(7),
            sack_permitted: true,
            ..Header { timestamp: full.timestamp, ..plain }
        };
        for header in [plain, full, syn] {
            assert_eq!(round_trip(&header), header);
        }
    }

    #[test]
    fn broken_options_end_the_list_and_nothing_else() {
        let mut bytes = [0u8; 28];
        bytes[12] = 7 << 4;
        for options in
            [[2, 4, 5, 0xb4, 3, 0, 1, 1], [2, 4, 5, 0xb4, 3, 99, 1, 1], [2, 4, 5, 0xb4, 8, 3, 0, 3]]
        {
            bytes[20..].copy_from_slice(&options);
            let (_, header, _) = Header::parse(&bytes).unwrap();
            assert_eq!((header.mss, header.scale, header.timestamp), (Some(1460), None, None), "{options:?}");
        }
        assert!(Header::parse(&bytes[..27]).is_none());
        bytes[12] = 4 << 4;
        assert!(Header::parse(&bytes).is_none(), "shorter than itself");
    }

    #[test]
    fn a_shift_beyond_14_counts_as_14() {
        let syn = Header { flags: Flags::SYN, scale: Some(31), ..Header::default() };
        assert_eq!(round_trip(&syn).scale, Some(14));
    }

    #[test]
    fn a_reset_answers_all_but_a_reset() {
        let segment = Header { seq: Seq(5), ack: Seq(9), flags: Flags::ACK, ..Header::default() };
        assert_eq!(segment.reset(3).unwrap().seq, Seq(9));
        let syn = Header { flags: Flags::SYN, ..segment };
        let reset = syn.reset(3).unwrap();
        assert_eq!((reset.seq, reset.ack, reset.flags), (Seq(0), Seq(9), Flags::RST.with(Flags::ACK)));
        assert_eq!(Header { flags: Flags::RST, ..segment }.reset(0), None);
    }
}
