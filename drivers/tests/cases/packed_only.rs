//! What only a packed ring has: wrap counters, rings of any size, event places.

use drivers::DeviceFault;
use drivers::net::{Armed, Health, NetDevice};
use drivers::virtio::net::Options;

use crate::cases::hostile::{busy, is_found_out_and_recovers};
use crate::models::bench::PAIR;
use crate::models::*;

const AVAIL: u16 = 0x80;
const USED: u16 = 0x8000;

/// A card whose queues are `rx` and `tx` long at most.
fn sizes(rx: u16, tx: u16) -> Rig {
    let mut setup = Setup {
        packets: 4 * usize::from(rx.max(tx)).max(16),
        ..Setup::default()
    };
    setup.rings = Options {
        rx_ring: rx.next_power_of_two(),
        tx_ring: tx.next_power_of_two(),
        ..Options::default()
    };
    setup.queue_max = Some([rx, tx]);
    setup.start()
}

#[test]
fn packed_rings_are_what_is_used() {
    assert!(Rig::new().nic.info().features.starts_with("packed ring"));
}

#[test]
fn a_ring_may_have_any_size() {
    for (rx, tx) in [(2, 2), (3, 5), (7, 3), (13, 100)] {
        let mut rig = sizes(rx, tx);
        let info = rig.nic.info();
        assert_eq!((info.rx_ring, info.tx_ring), (rx, tx));
        for _ in 0..50 {
            rig.assert_traffic_flows();
            for n in 0..tx {
                assert!(rig.post(&frame(u32::from(n), 60)));
            }
            assert_eq!(rig.nic.tx_room(PAIR), 0);
            rig.nic.flush(PAIR);
            assert_eq!(rig.card().transmit_all().len(), usize::from(tx));
            assert_eq!(rig.nic.reclaim(PAIR), usize::from(tx));
        }
    }
}

#[test]
fn the_largest_ring_works_across_its_wrap() {
    let mut rig = Setup {
        packets: 34_000,
        memory: 256 << 20,
        queue_max: Some([16, 32_768]),
        rings: Options {
            rx_ring: 16,
            tx_ring: 32_768,
            ..Options::default()
        },
        ..Setup::default()
    }
    .start();
    for round in 0..3_u32 {
        for n in 0..30_000_u32 {
            assert!(rig.post(&frame(n ^ round, 60)));
        }
        rig.nic.flush(PAIR);
        let sent = rig.card().transmit_all();
        assert_eq!(sent.len(), 30_000);
        assert!(
            (0..)
                .zip(&sent)
                .all(|(n, s)| s.frame() == frame(n ^ round, 60))
        );
        assert_eq!(rig.nic.reclaim(PAIR), 30_000);
    }
    rig.assert_traffic_flows();
}

#[test]
fn chains_cross_the_end_of_the_ring() {
    let mut rig = Setup {
        max_frags: 4,
        queue_max: Some([16, 7]),
        ..Setup::default()
    }
    .start();
    for n in 0..500 {
        let parts = [frame(n, 60), frame(n + 1, 100), frame(n + 2, 40)];
        let chain = rig.chain(&[&parts[0], &parts[1], &parts[2]]);
        assert!(rig.post_packet(chain));
        assert!(rig.post(&frame(!n, 70)));
        rig.nic.flush(PAIR);
        let sent = rig.card().transmit_all();
        assert_eq!(sent[0].frame(), parts.concat());
        assert_eq!(sent[0].descriptors, [72, 100, 40]);
        assert_eq!(sent[1].frame(), frame(!n, 70));
        assert_eq!(rig.nic.reclaim(PAIR), 2);
    }
    rig.assert_traffic_flows();
}

#[test]
fn nothing_is_available_before_it_is_published_and_then_all_is() {
    let mut rig = Rig::new();
    for n in 0..16 {
        assert!(rig.post(&frame(n, 60)));
        assert!(rig.card().fetch().is_none(), "frame {n} is seen too soon");
    }
    rig.nic.flush(PAIR);
    assert_eq!(rig.card().transmit_all().len(), 16);
}

#[test]
fn a_doorbell_rings_when_the_device_asked_for_that_place() {
    let mut rig = sizes(16, 7);
    for n in 0..1000 {
        assert!(!rig.card().want_doorbell(TX));
        let before = rig.card().doorbells[TX];
        for part in 0..1 + n % 7 {
            assert!(rig.post(&frame(part, 60)));
        }
        rig.nic.flush(PAIR);
        assert_eq!(rig.card().doorbells[TX], before + 1, "burst {n}");
        rig.card().transmit_all();
        rig.nic.reclaim(PAIR);
    }
}

#[test]
fn an_event_that_makes_no_sense_costs_a_doorbell_and_no_more() {
    let mut rig = Rig::new();
    let memory = rig.card().memory();
    for (place, flags) in [(16, 2), (0x7fff, 2), (0xffff, 2), (0, 3), (0, 0xffff)] {
        rig.card().queues[TX]
            .packed()
            .forge_event(memory, place, flags);
        let before = rig.card().doorbells[TX];
        rig.send(&frame(1, 60));
        assert_eq!(
            rig.card().doorbells[TX],
            before + 1,
            "{place:#x} {flags:#x}"
        );
    }
    rig.assert_traffic_flows();
}

/// A place that is marked used though the device holds nothing is not even looked at.
#[test]
fn a_used_mark_on_an_empty_ring_is_nothing() {
    let mut rig = Rig::new();
    let memory = rig.card().memory();
    for ahead in 0..16 {
        rig.card().queues[TX]
            .packed()
            .forge_flags(memory, ahead, AVAIL | USED);
    }
    assert_eq!(rig.nic.reclaim(PAIR), 0);
    assert_eq!(rig.nic.health(), Health::Ok);
    rig.assert_traffic_flows();
}

/// Marks at once what was never taken: each is honoured once, for the id that stands there.
#[test]
fn used_marks_that_run_ahead_settle_each_loan_at_most_once() {
    let mut rig = busy();
    let memory = rig.card().memory();
    let lent = rig.lent().tx;
    for ahead in 0..16 {
        let flags = rig.card().queues[TX].packed().flags_ahead(memory, ahead);
        let turn = if flags & AVAIL != 0 { AVAIL | USED } else { 0 };
        rig.card().queues[TX]
            .packed()
            .forge_flags(memory, ahead, turn);
    }
    // The driver wrote its own ids there, so the claims are as good as completions.
    let reclaimed = rig.nic.reclaim(PAIR);
    assert!(reclaimed <= lent);
    assert_eq!(rig.lent().tx, lent - reclaimed);
    rig.bench
        .card
        .lock()
        .expect("no panic inside")
        .faults
        .needs_reset = true;
    rig.nic.link();
    rig.nic.reset().expect("the device comes up again");
    rig.assert_traffic_flows();
}

/// Flags that turn back and forth: nothing is taken twice.
#[test]
fn flags_that_flip_are_read_once_and_name_nothing_twice() {
    let mut rig = busy();
    let memory = rig.card().memory();
    let sent = rig.card().fetch().expect("posted");
    rig.card().forge(TX, sent.head.into(), 0);
    assert_eq!(rig.nic.reclaim(PAIR), 1);
    // The next place gets the same id again.
    rig.card().forge(TX, sent.head.into(), 0);
    let used = rig.card().queues[TX].packed().flags_ahead(memory, 0);
    rig.card().queues[TX]
        .packed()
        .forge_flags(memory, 0, used ^ USED);
    let fault = DeviceFault::NotLent {
        queue: 1,
        id: sent.head.into(),
    };
    is_found_out_and_recovers(rig, fault);
}

#[test]
fn an_idle_armed_queue_wakes_at_every_place_of_the_ring() {
    let mut rig = sizes(7, 7);
    for n in 0..100 {
        rig.receive();
        assert_eq!(rig.arm(), Armed::Sleep);
        let before = rig.card().interrupts;
        assert!(rig.card().deliver(&frame(n, 60)));
        assert_eq!(rig.card().interrupts, before + 1, "frame {n}");
    }
}
