use crate::IpVersion;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol, IpRepr, TcpPacket,
    TcpSeqNumber,
};

/// The server under attack.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// Its address where it is attacked over IPv6.
pub const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
/// Its hardware address.
pub const SERVER_MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);
/// A peer on its own network.
pub const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// The same over IPv6.
pub const PEER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
/// Where all peers' frames come from: the last router before the server.
pub const GATEWAY_MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 0xfe]);

impl IpVersion {
    /// The server's address.
    pub const fn server(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(SERVER),
            Self::V6 => IpAddr::V6(SERVER_V6),
        }
    }

    /// The address of a peer on its network.
    pub const fn peer(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(PEER),
            Self::V6 => IpAddr::V6(PEER_V6),
        }
    }

    /// That of an address.
    pub const fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// Octets of the IP header.
    pub const fn header(self) -> usize {
        match self {
            Self::V4 => 20,
            Self::V6 => 40,
        }
    }
}

/// TCP flags (RFC 9293, section 3.1).
#[expect(missing_docs, reason = "the names in the RFC")]
pub mod flag {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
    pub const URG: u8 = 0x20;
}

/// A TCP segment over IP and Ethernet, whose fields need not fit together. Both addresses are of one family.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the fields of the headers")]
pub struct Segment<'a> {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub flags: u8,
    pub seq: u32,
    pub ack: u32,
    pub window: u16,
    pub urgent: u16,
    /// As they stand on the wire: a multiple of four octets.
    pub options: &'a [u8],
    pub payload: &'a [u8],
    pub hop_limit: u8,
}

impl<'a> Segment<'a> {
    /// A SYN to the server's port 7.
    pub fn syn(from: impl Into<SocketAddr>, seq: u32) -> Self {
        let from = from.into();
        Self {
            from,
            to: SocketAddr::new(IpVersion::of(from.ip()).server(), 7),
            flags: flag::SYN,
            seq,
            ack: 0,
            window: 8192,
            urgent: 0,
            options: &[2, 4, 5, 180],
            payload: &[],
            hop_limit: 64,
        }
    }

    /// The frame, with right checksums.
    pub fn frame(&self) -> Vec<u8> {
        let caps = ChecksumCapabilities::default();
        let header = 20 + self.options.len();
        let (from, to) = (self.from.ip().into(), self.to.ip().into());
        let ip = IpRepr::new(from, to, IpProtocol::Tcp, header + self.payload.len(), self.hop_limit);
        let mut frame = vec![0; 14 + ip.buffer_len()];
        let ethertype = match IpVersion::of(self.from.ip()) {
            IpVersion::V4 => EthernetProtocol::Ipv4,
            IpVersion::V6 => EthernetProtocol::Ipv6,
        };
        EthernetRepr { src_addr: GATEWAY_MAC, dst_addr: SERVER_MAC, ethertype }
            .emit(&mut EthernetFrame::new_unchecked(&mut frame[..]));
        let (head, bytes) = frame[14..].split_at_mut(ip.header_len());
        bytes[20..header].copy_from_slice(self.options);
        bytes[header..].copy_from_slice(self.payload);
        bytes[13] = self.flags;
        let mut tcp = TcpPacket::new_unchecked(bytes);
        tcp.set_src_port(self.from.port());
        tcp.set_dst_port(self.to.port());
        tcp.set_seq_number(TcpSeqNumber(self.seq as i32));
        tcp.set_ack_number(TcpSeqNumber(self.ack as i32));
        tcp.set_header_len(header as u8);
        tcp.set_window_len(self.window);
        tcp.set_urgent_at(self.urgent);
        tcp.fill_checksum(&from, &to);
        ip.emit(head, &caps);
        frame
    }
}
