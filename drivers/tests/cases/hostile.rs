//! Devices that break their contract on the rings. After each: a fault that names what was
//! wrong, nothing done with the claim, a reset that takes every packet back, and traffic again.

use crate::models::bench::PAIR;
use crate::models::*;
use drivers::DeviceFault;
use drivers::net::{Armed, DropReason, Health, NetDevice};
use drivers::virtio::Features;
use pbufpool::PacketQueue;

/// A driver with traffic behind it and, in flight, five frames to send that the device took.
pub(crate) fn busy() -> Rig {
    let mut rig = Rig::new();
    rig.keep_busy();
    rig
}

/// Whether the ids of frames that were sent say nothing: where the device goes by the order and an index
/// says how many are done, the driver does not read them. What is not read cannot lie; the cases of such
/// devices look at the index instead.
const SENT_IDS_SAY_NOTHING: bool = crate::IN_ORDER && !crate::PACKED;

#[track_caller]
pub(crate) fn is_found_out_and_recovers(mut rig: Rig, fault: DeviceFault) {
    rig.assert_found_out(fault);
    rig.assert_recovers();
}

#[test]
fn a_received_id_beyond_the_ring() {
    for id in [16, 17, 0xffff, 0x1_0000, 0x1_0003, u32::MAX] {
        if crate::PACKED && id > 0xffff {
            continue; // its ids have 16 bits
        }
        let rig = busy();
        rig.card().forge(RX, id, 72);
        is_found_out_and_recovers(
            rig,
            DeviceFault::IdOutOfRange {
                queue: 0,
                id,
                size: 16,
            },
        );
    }
}

#[test]
fn a_sent_id_beyond_the_ring() {
    if SENT_IDS_SAY_NOTHING {
        return;
    }
    for id in [16, 0xffff, 0x1_0000, u32::MAX] {
        if crate::PACKED && id > 0xffff {
            continue;
        }
        let rig = busy();
        rig.card().forge(TX, id, 0);
        is_found_out_and_recovers(
            rig,
            DeviceFault::IdOutOfRange {
                queue: 1,
                id,
                size: 16,
            },
        );
    }
}

/// Lets `ms` pass, with a look at the device every second.
fn wait(rig: &mut Rig, ms: u64) {
    for _ in 0..ms / 1000 {
        let now = &rig.bench.host.now_ms;
        now.fetch_add(1000, std::sync::atomic::Ordering::Relaxed);
        rig.nic.reclaim(PAIR);
        rig.nic.link();
    }
}

#[test]
fn a_device_that_never_completes_what_it_is_to_send() {
    let mut rig = busy();
    wait(&mut rig, 5000);
    assert_eq!(rig.nic.health(), Health::Ok, "not yet");
    wait(&mut rig, 1000);
    is_found_out_and_recovers(rig, DeviceFault::Stalled { queue: 1, ms: 5000 });
}

#[test]
fn a_device_without_a_carrier_need_not_send() {
    let mut rig = busy();
    rig.card().config[6] = 0;
    wait(&mut rig, 60_000);
    assert_eq!(rig.nic.health(), Health::Ok);
    rig.card().config[6] = 1;
    wait(&mut rig, 6000);
    is_found_out_and_recovers(rig, DeviceFault::Stalled { queue: 1, ms: 5000 });
}

#[test]
fn a_device_that_completes_now_and_then_or_has_nothing_to_do_is_left_alone() {
    let mut rig = busy();
    for _ in 0..5 {
        wait(&mut rig, 4000);
        let sent = rig.card().fetch().expect("posted");
        rig.card().complete(TX, sent.head, 0);
    }
    rig.nic.reclaim(PAIR);
    wait(&mut rig, 60_000);
    assert_eq!(rig.nic.health(), Health::Ok);
    // Done long ago, if not reclaimed.
    assert!(rig.post(&frame(1, 60)));
    rig.nic.flush(PAIR);
    rig.card().transmit_all();
    for _ in 0..60 {
        let now = &rig.bench.host.now_ms;
        now.fetch_add(1000, std::sync::atomic::Ordering::Relaxed);
        rig.nic.link();
    }
    assert_eq!(rig.nic.health(), Health::Ok);
    rig.nic.reclaim(PAIR);
    rig.assert_traffic_flows();
}

/// The device cannot know of it, and its descriptor is still to come: given back now, it would be
/// both the driver's and the device's.
#[test]
fn a_frame_that_was_not_published_yet() {
    if SENT_IDS_SAY_NOTHING {
        return;
    }
    let mut rig = Rig::new();
    rig.assert_traffic_flows();
    assert!(rig.post(&frame(1, 60)));
    rig.nic.flush(PAIR);
    let known = rig.card().fetch().expect("published");
    assert!(rig.post(&frame(2, 60)));
    for id in (0..16).filter(|id| *id != u32::from(known.head)) {
        // Whichever id it got, it is refused.
        rig.card().forge(TX, id, 0);
        assert_eq!(rig.nic.reclaim(PAIR), 0);
        let fault = DeviceFault::NotLent { queue: 1, id };
        assert_eq!(rig.nic.health(), Health::Broken(fault));
        assert_eq!(rig.lent().tx, 2);
        rig.nic.reset().expect("the device comes up again");
        let now = &rig.bench.host.now_ms;
        now.fetch_add(60_000, std::sync::atomic::Ordering::Relaxed);
        assert!(rig.post(&frame(1, 60)));
        rig.nic.flush(PAIR);
        assert!(rig.card().fetch().is_some());
        assert!(rig.post(&frame(2, 60)));
    }
    rig.nic.flush(PAIR);
}

#[test]
fn the_same_receive_buffer_twice() {
    let mut rig = busy();
    assert!(rig.card().deliver(&frame(1, 60)));
    let (head, ..) = rig.card().next_receive_buffer().expect("posted");
    rig.card().complete(RX, head, 72);
    rig.card().forge(RX, head.into(), 72);
    assert_eq!(rig.poll(), 2, "what came before the false claim is good");
    rig.arrived.clear();
    is_found_out_and_recovers(
        rig,
        DeviceFault::NotLent {
            queue: 0,
            id: head.into(),
        },
    );
}

#[test]
fn the_same_sent_frame_twice() {
    if SENT_IDS_SAY_NOTHING {
        return;
    }
    let rig = busy();
    let sent = rig.card().fetch().expect("posted");
    rig.card().complete(TX, sent.head, 0);
    rig.card().forge(TX, sent.head.into(), 0);
    is_found_out_and_recovers(
        rig,
        DeviceFault::NotLent {
            queue: 1,
            id: sent.head.into(),
        },
    );
}

#[test]
fn the_id_of_a_descriptor_that_was_never_lent() {
    if SENT_IDS_SAY_NOTHING {
        return;
    }
    let rig = busy();
    let posted: Vec<_> = std::iter::from_fn(|| rig.card().fetch())
        .map(|sent| sent.head)
        .collect();
    let free = (0..16)
        .find(|id| !posted.contains(id))
        .expect("five of sixteen are posted");
    rig.card().forge(TX, free.into(), 0);
    is_found_out_and_recovers(
        rig,
        DeviceFault::NotLent {
            queue: 1,
            id: free.into(),
        },
    );
}

#[test]
fn a_length_beyond_the_buffer() {
    for len in [2049, 0xffff, 0x1_0000, u32::MAX] {
        let rig = busy();
        let (id, _, posted) = rig.card().next_receive_buffer().expect("posted");
        rig.card().forge(RX, id.into(), len);
        let fault = DeviceFault::LengthTooLarge {
            queue: 0,
            id,
            len,
            posted,
        };
        is_found_out_and_recovers(rig, fault);
    }
}

#[test]
fn frames_too_short_for_header_or_ethernet_are_dropped_by_reason() {
    let mut rig = busy();
    let header = HEADER as u32;
    for len in 0..header + 14 {
        let (id, ..) = rig.card().next_receive_buffer().expect("posted");
        rig.card().forge(RX, id.into(), len);
        assert_eq!(rig.poll(), 0);
        rig.nic.refill(PAIR);
        rig.nic.flush(PAIR);
    }
    let drops = rig.nic.stats().drops;
    assert_eq!(drops.get(DropReason::RxBadHeader), u64::from(header));
    assert_eq!(drops.get(DropReason::RxRunt), 14);
    rig.card().transmit_all();
    rig.nic.reclaim(PAIR);
    rig.assert_traffic_flows();
}

/// Delivers a frame with `header` to a card without some features; says why it was dropped.
fn dropped(without: Features, header: Header) -> Option<DropReason> {
    let mut rig = Setup {
        without,
        ..Setup::default()
    }
    .start();
    assert!(rig.card().deliver_with(header, &frame(1, 60)));
    let arrived = rig.receive().len();
    let drops = rig.nic.stats().drops;
    assert_eq!(
        arrived as u64 + drops.total(),
        1,
        "a frame arrives or is counted"
    );
    rig.assert_traffic_flows();
    DropReason::ALL
        .iter()
        .copied()
        .find(|reason| drops.get(*reason) > 0)
}

#[test]
fn a_header_with_segmentation_that_was_not_negotiated() {
    for gso in [1, 3, 4, 5, 0x81, 0xff] {
        let mut header = Header::default();
        header[1] = gso;
        assert_eq!(
            dropped(Features::empty(), header),
            Some(DropReason::RxBadGso)
        );
    }
}

/// A header that asks for a checksum.
fn needs_checksum(start: u16, offset: u16) -> Header {
    let mut header = Header::default();
    header[0] = 1;
    header[6..8].copy_from_slice(&start.to_le_bytes());
    header[8..10].copy_from_slice(&offset.to_le_bytes());
    header
}

#[test]
fn a_checksum_position_outside_the_frame() {
    for (start, offset) in [(34, 25), (60, 0), (59, 0), (0xffff, 0xffff), (0, 59)] {
        let header = needs_checksum(start, offset);
        assert_eq!(
            dropped(Features::empty(), header),
            Some(DropReason::RxBadChecksum)
        );
    }
    assert_eq!(dropped(Features::empty(), needs_checksum(34, 24)), None);
}

#[test]
fn a_partial_checksum_that_was_not_negotiated() {
    let header = needs_checksum(34, 16);
    assert_eq!(
        dropped(Features::GUEST_CSUM, header),
        Some(DropReason::RxBadChecksum)
    );
}

#[test]
fn descriptors_that_the_device_rewrote_are_not_believed() {
    let mut rig = busy();
    let sent: Vec<_> = std::iter::from_fn(|| rig.card().fetch()).collect();
    let (id, ..) = rig.card().next_receive_buffer().expect("posted");
    rig.card().scribble_descriptors(RX);
    rig.card().scribble_descriptors(TX);
    for posted in &sent {
        rig.card().complete(TX, posted.head, u32::MAX);
    }
    rig.card().complete(RX, id, 72);
    assert_eq!(rig.nic.reclaim(PAIR), 5);
    assert_eq!(rig.poll(), 1);
    rig.arrived.clear();
    assert_eq!(rig.nic.health(), Health::Ok);
    // The buffers still in the ring have lost their descriptors: only a reset writes them anew.
    rig.assert_recovers();
}

#[test]
fn a_reset_in_mid_flight_takes_everything_back() {
    let mut rig = busy();
    for n in 0..3 {
        assert!(rig.card().deliver(&frame(n, 60)));
    }
    let _taken = rig.card().fetch().expect("the device is at work on it");
    rig.assert_recovers();
}

#[test]
fn packets_received_before_a_reset_outlive_it() {
    let mut rig = busy();
    assert!(rig.card().deliver(&frame(7, 60)));
    assert_eq!(rig.poll(), 1);
    rig.card().forge(RX, 99, 0);
    rig.poll();
    rig.nic.reset().expect("comes up");
    assert_eq!(
        rig.arrived.front().expect("still here").data(),
        frame(7, 60)
    );
    rig.arrived.clear();
    rig.assert_traffic_flows();
}

#[test]
fn a_device_that_never_completes_holds_one_ring_and_no_more() {
    let mut rig = busy();
    while rig.nic.tx_room(PAIR) > 0 {
        assert!(rig.post(&frame(0, 60)));
    }
    rig.nic.flush(PAIR);
    let mut queue = PacketQueue::new();
    queue.push_back(rig.packet(&frame(0, 60)));
    for _ in 0..1000 {
        assert_eq!(rig.nic.tx_burst(PAIR, &mut queue), 0);
        assert_eq!(rig.nic.reclaim(PAIR), 0);
        assert_eq!(rig.arm(), Armed::Sleep, "waiting costs nothing");
    }
    queue.clear();
    assert_eq!(rig.bench.pool.stats().packets_in_use, 32);
    assert!(rig.card().deliver(&frame(1, 60)), "receiving goes on");
    assert_eq!(rig.receive().len(), 1);
    rig.assert_recovers();
}

/// Any bytes in the used rings: the driver finds them out or takes them for what they may be,
/// gives no packet out twice, and recovers.
#[test]
fn random_used_rings() {
    use proptest::prelude::*;
    let claim = (
        0..2_usize,
        prop_oneof![0..20_u32, any::<u32>()],
        prop_oneof![0..3000_u32, any::<u32>()],
    );
    let claims = proptest::collection::vec((claim, any::<[u8; 12]>(), any::<bool>()), 1..60);
    proptest!(ProptestConfig::with_cases(300), |(claims in claims)| {
        let mut rig = busy();
        for ((queue, id, len), header, post) in claims {
            if post && rig.nic.tx_room(PAIR) > 0 {
                rig.post(&frame(0, 60));
            }
            if rig.nic.health() == Health::Ok {
                let mut card = rig.card();
                card.deliver_with(header, &frame(1, 200));
                card.forge(queue, id, len);
            }
            rig.receive();
            rig.nic.reclaim(PAIR);
            let (lent, stats) = (rig.lent(), rig.bench.pool.stats());
            prop_assert_eq!(stats.packets_in_use, lent.rx + lent.tx);
        }
        rig.nic.reset().expect("comes up");
        rig.assert_traffic_flows();
    });
}
