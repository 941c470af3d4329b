//! Wrong at the level of IPv4, IPv6 and ICMP.

use std::net::Ipv6Addr;

use tests::frames::ipv4::{self, Ipv4, echo_request, fix_checksum};
use tests::frames::transport::Ports;
use tests::frames::{ETH_HEADER, ethertype, ipv6, protocol, put16};
use tests::peer::Peer;

use super::{eth, ip4, transport::datagram};

/// An echo request whose IP header was changed by `change`, with its checksum put right.
pub(super) fn changed_ipv4(peer: &Peer, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut packet =
        ipv4::icmp_header(peer.addr, peer.guest).packet(&echo_request(1, 1, b"malformed"));
    change(&mut packet);
    if packet.len() >= 20 {
        fix_checksum(&mut packet);
    }
    eth(peer, ethertype::IPV4, &packet)
}

pub(super) fn bad_ipv4(peer: &Peer) -> Vec<Vec<u8>> {
    vec![
        changed_ipv4(peer, |packet| packet[0] = 0x55), // version 5
        changed_ipv4(peer, |packet| packet[0] = 0x65),
        changed_ipv4(peer, |packet| packet[0] = 0x44), // header of 16 bytes
        changed_ipv4(peer, |packet| packet[0] = 0x40),
        changed_ipv4(peer, |packet| packet[0] = 0x4f), // header longer than the packet
        changed_ipv4(peer, |packet| put16(packet, 2, 19)), // total shorter than the header
        changed_ipv4(peer, |packet| put16(packet, 2, 0)),
        changed_ipv4(peer, |packet| put16(packet, 2, 0xffff)), // longer than the frame
        changed_ipv4(peer, |packet| {
            packet[12..16].copy_from_slice(&[224, 0, 0, 1])
        }), // source
        changed_ipv4(peer, |packet| packet[12..16].copy_from_slice(&[255; 4])),
        changed_ipv4(peer, |packet| {
            packet[12..16].copy_from_slice(&[127, 0, 0, 1])
        }),
        changed_ipv4(peer, |packet| packet.truncate(19)),
        changed_ipv4(peer, |packet| packet.truncate(1)),
        changed_ipv4(peer, |packet| packet.truncate(0)),
    ]
}

pub(super) fn ipv4_checksum(peer: &Peer) -> Vec<Vec<u8>> {
    let header = Ipv4 {
        options: vec![1, 1, 1, 0],
        ..ipv4::icmp_header(peer.addr, peer.guest)
    };
    let mut frames = Vec::new();
    for wrong in [10, 11, 8, 20] {
        let mut packet = header.packet(&echo_request(1, 1, b"x"));
        packet[wrong] ^= 0x40; // in the checksum, the time to live, the options
        frames.push(eth(peer, ethertype::IPV4, &packet));
    }
    frames
}

pub(super) fn ipv6_frame(peer: &Peer, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let ends = (peer.link_local(), peer.guest_link_local());
    let echo = ipv6::icmp(
        ends,
        ipv6::kind::ECHO_REQUEST,
        0,
        [0, 1, 0, 1],
        b"malformed",
    );
    let mut packet = ipv6::packet(ends.0, ends.1, protocol::ICMPV6, 64, &echo);
    change(&mut packet);
    eth(peer, ethertype::IPV6, &packet)
}

pub(super) fn bad_ipv6(peer: &Peer) -> Vec<Vec<u8>> {
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).octets();
    vec![
        ipv6_frame(peer, |packet| packet[0] = 0x40),
        ipv6_frame(peer, |packet| packet[0] = 0x70),
        ipv6_frame(peer, |packet| put16(packet, 4, 0xffff)),
        ipv6_frame(peer, |packet| put16(packet, 4, 18)), // one byte more than there is
        ipv6_frame(peer, |packet| packet[8..24].copy_from_slice(&group)),
        ipv6_frame(peer, |packet| packet.truncate(39)),
        ipv6_frame(peer, |packet| packet.truncate(1)),
        ipv6_frame(peer, |packet| hop_by_hop(packet, 255)), // longer than the packet
        ipv6_frame(peer, |packet| {
            hop_by_hop(packet, 0);
            packet.truncate(41);
            put16(packet, 4, 1);
        }),
    ]
}

/// Puts a hop-by-hop header in front of the payload that claims `units` times 8 further bytes.
pub(super) fn hop_by_hop(packet: &mut Vec<u8>, units: u8) {
    let next = std::mem::replace(&mut packet[6], 0);
    packet.splice(40..40, [next, units, 1, 4, 0, 0, 0, 0]); // a PadN option
    let length = (packet.len() - 40) as u16;
    put16(packet, 4, length);
}

pub(super) fn ipv6_fragments(peer: &Peer) -> Vec<Vec<u8>> {
    let fragment = |offset: u16, more: u16| {
        ipv6_frame(peer, |packet| {
            let next = std::mem::replace(&mut packet[6], 44);
            let [high, low] = (offset << 3 | more).to_be_bytes();
            packet.splice(40..40, [next, 0, high, low, 0, 0, 0, 9]);
            let length = (packet.len() - 40) as u16;
            put16(packet, 4, length);
        })
    };
    vec![
        fragment(0, 1),
        fragment(3, 0),
        fragment(8191, 1),
        fragment(0, 0),
    ]
}

pub(super) fn bad_fragments(peer: &Peer) -> Vec<Vec<u8>> {
    let fragment = |id: u16, offset: u16, more: bool, length: usize| {
        let header = Ipv4 {
            id,
            fragment_offset: offset,
            more_fragments: more,
            ..ipv4::icmp_header(peer.addr, peer.guest)
        };
        eth(peer, ethertype::IPV4, &header.packet(&vec![0; length]))
    };
    vec![
        // Beyond the longest packet there can be.
        fragment(101, 65_528, false, 64),
        fragment(102, 65_528, true, 800),
        // Not the last, and no multiple of 8.
        fragment(103, 0, true, 13),
    ]
}

pub(super) fn bad_icmp(peer: &Peer) -> Vec<Vec<u8>> {
    let echo = echo_request(1, 1, b"");
    [0, 1, 3, 4, 7]
        .map(|length| ip4(peer, protocol::ICMP, &echo[..length]))
        .to_vec()
}

pub(super) fn icmp_checksum(peer: &Peer) -> Vec<Vec<u8>> {
    let mut echo = echo_request(1, 1, b"payload");
    echo[10] ^= 1;
    let over_ipv6 = ipv6_frame(peer, |packet| packet[50] ^= 1);
    vec![ip4(peer, protocol::ICMP, &echo), over_ipv6]
}

/// Sound frames cut at every length within their headers.
pub(super) fn cut_short(peer: &Peer) -> Vec<Vec<u8>> {
    let ports = Ports { src: 4000, dst: 9 };
    let four = datagram(peer, ports, |_| ());
    let six = ipv6_frame(peer, |_| ());
    let mut frames = Vec::new();
    frames.extend((ETH_HEADER..ETH_HEADER + 28).map(|length| four[..length].to_vec()));
    frames.extend((ETH_HEADER..ETH_HEADER + 48).map(|length| six[..length].to_vec()));
    frames
}
