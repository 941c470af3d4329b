//! What is asked of a card besides moving packets: told at once, and again after a reset.

use std::sync::atomic::Ordering::Relaxed;

use crate::models::intel::{MAC, at};
use crate::models::intel_igb::reg;
use crate::models::intel_rig::{KINDS, Rig};
use drivers::DeviceFault;
use drivers::intel::Family;
use drivers::net::{ControlError, MacAddr, Moderation, NetDevice, RxFilter, VlanId};

const OTHER: [u8; 6] = [2, 1, 2, 3, 4, 5];
const STRANGER: [u8; 6] = [2, 9, 9, 9, 9, 9];
const EVERYBODY: [u8; 6] = [0xff; 6];

fn group(n: u8) -> [u8; 6] {
    [0x33, 0x33, 0, 0, 0, n]
}

fn vlan(id: u16) -> VlanId {
    VlanId::new(id).expect("in range")
}

fn filter() -> RxFilter {
    RxFilter {
        stations: vec![MacAddr(STRANGER)],
        groups: vec![MacAddr(group(1)), MacAddr(group(2))],
        ..RxFilter::default()
    }
}

#[track_caller]
fn admits(rig: &Rig, to: [u8; 6]) -> bool {
    rig.card().admits(to, None)
}

#[test]
fn before_anything_is_asked_all_groups_and_no_strangers_pass() {
    for kind in KINDS {
        let rig = Rig::with(kind);
        assert!(admits(&rig, MAC) && admits(&rig, EVERYBODY) && admits(&rig, group(9)));
        assert!(!admits(&rig, STRANGER));
        assert!(
            !rig.card().admits(MAC, Some(7)),
            "no VLAN unless it is asked for"
        );
    }
}

/// Asks for everything that can be asked for.
fn ask_all(rig: &mut Rig) -> [Result<(), ControlError>; 5] {
    let limits = Moderation {
        max_usecs: 20,
        max_packets: 0,
    };
    [
        rig.nic.set_mac(MacAddr(OTHER)),
        rig.nic.set_filter(&filter()),
        rig.nic.set_vlan(vlan(7), true),
        rig.nic.set_vlan(vlan(4094), true),
        rig.nic.set_moderation(limits),
    ]
}

#[track_caller]
fn all_holds(rig: &Rig) {
    assert_eq!(rig.nic.info().mac, MacAddr(OTHER));
    assert!(admits(rig, OTHER) && admits(rig, STRANGER) && admits(rig, EVERYBODY));
    assert!(!admits(rig, MAC), "its own address is not its any more");
    assert!(admits(rig, group(1)) && admits(rig, group(2)) && !admits(rig, group(3)));
    let card = rig.card();
    for (id, passes) in [(0, false), (6, false), (7, true), (8, false), (4094, true)] {
        assert_eq!(card.admits(OTHER, Some(id)), passes, "VLAN {id}");
    }
    if card.register(reg::EITR0) != 0 {
        for vector in [reg::EITR0, reg::EITR1] {
            assert_eq!(card.register(vector), 1 << 31 | 20 << 2, "20 us");
        }
    } else {
        assert_eq!(card.register(at::ITR), 78, "20 us in steps of 256 ns");
    }
}

#[test]
fn what_is_asked_holds_at_once_and_after_a_reset() {
    for kind @ (family, _) in KINDS {
        for forgets_nothing in [false, true] {
            let mut rig = Rig::with(kind);
            let control = rig.card().register(at::RCTL);
            assert_eq!(ask_all(&mut rig), [Ok(()); 5]);
            assert_eq!(rig.nic.stats().commands, 5);
            all_holds(&rig);
            assert_eq!(rig.card().register(at::RCTL), control, "left alone");
            if family == Family::E82574 {
                assert_eq!(rig.card().register(at::EITR0), 78);
            }
            rig.card().faults.forgets_nothing = forgets_nothing;
            rig.nic.reset().expect("comes up");
            all_holds(&rig);
            rig.assert_traffic_flows();
        }
    }
}

#[test]
fn a_broken_card_is_told_with_its_reset() {
    let mut rig = Rig::with(KINDS[2]);
    rig.card().faults.gone = true;
    rig.nic.link();
    let broken = Err(ControlError::Broken(DeviceFault::Gone));
    assert_eq!(ask_all(&mut rig), [broken; 5]);
    rig.card().faults.gone = false;
    rig.bench.host.now_ms.fetch_add(1000, Relaxed);
    rig.nic.reset().expect("comes up");
    all_holds(&rig);
    rig.assert_traffic_flows();
}

#[test]
fn the_last_wish_counts() {
    let mut rig = Rig::with(KINDS[0]);
    assert_eq!(ask_all(&mut rig), [Ok(()); 5]);
    rig.nic.set_vlan(vlan(7), false).expect("it can");
    assert!(!rig.card().admits(OTHER, Some(7)));
    assert!(rig.card().admits(OTHER, Some(4094)));
    let mut wanted = RxFilter::default();
    rig.nic.set_filter(&wanted).expect("it can");
    assert!(!admits(&rig, STRANGER) && !admits(&rig, group(1)) && admits(&rig, OTHER));
    wanted.all_multicast = true;
    rig.nic.set_filter(&wanted).expect("it can");
    assert!(!admits(&rig, STRANGER) && admits(&rig, group(9)));
    wanted.promiscuous = true;
    rig.nic.set_filter(&wanted).expect("it can");
    assert!(admits(&rig, STRANGER) && admits(&rig, group(9)));
    rig.nic.reset().expect("comes up");
    assert!(admits(&rig, STRANGER));
    rig.nic.set_filter(&filter()).expect("it can");
    assert!(admits(&rig, STRANGER) && !admits(&rig, [2, 9, 9, 9, 9, 8]));
    rig.assert_traffic_flows();
}

#[test]
fn more_stations_than_there_is_room_for_are_all_stations() {
    let mut rig = Rig::with(KINDS[1]);
    let mut wanted = RxFilter::default();
    for n in 0..15 {
        wanted.stations.push(MacAddr([2, 0, 0, 0, 0, n]));
        rig.nic.set_filter(&wanted).expect("it can");
        for n in 0..=n {
            assert!(admits(&rig, [2, 0, 0, 0, 0, n]));
        }
        assert_eq!(admits(&rig, STRANGER), n == 14);
    }
    rig.assert_traffic_flows();
}

#[test]
fn what_a_card_cannot_do_is_refused() {
    let mut rig = Rig::with(KINDS[0]);
    for mac in [[0; 6], group(1), EVERYBODY] {
        let why = rig.nic.set_mac(MacAddr(mac));
        assert!(matches!(why, Err(ControlError::Refused(_))));
    }
    let limits = Moderation {
        max_usecs: 20,
        max_packets: 8,
    };
    let why = rig.nic.set_moderation(limits);
    assert!(matches!(why, Err(ControlError::Unsupported(_))));
    assert_eq!(rig.nic.info().mac, MacAddr(MAC));
    assert!(!rig.nic.wants_announcement());
    rig.assert_traffic_flows();
}
