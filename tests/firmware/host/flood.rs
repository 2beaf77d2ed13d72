//! SYNs from addresses that answer nothing, put on the wire as frames.

use smoltcp::phy::{ChecksumCapabilities, Device as _, Medium, RawSocket, TxToken as _};
use smoltcp::time::Instant;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol, Ipv4Address, Ipv4Packet,
    Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};

/// QEMU's first network device has this address unless it is told another.
const BOARD_ETHERNET: EthernetAddress = EthernetAddress([0x52, 0x54, 0x00, 0x12, 0x34, 0x56]);
const BOARD: Ipv4Address = Ipv4Address::new(10, 0, 2, 15);

pub(crate) struct Flood {
    wire: RawSocket,
    port: u16,
    random: u32,
}

impl Flood {
    /// Floods the board's `port` over tap0.
    pub(crate) fn new(port: u16) -> Self {
        let wire = RawSocket::new("tap0", Medium::Ethernet).expect("a packet socket on tap0");
        Self { wire, port, random: 1 }
    }

    /// One SYN, from an address and port of its own.
    pub(crate) fn send(&mut self) {
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [a, b, c, d] = self.random.to_be_bytes();
        // Behind the router: the board sends its answers there, and there they end.
        let source = Ipv4Address::new(10, 9, a, b.max(1));
        let segment = TcpRepr {
            src_port: 1024 + u16::from_be_bytes([c, d]) % 60_000,
            dst_port: self.port,
            control: TcpControl::Syn,
            seq_number: TcpSeqNumber(self.random as i32),
            ack_number: None,
            window_len: 1024,
            window_scale: None,
            max_seg_size: Some(1460),
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload: &[],
        };
        let packet = Ipv4Repr {
            src_addr: source,
            dst_addr: BOARD,
            next_header: IpProtocol::Tcp,
            payload_len: segment.buffer_len(),
            hop_limit: 64,
        };
        let header = EthernetRepr {
            src_addr: EthernetAddress([2, 0, 0, 0, 0, 9]),
            dst_addr: BOARD_ETHERNET,
            ethertype: EthernetProtocol::Ipv4,
        };
        let length = header.buffer_len() + packet.buffer_len() + segment.buffer_len();
        let token = self.wire.transmit(Instant::now()).expect("a packet socket always has room");
        token.consume(length, |frame| {
            let checksums = ChecksumCapabilities::default();
            let mut frame = EthernetFrame::new_unchecked(frame);
            header.emit(&mut frame);
            let mut bytes = Ipv4Packet::new_unchecked(frame.payload_mut());
            packet.emit(&mut bytes, &checksums);
            let mut bytes = TcpPacket::new_unchecked(bytes.payload_mut());
            segment.emit(&mut bytes, &source.into(), &BOARD.into(), &checksums);
        });
    }
}
