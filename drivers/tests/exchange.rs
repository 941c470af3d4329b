//! Traffic through the driver and a card that keeps its contract.

mod models;

use drivers::net::{Armed, NetDevice};
use drivers::virtio::Features;
use drivers::virtio::net::Options;
use models::rig::PAIR;
use models::*;
use pbufpool::PacketQueue;

fn rings(rx_ring: u16, tx_ring: u16, packets: usize) -> Setup {
    Setup { rings: Options { rx_ring, tx_ring }, packets, ..Setup::default() }
}

fn without(features: Features) -> Setup {
    Setup { without: features, ..Setup::default() }
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
    without(Features::all() - Features::VERSION_1).start().assert_traffic_flows();
}

#[test]
fn a_frame_and_its_header_are_one_descriptor() {
    let mut rig = Rig::new();
    let sent = rig.send(&frame(1, 60));
    assert_eq!(sent.descriptors, [12 + 60]);
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
        assert_eq!(rig.card().available(TX), 0, "nothing is published before the flush");
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

#[test]
fn completions_out_of_order_give_back_the_packets_they_name() {
    let mut rig = Rig::new();
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
    let mut rig = Rig::new();
    {
        let mut card = rig.card();
        let first = card.next_receive_buffer().expect("posted");
        let second = card.next_receive_buffer().expect("posted");
        for ((head, at, _), n) in [(second, 2), (first, 1)] {
            let bytes = [&[0; 12][..], &frame(n, 60 + n as usize)].concat();
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
            assert_eq!(rig.card().doorbells[TX], before + 1, "frame {n}: its doorbell is lost");
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
        let mut rig = Setup { without: features, ..rings(2, 2, 8) }.start();
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
    assert_eq!(bench.card.lock().expect("no panic").status, 0, "the device is stopped");
}
