//! Sleeping and waking: interrupts that are asked for come, and none that matters is lost.

use std::sync::mpsc;
use std::time::Duration;

use crate::models::bench::{PAIR, frame};
use crate::models::intel_rig::{KINDS, Rig, Setup};
use drivers::net::{Armed, NetDevice};
use pbufpool::PacketQueue;

#[test]
fn an_armed_idle_card_interrupts_at_the_next_frame() {
    for kind in KINDS {
        let mut rig = Rig::with(kind);
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
    }
}

#[test]
fn a_core_at_work_is_not_interrupted() {
    for kind in KINDS {
        let mut rig = Rig::with(kind);
        assert_eq!(rig.arm(), Armed::Sleep);
        assert!(rig.card().deliver(&frame(0, 60)));
        rig.nic.on_interrupt();
        let before = rig.card().interrupts;
        for n in 0..100 {
            assert!(rig.card().deliver(&frame(n, 60)));
            rig.send(&frame(n, 60));
            rig.receive();
        }
        assert_eq!(rig.card().interrupts, before);
        // One cause may be left over from before; then it is quiet.
        assert_eq!(rig.arm(), Armed::Sleep);
        if rig.card().interrupts > before {
            rig.nic.on_interrupt();
            assert_eq!(rig.arm(), Armed::Sleep);
        }
        assert!(rig.card().interrupts <= before + 1);
    }
}

#[test]
fn a_frame_between_the_last_poll_and_arm_is_work() {
    for kind in KINDS {
        let mut rig = Rig::with(kind);
        assert_eq!(rig.receive().len(), 0);
        assert!(rig.card().deliver(&frame(1, 60)));
        assert_eq!(rig.arm(), Armed::Work);
        assert_eq!(rig.receive(), [frame(1, 60)]);
        assert_eq!(rig.arm(), Armed::Sleep);
    }
}

#[test]
fn a_full_transmit_ring_wakes_the_driver_and_one_with_room_does_not() {
    for kind in KINDS {
        let mut rig = Rig::with(kind);
        for n in 0..100 {
            assert_eq!(rig.arm(), Armed::Sleep);
            let before = rig.card().interrupts;
            rig.send(&frame(n, 60));
            assert_eq!(rig.card().interrupts, before, "nobody waits for frame {n}");
        }
        for n in 0..16 {
            assert!(rig.post(&frame(n, 60)));
        }
        rig.nic.flush(PAIR);
        while rig.arm() == Armed::Sleep && rig.card().interrupts > 0 {
            // Of frames that were sent before.
            rig.nic.on_interrupt();
            rig.card().interrupts = 0;
        }
        assert_eq!(rig.arm(), Armed::Sleep);
        rig.card().transmit_all();
        assert!(rig.card().interrupts > 0);
        rig.nic.on_interrupt();
        assert_eq!(rig.arm(), Armed::Work);
        assert_eq!(rig.nic.reclaim(PAIR), 16);
        assert_eq!(rig.arm(), Armed::Sleep);
    }
}

#[test]
fn a_chain_that_waits_for_more_room_than_there_is_wakes_the_driver() {
    for kind in KINDS {
        let mut setup = Setup::jumbo(kind);
        // Seven descriptors at a time: frames of this length need no more each.
        (setup.options.tx_ring, setup.options.mtu) = (2, 3000);
        let mut rig = setup.start();
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
        rig.nic.on_interrupt();
        rig.nic.reclaim(PAIR);
        assert_eq!(rig.nic.tx_burst(PAIR, &mut queue), 1);
        rig.nic.flush(PAIR);
        rig.card().transmit_all();
        rig.nic.reclaim(PAIR);
        rig.assert_traffic_flows();
    }
}

#[test]
fn an_interrupt_of_another_device_on_the_line_is_not_counted_and_costs_no_wake_up() {
    for kind in KINDS.iter().filter(|(_, msix)| !msix) {
        let mut rig = Rig::with(*kind);
        assert_eq!(rig.arm(), Armed::Sleep);
        rig.nic.on_interrupt();
        assert_eq!(rig.nic.stats().interrupts, 0);
        assert_eq!(rig.arm(), Armed::Sleep);
        let before = rig.card().interrupts;
        assert!(rig.card().deliver(&frame(1, 60)));
        assert_eq!(rig.card().interrupts, before + 1);
    }
}

#[test]
fn a_card_that_masks_nothing_by_itself_works_too() {
    for kind in KINDS.into_iter().filter(|&(_, msix)| msix) {
        let mut setup = Setup::new(kind);
        setup.card = |card| card.faults.never_masks = true;
        let mut rig = setup.start();
        for n in 0..50 {
            assert_eq!(rig.arm(), Armed::Sleep);
            let before = rig.card().interrupts;
            assert!(rig.card().deliver(&frame(n, 60)));
            assert!(rig.card().interrupts > before);
            rig.nic.on_interrupt();
            rig.receive();
        }
        rig.assert_traffic_flows();
    }
}

/// Card and driver on two threads; the driver sleeps whenever `arm` lets it. A lost wake-up leaves
/// it asleep with frames in the ring, and the wait below runs out.
#[test]
fn no_wake_up_is_lost_between_two_threads() {
    const FRAMES: u32 = 20_000;
    for kind in KINDS {
        let mut rig = Rig::with(kind);
        let (bell, interrupts) = mpsc::channel();
        let card = rig.bench.card.clone();
        let device = std::thread::spawn(move || {
            let mut sent = 0;
            let mut seen = 0;
            while sent < FRAMES {
                let mut card = card.lock().expect("no panic inside");
                if card.deliver(&frame(sent, 60)) {
                    sent += 1;
                }
                // The driver may have caused one itself, by unmasking what was pending.
                let rang = card.interrupts != seen;
                seen = card.interrupts;
                drop(card);
                if rang {
                    bell.send(()).expect("the driver listens");
                }
                if sent.is_multiple_of(7) {
                    std::thread::yield_now();
                }
            }
            // Whatever is pending when the last frame was delivered rings too.
            for _ in 0..100 {
                std::thread::sleep(Duration::from_millis(1));
                let now = card.lock().expect("no panic inside").interrupts;
                if now != seen {
                    seen = now;
                    let _ = bell.send(());
                }
            }
            bell
        });
        let mut received = 0;
        while received < FRAMES {
            for bytes in rig.receive() {
                assert_eq!(bytes, frame(received, 60));
                received += 1;
            }
            if received < FRAMES && rig.arm() == Armed::Sleep {
                let wait = interrupts.recv_timeout(Duration::from_secs(60));
                assert!(
                    wait.is_ok(),
                    "asleep after {received} frames, and nothing wakes it"
                );
                rig.nic.on_interrupt();
            }
        }
        drop(device.join().expect("the device ends"));
        rig.assert_idle();
    }
}
