//! Two queue pairs of an 82574, and of cards of the igb family: who is spread over them, what each interrupts by, and that one's
//! trouble is found though the other is well.

use std::sync::atomic::Ordering::Relaxed;

use crate::models::bench::frame;
use crate::models::intel::{DD, EOP, Said, at};
use crate::models::intel_rig::{KINDS, Rig, Setup};
use drivers::DeviceFault;
use drivers::intel::Family;
use drivers::net::{Armed, Health, InterruptMode, NetDevice, QueueId};
use pbufpool::PacketQueue;

const BOTH: [QueueId; 2] = [QueueId(0), QueueId(1)];

/// Cards that have two.
fn paired() -> impl Iterator<Item = (Family, bool)> {
    let all = KINDS.into_iter();
    all.filter(|&(family, msix)| msix && family.pairs() == 2)
}

fn setup(kind: (Family, bool)) -> Setup {
    let mut setup = Setup::new(kind);
    setup.options.pairs = 2;
    setup.options.rss_key = std::array::from_fn(|n| (n * 89 + 7) as u8);
    setup.packets = 128;
    setup
}

/// A TCP segment of a client's port, over IPv4 or IPv6.
fn segment(port: u16, six: bool) -> Vec<u8> {
    let mut bytes = frame(port.into(), 100);
    let (kind, protocol, ports) = if six {
        ([0x86, 0xdd], 20, 54)
    } else {
        ([0x08, 0x00], 23, 34)
    };
    bytes[12..14].copy_from_slice(&kind);
    bytes[14..54].fill(0x11);
    bytes[protocol] = 6;
    bytes[ports..ports + 2].copy_from_slice(&port.to_be_bytes());
    bytes[ports + 2..ports + 4].copy_from_slice(&[0, 80]);
    bytes
}

/// A port whose segments the card puts into this pair.
fn port_of(rig: &Rig, pair: u16) -> u16 {
    let card = rig.card();
    (1..)
        .find(|&port| card.pair_of(&segment(port, false)) == pair)
        .expect("one of them")
}

fn take(rig: &mut Rig, queue: QueueId) -> usize {
    let mut came = PacketQueue::new();
    rig.nic.rx_burst(queue, 100, &mut came)
}

#[track_caller]
fn feed(rig: &mut Rig) {
    for queue in BOTH {
        rig.nic.refill(queue);
        rig.nic.flush(queue);
    }
}

#[test]
fn what_a_card_has_is_used_and_no_more() {
    for (kind, asked, pairs) in [
        (KINDS[0], 2, 1),
        (KINDS[1], 2, 1),
        (KINDS[2], 1, 1),
        (KINDS[2], 2, 2),
        (KINDS[2], 16, 2),
        (KINDS[3], 2, 1),
        (KINDS[4], 16, 2),
        (KINDS[6], 2, 2),
    ] {
        let mut setup = Setup::new(kind);
        (setup.options.pairs, setup.packets) = (asked, 128);
        let mut rig = setup.start();
        assert_eq!(rig.nic.info().queue_pairs, pairs);
        assert_eq!(rig.nic.info().features.contains("rss"), pairs == 2);
        let msix = InterruptMode::MsiX(kind.0.vectors(pairs));
        assert_eq!(rig.nic.info().interrupts == msix, kind.1);
        let hash = if kind.0.is_igb() { 2 } else { 1 };
        let expected = if pairs > 1 { hash } else { 0 };
        assert_eq!(rig.card().register(at::MRQC) & 7, expected);
        rig.assert_traffic_flows();
        rig.nic.reset().expect("comes up");
        rig.assert_traffic_flows();
    }
}

#[test]
fn connections_are_spread_and_each_stays_on_its_pair() {
    for kind in paired() {
        let mut rig = setup(kind).start();
        for six in [false, true] {
            let mut came = [0; 2];
            for port in 40_000..40_200 {
                for _ in 0..2 {
                    let segment = segment(port, six);
                    let pair = rig.card().pair_of(&segment);
                    assert!(rig.card().deliver(&segment));
                    assert_eq!(take(&mut rig, QueueId(1 - pair)), 0);
                    assert_eq!(take(&mut rig, QueueId(pair)), 1);
                    came[usize::from(pair)] += 1;
                    feed(&mut rig);
                }
            }
            assert!(came.iter().all(|&frames| frames > 140), "{came:?} of 400");
        }
        // What is no IP comes on the first.
        assert!(rig.card().deliver(&frame(1, 60)));
        assert_eq!(take(&mut rig, BOTH[0]), 1);
        feed(&mut rig);
        rig.assert_traffic_flows();
    }
}

#[test]
fn frames_leave_by_either_pair() {
    for kind in paired() {
        let mut rig = setup(kind).start();
        for n in 0..200 {
            for queue in BOTH {
                let mut queued = PacketQueue::new();
                let bytes = frame(n, 60 + n as usize);
                queued.push_back(rig.packet(&bytes));
                assert_eq!(rig.nic.tx_burst(queue, &mut queued), 1);
                rig.nic.flush(queue);
                let sent = rig.card().transmit_all();
                assert_eq!(sent.len(), 1);
                assert_eq!(sent[0].frame(), bytes);
                assert_eq!(rig.nic.reclaim(QueueId(1 - queue.0)), 0);
                assert_eq!(rig.nic.reclaim(queue), 1);
            }
        }
        rig.assert_idle();
    }
}

#[test]
fn each_pair_interrupts_by_its_own_vector_or_both_by_the_one_there_is() {
    for kind in paired() {
        for vectors in [kind.0.vectors(2), 2, 1] {
            let mut setup = setup(kind);
            setup.vectors = Some(vectors);
            let mut rig = setup.start();
            assert_eq!(rig.nic.info().interrupts, InterruptMode::MsiX(vectors));
            let ports = [0, 1].map(|pair| port_of(&rig, pair));
            for _ in 0..50 {
                for (pair, port) in ports.into_iter().enumerate() {
                    for queue in BOTH {
                        assert_eq!(rig.nic.arm(queue), Armed::Sleep);
                    }
                    let before = rig.card().by_vector;
                    assert!(rig.card().deliver(&segment(port, false)));
                    let mut after = before;
                    // A card of the igb family has one more for each transmit ring.
                    let vector = pair * usize::from(kind.0.vectors(1));
                    after[vector.min(usize::from(vectors) - 1)] += 1;
                    assert_eq!(rig.card().by_vector, after);
                    rig.nic.on_interrupt();
                    assert_eq!(take(&mut rig, BOTH[pair]), 1);
                    feed(&mut rig);
                }
            }
            rig.assert_traffic_flows();
        }
    }
}

#[test]
fn a_frame_on_either_pair_before_arm_is_work() {
    for kind in paired() {
        let mut rig = setup(kind).start();
        for pair in [0, 1] {
            let port = port_of(&rig, pair);
            assert!(rig.card().deliver(&segment(port, false)));
            assert_eq!(rig.nic.arm(QueueId(pair)), Armed::Work);
            assert_eq!(rig.nic.arm(QueueId(1 - pair)), Armed::Sleep);
            assert_eq!(take(&mut rig, QueueId(pair)), 1);
            feed(&mut rig);
        }
    }
}

#[test]
fn a_length_beyond_the_buffer_on_the_second_pair_is_named_and_recovered_from() {
    for kind in paired() {
        let mut rig = setup(kind).start();
        let said = Said {
            status: DD | EOP,
            len: 2049,
        };
        assert!(rig.card().say_on(1, &[], said));
        assert_eq!(take(&mut rig, BOTH[1]), 0);
        let fault = DeviceFault::LengthTooLarge {
            queue: 2,
            id: 0,
            len: 2049,
            posted: 2048,
        };
        assert_eq!(rig.nic.health(), Health::Broken(fault));
        rig.assert_recovers();
    }
}

#[test]
fn a_transmitter_that_hangs_is_found_though_the_other_one_sends() {
    for kind in paired() {
        for stuck in BOTH {
            let mut rig = setup(kind).start();
            let mut queued = PacketQueue::new();
            queued.push_back(rig.packet(&frame(0, 60)));
            assert_eq!(rig.nic.tx_burst(stuck, &mut queued), 1);
            rig.nic.flush(stuck);
            let other = QueueId(1 - stuck.0);
            for second in 0..6 {
                assert_eq!(rig.nic.health(), Health::Ok, "after {second} s");
                queued.push_back(rig.packet(&frame(second, 60)));
                assert_eq!(rig.nic.tx_burst(other, &mut queued), 1);
                rig.nic.flush(other);
                rig.card().transmit_pair(other.0);
                assert_eq!(rig.nic.reclaim(other), 1);
                rig.nic.link();
                rig.bench.host.now_ms.fetch_add(1000, Relaxed);
            }
            let queue = 2 * stuck.0 + 1;
            let fault = DeviceFault::Stalled { queue, ms: 5000 };
            assert_eq!(rig.nic.health(), Health::Broken(fault));
            rig.assert_recovers();
        }
    }
}

#[test]
fn the_beginning_of_a_frame_waits_on_its_own_pair() {
    for kind in paired() {
        let mut setup = setup(kind);
        (setup.max_frags, setup.options.mtu) = (5, 9000);
        let mut rig = setup.start();
        let said = |status, len| Said { status, len };
        assert!(rig.card().say_on(1, &[], said(DD, 2048)));
        assert_eq!(take(&mut rig, BOTH[1]), 0);
        // What the other pair receives meanwhile is no part of it.
        let whole = frame(1, 60);
        assert!(rig.card().deliver(&whole));
        assert_eq!(rig.receive(), [whole]);
        assert!(rig.card().say_on(1, &[], said(DD | EOP, 10)));
        let mut came = PacketQueue::new();
        assert_eq!(rig.nic.rx_burst(BOTH[1], 10, &mut came), 1);
        assert_eq!(came.front().expect("one").len(), 2058);
        came.clear();
        assert!(rig.card().say_on(1, &[], said(DD, 2048)));
        assert_eq!(take(&mut rig, BOTH[1]), 0);
        rig.assert_recovers();
    }
}
