//! Cards that break their contract. After each: what was wrong is named or counted, nothing is done
//! with the claim, every packet comes back, and traffic flows again.

use std::sync::atomic::Ordering::Relaxed;

use crate::models::bench::{PAIR, frame};
use crate::models::intel::{DD, EOP, Said, at};
use crate::models::intel_rig::{KINDS, Rig, Setup};
use drivers::intel::Family;
use drivers::net::{Armed, DropReason, Health, NetDevice};
use drivers::{DeviceFault, DriverError};
use pbufpool::PacketQueue;

type Kind = (Family, bool);

/// A driver with traffic behind it and, in flight, five frames to send that the card knows of.
fn busy(kind: Kind) -> Rig {
    let mut rig = Rig::with(kind);
    rig.keep_busy();
    rig
}

#[test]
fn a_length_beyond_the_buffer() {
    for kind in KINDS {
        for len in [2049, 4096, 0x8000, 0xffff] {
            for status in [DD | EOP, DD] {
                let mut rig = busy(kind);
                let id = rig.card().register(at::RDH) as u16;
                assert!(rig.card().say(&[], Said { status, len }));
                let (queue, len, posted) = (0, len.into(), 2048);
                let fault = DeviceFault::LengthTooLarge {
                    queue,
                    id,
                    len,
                    posted,
                };
                rig.assert_found_out(fault);
                assert_eq!(rig.nic.stats().drops.get(DropReason::RxTooLong), 1);
                rig.assert_recovers();
            }
        }
    }
}

/// The card was told less than there is: the rest of the buffer was not the card's to write.
#[test]
fn a_length_beyond_what_the_card_was_told_of_the_buffer() {
    let mut setup = Setup::new(KINDS[0]);
    setup.buffer = 4032;
    let mut rig = setup.start();
    rig.assert_traffic_flows();
    let id = rig.card().register(at::RDH) as u16;
    let (status, len) = (DD | EOP, 2049);
    assert!(rig.card().say(&[], Said { status, len }));
    let (queue, len, posted) = (0, len.into(), 2048);
    let fault = DeviceFault::LengthTooLarge {
        queue,
        id,
        len,
        posted,
    };
    rig.assert_found_out(fault);
    rig.assert_recovers();
}

#[test]
fn damaged_frames_are_dropped_and_the_next_one_is_found() {
    // Bits of the error byte: CE, SE, SEQ, CXE, RXE.
    for kind in KINDS {
        let mut rig = Rig::with(kind);
        for (n, bit) in [24, 25, 26, 28, 31].into_iter().enumerate() {
            assert!(rig.card().deliver_with(&frame(1, 60), 1 << bit));
            assert!(rig.card().deliver(&frame(2, 60)));
            assert_eq!(rig.receive(), [frame(2, 60)]);
            let dropped = rig.nic.stats().drops.get(DropReason::RxError);
            assert_eq!(dropped, n as u64 + 1);
        }
        rig.assert_traffic_flows();
    }
}

#[test]
fn frames_shorter_than_an_ethernet_header_are_dropped() {
    for kind in KINDS {
        let mut rig = Rig::with(kind);
        for len in 0..14 {
            assert!(rig.card().say(
                &[],
                Said {
                    status: DD | EOP,
                    len
                }
            ));
            assert_eq!(rig.receive().len(), 0);
        }
        assert_eq!(rig.nic.stats().drops.get(DropReason::RxRunt), 14);
        rig.assert_traffic_flows();
    }
}

#[test]
fn a_frame_whose_end_is_lost_is_dropped_whole_and_the_next_one_is_found() {
    for kind in KINDS {
        for jumbo in [false, true] {
            let mut rig = if jumbo {
                Setup::jumbo(kind).start()
            } else {
                Rig::with(kind)
            };
            let full = Said {
                status: DD,
                len: 2048,
            };
            for _ in 0..40 {
                // Longer than any packet may be, and than the ring.
                assert!(rig.card().say(&[], full));
                assert_eq!(rig.receive().len(), 0);
                let (lent, stats) = (rig.lent(), rig.bench.pool.stats());
                assert_eq!(stats.packets_in_use, lent.rx + lent.tx, "a leak");
            }
            // What ends now is still the same frame.
            assert!(rig.card().deliver(&frame(1, 60)));
            assert_eq!(rig.receive().len(), 0);
            assert_eq!(rig.nic.stats().drops.total(), 1);
            assert!(rig.card().deliver(&frame(2, 60)));
            assert_eq!(rig.receive(), [frame(2, 60)]);
            rig.assert_traffic_flows();
        }
    }
}

#[test]
fn a_part_in_the_middle_that_is_not_full() {
    for kind in KINDS {
        for len in [0, 1, 60, 2047] {
            let mut rig = Setup::jumbo(kind).start();
            assert!(rig.card().say(&[], Said { status: DD, len }));
            assert!(rig.card().deliver(&frame(1, 60)));
            assert!(rig.card().deliver(&frame(2, 60)));
            assert_eq!(rig.receive(), [frame(2, 60)]);
            assert_eq!(rig.nic.stats().drops.get(DropReason::RxBadMerge), 1);
            // The same behind a sound beginning.
            assert!(rig.card().say(
                &[],
                Said {
                    status: DD,
                    len: 2048
                }
            ));
            assert!(rig.card().say(&[], Said { status: DD, len }));
            assert!(rig.card().deliver(&frame(1, 60)));
            assert!(rig.card().deliver(&frame(2, 60)));
            assert_eq!(rig.receive(), [frame(2, 60)]);
            assert_eq!(rig.nic.stats().drops.get(DropReason::RxBadMerge), 2);
            rig.assert_traffic_flows();
        }
    }
}

#[test]
fn a_frame_longer_than_was_agreed() {
    let mut rig = Setup::jumbo(KINDS[2]).start();
    for _ in 0..4 {
        assert!(rig.card().say(
            &[],
            Said {
                status: DD,
                len: 2048
            }
        ));
    }
    assert!(rig.card().say(
        &[],
        Said {
            status: DD | EOP,
            len: 2048
        }
    ));
    assert_eq!(rig.receive().len(), 0, "10,240 bytes");
    assert_eq!(rig.nic.stats().drops.get(DropReason::RxTooLong), 1);
    rig.assert_traffic_flows();
}

#[test]
fn a_reset_in_the_middle_of_a_frame_drops_its_beginning() {
    let mut rig = Setup::jumbo(KINDS[1]).start();
    assert!(rig.card().say(
        &[],
        Said {
            status: DD,
            len: 2048
        }
    ));
    assert_eq!(rig.receive().len(), 0);
    rig.assert_recovers();
}

#[test]
fn descriptors_that_nobody_was_told_of_are_not_looked_at() {
    for kind in KINDS {
        let mut rig = Rig::with(kind);
        rig.assert_traffic_flows();
        assert!(rig.post(&frame(1, 60)));
        // Everything is done, says the card: even what was never told to it.
        let done = 1 << 32 | 1 << 33 | 1;
        rig.card().scribble_descriptors(done);
        assert_eq!(rig.nic.reclaim(PAIR), 0, "it does not know of the frame");
        assert_eq!(rig.lent().tx, 1);
        let received = rig.poll();
        assert!(received <= 16, "no more than it held: {received}");
        rig.arrived.clear();
        let lent = rig.lent();
        assert_eq!(rig.bench.pool.stats().packets_in_use, lent.rx + lent.tx);
        rig.assert_recovers();
    }
}

#[test]
fn a_transmitter_that_reports_nothing_is_found_out_while_there_is_a_carrier() {
    for kind in KINDS {
        let mut rig = busy(kind);
        rig.card().carrier = false;
        rig.wait(60_000);
        assert_eq!(
            rig.nic.health(),
            Health::Ok,
            "without a carrier nothing can be sent"
        );
        rig.card().carrier = true;
        rig.wait(5000);
        assert_eq!(rig.nic.health(), Health::Ok, "not yet");
        rig.wait(1000);
        rig.assert_found_out(DeviceFault::Stalled { queue: 1, ms: 5000 });
        rig.assert_recovers();
    }
}

#[test]
fn a_transmitter_that_moves_or_has_nothing_to_do_is_left_alone() {
    let mut rig = busy(KINDS[0]);
    rig.card().transmit_all();
    rig.wait(60_000);
    for n in 0..20 {
        assert!(rig.post(&frame(n, 60)));
        rig.nic.flush(PAIR);
        rig.wait(4000);
        rig.card().transmit_all();
        rig.nic.reclaim(PAIR);
    }
    assert_eq!(rig.nic.health(), Health::Ok);
    rig.assert_traffic_flows();
}

#[test]
fn a_card_that_was_pulled_out_is_gone_and_may_come_back() {
    for kind in KINDS {
        let noticed: [fn(&mut Rig); 2] = [
            |rig| {
                rig.nic.link();
            },
            |rig| rig.nic.on_interrupt(),
        ];
        for notice in noticed {
            let mut rig = busy(kind);
            rig.card().faults.gone = true;
            notice(&mut rig);
            rig.assert_found_out(DeviceFault::Gone);
            let lent = rig.lent();
            assert_eq!(rig.nic.reset(), Err(DriverError::NoDevice));
            assert_eq!(rig.lent(), lent, "it may still write to what it holds");
            let waiting = Health::Waiting(DeviceFault::ResetFailed);
            assert_eq!(rig.nic.health(), waiting);
            assert_eq!(rig.arm(), Armed::Sleep, "waiting costs nothing");
            rig.card().faults.gone = false;
            rig.bench.host.now_ms.fetch_add(1000, Relaxed);
            rig.assert_recovers();
        }
    }
}

#[test]
fn a_card_that_does_not_come_out_of_a_reset_keeps_what_it_holds() {
    for kind in KINDS {
        let mut rig = busy(kind);
        rig.card().faults.reset_hangs = true;
        let lent = rig.lent();
        let why = DriverError::Timeout("the card to come out of its reset");
        assert_eq!(rig.nic.reset(), Err(why));
        assert_eq!(rig.lent(), lent);
        rig.card().faults.reset_hangs = false;
        rig.assert_recovers();
    }
}

#[test]
fn a_card_that_is_another_one_after_a_reset_stays_stopped() {
    let mut rig = busy(KINDS[0]);
    rig.card().faults.no_address = true;
    rig.card().eeprom = [0x0002, 0x0000, 0x0100];
    assert_eq!(rig.nic.reset(), Err(DriverError::Changed));
    assert_eq!(rig.bench.pool.stats().packets_in_use, 0, "it holds nothing");
    let fault = DeviceFault::ResetFailed;
    assert_eq!(rig.nic.health(), Health::Waiting(fault));
}

#[test]
fn a_card_that_was_reset_behind_the_driver_s_back_is_found_out() {
    for kind in KINDS {
        let mut rig = busy(kind);
        rig.card().put(at::RCTL, 0);
        rig.nic.link();
        rig.assert_found_out(DeviceFault::Stopped { status: 0 });
        rig.assert_recovers();
    }
}

#[test]
fn a_card_that_never_sends_holds_one_ring_and_no_more() {
    let mut rig = busy(KINDS[2]);
    while rig.nic.tx_room(PAIR) > 0 {
        assert!(rig.post(&frame(0, 60)));
    }
    rig.nic.flush(PAIR);
    let mut queue = PacketQueue::new();
    queue.push_back(rig.packet(&frame(0, 60)));
    for _ in 0..1000 {
        assert_eq!(rig.nic.tx_burst(PAIR, &mut queue), 0);
        assert_eq!(rig.nic.reclaim(PAIR), 0);
        rig.nic.on_interrupt();
        assert_eq!(rig.arm(), Armed::Sleep);
    }
    queue.clear();
    assert_eq!(rig.bench.pool.stats().packets_in_use, 32);
    assert!(rig.card().deliver(&frame(1, 60)), "receiving goes on");
    assert_eq!(rig.receive().len(), 1);
    rig.assert_recovers();
}

/// Any write-backs: the driver finds them out or takes them for what they may be, gives no packet
/// out twice, and recovers.
#[test]
fn random_write_backs() {
    use proptest::prelude::*;
    let len = prop_oneof![4 => 0..2049_u16, 2 => Just(2048_u16), 1 => any::<u16>()];
    let status = prop_oneof![3 => Just(DD), 3 => Just(DD | EOP), 1 => any::<u32>()];
    let claims = proptest::collection::vec((status, len, any::<bool>(), any::<bool>()), 1..80);
    let kind = proptest::sample::select(&KINDS[..]);
    proptest!(ProptestConfig::with_cases(400), |(kind in kind, jumbo: bool, claims in claims)| {
        let mut rig = if jumbo { Setup::jumbo(kind).start() } else { Rig::with(kind) };
        for (status, len, post, report) in claims {
            if post && rig.nic.tx_room(PAIR) > 0 {
                rig.post(&frame(0, 60));
                rig.nic.flush(PAIR);
            }
            if rig.nic.health() == Health::Ok {
                rig.card().say(&frame(1, 200), Said { status, len });
                if report {
                    rig.card().transmit_all();
                }
            }
            for bytes in rig.receive() {
                prop_assert!((14..=9014).contains(&bytes.len()));
            }
            rig.nic.reclaim(PAIR);
            let (lent, stats) = (rig.lent(), rig.bench.pool.stats());
            prop_assert_eq!(stats.packets_in_use, lent.rx + lent.tx);
        }
        rig.nic.reset().expect("comes up");
        rig.assert_traffic_flows();
    });
}
