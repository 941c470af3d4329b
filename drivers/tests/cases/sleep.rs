//! Sleeping and waking: interrupts that are asked for come, and none that matters is lost.

use std::sync::mpsc;
use std::time::Duration;

use crate::models::bench::PAIR;
use crate::models::*;
use drivers::net::{Armed, NetDevice};
use drivers::virtio::Features;
use pbufpool::PacketQueue;

/// With and without event indices.
fn both(test: fn(Rig)) {
    for without in [Features::empty(), Features::EVENT_IDX] {
        test(
            Setup {
                without,
                ..Setup::default()
            }
            .start(),
        );
    }
}

#[test]
fn an_armed_idle_queue_interrupts_at_the_next_frame() {
    both(|mut rig| {
        for n in 0..50 {
            rig.receive();
            assert_eq!(rig.arm(), Armed::Sleep);
            let before = rig.card().interrupts;
            assert!(rig.card().deliver(&frame(n, 60)));
            assert_eq!(rig.card().interrupts, before + 1);
            rig.nic.on_interrupt();
            assert_eq!(rig.receive().len(), 1);
        }
        assert_eq!(rig.nic.stats().interrupts, 50);
    });
}

#[test]
fn a_frame_between_the_last_poll_and_arm_is_work() {
    both(|mut rig| {
        assert_eq!(rig.receive().len(), 0);
        assert!(rig.card().deliver(&frame(1, 60)));
        assert_eq!(rig.arm(), Armed::Work);
        assert_eq!(rig.receive(), [frame(1, 60)]);
        assert_eq!(rig.arm(), Armed::Sleep);
    });
}

#[test]
fn a_completion_between_the_last_reclaim_and_arm_is_work_when_the_ring_is_full() {
    both(|mut rig| {
        for n in 0..16 {
            assert!(rig.post(&frame(n, 60)));
        }
        rig.nic.flush(PAIR);
        assert_eq!(rig.nic.reclaim(PAIR), 0);
        assert_eq!(rig.card().transmit_all().len(), 16);
        assert_eq!(rig.arm(), Armed::Work);
        assert_eq!(rig.nic.reclaim(PAIR), 16);
        assert_eq!(rig.arm(), Armed::Sleep);
    });
}

#[test]
fn a_full_transmit_ring_wakes_the_driver_when_there_is_room() {
    both(|mut rig| {
        for n in 0..16 {
            assert!(rig.post(&frame(n, 60)));
        }
        rig.nic.flush(PAIR);
        assert_eq!(rig.arm(), Armed::Sleep);
        let before = rig.card().interrupts;
        rig.card().transmit_all();
        assert!(rig.card().interrupts > before);
    });
}

#[test]
fn a_chain_that_waits_for_more_room_than_there_is_wakes_the_driver() {
    for without in [Features::empty(), Features::EVENT_IDX] {
        let mut setup = Setup {
            without,
            max_frags: 4,
            ..Setup::default()
        };
        setup.rings.tx_ring = 4;
        let mut rig = setup.start();
        rig.send(&frame(0, 60)); // the first completion passes the initial event
        let mut queue = PacketQueue::new();
        for n in 0..2 {
            queue.push_back(rig.chain(&[&frame(n, 60), &frame(n, 40), &frame(n, 20)]));
        }
        assert_eq!(rig.nic.tx_burst(PAIR, &mut queue), 1);
        rig.nic.flush(PAIR);
        assert_eq!((queue.len(), rig.nic.tx_room(PAIR)), (1, 1));
        assert_eq!(rig.arm(), Armed::Sleep);
        let before = rig.card().interrupts;
        rig.card().transmit_all();
        assert!(rig.card().interrupts > before, "a chain waits for room");
        rig.nic.reclaim(PAIR);
        assert_eq!(rig.nic.tx_burst(PAIR, &mut queue), 1);
        rig.nic.flush(PAIR);
        rig.card().transmit_all();
        rig.nic.reclaim(PAIR);
        rig.assert_traffic_flows();
    }
}

#[test]
fn with_event_indices_a_ring_with_room_completes_in_silence() {
    let mut rig = Rig::new();
    rig.send(&frame(0, 60)); // the first completion passes the initial event
    for n in 0..1000 {
        assert_eq!(rig.arm(), Armed::Sleep);
        let before = rig.card().interrupts;
        rig.send(&frame(n, 60));
        assert_eq!(rig.card().interrupts, before, "nobody waits for frame {n}");
    }
}

#[test]
fn a_burst_after_arm_interrupts_once() {
    let mut rig = Rig::new();
    assert_eq!(rig.arm(), Armed::Sleep);
    let before = rig.card().interrupts;
    for n in 0..16 {
        assert!(rig.card().deliver(&frame(n, 60)));
    }
    assert_eq!(rig.card().interrupts, before + 1);
}

#[test]
fn an_interrupt_of_another_device_on_the_line_is_not_counted() {
    let mut rig = Rig::new();
    rig.nic.on_interrupt();
    assert_eq!(rig.nic.stats().interrupts, 0);
}

/// Device and driver on two threads; the driver sleeps whenever `arm` lets it. A lost wake-up
/// leaves it asleep with frames in the ring, and the wait below runs out.
#[test]
fn no_wake_up_is_lost_between_two_threads() {
    const FRAMES: u32 = 20_000;
    both(|mut rig| {
        let (bell, interrupts) = mpsc::channel();
        let card = rig.bench.card.clone();
        let device = std::thread::spawn(move || {
            let mut sent = 0;
            while sent < FRAMES {
                let mut card = card.lock().expect("no panic inside");
                let before = card.interrupts;
                if card.deliver(&frame(sent, 60)) {
                    sent += 1;
                }
                if card.interrupts != before {
                    bell.send(()).expect("the driver listens");
                }
                drop(card);
                if sent.is_multiple_of(7) {
                    std::thread::yield_now();
                }
            }
        });
        let mut received = 0;
        while received < FRAMES {
            for frame_bytes in rig.receive() {
                assert_eq!(frame_bytes, frame(received, 60));
                received += 1;
            }
            if received < FRAMES && rig.arm() == Armed::Sleep {
                let wait = interrupts.recv_timeout(Duration::from_secs(60));
                assert!(
                    wait.is_ok(),
                    "asleep after {received} frames, and nothing wakes it"
                );
            }
        }
        device.join().expect("the device ends");
        rig.assert_idle();
    });
}
