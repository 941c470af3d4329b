//! Checksums and segments: what is on the wire is verified with arithmetic of its own.

use crate::models::bench::{PAIR, frame};
use crate::models::intel_rig::{KINDS, Rig, Setup};
use crate::models::intel_tx::{Sent, ones_complement};
use drivers::intel::Family;
use drivers::net::{ChecksumSupport, DropReason, NetDevice};
use pbufpool::{Gso, GsoKind, Packet, PacketQueue, PartialChecksum};

const ETHERNET: usize = 14;

/// A segment as the stack leaves it: everything but the transport checksum, whose field has the sum
/// over the pseudo-header.
pub(crate) struct Segment {
    bytes: Vec<u8>,
    v4: bool,
    start: usize,
    offset: usize,
    header_len: usize,
}

pub(crate) fn segment(v4: bool, tcp: bool, payload: usize) -> Segment {
    let mut bytes = frame(0x5254, ETHERNET);
    let transport = if tcp { 20 } else { 8 };
    let (protocol, offset) = if tcp { (6, 16) } else { (17, 6) };
    let len = (transport + payload) as u16;
    if v4 {
        bytes[12..].copy_from_slice(&[0x08, 0x00]);
        let mut ip = [
            0x45, 0, 0, 0, 0x12, 0xfe, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1,
        ];
        ip[2..4].copy_from_slice(&(20 + len).to_be_bytes());
        let sum = !ones_complement(&ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend(ip);
    } else {
        bytes[12..].copy_from_slice(&[0x86, 0xdd]);
        let mut ip = [0; 40];
        ip[0] = 0x60;
        ip[4..6].copy_from_slice(&len.to_be_bytes());
        (ip[6], ip[7], ip[8], ip[23], ip[24], ip[39]) = (protocol, 64, 0xfe, 2, 0xfe, 1);
        bytes.extend(ip);
    }
    let start = bytes.len();
    if tcp {
        bytes.extend([
            0, 7, 0xc0, 0, 0xff, 0xff, 0xfe, 0, 0, 0, 0, 1, 0x50, 0x19, 16, 0, 0, 0, 0, 0,
        ]);
    } else {
        bytes.extend([0, 7, 0xc0, 0]);
        bytes.extend(len.to_be_bytes());
        bytes.extend([0, 0]);
    }
    let header_len = bytes.len();
    bytes.extend((0..payload).map(|at| (at ^ at >> 8) as u8));
    let sum = pseudo(&bytes, v4, start, len, protocol);
    bytes[start + offset..start + offset + 2].copy_from_slice(&sum.to_be_bytes());
    Segment {
        bytes,
        v4,
        start,
        offset,
        header_len,
    }
}

fn pseudo(bytes: &[u8], v4: bool, start: usize, len: u16, protocol: u8) -> u16 {
    let addresses = if v4 {
        start - 8..start
    } else {
        start - 32..start
    };
    let mut header = bytes[addresses].to_vec();
    header.extend(len.to_be_bytes());
    header.extend([0, protocol]);
    ones_complement(&header)
}

/// Fails unless every sum and length of a frame on the wire is right.
#[track_caller]
fn must_be_sound(bytes: &[u8], like: &Segment) {
    let ip = &bytes[ETHERNET..like.start];
    let len = (bytes.len() - like.start) as u16;
    let word = |at: usize| u16::from_be_bytes([ip[at], ip[at + 1]]);
    let protocol = if like.v4 {
        assert_eq!(ones_complement(ip), 0xffff, "IPv4 header");
        assert_eq!(usize::from(word(2)), bytes.len() - ETHERNET, "total length");
        ip[9]
    } else {
        assert_eq!(
            usize::from(word(4)),
            bytes.len() - like.start,
            "payload length"
        );
        ip[6]
    };
    let pseudo = pseudo(bytes, like.v4, like.start, len, protocol).to_be_bytes();
    let mut all = pseudo.to_vec();
    all.extend(&bytes[like.start..]);
    assert_eq!(ones_complement(&all), 0xffff, "transport checksum");
}

/// The segment in buffers of at most 2 KiB, with what is asked of the card.
pub(crate) fn packet(rig: &Rig, segment: &Segment, mss: Option<u16>) -> Packet {
    let parts: Vec<_> = segment.bytes.chunks(2048).collect();
    let mut packet = rig.chain(&parts);
    let offload = packet.offload_mut();
    offload.tx_checksum = Some(PartialChecksum {
        start: segment.start as u16,
        offset: segment.offset as u16,
    });
    offload.gso = mss.map(|mss| Gso {
        kind: if segment.v4 {
            GsoKind::TcpV4
        } else {
            GsoKind::TcpV6
        },
        mss,
        header_len: segment.header_len as u16,
    });
    packet
}

#[test]
fn checksums_are_inserted() {
    for kind in KINDS {
        let mut rig = Rig::with(kind);
        assert_eq!(rig.nic.capabilities().tx_checksum, ChecksumSupport::ALL);
        for (v4, tcp) in [(true, true), (true, false), (false, true), (false, false)] {
            for payload in [0, 1, 100, 101, 1400] {
                let segment = segment(v4, tcp, payload);
                let packet = packet(&rig, &segment, None);
                let sent = rig.send_packet(packet);
                must_be_sound(sent.frame(), &segment);
                assert_eq!(
                    sent.frame()[segment.header_len..],
                    segment.bytes[segment.header_len..]
                );
                // A frame without a wish passes as it is, whatever the card was told before.
                assert_eq!(rig.send(&frame(9, 60)).frame(), frame(9, 60));
            }
        }
        rig.assert_traffic_flows();
    }
}

#[test]
fn the_same_context_is_said_once() {
    let mut rig = Rig::with(KINDS[2]);
    let segment = segment(true, true, 100);
    let tail = |rig: &Rig| rig.card().register(crate::models::intel::at::TDT);
    let mut used = Vec::new();
    for _ in 0..3 {
        let before = tail(&rig);
        let packet = packet(&rig, &segment, None);
        rig.send_packet(packet);
        used.push((tail(&rig) + 56 - before) % 56);
    }
    assert_eq!(used, [2, 1, 1], "descriptors");
}

fn room_for_large(kind: (Family, bool)) -> Setup {
    let mut setup = Setup::new(kind);
    (setup.max_frags, setup.packets) = (40, 120);
    setup
}

#[track_caller]
fn must_be_cut_well(sent: &Sent, segment: &Segment, mss: usize) {
    let payload = segment.bytes.len() - segment.header_len;
    assert_eq!(sent.wire.len(), payload.div_ceil(mss));
    let mut joined: Vec<u8> = Vec::new();
    for (n, one) in sent.wire.iter().enumerate() {
        must_be_sound(one, segment);
        let number: [u8; 4] = one[segment.start + 4..segment.start + 8]
            .try_into()
            .expect("four");
        let expected = 0xffff_fe00_u32.wrapping_add((n * mss) as u32);
        assert_eq!(u32::from_be_bytes(number), expected, "sequence number");
        let last = n + 1 == sent.wire.len();
        assert_eq!(
            one[segment.start + 13],
            if last { 0x19 } else { 0x10 },
            "flags"
        );
        joined.extend(&one[segment.header_len..]);
    }
    assert_eq!(joined, segment.bytes[segment.header_len..]);
}

#[test]
fn large_frames_are_cut() {
    for kind in KINDS {
        let mut rig = room_for_large(kind).start();
        let capabilities = rig.nic.capabilities();
        assert!(capabilities.tso_v4.is_some());
        assert_eq!(capabilities.tso_v6.is_some(), kind.0 != Family::E8254x);
        for v4 in [true, false] {
            if !v4 && capabilities.tso_v6.is_none() {
                continue;
            }
            for (payload, mss) in [
                (1, 1460),
                (1460, 1460),
                (1461, 1460),
                (65_000, 1448),
                (65_474, 536),
                (3000, 3),
            ] {
                let segment = segment(v4, true, payload);
                let packet = packet(&rig, &segment, Some(mss));
                let sent = rig.send_packet(packet);
                must_be_cut_well(&sent, &segment, mss.into());
                assert_eq!(rig.send(&frame(9, 60)).frame(), frame(9, 60));
            }
        }
        assert!(rig.nic.stats().tx_gso >= 6);
        rig.assert_traffic_flows();
    }
}

#[test]
fn the_older_cards_get_a_few_bytes_apart_at_the_end() {
    let segment = segment(true, true, 5000);
    let lengths = |kind| {
        let mut rig = room_for_large(kind).start();
        let packet = packet(&rig, &segment, Some(1460));
        let first = rig.send_packet(packet).descriptors;
        let next = rig.send(&frame(1, 60)).descriptors;
        (first, next, rig.send(&frame(1, 60)).descriptors)
    };
    let rest = segment.bytes.len() - 2 * 2048;
    let (first, next, later) = lengths(KINDS[0]);
    assert_eq!(first, [2048, 2048, rest - 4, 4]);
    assert_eq!((next, later), (vec![56, 4], vec![60]));
    let (first, next, _) = lengths(KINDS[1]);
    assert_eq!(first, [2048, 2048, rest]);
    assert_eq!(next, [60]);
}

#[test]
fn impossible_wishes_are_dropped_by_reason() {
    type Change = fn(&mut Packet);
    let changes: [Change; 12] = [
        |packet| packet.offload_mut().tx_checksum = None,
        |packet| gso(packet).mss = 0,
        |packet| gso(packet).header_len = 0,
        |packet| gso(packet).header_len = 53,
        |packet| gso(packet).header_len = 256,
        |packet| gso(packet).header_len = u16::MAX,
        |packet| gso(packet).kind = GsoKind::Udp,
        |packet| sum(packet).start = 0,
        |packet| sum(packet).start = 13,
        |packet| sum(packet).start = u16::MAX,
        |packet| sum(packet).offset = u16::MAX,
        |packet| sum(packet).offset = 6,
    ];
    fn gso(packet: &mut Packet) -> &mut Gso {
        packet.offload_mut().gso.as_mut().expect("to be cut")
    }
    fn sum(packet: &mut Packet) -> &mut PartialChecksum {
        packet
            .offload_mut()
            .tx_checksum
            .as_mut()
            .expect("to be summed")
    }
    for kind in KINDS {
        let mut rig = room_for_large(kind).start();
        for (n, change) in changes.iter().enumerate() {
            let mut packet = packet(&rig, &segment(true, true, 4000), Some(1460));
            change(&mut packet);
            assert!(rig.post_packet(packet), "taken and dropped");
            let dropped = rig.nic.stats().drops.get(DropReason::TxBadOffload);
            assert_eq!(dropped, n as u64 + 1, "change {n}");
        }
        rig.assert_traffic_flows();
    }
    // The older cards do not cut IPv6.
    let mut rig = room_for_large(KINDS[0]).start();
    let packet = packet(&rig, &segment(false, true, 4000), Some(1440));
    assert!(rig.post_packet(packet));
    assert_eq!(rig.nic.stats().drops.get(DropReason::TxBadOffload), 1);
    rig.assert_traffic_flows();
}

#[test]
fn a_frame_that_never_fits_does_not_block_the_way() {
    let mut setup = room_for_large(KINDS[2]);
    setup.options.tx_ring = 2; // seven descriptors at a time
    let mut rig = setup.start();
    let mut queue = PacketQueue::new();
    queue.push_back(packet(&rig, &segment(true, true, 40_000), Some(1460)));
    queue.push_back(rig.packet(&frame(1, 60)));
    assert_eq!(rig.nic.tx_burst(PAIR, &mut queue), 2);
    assert_eq!(rig.nic.stats().drops.get(DropReason::TxTooManyBuflets), 1);
    rig.nic.flush(PAIR);
    assert_eq!(rig.card().transmit_all().len(), 1);
    rig.nic.reclaim(PAIR);
    rig.assert_traffic_flows();
}
