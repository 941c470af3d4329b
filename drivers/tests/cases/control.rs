//! Requests to the card through its control queue, and several queue pairs.

use std::sync::atomic::Ordering::Relaxed;

use crate::models::bench::PAIR;
use crate::models::*;
use drivers::DriverError;
use drivers::error::DeviceFault;
use drivers::net::{
    Armed, ControlError, Health, MacAddr, Moderation, NetDevice, QueueId, RxFilter, VlanId,
};
use drivers::virtio::Features;
use drivers::virtio::net::Options;
use pbufpool::PacketQueue;

const ALL: Features = Features::CTRL_VQ
    .union(Features::CTRL_RX)
    .union(Features::CTRL_RX_EXTRA)
    .union(Features::CTRL_VLAN)
    .union(Features::CTRL_MAC_ADDR)
    .union(Features::GUEST_ANNOUNCE)
    .union(Features::NOTF_COAL);

const MAC: MacAddr = MacAddr([2, 1, 2, 3, 4, 5]);

fn group(n: u8) -> MacAddr {
    MacAddr([0x33, 0x33, 0, 0, 0, n])
}

fn with(besides: Features) -> Rig {
    Setup {
        besides,
        ..Setup::default()
    }
    .start()
}

fn vlan(id: u16) -> VlanId {
    VlanId::new(id).expect("in range")
}

fn filter() -> RxFilter {
    RxFilter {
        stations: vec![MacAddr([2, 9, 9, 9, 9, 9])],
        groups: vec![group(1), group(2)],
        ..RxFilter::default()
    }
}

/// Whether the card can have features from the 33rd on, among them moderation.
const LATER_FEATURES: bool = !crate::LEGACY;

/// Asks for everything that can be asked for.
fn ask_all(rig: &mut Rig) -> Vec<Result<(), ControlError>> {
    let limits = Moderation {
        max_usecs: 20,
        max_packets: 8,
    };
    let mut outcomes = vec![
        rig.nic.set_mac(MAC),
        rig.nic.set_filter(&filter()),
        rig.nic.set_vlan(vlan(7), true),
        rig.nic.set_vlan(vlan(4094), true),
    ];
    if LATER_FEATURES {
        outcomes.push(rig.nic.set_moderation(limits));
    }
    outcomes
}

fn told_all() -> Told {
    Told {
        switches: [(0, false), (1, false), (3, false), (5, false)].into(),
        table: [vec![[2, 9, 9, 9, 9, 9]], vec![group(1).0, group(2).0]],
        mac: Some(MAC.0),
        vlans: [7, 4094].into(),
        moderation: [LATER_FEATURES.then_some((8, 20)); 2],
        ..Told::default()
    }
}

#[test]
fn the_card_does_what_it_is_asked() {
    let mut rig = with(ALL);
    assert_eq!(rig.card().told, Told::default(), "nothing unasked");
    assert!(ask_all(&mut rig).iter().all(Result::is_ok));
    assert_eq!(rig.card().told, told_all());
    assert_eq!(rig.nic.info().mac, MAC);
    assert_eq!(rig.nic.set_vlan(vlan(7), false), Ok(()));
    assert_eq!(rig.card().told.vlans, [4094].into());
    rig.assert_traffic_flows();
}

#[test]
fn what_the_card_cannot_do_is_said() {
    let mut rig = with(Features::CTRL_VQ);
    for outcome in ask_all(&mut rig) {
        assert!(matches!(outcome, Err(ControlError::Unsupported(_))));
    }
    assert_eq!(rig.nic.stats().commands, 0);
    let mut rig = Rig::new();
    for outcome in ask_all(&mut rig) {
        assert!(matches!(outcome, Err(ControlError::Unsupported(_))));
    }
    assert_ne!(rig.nic.info().mac, MAC);
    rig.assert_traffic_flows();
}

#[test]
fn a_filter_opens_before_it_closes_and_overflows_into_more() {
    let mut rig = with(ALL - Features::CTRL_RX_EXTRA);
    let many = RxFilter {
        groups: (0..65).map(group).collect(),
        stations: (0..65).map(|n| MacAddr([2, 0, 0, 0, 0, n])).collect(),
        ..RxFilter::default()
    };
    assert_eq!(rig.nic.set_filter(&many), Ok(()));
    let told = rig.card().told.clone();
    assert_eq!(told.switches, [(0, true), (1, true)].into());
    assert!(told.table.iter().all(Vec::is_empty));
    let all = RxFilter {
        promiscuous: true,
        all_multicast: true,
        ..filter()
    };
    assert_eq!(rig.nic.set_filter(&all), Ok(()));
    assert_eq!(rig.card().told.switches, [(0, true), (1, true)].into());
    assert_eq!(rig.nic.set_filter(&RxFilter::default()), Ok(()));
    assert_eq!(rig.card().told.switches, [(0, false), (1, false)].into());
}

#[test]
fn a_station_without_groups_or_broadcasts_wants_none() {
    let mut rig = with(ALL);
    let quiet = RxFilter {
        broadcast: false,
        ..RxFilter::default()
    };
    assert_eq!(rig.nic.set_filter(&quiet), Ok(()));
    let switches = [(0, false), (1, false), (3, true), (5, true)].into();
    assert_eq!(rig.card().told.switches, switches);
}

#[test]
fn a_reset_brings_back_what_was_asked_for() {
    let mut rig = with(ALL);
    assert!(ask_all(&mut rig).iter().all(Result::is_ok));
    rig.card().faults.needs_reset = true;
    rig.nic.link();
    assert_eq!(rig.nic.health(), Health::Broken(DeviceFault::NeedsReset));
    assert_eq!(rig.card().told, told_all());
    rig.nic.reset().expect("comes up");
    assert_eq!(rig.card().told, told_all(), "the reset cleared it");
    assert_eq!(rig.nic.info().mac, MAC);
    rig.assert_traffic_flows();
}

/// Some devices keep an address that they were given, others go back to their own.
#[test]
fn a_card_may_keep_its_new_address_over_a_reset() {
    let mut rig = with(ALL);
    assert_eq!(rig.nic.set_mac(MAC), Ok(()));
    rig.card().config[..6].copy_from_slice(&MAC.0);
    rig.nic.reset().expect("comes up");
    rig.card().config[..6].copy_from_slice(&[2, 7, 7, 7, 7, 7]);
    assert_eq!(rig.nic.reset(), Err(DriverError::Changed));
}

#[test]
fn what_is_asked_of_a_broken_card_is_done_after_its_reset() {
    let mut rig = with(ALL);
    rig.card().faults.needs_reset = true;
    rig.nic.link();
    for outcome in ask_all(&mut rig) {
        let broken = Err(ControlError::Broken(DeviceFault::NeedsReset));
        assert_eq!(outcome, broken);
    }
    assert_eq!(rig.card().told, Told::default());
    rig.nic.reset().expect("comes up");
    assert_eq!(rig.card().told, told_all());
}

#[test]
fn a_refusal_leaves_all_as_it_was() {
    let mut rig = with(ALL);
    rig.card().manner = Manner::Refuses;
    for outcome in ask_all(&mut rig) {
        assert!(matches!(outcome, Err(ControlError::Refused(_))));
    }
    assert_eq!(rig.nic.health(), Health::Ok);
    rig.card().manner = Manner::Obeys;
    rig.nic.reset().expect("comes up");
    assert_eq!(rig.card().told, Told::default(), "nothing to restore");
    rig.assert_traffic_flows();
}

#[test]
fn only_addresses_of_stations_are_set() {
    let mut rig = with(ALL);
    for bad in [[0; 6], [0xff; 6], group(1).0] {
        let outcome = rig.nic.set_mac(MacAddr(bad));
        assert!(matches!(outcome, Err(ControlError::Refused(_))));
    }
    assert_eq!(rig.nic.stats().commands, 0);
    assert_eq!(VlanId::new(4095), None);
}

#[test]
fn a_card_that_never_answers_is_reset_and_nothing_is_lost() {
    let mut rig = with(ALL);
    rig.card().manner = Manner::Silent;
    let fault = DeviceFault::NoAnswer {
        command: "another hardware address",
        ms: 1000,
    };
    assert_eq!(rig.nic.set_mac(MAC), Err(ControlError::Broken(fault)));
    assert_eq!(rig.nic.health(), Health::Broken(fault));
    assert_eq!(rig.lent().control, 1);
    let (lent, stats) = (rig.lent(), rig.bench.pool.stats());
    assert_eq!(stats.packets_in_use, lent.rx + lent.tx + lent.control);
    // Still silent, it does not come up; it is tried again later.
    let failed = rig.nic.reset();
    assert_eq!(
        failed,
        Err(DriverError::Control(ControlError::Broken(fault)))
    );
    rig.card().manner = Manner::Obeys;
    rig.nic.reset().expect("comes up");
    assert_eq!(rig.card().told.mac, Some(MAC.0));
    assert_eq!(rig.lent().control, 0);
    rig.assert_traffic_flows();
}

/// As for frames: the card asked for the doorbell while the command was published, and neither saw the other.
#[test]
fn a_doorbell_that_is_asked_for_late_rings_while_the_answer_is_waited_for() {
    for without in [Features::empty(), Features::EVENT_IDX] {
        let mut rig = Setup {
            besides: ALL,
            without,
            ..Setup::default()
        }
        .start();
        let queue = rig.card().control_queue().expect("there is one");
        rig.card().suppress_doorbells(queue);
        let card = rig.bench.card.clone();
        let asks = move || _ = card.lock().expect("no panic inside").want_doorbell(queue);
        let host = rig.bench.host;
        assert!(host.meanwhile.set(Box::new(asks)).is_ok());
        assert_eq!(rig.nic.set_mac(MAC), Ok(()));
        assert_eq!(rig.card().told.mac, Some(MAC.0));
        assert_eq!(rig.card().doorbells[queue], 1);
        rig.assert_traffic_flows();
    }
}

#[test]
fn an_answer_that_is_none_is_a_fault() {
    for answer in [2, 0x7f, 0xff] {
        let mut rig = with(ALL);
        rig.card().manner = Manner::Answers(answer);
        let fault = DeviceFault::BadAnswer {
            command: "another hardware address",
            answer,
        };
        assert_eq!(rig.nic.set_mac(MAC), Err(ControlError::Broken(fault)));
        rig.card().manner = Manner::Obeys;
        rig.nic.reset().expect("comes up");
        rig.assert_traffic_flows();
    }
}

#[test]
fn a_control_queue_that_lies_breaks_the_card() {
    let mut rig = with(ALL);
    let queue = 2;
    rig.card().forge(queue, 3, 1);
    let outcome = rig.nic.set_mac(MAC);
    assert!(
        matches!(outcome, Err(ControlError::Broken(_))),
        "{outcome:?}"
    );
    rig.nic.reset().expect("comes up");
    rig.assert_traffic_flows();
}

#[test]
fn without_a_free_packet_a_request_fails_and_may_be_repeated() {
    let mut rig = with(ALL);
    let mut hoard = PacketQueue::new();
    assert!(!rig.bench.pool.alloc_burst(1000, &mut hoard).is_complete());
    assert_eq!(rig.nic.set_mac(MAC), Err(ControlError::NoBuffer));
    hoard.clear();
    assert_eq!(rig.nic.set_mac(MAC), Ok(()));
    rig.assert_idle();
}

#[test]
fn an_announcement_is_asked_for_until_it_is_acknowledged() {
    let mut rig = with(ALL);
    rig.nic.link();
    assert!(!rig.nic.wants_announcement());
    rig.card().config[6] = 3;
    rig.card().pending = 2;
    rig.nic.on_interrupt();
    assert!(rig.nic.wants_announcement());
    assert_eq!(rig.nic.announced(), Ok(()));
    rig.card().config[6] = 1;
    assert_eq!(rig.card().told.announced, 1);
    rig.nic.link();
    assert!(!rig.nic.wants_announcement());
    // Not negotiated, the bit means nothing.
    let mut rig = with(ALL - Features::GUEST_ANNOUNCE);
    rig.card().config[6] = 3;
    rig.nic.link();
    assert!(!rig.nic.wants_announcement());
}

#[test]
fn the_speed_of_the_link_is_what_the_card_says() {
    use drivers::net::LinkState;
    if !LATER_FEATURES {
        return;
    }
    let mut rig = with(Features::SPEED_DUPLEX);
    for (said, mbps) in [
        (10_000_u32, Some(10_000)),
        (u32::MAX, None),
        (0, None),
        (1 << 31, None),
    ] {
        rig.card().config[12..16].copy_from_slice(&said.to_le_bytes());
        assert_eq!(rig.nic.link(), LinkState::Up { mbps });
    }
    let mut rig = Rig::new();
    rig.card().config[12..16].copy_from_slice(&10_u32.to_le_bytes());
    assert_eq!(rig.nic.link(), LinkState::Up { mbps: None });
}

/// A card with `max` pairs of which `pairs` are wanted.
fn several(besides: Features, pairs: u16, card: fn(&mut Card)) -> Rig {
    Setup {
        besides: ALL | besides,
        rings: Options {
            rx_ring: 16,
            tx_ring: 16,
            pairs,
            ..Options::default()
        },
        packets: 256,
        card,
        ..Setup::default()
    }
    .start()
}

fn four(card: &mut Card) {
    card.config[8] = 4;
    card.config[17] = 40;
    card.config[18] = 128;
    card.config[20] = 0x3f;
}

#[track_caller]
fn traffic_flows_on_all(rig: &mut Rig) {
    let pairs = rig.nic.info().queue_pairs;
    for n in 0..pairs {
        let queue = QueueId(n);
        let (rx, tx) = (usize::from(2 * n), usize::from(2 * n + 1));
        for round in 0..40 {
            let text = frame(round, 60);
            assert!(rig.card().deliver_to(rx, Header::default(), &text));
            let mut got = PacketQueue::new();
            assert_eq!(rig.nic.rx_burst(queue, 64, &mut got), 1);
            assert_eq!(got.front().map(|p| p.data().to_vec()), Some(text.clone()));
            drop(got);
            rig.nic.refill(queue);
            let mut out = PacketQueue::new();
            out.push_back(rig.packet(&text));
            assert_eq!(rig.nic.tx_burst(queue, &mut out), 1);
            rig.nic.flush(queue);
            let posted = rig.card().fetch_from(tx).expect("posted");
            assert_eq!(posted.frame(), text);
            rig.card().complete(tx, posted.head, 0);
            assert_eq!(rig.nic.reclaim(queue), 1);
        }
        assert_eq!(rig.nic.arm(queue), Armed::Sleep);
        let lent = rig.nic.lent(queue);
        assert_eq!((lent.rx, lent.tx), (16, 0));
    }
    let in_use = rig.bench.pool.stats().packets_in_use;
    assert_eq!(in_use, 16 * usize::from(pairs), "a leak");
}

#[test]
fn several_pairs_are_used_if_they_are_asked_for() {
    for (pairs, used) in [(1, 1), (2, 2), (4, 4), (9, 4)] {
        let mut rig = several(Features::MQ, pairs, four);
        assert_eq!(rig.nic.info().queue_pairs, used);
        let told = (used > 1).then_some(used);
        assert_eq!(rig.card().told.pairs, told);
        traffic_flows_on_all(&mut rig);
        assert_eq!(
            rig.nic.set_mac(MAC),
            Ok(()),
            "control is where it should be"
        );
        rig.nic.reset().expect("comes up");
        assert_eq!(rig.card().told.pairs, told);
        traffic_flows_on_all(&mut rig);
    }
}

/// QEMU retries a frame that waits at the doorbell of the queue that it came by, and a hash may send
/// it to another one: without a buffer there, nothing more came by the first.
#[test]
fn all_rings_have_buffers_before_a_doorbell_rings() {
    for steering in [Features::MQ, Features::MQ | Features::RSS] {
        let mut rig = several(steering, 4, four);
        assert_eq!(rig.card().unfed, Some(0));
        rig.nic.reset().expect("comes up");
        assert_eq!(rig.card().unfed, Some(0));
    }
}

#[test]
fn a_transmitter_that_hangs_is_found_though_the_others_send() {
    for stuck in 0..2 {
        let mut rig = several(Features::MQ, 2, four);
        let mut out = PacketQueue::new();
        out.push_back(rig.packet(&frame(0, 60)));
        assert_eq!(rig.nic.tx_burst(QueueId(stuck), &mut out), 1);
        rig.nic.flush(QueueId(stuck));
        let other = QueueId(1 - stuck);
        let ring = usize::from(2 * other.0 + 1);
        for second in 0..6 {
            assert_eq!(rig.nic.health(), Health::Ok, "after {second} s");
            out.push_back(rig.packet(&frame(second, 60)));
            assert_eq!(rig.nic.tx_burst(other, &mut out), 1);
            rig.nic.flush(other);
            let posted = rig.card().fetch_from(ring).expect("posted");
            rig.card().complete(ring, posted.head, 0);
            assert_eq!(rig.nic.reclaim(other), 1);
            rig.nic.link();
            rig.bench.host.now_ms.fetch_add(1000, Relaxed);
        }
        let queue = 2 * stuck + 1;
        let fault = DeviceFault::Stalled { queue, ms: 5000 };
        assert_eq!(rig.nic.health(), Health::Broken(fault));
        rig.nic.reset().expect("comes up");
        traffic_flows_on_all(&mut rig);
    }
}

#[test]
fn a_hash_steers_where_the_card_can() {
    if !LATER_FEATURES {
        return;
    }
    let mut rig = several(Features::MQ | Features::RSS, 3, four);
    let expected: Vec<u16> = (0..128).map(|n| n % 3).collect();
    assert_eq!(rig.card().told.pairs, Some(3));
    assert_eq!(rig.card().told.steering, expected);
    traffic_flows_on_all(&mut rig);
    rig.nic.reset().expect("comes up");
    assert_eq!(rig.card().told.steering, expected);
    // A card whose limits make no sense steers by itself.
    for nonsense in [
        |card: &mut Card| {
            four(card);
            card.config[17] = 39;
        },
        |card: &mut Card| {
            four(card);
            card.config[18] = 0;
        },
        |card: &mut Card| {
            four(card);
            card.config[20] = 0xc0;
        },
    ] {
        let mut rig = several(Features::MQ | Features::RSS, 2, nonsense);
        assert!(rig.card().told.steering.is_empty());
        assert_eq!(rig.card().told.pairs, Some(2));
        traffic_flows_on_all(&mut rig);
    }
}

#[test]
fn a_card_with_an_impossible_number_of_pairs_has_one() {
    for number in [0_u16, 1, 0x8000, 0xffff] {
        let card: fn(&mut Card) = match number {
            0 => |card| card.config[8..10].copy_from_slice(&0_u16.to_le_bytes()),
            1 => |card| card.config[8..10].copy_from_slice(&1_u16.to_le_bytes()),
            0x8000 => |card| card.config[8..10].copy_from_slice(&0x8000_u16.to_le_bytes()),
            _ => |card| card.config[8..10].copy_from_slice(&0xffff_u16.to_le_bytes()),
        };
        let mut rig = several(Features::MQ, 4, card);
        assert_eq!(rig.nic.info().queue_pairs, 1);
        traffic_flows_on_all(&mut rig);
    }
}

#[test]
fn a_fault_in_any_pair_stops_the_card_and_a_reset_heals_it() {
    let mut rig = several(Features::MQ, 4, four);
    rig.card().forge(6, 999, 0);
    let mut none = PacketQueue::new();
    assert_eq!(rig.nic.rx_burst(QueueId(3), 64, &mut none), 0);
    assert!(matches!(rig.nic.health(), Health::Broken(_)));
    assert!(rig.card().deliver(&frame(0, 60)));
    assert_eq!(rig.nic.rx_burst(PAIR, 64, &mut none), 0);
    rig.nic.reset().expect("comes up");
    traffic_flows_on_all(&mut rig);
}

#[test]
fn no_pairs_at_all_are_refused() {
    let setup = Setup {
        rings: Options {
            pairs: 0,
            ..Options::default()
        },
        ..Setup::default()
    };
    let refused = setup.try_start().1.err();
    assert!(matches!(
        refused,
        Some(DriverError::BadOption {
            name: "nic.queues",
            ..
        })
    ));
}
