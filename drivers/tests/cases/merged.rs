//! Mergeable receive buffers: frames over several buffers, and devices that lie about them.

use drivers::DeviceFault;
use drivers::net::{DropReason, Health, NetDevice};
use drivers::virtio::Features;
use drivers::virtio::net::Options;
use pbufpool::{Gso, GsoKind, RxChecksum};

use crate::models::bench::PAIR;
use crate::models::*;

/// Buffers that the longest frame fills.
const PARTS: u16 = 33;

/// A card with mergeable buffers and receive segmentation.
fn merging() -> Rig {
    Setup {
        besides: Features::MRG_RXBUF
            | Features::GUEST_TSO4
            | Features::GUEST_TSO6
            | Features::GUEST_ECN,
        max_frags: PARTS,
        packets: 256,
        rings: Options {
            rx_ring: 64,
            tx_ring: 16,
            ..Options::default()
        },
        ..Setup::default()
    }
    .start()
}

/// A header for a merged frame of TCP/IPv4 segments.
fn merged_header() -> Header {
    let mut header = Header::default();
    header[0] = 2;
    header[1] = 1;
    header[4..6].copy_from_slice(&1448_u16.to_le_bytes());
    header
}

/// What the driver received, frame by frame: all bytes, and whether they are one slice.
fn taken(rig: &mut Rig) -> Vec<(Vec<u8>, bool)> {
    rig.poll();
    let frames = rig
        .arrived
        .iter()
        .map(|packet| {
            let parts: Vec<&[u8]> = packet.buflets().map(|b| b.data()).collect();
            (parts.concat(), packet.contiguous().is_some())
        })
        .collect();
    rig.arrived.clear();
    rig.nic.refill(PAIR);
    rig.nic.flush(PAIR);
    frames
}

#[test]
fn a_frame_arrives_whole_whatever_its_length() {
    let mut rig = merging();
    let first = 2048 - 12;
    let lengths = [
        60,
        1514,
        first,
        first + 1,
        first + 2048,
        first + 2049,
        9014,
        65_549,
    ];
    for (n, len) in (0..).zip(lengths) {
        let sent = frame(n, len);
        assert!(rig.card().deliver_merged(Header::default(), &sent));
        assert!(taken(&mut rig) == [(sent, true)], "{len} bytes");
        rig.assert_idle();
    }
    let stats = rig.nic.stats();
    assert_eq!((stats.rx_merged, stats.rx_merged_in_place), (5, 5));
    rig.assert_traffic_flows();
}

#[test]
fn the_order_of_the_buffers_lasts() {
    let mut rig = merging();
    let lengths = [9000, 60, 65_000, 3000, 1514, 30_000, 60, 60, 17_000];
    let mut frames = 0;
    for round in 0..400 {
        let len = lengths[round % lengths.len()];
        let sent = frame(round as u32, len);
        assert!(rig.card().deliver_merged(Header::default(), &sent));
        // Sometimes two frames wait before the ring is filled again.
        if round % 3 != 0 {
            frames += taken(&mut rig).len();
        }
    }
    frames += taken(&mut rig).len();
    assert_eq!(frames, 400);
    let stats = rig.nic.stats();
    // Only where the ring of addresses ends is a frame in two pieces: once a lap of 64 buffers.
    let split = stats.rx_merged - stats.rx_merged_in_place;
    let laps = lengths.iter().sum::<usize>() / lengths.len() * 400 / (64 * 2048);
    assert!(
        split <= laps as u64 + 1,
        "{split} of {} in pieces, {laps} laps",
        stats.rx_merged
    );
    rig.assert_idle();
}

#[test]
fn merged_segments_are_told() {
    let mut rig = merging();
    assert!(
        rig.card()
            .deliver_merged(merged_header(), &frame(1, 20_000))
    );
    assert_eq!(rig.poll(), 1);
    let offload = *rig.arrived.front().expect("arrived").offload();
    assert_eq!(offload.rx_checksum, RxChecksum::Verified);
    let gso = Gso {
        kind: GsoKind::TcpV4,
        mss: 1448,
        header_len: 0,
    };
    assert_eq!(offload.gso, Some(gso));
    assert_eq!(rig.nic.stats().rx_gso, 1);
    rig.arrived.clear();
    rig.nic.refill(PAIR);
    rig.assert_idle();
}

/// Completes the next buffers with these lengths; the first one's header claims `parts`.
fn claim(rig: &Rig, parts: u16, lengths: &[u32]) {
    let mut card = rig.card();
    for (n, len) in lengths.iter().enumerate() {
        let (id, address, _) = card.next_receive_buffer().expect("posted");
        let mut header = Header::default();
        header[10..].copy_from_slice(&parts.to_le_bytes());
        if n == 0 {
            vm_memory::Bytes::write_slice(card.memory(), &header, address).expect("valid");
        }
        card.complete(RX, id, *len);
    }
}

#[test]
fn frames_whose_parts_do_not_fit_together_are_dropped_whole() {
    let full = 2048;
    for (parts, lengths) in [
        (0, &[100][..]),
        (2, &[100, 100]),
        (2, &[full, 0]),
        (3, &[full, 100, 100]),
        (3, &[full, full - 1, full]),
        (2, &[full - 1, full]),
    ] {
        let mut rig = merging();
        claim(&rig, parts, lengths);
        // The frame behind is found all the same.
        assert!(
            rig.card()
                .deliver_merged(Header::default(), &frame(9, 5000))
        );
        assert_eq!(
            taken(&mut rig),
            [(frame(9, 5000), true)],
            "{parts} {lengths:?}"
        );
        let drops = rig.nic.stats().drops;
        assert_eq!(drops.get(DropReason::RxBadMerge), 1, "{parts} {lengths:?}");
        assert_eq!(drops.total(), 1);
        rig.assert_idle();
        assert_eq!(rig.nic.health(), Health::Ok);
    }
}

#[test]
fn more_parts_than_a_packet_may_have_are_dropped() {
    let mut rig = merging();
    let full = vec![2048; usize::from(PARTS) + 1];
    claim(&rig, PARTS + 1, &full);
    assert!(rig.card().deliver_merged(Header::default(), &frame(1, 60)));
    assert_eq!(taken(&mut rig).len(), 1);
    assert_eq!(rig.nic.stats().drops.get(DropReason::RxBadMerge), 1);
    rig.assert_traffic_flows();
}

#[test]
fn parts_that_are_claimed_and_never_come_break_the_device() {
    for (claimed, found) in [(2, 1), (33, 5), (64, 2), (65, 2), (0xffff, 1)] {
        let mut rig = merging();
        rig.assert_traffic_flows();
        claim(&rig, claimed, &vec![2048; usize::from(found)]);
        assert_eq!(rig.poll(), 0);
        let fault = DeviceFault::PartsMissing {
            queue: 0,
            claimed,
            found,
        };
        assert_eq!(rig.nic.health(), Health::Broken(fault));
        assert_eq!(rig.nic.stats().drops.get(DropReason::RxBadMerge), 1);
        rig.assert_recovers();
    }
}

#[test]
fn without_merging_the_number_of_buffers_says_nothing() {
    let mut rig = Rig::new();
    for parts in [0, 1, 2, 0xffff_u16] {
        let mut header = Header::default();
        header[10..].copy_from_slice(&parts.to_le_bytes());
        assert!(rig.card().deliver_with(header, &frame(1, 60)));
        assert_eq!(rig.receive(), [frame(1, 60)]);
    }
    rig.assert_idle();
}

#[test]
fn a_pool_of_single_buffers_refuses_to_merge() {
    let rig = Setup {
        besides: Features::MRG_RXBUF | Features::GUEST_TSO4,
        ..Setup::default()
    }
    .start();
    let accepted = rig.card().accepted;
    let refused = Features::MRG_RXBUF | Features::GUEST_TSO4;
    assert_eq!(accepted & refused.bits(), 0);
}

#[test]
fn random_claims_neither_panic_nor_leak() {
    let mut rig = merging();
    let mut seed = 0x2545_f491_u32;
    let mut random = move |below: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) % below
    };
    for _ in 0..3000 {
        let count = random(6) as usize + 1;
        let lengths: Vec<u32> = (0..count)
            .map(|_| if random(3) == 0 { random(2049) } else { 2048 })
            .collect();
        let parts = match random(4) {
            0 => random(0x1_0000) as u16,
            _ => count as u16,
        };
        claim(&rig, parts, &lengths);
        taken(&mut rig);
        if rig.nic.health() != Health::Ok {
            rig.bench
                .host
                .now_ms
                .fetch_add(60_000, std::sync::atomic::Ordering::Relaxed);
            rig.nic.reset().expect("the device comes up again");
        }
    }
    taken(&mut rig);
    rig.assert_idle();
    rig.assert_traffic_flows();
}
