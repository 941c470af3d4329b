//! Traffic through the driver and a card that keeps its contract.

use crate::models::bench::{PAIR, frame};
use crate::models::intel::{IXSM, at};
use crate::models::intel_rig::{KINDS, Rig, Setup};
use drivers::intel::Family;
use drivers::net::{Armed, DropReason, NetDevice, QueueId};
use pbufpool::{PacketQueue, PartialChecksum, RxChecksum};

#[test]
fn frames_pass_both_ways() {
    for kind in KINDS {
        Rig::with(kind).assert_traffic_flows();
    }
}

#[test]
fn a_burst_is_one_tail_write_and_arrives_in_order() {
    for kind in KINDS {
        let mut rig = Rig::with(kind);
        let burst: Vec<_> = (0..16).map(|n| frame(n, 100)).collect();
        let before = rig.card().doorbells[1];
        for frame in &burst {
            assert!(rig.post(frame));
        }
        assert!(
            rig.card().fetch().is_none(),
            "nothing is published before the flush"
        );
        rig.nic.flush(PAIR);
        assert_eq!(rig.card().doorbells[1] - before, 1);
        rig.nic.flush(PAIR);
        assert_eq!(rig.card().doorbells[1] - before, 1, "nothing new");
        let sent: Vec<_> = rig.card().transmit_all();
        assert!(sent.iter().map(|sent| sent.frame()).eq(&burst));
        assert_eq!(rig.nic.reclaim(PAIR), 16);
        for frame in &burst {
            assert!(rig.card().deliver(frame));
        }
        assert!(!rig.card().deliver(&burst[0]), "the ring is used up");
        assert_eq!(rig.receive(), burst);
        let stats = rig.nic.stats();
        assert_eq!((stats.rx_packets, stats.rx_bytes), (16, 1600));
        assert_eq!((stats.tx_packets, stats.tx_bytes), (16, 1600));
        rig.assert_idle();
    }
}

#[test]
fn frames_of_a_burst_come_back_when_the_last_is_reported() {
    let mut rig = Rig::with(KINDS[1]);
    for n in 0..3 {
        assert!(rig.post(&frame(n, 60)));
    }
    rig.nic.flush(PAIR);
    assert!(std::iter::from_fn(|| rig.card().fetch()).count() == 3);
    assert_eq!(rig.card().held_back_reports(), 1, "a burst is one report");
    assert_eq!(rig.nic.reclaim(PAIR), 0, "sent, but not said");
    assert_eq!(rig.lent().tx, 3);
    rig.card().report_all();
    assert_eq!(rig.nic.reclaim(PAIR), 3);
    rig.assert_idle();
}

#[test]
fn a_budget_bounds_a_turn_and_the_rest_waits() {
    for kind in KINDS {
        let mut rig = Rig::with(kind);
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
}

#[test]
fn rings_of_every_size_wrap() {
    for (rx, tx) in [
        (2, 2),
        (7, 7),
        (8, 8),
        (16, 16),
        (31, 33),
        (256, 256),
        (1024, 1024),
    ] {
        for kind in KINDS {
            let mut setup = Setup::new(kind);
            (setup.options.rx_ring, setup.options.tx_ring) = (rx, tx);
            setup.packets = 3 * usize::from(rx.max(tx)) + 16;
            let mut rig = setup.start();
            for round in 0..5 * u32::from(rx) {
                // Bursts of changing length, so that they end at each place of the ring.
                let burst = 1 + round % u32::from(rx.min(tx));
                for n in 0..burst {
                    assert!(rig.post(&frame(n ^ round, 60)));
                    assert!(rig.card().deliver(&frame(n, 61)));
                }
                rig.nic.flush(PAIR);
                assert_eq!(rig.card().transmit_all().len(), burst as usize);
                assert_eq!(rig.nic.reclaim(PAIR), burst as usize);
                assert_eq!(rig.receive().len(), burst as usize);
                if round > 200 {
                    break;
                }
            }
            rig.assert_traffic_flows();
        }
    }
}

#[test]
fn room_that_is_promised_is_there() {
    for kind in KINDS {
        let mut rig = Rig::with(kind);
        for round in 0..100 {
            let mut promised = rig.nic.tx_room(PAIR);
            assert_eq!(promised, 16);
            while promised > 0 {
                assert!(rig.post(&frame(round, 60)));
                promised -= 1;
                assert_eq!(rig.nic.tx_room(PAIR), promised);
            }
            let mut queue = PacketQueue::new();
            queue.push_back(rig.packet(&frame(0, 60)));
            assert_eq!(
                rig.nic.tx_burst(PAIR, &mut queue),
                0,
                "it stays with the caller"
            );
            assert_eq!(queue.len(), 1);
            drop(queue);
            rig.nic.flush(PAIR);
            assert_eq!(rig.card().transmit_all().len(), 16);
            assert_eq!(rig.nic.reclaim(PAIR), 16);
        }
        rig.assert_traffic_flows();
    }
}

#[test]
fn an_empty_pool_starves_the_ring_and_a_full_one_feeds_it_again() {
    let mut rig = Rig::with(KINDS[0]);
    let mut hoard = PacketQueue::new();
    assert!(!rig.bench.pool.alloc_burst(1000, &mut hoard).is_complete());
    for n in 0..16 {
        assert!(rig.card().deliver(&frame(n, 60)));
    }
    assert_eq!(rig.poll(), 16, "what was posted is not lost");
    assert_eq!(rig.nic.refill(PAIR), 0);
    rig.nic.flush(PAIR);
    assert_eq!(
        rig.card().receive_buffers(),
        0,
        "head and tail meet: no buffers"
    );
    assert!(!rig.card().deliver(&frame(0, 60)));
    assert_eq!(rig.nic.stats().rx_no_buffer, 1);
    hoard.clear();
    rig.arrived.clear();
    assert_eq!(rig.nic.refill(PAIR), 16);
    rig.nic.flush(PAIR);
    rig.assert_traffic_flows();
}

#[test]
fn new_buffers_are_told_before_the_card_runs_dry() {
    let mut setup = Setup::new(KINDS[2]);
    (setup.options.rx_ring, setup.packets) = (256, 600);
    let mut rig = setup.start();
    let before = rig.card().doorbells[0];
    for n in 0..3200 {
        assert!(rig.card().deliver(&frame(n, 60)));
        assert_eq!(rig.receive().len(), 1);
        assert!(rig.card().receive_buffers() > 128);
    }
    assert_eq!(
        rig.card().doorbells[0] - before,
        100,
        "one tail write for 32 buffers"
    );
    rig.assert_traffic_flows();
}

#[test]
fn jumbo_frames_are_chains_of_buffers() {
    for kind in KINDS {
        let mut rig = Setup::jumbo(kind).start();
        assert_ne!(
            rig.card().register(at::RCTL) & 1 << 5,
            0,
            "long frames are taken"
        );
        for (n, len) in [60, 2047, 2048, 2049, 4096, 6000, 8192, 8193, 9014]
            .into_iter()
            .enumerate()
        {
            let jumbo = frame(n as u32, len);
            assert!(rig.card().deliver(&jumbo));
            assert!(rig.card().deliver(&frame(1, 60)));
            assert_eq!(rig.receive(), [jumbo.clone(), frame(1, 60)], "{len} bytes");
            let parts: Vec<_> = jumbo.chunks(2048).collect();
            let chain = rig.chain(&parts);
            let sent = rig.send_packet(chain);
            assert_eq!(sent.frame(), jumbo);
            assert_eq!(
                sent.descriptors,
                parts.iter().map(|part| part.len()).collect::<Vec<_>>()
            );
        }
        let stats = rig.nic.stats();
        assert_eq!(stats.rx_merged, 6);
        // Buffers are in the order of their addresses, but where these begin anew.
        assert!(stats.rx_merged_in_place >= 5, "{stats:?}");
        rig.assert_traffic_flows();
    }
}

#[test]
fn jumbo_frames_that_fit_a_buffer_are_one_descriptor_to_receive_and_three_to_send() {
    for kind @ (family, _) in KINDS {
        let mut setup = Setup::new(kind);
        (setup.buffer, setup.options.mtu) = (16_384, 9000);
        let mut rig = setup.start();
        assert_eq!(rig.card().buffer_size(), 16_384);
        for n in 0..40 {
            let jumbo = frame(n, 9014 - n as usize);
            assert!(rig.card().deliver(&jumbo));
            assert_eq!(rig.receive(), std::slice::from_ref(&jumbo));
            let sent = rig.send(&jumbo);
            assert_eq!(sent.frame(), jumbo);
            assert_eq!(sent.descriptors[..2], [4096, 4096]);
            assert_eq!(sent.descriptors.len(), 3);
        }
        assert_eq!(rig.nic.stats().rx_merged, 0);
        // Two of the longest to send fit the card's memory besides what is received.
        let receive_kib = if family == Family::E8254x { 40 } else { 0 };
        assert_eq!(rig.card().register(at::PBA), receive_kib);
        rig.assert_traffic_flows();
    }
}

#[test]
fn room_that_is_promised_is_there_for_jumbo_frames_too() {
    for kind in KINDS {
        for tx in [2, 16, 1024] {
            let mut setup = Setup::new(kind);
            (setup.buffer, setup.options.mtu) = (16_384, 9000);
            (setup.options.tx_ring, setup.packets) = (tx, usize::from(tx) + 64);
            let mut rig = setup.start();
            for round in 0..3 {
                let promised = rig.nic.tx_room(PAIR);
                // A ring for 1,024 would be longer than the cards have.
                assert_eq!(promised, usize::from(tx).min(4095 / 5));
                for left in (0..promised).rev() {
                    // With its checksum, so that it has a context as well.
                    let mut packet = rig.packet(&frame(round, 9014));
                    packet.offload_mut().tx_checksum = Some(PartialChecksum {
                        start: 34 + 2 * (left as u16 % 2),
                        offset: 6,
                    });
                    assert!(rig.post_packet(packet), "{left} were left");
                    assert!(rig.nic.tx_room(PAIR) >= left);
                }
                rig.nic.flush(PAIR);
                assert_eq!(rig.card().transmit_all().len(), promised);
                assert_eq!(rig.nic.reclaim(PAIR), promised);
            }
            rig.assert_traffic_flows();
        }
    }
}

#[test]
fn the_end_of_a_jumbo_frame_may_come_later() {
    let mut rig = Setup::jumbo(KINDS[2]).start();
    let jumbo = frame(9, 5000);
    for (n, part) in jumbo.chunks(2048).enumerate() {
        assert_eq!(rig.receive(), Vec::<Vec<u8>>::new());
        let stats = rig.bench.pool.stats();
        let lent = rig.lent();
        assert_eq!(
            stats.packets_in_use,
            lent.rx + lent.tx,
            "part {n} is accounted for"
        );
        rig.card().say_part(part, n == 2);
    }
    assert_eq!(rig.receive(), [jumbo]);
    rig.assert_traffic_flows();
}

#[test]
fn what_the_card_says_of_checksums_is_passed_on() {
    const TCP: u32 = 1 << 5;
    const UDP: u32 = 1 << 4;
    const IP: u32 = 1 << 6;
    const TCP_BAD: u32 = 1 << 29;
    const IP_BAD: u32 = 1 << 30;
    let cases = [
        (IXSM | TCP | IP, RxChecksum::Unverified),
        (0, RxChecksum::Unverified),
        (IP, RxChecksum::Unverified),
        (TCP | IP, RxChecksum::Verified),
        (UDP, RxChecksum::Verified),
        (TCP | IP | TCP_BAD, RxChecksum::Unverified),
        (TCP | IP | IP_BAD, RxChecksum::Unverified),
    ];
    for kind in KINDS {
        let mut rig = Rig::with(kind);
        for (status, expected) in cases {
            assert!(rig.card().deliver_with(&frame(1, 60), status));
            assert_eq!(rig.poll(), 1);
            let found = rig.arrived.front().expect("one").offload().rx_checksum;
            assert_eq!(found, expected, "{status:#x}");
            rig.receive();
        }
        rig.assert_traffic_flows();
    }
}

#[test]
fn frames_to_send_that_make_no_sense_are_dropped_by_reason() {
    let mut rig = Setup::jumbo(KINDS[0]).start();
    let long = vec![0; 2048];
    let parts: Vec<&[u8]> = vec![&long; 5];
    for packet in [rig.packet(&[0; 13]), rig.packet(&[]), rig.chain(&parts)] {
        assert!(rig.post_packet(packet), "taken and dropped");
    }
    let drops = rig.nic.stats().drops;
    assert_eq!(drops.get(DropReason::TxBadLength), 3);
    assert_eq!(drops.total(), 3);
    rig.assert_traffic_flows();
}

#[test]
fn a_queue_that_does_not_exist_is_idle() {
    let mut rig = Rig::with(KINDS[0]);
    let other = QueueId(1);
    assert!(rig.card().deliver(&frame(1, 60)));
    assert_eq!(rig.nic.rx_burst(other, 10, &mut PacketQueue::new()), 0);
    assert_eq!((rig.nic.tx_room(other), rig.nic.refill(other)), (0, 0));
    assert_eq!(rig.nic.arm(other), Armed::Sleep);
    assert_eq!(rig.receive(), [frame(1, 60)]);
}
