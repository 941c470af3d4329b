//! Traffic through the driver and a card that keeps its contract.

use crate::models::bench::PAIR;
use crate::models::*;
use drivers::net::{Armed, ChecksumSupport, DropReason, NetDevice};
use drivers::virtio::Features;
use drivers::virtio::net::Options;
use pbufpool::{Gso, GsoKind, PacketQueue, PartialChecksum, RxChecksum};

fn rings(rx_ring: u16, tx_ring: u16, packets: usize) -> Setup {
    Setup {
        rings: Options {
            rx_ring,
            tx_ring,
            ..Options::default()
        },
        packets,
        ..Setup::default()
    }
}

fn without(features: Features) -> Setup {
    Setup {
        without: features,
        ..Setup::default()
    }
}

#[test]
fn frames_pass_both_ways() {
    Rig::new().assert_traffic_flows();
}

#[test]
fn frames_pass_both_ways_without_event_indices() {
    without(Features::EVENT_IDX).start().assert_traffic_flows();
}

#[test]
fn frames_pass_with_the_fewest_features() {
    without(Features::all() - Features::VERSION_1)
        .start()
        .assert_traffic_flows();
}

#[test]
fn a_frame_and_its_header_are_one_descriptor() {
    let mut rig = Rig::new();
    let sent = rig.send(&frame(1, 60));
    assert_eq!(sent.descriptors, [HEADER as u32 + 60]);
    assert_eq!(sent.header(), Header::default());
}

#[test]
fn a_burst_arrives_in_order_in_one_turn() {
    let mut rig = Rig::new();
    let burst: Vec<_> = (0..16).map(|n| frame(n, 100)).collect();
    for frame in &burst {
        assert!(rig.card().deliver(frame));
    }
    assert_eq!(rig.receive(), burst);
    assert_eq!(rig.nic.stats().rx_packets, 16);
    assert_eq!(rig.nic.stats().rx_bytes, 1600);
    rig.assert_idle();
}

#[test]
fn a_budget_bounds_a_turn_and_the_rest_waits() {
    let mut rig = Rig::new();
    for n in 0..10 {
        assert!(rig.card().deliver(&frame(n, 60)));
    }
    let mut some = PacketQueue::new();
    assert_eq!(rig.nic.rx_burst(PAIR, 4, &mut some), 4);
    assert_eq!(rig.arm(), Armed::Work, "six frames wait");
    assert_eq!(rig.receive().len(), 6);
    some.clear();
    rig.nic.refill(PAIR);
    rig.assert_idle();
}

#[test]
fn a_burst_to_send_rings_one_doorbell() {
    for features in [Features::empty(), Features::EVENT_IDX] {
        let mut rig = without(features).start();
        assert!(!rig.card().want_doorbell(TX));
        let before = rig.card().doorbells[TX];
        for n in 0..8 {
            assert!(rig.post(&frame(n, 60)));
        }
        assert_eq!(
            rig.card().available(TX),
            0,
            "nothing is published before the flush"
        );
        rig.nic.flush(PAIR);
        assert_eq!(rig.card().available(TX), 8);
        assert_eq!(rig.card().doorbells[TX] - before, 1);
        rig.nic.flush(PAIR);
        assert_eq!(rig.card().doorbells[TX] - before, 1, "nothing new");
    }
}

#[test]
fn no_doorbell_rings_while_the_device_wants_none() {
    for features in [Features::empty(), Features::EVENT_IDX] {
        let mut rig = without(features).start();
        rig.card().suppress_doorbells(TX);
        let before = rig.card().doorbells;
        for n in 0..100 {
            assert!(rig.post(&frame(n, 60)));
            rig.nic.flush(PAIR);
            assert_eq!(rig.card().transmit_all().len(), 1, "the device polls");
            rig.nic.reclaim(PAIR);
        }
        assert_eq!(rig.card().doorbells, before);
        rig.assert_idle();
    }
}

/// QEMU's translator leaves fences out where there is one virtual processor: what is published is then not
/// seen by a device that asks for the doorbell at just that time, nor is its asking seen.
#[test]
fn a_doorbell_that_is_asked_for_late_rings_at_the_next_flush() {
    for features in [Features::empty(), Features::EVENT_IDX] {
        let mut rig = without(features).start();
        rig.card().suppress_doorbells(TX);
        let before = rig.card().doorbells[TX];
        assert!(rig.post(&frame(1, 60)));
        rig.nic.flush(PAIR);
        assert_eq!(rig.card().doorbells[TX], before, "it did not ask");
        rig.card().want_doorbell(TX);
        rig.nic.flush(PAIR);
        assert_eq!(rig.card().doorbells[TX] - before, 1, "it asked late");
        rig.nic.flush(PAIR);
        assert_eq!(rig.card().doorbells[TX] - before, 1, "it was told");
        assert_eq!(rig.card().transmit_all().len(), 1);
        rig.nic.reclaim(PAIR);
        rig.assert_idle();
    }
}

#[test]
fn completions_out_of_order_give_back_the_packets_they_name() {
    let mut rig = Setup {
        in_order: false,
        ..Setup::default()
    }
    .start();
    for n in 0..16 {
        assert!(rig.post(&frame(n, 60)));
    }
    rig.nic.flush(PAIR);
    let mut posted: Vec<_> = std::iter::from_fn(|| rig.card().fetch()).collect();
    posted.reverse();
    posted.swap(3, 9);
    for (done, sent) in posted.iter().enumerate() {
        rig.card().complete(TX, sent.head, 0);
        assert_eq!(rig.nic.reclaim(PAIR), 1);
        assert_eq!(rig.lent().tx, 15 - done);
    }
    rig.assert_traffic_flows();
}

#[test]
fn received_frames_out_of_order_are_the_ones_the_device_names() {
    let mut rig = Setup {
        in_order: false,
        ..Setup::default()
    }
    .start();
    {
        let mut card = rig.card();
        let first = card.next_receive_buffer().expect("posted");
        let second = card.next_receive_buffer().expect("posted");
        for ((head, at, _), n) in [(second, 2), (first, 1)] {
            let bytes = [&[0; HEADER][..], &frame(n, 60 + n as usize)].concat();
            let memory = rig.bench.host.dma.memory();
            vm_memory::Bytes::write_slice(memory, &bytes, at).expect("valid");
            card.complete(RX, head, bytes.len() as u32);
        }
    }
    assert_eq!(rig.receive(), [frame(2, 62), frame(1, 61)]);
    rig.assert_idle();
}

#[test]
fn the_indices_wrap() {
    for features in [Features::empty(), Features::EVENT_IDX] {
        let mut rig = without(features).start();
        assert!(!rig.card().want_doorbell(TX));
        for n in 0..70_000 {
            let out = frame(n, 60);
            assert!(rig.post(&out));
            let before = rig.card().doorbells[TX];
            rig.nic.flush(PAIR);
            assert_eq!(
                rig.card().doorbells[TX],
                before + 1,
                "frame {n}: its doorbell is lost"
            );
            assert_eq!(rig.card().transmit_all()[0].frame(), out);
            assert!(!rig.card().want_doorbell(TX));
            rig.nic.reclaim(PAIR);
            assert!(rig.card().deliver(&out));
            assert_eq!(rig.receive(), [out]);
        }
        rig.assert_traffic_flows();
    }
}

#[test]
fn bursts_wrap_the_indices() {
    let mut rig = rings(16, 16, 64).start();
    for n in 0..5_000 {
        for part in 0..15 {
            assert!(rig.post(&frame(n, 60 + part)));
            assert!(rig.card().deliver(&frame(n, 60 + part)));
        }
        rig.nic.flush(PAIR);
        assert_eq!(rig.card().transmit_all().len(), 15);
        assert_eq!(rig.nic.reclaim(PAIR), 15);
        assert_eq!(rig.receive().len(), 15);
    }
    rig.assert_traffic_flows();
}

#[test]
fn the_smallest_rings_work() {
    for features in [Features::empty(), Features::EVENT_IDX] {
        let mut rig = Setup {
            without: features,
            ..rings(2, 2, 8)
        }
        .start();
        assert_eq!(rig.nic.capabilities().max_burst, 2);
        for _ in 0..2_000 {
            rig.assert_traffic_flows();
        }
    }
}

#[test]
fn large_rings_work() {
    let mut rig = rings(1024, 1024, 4096).start();
    assert_eq!(rig.lent().rx, 1024);
    for round in 0..100 {
        for n in 0..1024 {
            assert!(rig.card().deliver(&frame(n, 60)));
            assert!(rig.post(&frame(n ^ round, 60)));
        }
        assert!(!rig.card().deliver(&frame(0, 60)), "the ring is used up");
        rig.nic.flush(PAIR);
        assert_eq!(rig.card().transmit_all().len(), 1024);
        assert_eq!(rig.nic.reclaim(PAIR), 1024);
        assert_eq!(rig.receive().len(), 1024);
    }
    rig.assert_traffic_flows();
}

#[test]
fn an_empty_pool_starves_the_ring_and_a_full_one_feeds_it_again() {
    let mut rig = Rig::new();
    let mut hoard = PacketQueue::new();
    assert!(!rig.bench.pool.alloc_burst(1000, &mut hoard).is_complete());
    for n in 0..16 {
        assert!(rig.card().deliver(&frame(n, 60)));
    }
    assert_eq!(rig.poll(), 16, "what was posted is not lost");
    assert_eq!(rig.nic.refill(PAIR), 0);
    assert_eq!(rig.lent().rx, 0);
    assert!(!rig.card().deliver(&frame(0, 60)));
    assert_eq!(rig.nic.stats().rx_no_buffer, 1);
    hoard.clear();
    rig.arrived.clear();
    assert_eq!(rig.nic.refill(PAIR), 16);
    rig.nic.flush(PAIR);
    rig.assert_traffic_flows();
}

#[test]
fn a_starved_ring_fills_as_far_as_the_pool_allows() {
    let mut rig = Rig::new();
    for n in 0..16 {
        assert!(rig.card().deliver(&frame(n, 60)));
    }
    assert_eq!(rig.poll(), 16);
    let mut hoard = PacketQueue::new();
    assert!(!rig.bench.pool.alloc_burst(1000, &mut hoard).is_complete());
    drop(hoard.split_off(hoard.len() - 3));
    assert_eq!(rig.nic.refill(PAIR), 3);
    rig.nic.flush(PAIR);
    for n in 0..3 {
        assert!(rig.card().deliver(&frame(n, 60)));
    }
    assert!(!rig.card().deliver(&frame(3, 60)));
    hoard.clear();
    rig.arrived.clear();
    assert_eq!(rig.receive().len(), 3);
    rig.assert_idle();
}

#[test]
fn a_full_transmit_ring_leaves_the_rest_with_the_caller() {
    let mut rig = Rig::new();
    let mut queue = PacketQueue::new();
    for n in 0..20 {
        queue.push_back(rig.packet(&frame(n, 60)));
    }
    assert_eq!(rig.nic.tx_room(PAIR), 16);
    assert_eq!(rig.nic.tx_burst(PAIR, &mut queue), 16);
    assert_eq!((queue.len(), rig.nic.tx_room(PAIR)), (4, 0));
    assert_eq!(rig.nic.tx_burst(PAIR, &mut queue), 0);
    rig.nic.flush(PAIR);
    assert_eq!(rig.nic.reclaim(PAIR), 0, "nothing is sent yet");
    assert_eq!(rig.card().transmit_all().len(), 16);
    assert_eq!(rig.nic.reclaim(PAIR), 16);
    assert_eq!(rig.nic.tx_burst(PAIR, &mut queue), 4);
    rig.nic.flush(PAIR);
    assert_eq!(rig.card().transmit_all().len(), 4);
    rig.nic.reclaim(PAIR);
    assert_eq!(rig.nic.stats().tx_packets, 20);
    assert_eq!(rig.nic.stats().drops.total(), 0);
    rig.assert_traffic_flows();
}

fn chains(tx_ring: u16) -> Setup {
    Setup {
        max_frags: 4,
        ..rings(16, tx_ring, 64)
    }
}

#[test]
fn a_chain_is_one_frame() {
    let mut rig = chains(16).start();
    let parts = [frame(1, 60), frame(2, 500), frame(3, 300)];
    for _ in 0..100 {
        let chain = rig.chain(&[&parts[0], &parts[1], &parts[2]]);
        assert!(rig.post_packet(chain));
        assert_eq!(rig.nic.tx_room(PAIR), 13);
        rig.nic.flush(PAIR);
        let sent = rig.card().transmit_all();
        assert_eq!(
            (sent[0].frame(), &sent[0].descriptors[..]),
            (&parts.concat()[..], &[HEADER as u32 + 60, 500, 300][..])
        );
        assert_eq!(rig.nic.reclaim(PAIR), 1);
        assert_eq!(
            rig.nic.tx_room(PAIR),
            16,
            "all descriptors of the chain are free again"
        );
    }
    rig.assert_traffic_flows();
}

#[test]
fn an_empty_part_of_a_chain_takes_no_descriptor() {
    let mut rig = chains(16).start();
    let chain = rig.chain(&[&frame(1, 60), &[], &frame(2, 40)]);
    assert!(rig.post_packet(chain));
    rig.nic.flush(PAIR);
    let descriptors = rig.card().transmit_all().remove(0).descriptors;
    assert_eq!(descriptors, [HEADER as u32 + 60, 40]);
    rig.nic.reclaim(PAIR);
    rig.assert_traffic_flows();
}

#[test]
fn a_chain_waits_until_it_fits_as_a_whole() {
    let mut rig = chains(4).start();
    let mut queue = PacketQueue::new();
    for _ in 0..3 {
        queue.push_back(rig.chain(&[&frame(1, 60), &frame(2, 40), &frame(3, 20)]));
    }
    for left in [2, 1, 0] {
        assert_eq!(rig.nic.tx_burst(PAIR, &mut queue), 1);
        assert_eq!((queue.len(), rig.nic.tx_room(PAIR)), (left, 1));
        rig.nic.flush(PAIR);
        assert_eq!(rig.card().transmit_all().len(), 1);
        rig.nic.reclaim(PAIR);
    }
    rig.assert_traffic_flows();
}

#[test]
fn a_chain_longer_than_the_ring_is_dropped_and_does_not_block_the_way() {
    let mut rig = chains(2).start();
    let mut queue = PacketQueue::new();
    queue.push_back(rig.chain(&[&frame(1, 60), &frame(2, 40), &frame(3, 20)]));
    queue.push_back(rig.packet(&frame(4, 60)));
    assert_eq!(rig.nic.tx_burst(PAIR, &mut queue), 2);
    assert_eq!(rig.nic.stats().drops.get(DropReason::TxTooManyBuflets), 1);
    rig.nic.flush(PAIR);
    assert_eq!(rig.card().transmit_all()[0].frame(), frame(4, 60));
    rig.nic.reclaim(PAIR);
    rig.assert_traffic_flows();
}

#[test]
fn what_cannot_be_sent_is_dropped_by_reason() {
    let mut rig = Rig::new();
    let expect = |rig: &mut Rig, packet, reason| {
        assert!(rig.post_packet(packet), "it leaves the queue");
        assert_eq!(rig.nic.stats().drops.get(reason), 1, "{reason:?}");
    };
    let runt = rig.packet(&frame(1, 13));
    expect(&mut rig, runt, DropReason::TxBadLength);
    let mut no_headroom = rig.packet(&frame(1, 60));
    no_headroom.set_span(HEADER - 1, 60).expect("fits");
    expect(&mut rig, no_headroom, DropReason::TxNoHeadroom);
    let mut offload = rig.packet(&frame(1, 60));
    offload.offload_mut().tx_checksum = Some(PartialChecksum {
        start: 34,
        offset: 25,
    });
    expect(&mut rig, offload, DropReason::TxBadOffload);
    assert_eq!(rig.nic.stats().drops.total(), 3);
    assert!(rig.post(&frame(1, 1514)));
    assert!(rig.post(&frame(1, 1515)));
    assert_eq!(
        rig.nic.stats().drops.get(DropReason::TxBadLength),
        2,
        "longer than the MTU"
    );
    rig.nic.flush(PAIR);
    assert_eq!(rig.card().transmit_all().len(), 1);
    rig.nic.reclaim(PAIR);
    rig.assert_traffic_flows();
}

#[test]
fn a_segmentation_request_is_refused() {
    let mut rig = Rig::new();
    let mut packet = rig.packet(&frame(1, 60));
    packet.offload_mut().gso = Some(Gso {
        kind: GsoKind::TcpV4,
        mss: 20,
        header_len: 54,
    });
    assert!(rig.post_packet(packet));
    assert_eq!(rig.nic.stats().drops.get(DropReason::TxBadOffload), 1);
    rig.assert_traffic_flows();
}

#[test]
fn a_checksum_to_complete_is_asked_of_the_device() {
    let mut rig = Rig::new();
    let mut packet = rig.packet(&frame(1, 60));
    packet.offload_mut().tx_checksum = Some(PartialChecksum {
        start: 34,
        offset: 16,
    });
    assert!(rig.post_packet(packet));
    rig.nic.flush(PAIR);
    let sent = rig.card().transmit_all();
    assert_eq!(sent[0].header(), [1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0]);
    rig.nic.reclaim(PAIR);
    assert_eq!(
        rig.send(&frame(1, 60)).header(),
        [0; 12],
        "a packet's header is its own"
    );
}

#[test]
fn a_checksum_without_the_feature_is_not_sent() {
    let mut rig = without(Features::CSUM).start();
    assert_eq!(rig.nic.capabilities().tx_checksum, ChecksumSupport::NONE);
    let mut packet = rig.packet(&frame(1, 60));
    packet.offload_mut().tx_checksum = Some(PartialChecksum {
        start: 34,
        offset: 16,
    });
    assert!(rig.post_packet(packet));
    assert_eq!(rig.nic.stats().drops.get(DropReason::TxBadOffload), 1);
    rig.assert_traffic_flows();
}

#[test]
fn a_received_checksum_is_what_the_device_says() {
    let partial = PartialChecksum {
        start: 34,
        offset: 16,
    };
    let says = |flags: u8, without_features| {
        let mut rig = without(without_features).start();
        assert!(
            rig.card()
                .deliver_with([flags, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0], &frame(1, 60))
        );
        rig.poll();
        rig.arrived.front().expect("arrived").offload().rx_checksum
    };
    assert_eq!(says(0, Features::empty()), RxChecksum::Unverified);
    assert_eq!(says(1, Features::empty()), RxChecksum::Partial(partial));
    assert_eq!(says(2, Features::empty()), RxChecksum::Verified);
    assert_eq!(
        says(2, Features::GUEST_CSUM),
        RxChecksum::Unverified,
        "not negotiated: no meaning"
    );
}

#[test]
fn a_dropped_driver_gives_everything_back() {
    let (bench, rig) = Setup::default().try_start();
    let mut rig = rig.expect("starts");
    let rings = bench.host.dma.live();
    rig.assert_traffic_flows();
    assert!(rig.post(&frame(1, 60)));
    drop(rig);
    assert_eq!(bench.pool.stats().packets_in_use, 0);
    assert_eq!(bench.host.dma.live(), rings - 2, "two rings");
    assert_eq!(
        bench.card.lock().expect("no panic").status,
        0,
        "the device is stopped"
    );
}

/// It says what is in the ring, and that is the right thing on each lap.
#[test]
fn a_doorbell_says_how_far_its_queue_was_filled() {
    let mut rig = Rig::new();
    for n in 0..100 {
        rig.card().want_doorbell(TX);
        rig.send(&frame(n, 60));
    }
    let [received, sent] = [RX, TX].map(|queue| rig.card().told_next[queue].clone());
    assert!(
        sent.iter()
            .chain(&received)
            .all(|(said, real)| said == real)
    );
    assert_eq!(
        received.len(),
        usize::from(!crate::LEGACY),
        "once it was fed"
    );
    let said: Vec<u16> = sent.into_iter().map(|(said, _)| said).collect();
    let split: Vec<u16> = (1..=100).collect();
    // Sixteen places a lap, whose wrap counter begins with 1.
    let place = |count: u16| (count % 16) | ((1 - (count / 16) % 2) << 15);
    let packed: Vec<u16> = split.iter().map(|count| place(*count)).collect();
    match (crate::LEGACY, crate::PACKED) {
        (true, _) => assert!(said.is_empty()),
        (false, true) => assert_eq!(said, packed),
        (false, false) => assert_eq!(said, split),
    }
    let mut rig = Setup {
        without: Features::NOTIFICATION_DATA,
        ..Setup::default()
    }
    .start();
    rig.send(&frame(1, 60));
    assert_eq!(rig.card().doorbells[TX], 1);
    assert!(rig.card().told_next[TX].is_empty());
    rig.assert_traffic_flows();
}
