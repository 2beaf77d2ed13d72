//! A look at a frame before smoltcp sees it: which connection it is for, and what it wants.

use super::flow::{Address, Flow};

/// Octets of an Ethernet header.
pub(super) const ETHERNET_HEADER: usize = 14;

/// TCP flags (RFC 9293, section 3.1).
pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
pub(super) const PSH: u8 = 0x08;
pub(super) const ACK: u8 = 0x10;

/// What a frame is to the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame {
    /// A whole TCP segment.
    Segment(Segment),
    /// A piece of an IPv4 packet that carries TCP: not whole, so it is for no connection.
    Fragment,
    /// Says that it is TCP, but is too short, or its lengths contradict each other: for nobody.
    Malformed,
    /// ARP, ICMP, anything else, and what is too short to say.
    Other,
}

/// What the headers of a TCP segment say. Neither lengths nor checksums have been verified: smoltcp does that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// From the receiver's point of view: `local` is where the segment goes to.
    pub(super) flow: Flow,
    pub(super) flags: u8,
    pub(super) seq: u32,
    pub(super) ack: u32,
    /// The window field.
    pub(super) window: u16,
    /// Octets of payload that the headers promise.
    pub(super) payload: u32,
    /// Where the TCP header starts in the frame.
    pub(super) offset: usize,
    /// Where its packet ends in the frame, which may be padded.
    pub(super) end_of_packet: usize,
    /// The MSS option of a SYN, or the default (RFC 9293, section 3.7.1).
    pub(super) mss: u16,
}

impl Segment {
    /// Whether this opens a connection: SYN alone (RFC 9293, section 3.5).
    pub(super) fn opens(&self) -> bool {
        self.flags & (SYN | ACK | RST | FIN) == SYN
    }

    pub(super) fn is_reset(&self) -> bool {
        self.flags & RST != 0
    }
}

/// Reads the headers of `frame`, in which `link` octets come before the IP header.
#[inline]
pub(super) fn parse(frame: &[u8], link: usize) -> Frame {
    match common(frame, link) {
        Some(segment) => Frame::Segment(segment),
        None => look(frame, link).unwrap_or(Frame::Other),
    }
}

/// Addresses and ports as they stand in the headers: equal for segments of the same connection.
pub(super) type Key = [u8; 12];

/// Whether the sender of a [`plain`] segment has said all for now.
#[inline]
pub(super) fn pushes(head: &[u8; 40]) -> bool {
    head[33] & PSH != 0
}

/// The headers of a segment over IPv4 without IP options that neither opens nor ends anything; `None` for any other frame.
#[inline]
pub(super) fn plain(frame: &[u8], link: usize) -> Option<&[u8; 40]> {
    let head: &[u8; 40] = frame.get(link..)?.first_chunk()?;
    // One after the other: this is asked of every frame.
    if head[0] != 0x45 || head[9] != 6 || head[33] & (SYN | FIN | RST) != 0 {
        return None;
    }
    if u16::from_be_bytes([head[6], head[7]]) & 0x3fff != 0 {
        return None;
    }
    if link == ETHERNET_HEADER && frame.get(12..14)? != [0x08, 0x00] {
        return None;
    }
    Some(head)
}

/// The key of a [`plain`] segment.
#[inline]
pub(super) fn key(head: &[u8; 40]) -> &Key {
    head[12..].first_chunk().unwrap_or(&[0; 12])
}

/// The common case, TCP over IPv4 without IP options: every offset is a constant once the length is known.
#[inline]
fn common(frame: &[u8], link: usize) -> Option<Segment> {
    let head: &[u8; 40] = frame.get(link..)?.first_chunk()?;
    let plain = head[0] == 0x45 && head[9] == 6 && u16::from_be_bytes([head[6], head[7]]) & 0x3fff == 0;
    if !plain || (link == ETHERNET_HEADER && frame.get(12..14)? != [0x08, 0x00]) {
        return None;
    }
    let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let headers = 20 + u16::from(head[32] >> 4) * 4;
    Some(Segment {
        flow: Flow {
            local: Address::from_v4_bits(word(16)),
            remote: Address::from_v4_bits(word(12)),
            local_port: u16::from_be_bytes([head[22], head[23]]),
            remote_port: u16::from_be_bytes([head[20], head[21]]),
        },
        flags: head[33],
        seq: word(24),
        ack: word(28),
        window: u16::from_be_bytes([head[34], head[35]]),
        payload: u32::from(u16::from_be_bytes([head[2], head[3]]).checked_sub(headers)?),
        offset: link + 20,
        end_of_packet: link + usize::from(u16::from_be_bytes([head[2], head[3]])),
        mss: if head[33] & SYN == 0 {
            DEFAULT_MSS
        } else {
            mss_option(frame.get(link + 20..).unwrap_or(&[]))
        },
    })
}

/// What the headers of a segment say that smoltcp has made: it sends no IP options, and nothing behind the packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outgoing {
    pub(super) flags: u8,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) window: u16,
    /// Octets of payload.
    pub(super) payload: u32,
    /// Where the TCP header starts in the frame.
    pub(super) offset: usize,
}

impl Outgoing {
    /// Neither opens nor ends anything.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.flags & (SYN | FIN | RST) == 0
    }

    /// The sequence number after the segment: SYN and FIN count as one octet each.
    #[inline]
    pub(super) fn end(&self) -> u32 {
        let control = u32::from(self.flags & SYN != 0) + u32::from(self.flags & FIN != 0);
        self.seq.wrapping_add(self.payload).wrapping_add(control)
    }

    #[inline]
    fn read(tcp: &[u8; 20], length: usize, offset: usize) -> Self {
        let word = |at: usize| u32::from_be_bytes([tcp[at], tcp[at + 1], tcp[at + 2], tcp[at + 3]]);
        Self {
            flags: tcp[13],
            seq: word(4),
            ack: word(8),
            window: u16::from_be_bytes([tcp[14], tcp[15]]),
            payload: (length as u32).wrapping_sub(u32::from(tcp[12] >> 4) * 4),
            offset,
        }
    }
}

/// Reads the headers of a segment over IPv4 that smoltcp has made for a connection; `None` for any other frame.
#[inline]
pub(super) fn outgoing(frame: &[u8], link: usize) -> Option<Outgoing> {
    let packet = frame.get(link..)?;
    let head: &[u8; 40] = packet.first_chunk()?;
    // What is not a segment is a question for a neighbour, by ARP.
    let tcp = head[20..].first_chunk().filter(|_| head[0] == 0x45)?;
    Some(Outgoing::read(tcp, packet.len() - 20, link + 20))
}

/// As [`outgoing`], over IPv6.
#[cfg(feature = "ipv6")]
pub(super) fn outgoing_v6(frame: &[u8], link: usize) -> Option<Outgoing> {
    let packet = frame.get(link..)?;
    let (head, rest) = packet.split_first_chunk::<40>()?;
    let tcp = rest.first_chunk().filter(|_| head[0] >> 4 == 6 && head[6] == 6)?;
    Some(Outgoing::read(tcp, rest.len(), link + 40))
}

/// There is none.
#[cfg(not(feature = "ipv6"))]
pub(super) fn outgoing_v6(_: &[u8], _: usize) -> Option<Outgoing> {
    None
}

/// Without the option (RFC 9293, section 3.7.1).
const DEFAULT_MSS: u16 = 536;

/// The MSS option of the TCP header that `tcp` starts with.
fn mss_option(tcp: &[u8]) -> u16 {
    let header = usize::from(tcp.get(12).copied().unwrap_or(0) >> 4) * 4;
    let mut options = tcp.get(20..header).unwrap_or(&[]);
    loop {
        options = match *options {
            [2, 4, high, low, ..] => return u16::from_be_bytes([high, low]),
            [1, ref rest @ ..] => rest,
            [kind, length, ..] if kind != 0 && length >= 2 => {
                options.get(usize::from(length)..).unwrap_or(&[])
            }
            _ => return DEFAULT_MSS,
        };
    }
}

#[cold]
fn look(frame: &[u8], link: usize) -> Option<Frame> {
    let ip = frame.get(link..)?;
    let version = ip.first()? >> 4;
    if link == ETHERNET_HEADER {
        let ethertype = u16_at(frame, 12)?;
        if !matches!((ethertype, version), (0x0800, 4) | (0x86dd, 6)) {
            return None;
        }
    }
    match version {
        4 => ipv4(ip, link),
        #[cfg(feature = "ipv6")]
        6 => ipv6(ip, link),
        _ => None,
    }
}

fn ipv4(ip: &[u8], link: usize) -> Option<Frame> {
    if *ip.get(9)? != 6 {
        return None;
    }
    if u16_at(ip, 6)? & 0x3fff != 0 {
        return Some(Frame::Fragment);
    }
    Some(whole(segment_v4(ip, link)))
}

/// What a packet is that is said to be TCP.
fn whole(segment: Option<Segment>) -> Frame {
    segment.map_or(Frame::Malformed, Frame::Segment)
}

fn segment_v4(ip: &[u8], link: usize) -> Option<Segment> {
    let header = usize::from(ip.first()? & 0x0f) * 4;
    let payload = usize::from(u16_at(ip, 2)?).checked_sub(header)?;
    let (remote, local) = (Address::v4(ip.get(12..16)?)?, Address::v4(ip.get(16..20)?)?);
    tcp(ip.get(header..)?, payload, remote, local, link + header)
}

#[cfg(feature = "ipv6")]
fn ipv6(ip: &[u8], link: usize) -> Option<Frame> {
    let payload = usize::from(u16_at(ip, 4)?);
    let (remote, local) = (Address::v6(ip.get(8..24)?)?, Address::v6(ip.get(24..40)?)?);
    let rest = ip.get(40..)?;
    match ip.get(6)? {
        6 => Some(whole(tcp(rest, payload, remote, local, link + 40))),
        // Hop-by-hop options (RFC 8200, section 4.3): smoltcp looks behind them, so this must too.
        0 if *rest.first()? == 6 => {
            let options = (usize::from(*rest.get(1)?) + 1) * 8;
            let segment = rest.get(options..).zip(payload.checked_sub(options));
            Some(whole(
                segment.and_then(|(rest, payload)| tcp(rest, payload, remote, local, link + 40 + options)),
            ))
        }
        _ => None,
    }
}

fn tcp(tcp: &[u8], length: usize, remote: Address, local: Address, offset: usize) -> Option<Segment> {
    let header = usize::from(tcp.get(12)? >> 4) * 4;
    Some(Segment {
        flow: Flow { local, remote, remote_port: u16_at(tcp, 0)?, local_port: u16_at(tcp, 2)? },
        flags: *tcp.get(13)?,
        seq: u32_at(tcp, 4)?,
        ack: u32_at(tcp, 8)?,
        window: u16_at(tcp, 14)?,
        payload: length.checked_sub(header)? as u32,
        offset,
        end_of_packet: offset + length,
        mss: mss_option(tcp),
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
