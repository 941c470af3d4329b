//! Chains in tables of descriptors, and devices that break their contract about them: nothing that lies in a
//! table is believed, and no table is lost or lent twice.

use std::sync::atomic::Ordering::Relaxed;

use drivers::DeviceFault;
use drivers::net::{Health, NetDevice};
use drivers::virtio::queue::{QueueConfig, Ring, Virtqueue};
use pbufpool::PacketQueue;

use super::indirect::{TABLES, fetch, post, send, with_tables};
use crate::models::bench::PAIR;
use crate::models::half::Half;
use crate::models::*;

#[test]
fn a_table_that_the_device_rewrote_is_not_believed() {
    let mut rig = with_tables(16).start();
    for n in 0..50 {
        let (first, second) = (send(&mut rig, n, 5), send(&mut rig, !n, 4));
        let sent = [fetch(&rig, &first, 5), fetch(&rig, &second, 4)];
        for posted in &sent {
            let memory = rig.card().memory();
            posted.table.expect("in a table").scribble(memory);
        }
        rig.card().scribble_descriptors(TX);
        for posted in &sent {
            rig.card().complete(TX, posted.head, u32::MAX);
        }
        assert_eq!(rig.nic.reclaim(PAIR), 2);
        assert_eq!(rig.nic.tx_room(PAIR), 16);
        rig.assert_accounted();
    }
    rig.assert_traffic_flows();
}

#[test]
fn a_reset_in_mid_flight_gives_tables_back() {
    let mut rig = with_tables(64).start();
    let segments = rig.bench.host.dma.live();
    for round in 0..20 {
        let all: Vec<_> = (0..20).map(|n| send(&mut rig, n, 3)).collect();
        for (n, whole) in all.iter().enumerate().take(18) {
            let sent = fetch(&rig, whole, 3);
            assert_eq!(
                sent.table.is_some(),
                n < TABLES,
                "chain {n} of round {round}"
            );
        }
        assert_eq!(rig.lent().tx, 20);
        rig.nic.reset().expect("it comes up again");
        rig.bench.host.now_ms.fetch_add(60_000, Relaxed);
        assert_eq!(rig.bench.host.dma.live(), segments);
        rig.assert_idle();
    }
    rig.assert_traffic_flows();
    let bench = rig.bench.clone();
    drop(rig);
    assert_eq!(bench.pool.stats().packets_in_use, 0);
}

#[test]
fn a_chain_in_a_table_is_settled_once() {
    if crate::IN_ORDER && !crate::PACKED {
        return; // ids of what is sent are not read
    }
    let mut rig = with_tables(16).start();
    let whole = send(&mut rig, 1, 3);
    send(&mut rig, 2, 3);
    let sent = fetch(&rig, &whole, 3);
    rig.card().complete(TX, sent.head, 0);
    rig.card().forge(TX, sent.head.into(), 0);
    rig.assert_found_out(DeviceFault::NotLent {
        queue: 1,
        id: sent.head.into(),
    });
    rig.assert_recovers();
    // Nor does the device know of one that was not published.
    let (_, taken) = post(&mut rig, 3, 3);
    assert!(taken);
    for id in 0..16 {
        rig.card().forge(TX, id, 0);
        assert_eq!(rig.nic.reclaim(PAIR), 0);
        assert_eq!(rig.lent().tx, 1);
        rig.bench.host.now_ms.fetch_add(60_000, Relaxed);
        rig.nic.reset().expect("it comes up again");
        assert!(post(&mut rig, 3, 3).1);
    }
}

/// Bytes to read and bytes to write in one table; the length that counts is of those to write.
#[test]
fn a_length_beyond_what_a_table_lets_the_device_write() {
    let rig = with_tables(16).start();
    for len in [0, 40, 41, u32::MAX] {
        let config = QueueConfig {
            index: 5,
            size: 8,
            capacity: 8,
            event_index: false,
            in_order: crate::IN_ORDER,
            header: 0,
            indirect: true,
        };
        let ring = if crate::PACKED {
            Ring::Packed
        } else {
            Ring::Split
        };
        let queue = Virtqueue::new(rig.bench.host.dma, ring, config);
        let mut queue = queue.expect("there is memory");
        let memory = rig.card().memory();
        let kind = (crate::PACKED, crate::IN_ORDER);
        let mut half = Half::enable(memory, kind, 8, queue.addresses(), false);
        let mut packet = rig.bench.pool.alloc().expect("a packet");
        packet.set_span(0, 30).expect("it fits");
        let mut more = rig.bench.pool.alloc().expect("a packet");
        more.set_span(0, 20).expect("it fits");
        packet.append(more).expect("a chain");
        queue.post(packet, 10).expect("there is room");
        assert_eq!(queue.room(), 7);
        queue.publish();
        let buffer = half.pop(memory).expect("published");
        let lengths = buffer.parts.iter().map(|part| (part.len, part.writable));
        assert!(lengths.eq([(10, false), (20, true), (20, true)]));
        assert!(buffer.table.is_some());
        half.complete(memory, buffer.id, len);
        let taken = queue.take().map(|completion| completion.len);
        assert_eq!(taken, (len <= 40).then_some(len as usize));
        let fault = DeviceFault::LengthTooLarge {
            queue: 5,
            id: buffer.id,
            len,
            posted: 40,
        };
        assert_eq!(queue.fault(), (len > 40).then_some(fault));
        let mut back = PacketQueue::new();
        // SAFETY: the device is a model that is done with the queue.
        unsafe { queue.reclaim(&mut back) };
        assert_eq!(back.len(), usize::from(len > 40));
    }
    rig.assert_idle();
}

/// Any claims about chains in tables and beside them: nothing panics, leaks or is given out twice.
#[test]
fn random_claims_about_tables() {
    use proptest::prelude::*;
    let step = (0..24_u32, prop_oneof![Just(0), any::<u32>()], 0..6_usize);
    let steps = proptest::collection::vec((step, any::<bool>(), any::<bool>()), 1..60);
    proptest!(ProptestConfig::with_cases(150), |(steps in steps)| {
        let mut setup = with_tables(16);
        setup.packets = 256;
        let mut rig = setup.start();
        for ((id, len, count), forge, rewrite) in steps {
            post(&mut rig, id, 1 + count);
            rig.nic.flush(PAIR);
            let ok = rewrite && rig.nic.health() == Health::Ok;
            let sent = ok.then(|| rig.card().fetch()).flatten();
            if let Some(sent) = sent {
                if let Some(table) = sent.table {
                    table.scribble(rig.card().memory());
                }
                rig.card().complete(TX, sent.head, len);
            }
            if forge {
                rig.card().forge(TX, id, len);
            }
            rig.nic.reclaim(PAIR);
            rig.assert_accounted();
            if forge {
                // The device's own books are of no use any more.
                rig.bench.host.now_ms.fetch_add(60_000, Relaxed);
                rig.nic.reset().expect("it comes up again");
                rig.assert_idle();
            }
        }
        rig.nic.reset().expect("it comes up again");
        rig.assert_traffic_flows();
    });
}
