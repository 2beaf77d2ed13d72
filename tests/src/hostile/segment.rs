use core::net::{Ipv4Addr, SocketAddrV4};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
    IpProtocol, Ipv4Packet, Ipv4Repr, TcpPacket, TcpSeqNumber,
};

/// The server under attack.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// Its hardware address.
pub const SERVER_MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);
/// A peer on its own network.
pub const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// Where all peers' frames come from: the last router before the server.
pub const GATEWAY_MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 0xfe]);

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

/// A TCP segment over IPv4 and Ethernet, whose fields need not fit together.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the fields of the headers")]
pub struct Segment<'a> {
    pub from: SocketAddrV4,
    pub to: SocketAddrV4,
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
    pub const fn syn(from: SocketAddrV4, seq: u32) -> Self {
        Self {
            from,
            to: SocketAddrV4::new(SERVER, 7),
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
        let ip = Ipv4Repr {
            src_addr: *self.from.ip(),
            dst_addr: *self.to.ip(),
            next_header: IpProtocol::Tcp,
            payload_len: header + self.payload.len(),
            hop_limit: self.hop_limit,
        };
        let mut frame = vec![0; 14 + ip.buffer_len() + ip.payload_len];
        let mut ethernet = EthernetFrame::new_unchecked(&mut frame[..]);
        EthernetRepr { src_addr: GATEWAY_MAC, dst_addr: SERVER_MAC, ethertype: EthernetProtocol::Ipv4 }
            .emit(&mut ethernet);
        let mut packet = Ipv4Packet::new_unchecked(ethernet.payload_mut());
        ip.emit(&mut packet, &caps);
        let bytes = packet.payload_mut();
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
        tcp.fill_checksum(&(*self.from.ip()).into(), &(*self.to.ip()).into());
        frame
    }
}

/// An ARP reply: `ip` is at the gateway's hardware address.
pub fn arp_reply(ip: Ipv4Addr) -> Vec<u8> {
    let arp = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: GATEWAY_MAC,
        source_protocol_addr: ip,
        target_hardware_addr: SERVER_MAC,
        target_protocol_addr: SERVER,
    };
    let mut frame = vec![0; 14 + arp.buffer_len()];
    let mut ethernet = EthernetFrame::new_unchecked(&mut frame[..]);
    EthernetRepr { src_addr: GATEWAY_MAC, dst_addr: SERVER_MAC, ethertype: EthernetProtocol::Arp }
        .emit(&mut ethernet);
    arp.emit(&mut ArpPacket::new_unchecked(ethernet.payload_mut()));
    frame
}
