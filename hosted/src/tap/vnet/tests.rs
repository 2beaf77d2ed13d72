use super::*;
use Medium::{Ethernet, Ip};

const MTU: usize = 1500;

/// A SYN from 10.77.0.1:1000 to 10.77.0.2:7, checksums right.
const TCP4: [u8; 40] = [
    0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0x26, 0x34, 10, 77, 0, 1, 10, 77, 0, 2, // IPv4
    0x03, 0xe8, 0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 4, 0, 0x93, 0x56, 0, 0, // TCP
];
/// The same over IPv6, from fd77::1 to fd77::2.
const TCP6: [u8; 60] = [
    0x60, 0, 0, 0, 0, 20, 6, 64, // IPv6
    0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, //
    0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, //
    0x03, 0xe8, 0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 4, 0, 0xad, 0x00, 0, 0, // TCP
];

fn ethernet(ethertype: [u8; 2], packet: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1][..], &ethertype, packet].concat()
}

fn is_accepted(frame: &[u8], medium: Medium, header: Header) -> bool {
    accept(&mut frame.to_vec(), medium, header)
}

#[track_caller]
fn assert_offload(mut frame: Vec<u8>, medium: Medium, size: Option<u16>, expected: Header, checksum: u16) {
    let header = offload(&mut frame, medium, MTU, size.and_then(NonZeroU16::new));
    assert_eq!(header, expected);
    let field = usize::from(header.csum_start + header.csum_offset);
    assert_eq!(u16::from_be_bytes([frame[field], frame[field + 1]]), checksum);
}

#[test]
fn a_header_survives_its_bytes() {
    let header =
        Header { flags: 1, gso_type: 4, hdr_len: 74, gso_size: 1440, csum_start: 54, csum_offset: 16 };
    let bytes = header.emit();
    assert_eq!(bytes[..2], [1, 4]);
    assert_eq!(bytes[2..4], 74_u16.to_ne_bytes());
    assert_eq!(Header::parse(&bytes), header);
}

#[test]
fn a_segment_leaves_its_checksum_to_the_kernel() {
    // 0a4d + 0001 + 0a4d + 0002 + 6 + 20
    let expected = Header { flags: NEEDS_CSUM, csum_start: 20, csum_offset: 16, ..Header::default() };
    assert_offload(TCP4.to_vec(), Ip, None, expected, 0x14b7);
    let expected = Header { csum_start: 34, ..expected };
    assert_offload(ethernet([8, 0], &TCP4), Ethernet, None, expected, 0x14b7);
    // fd77 + 1 + fd77 + 2 + 6 + 20
    let expected = Header { csum_start: 54, ..expected };
    assert_offload(ethernet([0x86, 0xdd], &TCP6), Ethernet, None, expected, 0xfb0c);
}

/// A segment with `len` bytes of payload.
fn long(len: u16, ipv6: bool) -> Vec<u8> {
    let payload = vec![0x5a; len.into()];
    let mut frame = if ipv6 { [&TCP6[..], &payload].concat() } else { [&TCP4[..], &payload].concat() };
    let (field, value) = if ipv6 { (4, 20 + len) } else { (2, 40 + len) };
    frame[field..field + 2].copy_from_slice(&value.to_be_bytes());
    frame
}

#[test]
fn a_super_segment_says_how_to_cut_it() {
    let expected = Header {
        flags: NEEDS_CSUM,
        gso_type: GSO_TCPV4,
        hdr_len: 54,
        gso_size: 1000,
        csum_start: 34,
        csum_offset: 16,
    };
    assert_offload(ethernet([8, 0], &long(2000, false)), Ethernet, Some(1000), expected, 0x14b7 + 2000);
    let expected = Header { gso_type: GSO_TCPV6, hdr_len: 60, csum_start: 40, ..expected };
    assert_offload(long(1001, true), Ip, Some(1000), expected, 0xfb0c + 1001);
}

#[test]
fn no_segment_is_longer_than_the_wire_allows() {
    // The peer's MSS is that of a loopback interface; the wire here carries 1,500 bytes.
    for size in [Some(65_483), None] {
        let mut frame = long(3000, false);
        let header = offload(&mut frame, Ip, MTU, size.and_then(NonZeroU16::new));
        assert_eq!((header.gso_type, header.gso_size), (GSO_TCPV4, 1460));
    }
    let header = offload(&mut long(1460, false), Ip, MTU, NonZeroU16::new(1460));
    assert!(!header.is_segmented());
}

#[test]
fn a_syn_offers_no_more_than_the_wire_allows() {
    for (options, expected) in [
        (vec![2, 4, 0xff, 0xc7], vec![2, 4, 0x05, 0xb4]),
        (vec![2, 4, 0x02, 0x18], vec![2, 4, 0x02, 0x18]),
        (vec![1, 3, 3, 7, 2, 4, 0xff, 0xc7], vec![1, 3, 3, 7, 2, 4, 0x05, 0xb4]),
        (vec![3, 0, 0, 0], vec![3, 0, 0, 0]),
        (vec![8, 200, 0, 0], vec![8, 200, 0, 0]),
        (vec![1, 1, 2, 4], vec![1, 1, 2, 4]),
    ] {
        let mut frame = [&TCP4[..], &options].concat();
        frame[3] += options.len() as u8;
        frame[32] = (5 + options.len() as u8 / 4) << 4;
        assert!(!offload(&mut frame, Ip, MTU, None).is_segmented());
        assert_eq!(frame[40..], expected);
    }
}

#[test]
fn what_is_not_tcp_leaves_as_it_is() {
    let mut udp = TCP4;
    udp[9] = 17;
    let mut fragment = TCP4;
    fragment[7] = 1;
    for frame in [udp.to_vec(), fragment.to_vec(), TCP4[..39].to_vec(), vec![], vec![0; 64], vec![0xff; 64]] {
        let mut sent = frame.clone();
        assert_eq!(offload(&mut sent, Ip, MTU, None), Header::default());
        assert_eq!(sent, frame);
    }
    // A VLAN tag, which smoltcp does not know.
    let mut tagged = ethernet([0x81, 0], &TCP4);
    assert_eq!(offload(&mut tagged, Ethernet, MTU, None), Header::default());
}

#[test]
fn a_segment_from_elsewhere_is_verified() {
    for (frame, medium) in [
        (TCP4.to_vec(), Ip),
        (TCP6.to_vec(), Ip),
        (ethernet([8, 0], &TCP4), Ethernet),
        (ethernet([0x86, 0xdd], &TCP6), Ethernet),
    ] {
        assert!(is_accepted(&frame, medium, Header::default()));
        let mut wrong = frame.clone();
        *wrong.last_mut().unwrap() ^= 1;
        assert!(!is_accepted(&wrong, medium, Header::default()));
        assert!(is_accepted(&wrong, medium, Header { flags: DATA_VALID, ..Header::default() }));
        assert!(is_accepted(
            &wrong,
            medium,
            Header { flags: NEEDS_CSUM, csum_offset: 16, ..Header::default() }
        ));
    }
}

#[test]
fn ethernet_padding_is_not_summed() {
    let mut padded = ethernet([8, 0], &TCP4);
    padded.extend([0xaa; 6]);
    assert!(is_accepted(&padded, Ethernet, Header::default()));
}

#[test]
fn a_segment_behind_a_hop_by_hop_header_is_verified() {
    let mut frame = [&TCP6[..40], &[6, 0, 1, 4, 0, 0, 0, 0], &TCP6[40..]].concat();
    frame[5] = 28;
    frame[6] = 0;
    assert!(is_accepted(&frame, Ip, Header::default()));
    *frame.last_mut().unwrap() ^= 1;
    assert!(!is_accepted(&frame, Ip, Header::default()));
}

#[test]
fn a_segment_whose_length_lies_is_dropped() {
    // The data offset points behind the end.
    let mut frame = TCP4;
    frame[32] = 0xf0;
    assert!(!is_accepted(&frame, Ip, Header::default()));
}

#[test]
fn an_unfinished_udp_checksum_is_finished() {
    // From 10.77.0.1:1 to 10.77.0.2:2, no payload; the field holds the pseudo-header sum.
    let mut frame =
        [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2, 0, 1, 0, 2, 0, 8, 0x14, 0xb6];
    let header = Header { flags: NEEDS_CSUM, csum_start: 20, csum_offset: 6, ..Header::default() };
    assert!(accept(&mut frame, Ip, header));
    assert_eq!(frame[26..], (!(0x14b6_u16 + 1 + 2 + 8)).to_be_bytes());
}

#[test]
fn a_header_that_points_nowhere_is_harmless() {
    for (csum_start, csum_offset) in [(0xffff, 0xffff), (0, 0xffff), (39, 0), (40, 6)] {
        let header = Header { flags: NEEDS_CSUM, csum_start, csum_offset, ..Header::default() };
        assert!(accept(&mut TCP4.clone(), Ip, header));
    }
}
