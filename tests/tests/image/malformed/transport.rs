//! Wrong at the level of UDP and TCP.

use tests::frames::transport::{Ports, Segment, fix_tcp_checksum, flag, udp};
use tests::frames::{ethertype, ipv6, protocol, put16};
use tests::peer::Peer;

use super::{eth, ip4};

pub(super) fn datagram(peer: &Peer, ports: Ports, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = udp(peer.ends(), ports, b"malformed");
    change(&mut bytes);
    ip4(peer, protocol::UDP, &bytes)
}

pub(super) fn bad_udp(peer: &Peer) -> Vec<Vec<u8>> {
    let ports = Ports { src: 4000, dst: 9 };
    vec![
        datagram(peer, ports, |bytes| put16(bytes, 4, 7)), // shorter than its header
        datagram(peer, ports, |bytes| put16(bytes, 4, 0)),
        datagram(peer, ports, |bytes| put16(bytes, 4, 18)), // one byte more than there is
        datagram(peer, ports, |bytes| put16(bytes, 4, 0xffff)),
        datagram(peer, ports, |bytes| bytes.truncate(7)),
        datagram(peer, ports, |bytes| bytes.truncate(0)),
        datagram(peer, Ports { src: 4000, dst: 0 }, |_| ()),
    ]
}

pub(super) fn udp_checksum(peer: &Peer) -> Vec<Vec<u8>> {
    let ports = Ports { src: 4000, dst: 9 };
    let (src, dst) = (peer.link_local(), peer.guest_link_local());
    let over_ipv6 = |sum: Option<u16>| {
        let mut bytes = udp((src.into(), dst.into()), ports, b"malformed");
        match sum {
            Some(sum) => put16(&mut bytes, 6, sum),
            None => bytes[9] ^= 1,
        }
        eth(
            peer,
            ethertype::IPV6,
            &ipv6::packet(src, dst, protocol::UDP, 64, &bytes),
        )
    };
    vec![
        datagram(peer, ports, |bytes| bytes[6] ^= 1),
        datagram(peer, ports, |bytes| bytes[9] ^= 1),
        over_ipv6(None),
        over_ipv6(Some(0)), // "none sent" is not allowed with IPv6
    ]
}

/// A SYN to the echo service, changed, with its checksum put right.
pub(super) fn segment(peer: &Peer, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let syn = Segment::new(Ports { src: 4100, dst: 7 }, flag::SYN, 1, 0);
    let mut bytes = syn.bytes(peer.ends());
    change(&mut bytes);
    if bytes.len() >= 20 {
        fix_tcp_checksum(&mut bytes, peer.ends());
    }
    ip4(peer, protocol::TCP, &bytes)
}

pub(super) fn bad_tcp(peer: &Peer) -> Vec<Vec<u8>> {
    vec![
        segment(peer, |bytes| bytes[12] = 0x40), // header of 16 bytes
        segment(peer, |bytes| bytes[12] = 0x00),
        segment(peer, |bytes| bytes[12] = 0xf0), // longer than the segment
        segment(peer, |bytes| bytes.truncate(19)),
        segment(peer, |bytes| bytes.truncate(4)),
        segment(peer, |bytes| bytes.truncate(0)),
        segment(peer, |bytes| put16(bytes, 0, 0)), // port 0
        segment(peer, |bytes| put16(bytes, 2, 0)),
        segment(peer, |bytes| bytes[13] = flag::SYN | flag::FIN),
        segment(peer, |bytes| bytes[13] = flag::SYN | flag::RST),
        segment(peer, |bytes| bytes[13] = 0),
        segment(peer, |bytes| bytes[13] = 0x3f), // all at once
    ]
}

pub(super) fn bad_tcp_options(peer: &Peer) -> Vec<Vec<u8>> {
    let with = |options: &[u8]| {
        segment(peer, |bytes| {
            bytes.extend(options);
            bytes[12] = ((20 + options.len()) as u8 / 4) << 4;
        })
    };
    vec![
        with(&[2, 0, 5, 0xb4]),  // maximum segment size of length 0
        with(&[2, 1, 5, 0xb4]),  // shorter than its own header
        with(&[2, 40, 5, 0xb4]), // longer than the options
        with(&[1, 1, 1, 2]),     // cut after its kind
        with(&[253, 0, 0, 0]),   // unknown, length 0
        with(&[254, 200, 0, 0]), // unknown, longer than the options
        with(&[3, 9, 7, 0]),     // window scale of length 9
    ]
}

pub(super) fn tcp_checksum(peer: &Peer) -> Vec<Vec<u8>> {
    let syn = Segment::new(Ports { src: 4101, dst: 7 }, flag::SYN, 1, 0);
    [16, 17, 4]
        .map(|at| {
            let mut bytes = syn.bytes(peer.ends());
            bytes[at] ^= 0x10;
            ip4(peer, protocol::TCP, &bytes)
        })
        .to_vec()
}
