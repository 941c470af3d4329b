//! The reflector on a host, given frames that smoltcp made; its answers are read by smoltcp.

use std::vec::Vec;

use drivers::net::MacAddr;
use pbufpool::{PartialChecksum, PoolConfig, RxChecksum};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::*;

use super::*;
use crate::net::test_frames::*;
use crate::net::tests::nic::make;
use crate::services::chargen;

const HEADROOM: usize = 12;

struct Bench {
    pool: Pool,
    reflector: Reflector,
}

impl Bench {
    fn new() -> Self {
        Self {
            pool: make(PoolConfig::new("reflector").packets(8).buffer_size(2048)),
            reflector: Reflector::new(OUR_MAC, OUR_V4, HEADROOM),
        }
    }

    fn packet(&self, frame: &[u8]) -> Packet {
        fill(self.pool.alloc().unwrap(), HEADROOM, &[frame]).unwrap()
    }

    fn answer(&mut self, frame: &[u8]) -> Option<Packet> {
        let packet = self.packet(frame);
        self.reflector.answer(packet)
    }

    /// Frames of the character source, at most `most`.
    fn sent(&mut self, most: usize) -> Vec<Packet> {
        let mut queue = PacketQueue::new();
        let count = self.reflector.send(&self.pool, most, &mut queue);
        let packets: Vec<Packet> = core::iter::from_fn(|| queue.pop_front()).collect();
        assert_eq!(packets.len(), count);
        packets
    }
}

/// The data of a datagram to the peer from `port` of ours, with everything around it looked at.
fn heard(frame: &[u8], port: u16) -> Vec<u8> {
    let ethernet = EthernetFrame::new_checked(frame).unwrap();
    assert_eq!(ethernet.dst_addr(), PEER_MAC);
    assert_eq!(ethernet.src_addr(), EthernetAddress(OUR_MAC.0));
    let ip = Ipv4Packet::new_checked(ethernet.payload()).unwrap();
    assert!(ip.verify_checksum());
    assert_eq!((ip.src_addr(), ip.dst_addr()), (OUR_V4, PEER_V4));
    let udp = UdpPacket::new_checked(ip.payload()).unwrap();
    let (from, to) = (OUR_V4.into(), PEER_V4.into());
    let repr = UdpRepr::parse(&udp, &from, &to, &ChecksumCapabilities::default()).unwrap();
    assert_eq!((repr.src_port, repr.dst_port), (port, 4000));
    udp.payload().to_vec()
}

#[test]
fn an_echo_goes_back_in_the_packet_that_it_came_in() {
    let mut bench = Bench::new();
    let mut packet = bench.packet(&udp((4000, 7), b"there and back"));
    packet.offload_mut().rx_checksum = RxChecksum::Partial(PartialChecksum {
        start: 34,
        offset: 6,
    });
    let index = packet.index();
    let answer = bench.reflector.answer(packet).unwrap();
    assert_eq!(answer.index(), index);
    assert_eq!(*answer.offload(), Offload::NONE);
    assert_eq!(heard(answer.data(), 7), b"there and back");
}

#[test]
fn what_is_discarded_is_counted_and_the_count_can_be_asked_for() {
    let mut bench = Bench::new();
    for _ in 0..12 {
        assert!(bench.answer(&udp((4000, 9), &[1; 64])).is_none());
    }
    let answer = bench.answer(&udp((4000, 11), b"?")).unwrap();
    assert_eq!(heard(answer.data(), 11), b"udp_rx=12\n");
}

#[test]
fn the_source_sends_as_many_as_were_asked_for_and_no_more_than_there_is_room_for() {
    let mut bench = Bench::new();
    let ask = |bench: &mut Bench, ident, text: &[u8]| {
        let mut request = udp((4000, 19), text);
        Ipv4Packet::new_unchecked(&mut request[14..]).set_ident(ident);
        fix_ipv4(&mut request);
        assert!(bench.answer(&request).is_none());
    };
    ask(&mut bench, 1, b"3 64");
    ask(&mut bench, 2, b"4 64");
    assert_eq!(bench.sent(5).len(), 5);
    let rest = bench.sent(5);
    assert_eq!(rest.len(), 2);
    let mut expected = [0; 64];
    chargen::fill(&mut expected, 0);
    assert_eq!(heard(rest[0].data(), 19), expected);
    assert!(bench.sent(5).is_empty());
    // An empty pool ends a burst, not the source.
    drop(rest);
    ask(&mut bench, 3, b"5000 1");
    let all = bench.pool.stats().packets;
    let held = bench.sent(5000);
    assert_eq!(held.len(), all);
    drop(held);
    assert_eq!(bench.sent(1).len(), 1);
}

#[test]
fn arp_is_answered_for_its_address_only() {
    let mut bench = Bench::new();
    let request = arp_request();
    let answer = bench.answer(&request).unwrap();
    let ethernet = EthernetFrame::new_checked(answer.data()).unwrap();
    assert_eq!(ethernet.dst_addr(), PEER_MAC);
    let arp = ArpPacket::new_checked(ethernet.payload()).unwrap();
    let reply = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: EthernetAddress(OUR_MAC.0),
        source_protocol_addr: OUR_V4,
        target_hardware_addr: PEER_MAC,
        target_protocol_addr: PEER_V4,
    };
    assert_eq!(ArpRepr::parse(&arp).unwrap(), reply);
    let mut other = Bench::new();
    other.reflector.address = PEER_V4;
    assert!(other.answer(&request).is_none());
}

#[test]
fn what_is_no_whole_datagram_to_us_is_dropped() {
    let mut bench = Bench::new();
    let whole = udp((4000, 7), b"data");
    for length in 0..whole.len() {
        assert!(bench.answer(&whole[..length]).is_none(), "{length} bytes");
    }
    let mut stranger = Bench::new();
    stranger.reflector.mac = MacAddr([2, 0, 0, 0, 0, 9]);
    assert!(stranger.answer(&whole).is_none());
    // Version and header length, fragment, protocol, both lengths, port.
    for (at, value) in [
        (14, 0x46),
        (20, 0x20),
        (21, 1),
        (23, 6),
        (17, 31),
        (39, 7),
        (37, 8),
    ] {
        let mut changed = whole.clone();
        changed[at] = value;
        assert!(bench.answer(&changed).is_none(), "byte {at}");
    }
    assert!(bench.answer(&arp_request()[..41]).is_none());
    assert!(bench.answer(&ping(b"x")).is_none());
}
