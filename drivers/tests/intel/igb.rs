//! What only cards of the igb family have: contexts by number, queues that open, vectors of their own
//! for each ring, and a PHY that is woken and shared.

use crate::intel::offload::{packet, segment};
use crate::models::bench::{PAIR, frame};
use crate::models::intel::at;
use crate::models::intel_igb::reg;
use crate::models::intel_rig::{Rig, Setup};
use drivers::DriverError;
use drivers::intel::Family;
use drivers::net::{Armed, DropReason, LinkState, NetDevice};

const KINDS: [(Family, bool); 4] = [
    (Family::E82576, false),
    (Family::E82576, true),
    (Family::I350, true),
    (Family::I210, true),
];

/// Descriptors that what `post` sends takes.
fn used(rig: &mut Rig, post: impl FnOnce(&mut Rig)) -> u32 {
    let tail = |rig: &Rig| rig.card().register(at::TDT);
    let before = tail(rig);
    post(rig);
    let size = rig.card().register(0x3808) / 16;
    (tail(rig) + size - before) % size
}

#[test]
fn contexts_for_sums_and_for_segments_do_not_push_each_other_out() {
    for kind in KINDS {
        let mut setup = Setup::new(kind);
        (setup.max_frags, setup.packets) = (40, 120);
        let mut rig = setup.start();
        let (sum, cut) = (segment(true, true, 100), segment(true, true, 1500));
        let mut counts = Vec::new();
        for _ in 0..3 {
            counts.push(used(&mut rig, |rig| {
                let packet = packet(rig, &sum, None);
                rig.send_packet(packet);
            }));
            // The same segments of frames of different lengths.
            counts.push(used(&mut rig, |rig| {
                let packet = packet(rig, &cut, Some(1460));
                assert_eq!(rig.send_packet(packet).wire.len(), 2);
            }));
        }
        assert_eq!(counts, [2, 2, 1, 1, 1, 1]);
        // Another size of segments is another context.
        let other = used(&mut rig, |rig| {
            let packet = packet(rig, &cut, Some(1000));
            rig.send_packet(packet);
        });
        assert_eq!(other, 2);
        // A reset forgets contexts.
        rig.nic.reset().expect("comes up");
        let again = used(&mut rig, |rig| {
            let packet = packet(rig, &cut, Some(1000));
            rig.send_packet(packet);
        });
        assert_eq!(again, 2);
        rig.assert_traffic_flows();
    }
}

#[test]
fn checksums_of_other_protocols_are_not_the_card_s() {
    for kind in KINDS {
        let mut rig = Rig::with(kind);
        let mut packet = packet(&rig, &segment(true, false, 40), None);
        let sum = packet.offload_mut().tx_checksum.as_mut().expect("a sum");
        sum.offset = 2; // as in ICMP
        assert!(rig.post_packet(packet));
        assert_eq!(rig.nic.stats().drops.get(DropReason::TxBadOffload), 1);
        rig.assert_traffic_flows();
    }
}

#[test]
fn a_queue_that_does_not_open_is_named_and_keeps_nothing() {
    for kind in KINDS {
        for (queue, what) in [
            (reg::TXDCTL0, "the card to open its transmit queue"),
            (reg::RXDCTL0, "the card to open its receive queue"),
        ] {
            let mut rig = Rig::with(kind);
            rig.assert_traffic_flows();
            rig.card().faults.shut = Some(queue);
            assert_eq!(rig.nic.reset(), Err(DriverError::Timeout(what)));
            assert_eq!(rig.bench.pool.stats().packets_in_use, 0);
            rig.card().faults.shut = None;
            rig.nic.reset().expect("comes up");
            rig.assert_traffic_flows();
        }
        let mut setup = Setup::new(kind);
        setup.card = |card| card.faults.shut = Some(reg::RXDCTL0);
        let dma = crate::models::memory::GuestDma::leaked(64 << 20);
        setup.dma = Some(dma);
        let (bench, rig) = setup.try_start();
        assert!(rig.is_err());
        drop(bench.pool);
        assert_eq!(dma.live(), 0, "the rings came back");
    }
}

#[test]
fn a_link_that_is_up_is_left_alone_and_one_that_was_lost_is_negotiated() {
    for kind in KINDS {
        let mut rig = Rig::with(kind);
        let up = LinkState::Up { mbps: Some(1000) };
        assert_eq!((rig.nic.link(), rig.card().phy), (up, 0x1140));
        rig.card().faults.forgets_link = true;
        rig.card().phy = 0x0940; // without power
        rig.nic.reset().expect("comes up");
        assert_eq!((rig.nic.link(), rig.card().phy), (up, 0x1140));
        rig.assert_traffic_flows();
    }
}

#[test]
fn a_phy_that_firmware_never_lets_go_and_one_that_is_silent_stop_nobody() {
    for kind in KINDS {
        let mut setup = Setup::new(kind);
        setup.card = |card| card.faults.firmware_holds_on = true;
        setup.start().assert_traffic_flows();
        let mut setup = Setup::new(kind);
        setup.card = |card| card.faults.silent_phy = Some(false);
        let mut rig = setup.start();
        rig.assert_traffic_flows();
        let card = rig.card();
        assert_eq!(card.register(reg::SW_FW_SYNC), 0, "given back");
        assert_eq!(card.register(reg::SWSM), 0, "given back");
    }
}

#[test]
fn each_ring_has_a_vector_of_its_own() {
    for kind in KINDS.into_iter().filter(|&(_, msix)| msix) {
        let mut rig = Rig::with(kind);
        assert_eq!(rig.arm(), Armed::Sleep);
        assert_eq!(rig.card().register(reg::EIMS), 1, "receive only");
        let before = rig.card().interrupts;
        rig.send(&frame(1, 60));
        assert_eq!(rig.card().interrupts, before, "nobody waits for room");
        assert!(rig.card().deliver(&frame(2, 60)));
        assert_eq!(rig.card().interrupts, before + 1);
        assert_eq!(rig.card().register(reg::EIMS), 0, "it masked itself");
        rig.nic.on_interrupt();
        rig.receive();
        while rig.nic.tx_room(PAIR) > 0 {
            assert!(rig.post(&frame(3, 60)));
        }
        rig.nic.flush(PAIR);
        // Room was made before, which nobody was told of.
        if rig.arm() == Armed::Sleep && rig.card().interrupts > before + 1 {
            rig.nic.on_interrupt();
            assert_eq!(rig.arm(), Armed::Sleep);
        }
        let before = rig.card().interrupts;
        rig.card().transmit_all();
        assert!(rig.card().interrupts > before);
        rig.nic.on_interrupt();
        assert_eq!(rig.nic.reclaim(PAIR), 16);
        assert_eq!(
            rig.card().register(reg::EIMS),
            0,
            "all masked while it works"
        );
    }
}

#[test]
fn long_frames_have_a_limit_of_their_own() {
    let jumbo = Setup::jumbo(KINDS[1]).start();
    assert_eq!(jumbo.card().register(reg::RLPML), 9000 + 14 + 8);
    let plain = Rig::with(KINDS[1]);
    assert_eq!(plain.card().register(reg::RLPML), 1522);
    assert_eq!(
        plain.card().register(reg::TDWBAL0),
        0,
        "reports are in descriptors"
    );
}

#[test]
fn the_address_of_another_port_is_not_looked_for_among_the_first() {
    let mut setup = Setup::new(KINDS[1]);
    setup.card = |card| {
        card.faults.no_address = true;
        card.put(at::RAL0, 0);
        card.put(at::RAH0, 0);
        card.port = 1;
    };
    let (_, rig) = setup.try_start();
    assert_eq!(rig.err(), Some(DriverError::BadMac([0; 6])));
}
