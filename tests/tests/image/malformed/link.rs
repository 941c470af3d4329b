//! Wrong at the Ethernet and ARP level.

use tests::frames::arp::{Arp, REQUEST};
use tests::frames::ipv4::{echo_request, icmp_header};
use tests::frames::{ethernet, ethertype, protocol};
use tests::peer::Peer;

use super::{eth, ip4};

pub(super) fn other_station(peer: &Peer) -> Vec<Vec<u8>> {
    let good = icmp_header(peer.addr, peer.guest).packet(&echo_request(1, 1, b"x"));
    [
        [0x02, 0, 0, 0, 0, 0x77],
        [0x52, 0x54, 0, 0xff, 0xff, 0xff],
        [0; 6],
    ]
    .map(|mac| ethernet(mac, peer.mac, ethertype::IPV4, &good))
    .to_vec()
}

pub(super) fn group_source(peer: &Peer) -> Vec<Vec<u8>> {
    let good = icmp_header(peer.addr, peer.guest).packet(&echo_request(1, 1, b"x"));
    [
        [0xff; 6],
        [0x01, 0, 0x5e, 0, 0, 1],
        [0x33, 0x33, 0, 0, 0, 1],
    ]
    .map(|mac| ethernet(peer.guest_mac, mac, ethertype::IPV4, &good))
    .to_vec()
}

pub(super) fn unknown_ethertype(peer: &Peer) -> Vec<Vec<u8>> {
    // Lengths (802.3), a VLAN tag, LLDP, and two that mean nothing.
    [0x0000, 0x002e, 0x05dc, 0x8100, 0x88cc, 0x1234, 0xffff]
        .map(|ethertype| eth(peer, ethertype, &[0; 46]))
        .to_vec()
}

pub(super) fn bad_arp(peer: &Peer) -> Vec<Vec<u8>> {
    let good = Arp {
        operation: REQUEST,
        sender_mac: peer.mac,
        sender: peer.addr,
        target_mac: [0; 6],
        target: peer.guest,
    }
    .bytes();
    let changed = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    let payloads = [
        vec![],
        good[..7].to_vec(),
        good[..27].to_vec(),
        changed(1, 6),    // hardware type: IEEE 802
        changed(2, 0x86), // protocol type
        changed(4, 8),    // hardware address length
        changed(4, 255),
        changed(5, 16), // protocol address length
        changed(5, 0),
    ];
    payloads
        .map(|payload| eth(peer, ethertype::ARP, &payload))
        .to_vec()
}

pub(super) fn oversize(peer: &Peer) -> Vec<Vec<u8>> {
    // Longer than MTU and header, short enough for a receive buffer.
    [1501, 1600, 1900]
        .map(|length| ip4(peer, protocol::ICMP, &vec![8; length - 20]))
        .to_vec()
}
