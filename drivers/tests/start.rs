//! Starting, stopping and resetting: what the device lacks or refuses is said, nothing is left
//! behind, and what may still be written to is kept.

mod models;

/// Split rings, unless a test says otherwise.
#[allow(dead_code, reason = "for the models")]
const PACKED: bool = false;

/// Their interface: the modern one.
#[allow(dead_code, reason = "for the models")]
const LEGACY: bool = false;

/// Their devices complete in any order.
#[allow(dead_code, reason = "for the models")]
const IN_ORDER: bool = false;

use std::sync::atomic::Ordering::Relaxed;

use drivers::host::HostError;
use drivers::net::{Armed, DropReason, Health, LinkState, MacAddr, NetDevice};
use drivers::virtio::net::Options;
use drivers::virtio::{Features, Status};
use drivers::{DeviceFault, DriverError};
use models::bench::{Bench, PAIR};
use models::*;

const RUNNING: u8 = 0xf;

/// The driver refuses to start, and leaves no packet, no memory and no running device behind.
#[track_caller]
fn refused(setup: Setup) -> DriverError {
    let (Bench { card, pool, host }, rig) = setup.try_start();
    let Err(why) = rig else { panic!("it started") };
    assert_eq!(pool.stats().packets_in_use, 0);
    assert_eq!(
        host.dma.live(),
        pool.stats().live_segments,
        "ring memory is left behind"
    );
    let card = card.lock().expect("no panic inside");
    assert_eq!(card.doorbells, [0; QUEUES]);
    assert_eq!(
        card.status & RUNNING & Status::DRIVER_OK.bits(),
        0,
        "it runs"
    );
    why
}

fn card(change: fn(&mut Card)) -> Setup {
    Setup {
        card: change,
        ..Setup::default()
    }
}

#[test]
fn buffers_are_posted_and_the_doorbell_rings_after_the_driver_is_ready() {
    let rig = Rig::new();
    let card = rig.card();
    assert_eq!(card.status, RUNNING);
    assert_eq!(card.early_doorbells, 0);
    assert_eq!(
        (card.doorbells[..2].to_vec(), card.available(RX)),
        (vec![1, 0], 16)
    );
}

#[test]
fn the_device_is_what_it_says() {
    let rig = Rig::new();
    let info = rig.nic.info();
    assert_eq!(info.mac, MacAddr([0x52, 0x54, 0, 0x12, 0x34, 0x56]));
    assert_eq!((info.mtu, info.rx_ring, info.tx_ring), (1500, 16, 16));
    assert_eq!(info.features.split(' ').next(), Some("split"));
}

#[test]
fn a_device_without_an_address_gets_the_same_local_one_each_time() {
    let mac = || {
        let without = Features::MAC;
        Setup {
            without,
            ..Setup::default()
        }
        .start()
        .nic
        .info()
        .mac
    };
    assert!(mac().is_station());
    assert_eq!((mac(), mac().0[0] & 3), (mac(), 2));
}

#[test]
fn an_mtu_is_kept_and_one_that_cannot_be_is_ignored() {
    let mtu = |change| card(change).start().nic.info().mtu;
    assert_eq!(
        mtu(|card| card.config[10..12].copy_from_slice(&576_u16.to_le_bytes())),
        576
    );
    assert_eq!(
        mtu(|card| card.config[10..12].copy_from_slice(&9000_u16.to_le_bytes())),
        1500
    );
    assert_eq!(
        mtu(|card| card.config[10..12].copy_from_slice(&0_u16.to_le_bytes())),
        1500
    );
    assert_eq!(
        mtu(|card| card.config[10..12].copy_from_slice(&67_u16.to_le_bytes())),
        1500
    );
}

/// Accepting an MTU is a promise of receive buffers for it (virtio 1.2, 5.1.4.2).
#[test]
fn an_mtu_for_which_there_are_no_buffers_is_not_accepted() {
    let accepted = |change| {
        let rig = card(change).start();
        let accepted = rig.card().accepted;
        accepted & Features::MTU.bits() != 0
    };
    assert!(accepted(
        |card| card.config[10..12].copy_from_slice(&1500_u16.to_le_bytes())
    ));
    assert!(!accepted(
        |card| card.config[10..12].copy_from_slice(&1501_u16.to_le_bytes())
    ));
    assert!(!accepted(
        |card| card.config[10..12].copy_from_slice(&67_u16.to_le_bytes())
    ));
}

#[test]
fn the_link_follows_the_device() {
    let mut rig = Rig::new();
    assert_eq!(rig.nic.link(), LinkState::Up { mbps: None });
    rig.card().config[6] = 0;
    assert_eq!(rig.nic.link(), LinkState::Down);
}

#[test]
fn a_group_address_is_refused() {
    assert_eq!(
        refused(card(|card| card.config[..6].fill(0xff))),
        DriverError::BadMac([0xff; 6])
    );
    assert_eq!(
        refused(card(|card| card.config[..6].fill(0))),
        DriverError::BadMac([0; 6])
    );
}

#[test]
fn a_device_from_before_virtio_1_is_refused() {
    let setup = Setup {
        without: Features::VERSION_1,
        ..Setup::default()
    };
    assert_eq!(
        refused(setup),
        DriverError::FeatureMissing("VIRTIO_F_VERSION_1")
    );
}

#[test]
fn refused_features_are_reported_with_what_was_offered() {
    let why = refused(card(|card| card.faults.refuses_features = true));
    let offered = OFFERED.bits();
    assert!(
        matches!(why, DriverError::FeaturesRefused { offered: o, accepted }
        if o == offered && accepted != 0 && accepted & !offered == 0)
    );
}

#[test]
fn features_that_nobody_knows_are_not_accepted() {
    let rig = card(|card| card.offered = u64::MAX).start();
    assert_eq!(rig.card().accepted & !Features::all().bits(), 0);
}

#[test]
fn missing_and_tiny_queues_are_refused() {
    let why = |queue, max| DriverError::QueueTooSmall { queue, max };
    assert_eq!(refused(card(|card| card.queue_max = [0, 256])), why(0, 0));
    assert_eq!(refused(card(|card| card.queue_max = [256, 0])), why(1, 0));
    assert_eq!(refused(card(|card| card.queue_max = [1, 256])), why(0, 1));
    assert_eq!(refused(card(|card| card.queue_max = [256, 1])), why(1, 1));
}

#[test]
fn queue_sizes_that_are_no_powers_of_two_are_rounded_down() {
    for (max, size) in [(2, 2), (3, 2), (15, 8), (300, 16), (0xffff, 16)] {
        let (_, rig) = Setup::default().try_start();
        drop(rig);
        let setup = match max {
            2 => card(|card| card.queue_max = [2; 2]),
            3 => card(|card| card.queue_max = [3; 2]),
            15 => card(|card| card.queue_max = [15; 2]),
            300 => card(|card| card.queue_max = [300; 2]),
            _ => card(|card| card.queue_max = [0xffff; 2]),
        };
        let mut rig = setup.start();
        assert_eq!(
            (rig.nic.info().rx_ring, rig.nic.info().tx_ring),
            (size, size),
            "of {max}"
        );
        rig.assert_traffic_flows();
    }
}

#[test]
fn a_queue_that_does_not_start_is_refused() {
    let why = |queue| DriverError::QueueRefused { queue };
    assert_eq!(
        refused(card(|card| card.faults.refuses_queue = Some(0))),
        why(0)
    );
    assert_eq!(
        refused(card(|card| card.faults.refuses_queue = Some(1))),
        why(1)
    );
}

#[test]
fn ring_sizes_that_make_no_sense_are_refused() {
    for (rx_ring, tx_ring) in [(0, 16), (16, 1), (48, 16), (16, 0xffff)] {
        let rings = Options {
            rx_ring,
            tx_ring,
            ..Options::default()
        };
        let (_, rig) = Setup {
            rings,
            ..Setup::default()
        }
        .try_start();
        assert!(
            matches!(rig.err(), Some(DriverError::BadOption { .. })),
            "{rings:?}"
        );
    }
}

#[test]
fn rings_for_which_there_is_no_memory_are_refused() {
    let rings = Options {
        rx_ring: 32768,
        tx_ring: 32768,
        ..Options::default()
    };
    let starts = |memory| {
        let (bench, rig) = Setup {
            rings,
            memory,
            ..Setup::default()
        }
        .try_start();
        match rig {
            Ok(_) => return true,
            Err(DriverError::Host(HostError::OutOfDmaMemory { len })) => assert!(len > 800 << 10),
            Err(why) => panic!("{why}"),
        }
        assert_eq!(
            bench.host.dma.live(),
            bench.pool.stats().live_segments,
            "a ring is left"
        );
        false
    };
    let steps: Vec<_> = (2..16).map(|step| starts(step * (256 << 10))).collect();
    assert!(!steps[0] && steps[13] && steps.is_sorted(), "{steps:?}");
}

#[test]
fn a_device_that_stays_in_reset_is_refused() {
    let why = refused(card(|card| {
        card.status = 1;
        card.faults.reset_hangs = true;
    }));
    assert_eq!(why, DriverError::Timeout("the device's reset"));
}

#[test]
fn a_device_that_is_gone_is_refused() {
    assert!(matches!(
        refused(card(|card| card.faults.gone = true)),
        DriverError::Timeout(_)
    ));
}

#[test]
fn a_device_that_asks_for_a_reset_gets_one() {
    let mut rig = Rig::new();
    rig.card().faults.needs_reset = true;
    rig.nic.link();
    assert_eq!(rig.nic.health(), Health::Broken(DeviceFault::NeedsReset));
    rig.nic.reset().expect("comes up");
    rig.assert_traffic_flows();
}

#[test]
fn an_interrupt_that_the_rings_do_not_explain_finds_the_request_for_a_reset() {
    let mut rig = Rig::new();
    rig.card().pending = 2;
    rig.nic.on_interrupt();
    assert_eq!(rig.nic.health(), Health::Ok, "a change of configuration");
    rig.card().faults.needs_reset = true;
    rig.card().pending = 2;
    rig.nic.on_interrupt();
    assert_eq!(rig.nic.health(), Health::Broken(DeviceFault::NeedsReset));
    rig.nic.reset().expect("comes up");
    rig.assert_traffic_flows();
}

#[test]
fn a_device_that_stopped_by_itself_is_started_again() {
    let mut rig = Rig::new();
    rig.card().status = 0;
    rig.nic.link();
    assert_eq!(
        rig.nic.health(),
        Health::Broken(DeviceFault::Stopped { status: 0 })
    );
    rig.nic.reset().expect("comes up");
    rig.assert_traffic_flows();
}

#[test]
fn a_device_that_went_away_keeps_what_it_holds_until_it_comes_back() {
    let mut rig = Rig::new();
    assert!(rig.post(&frame(1, 60)));
    rig.card().faults.gone = true;
    rig.nic.link();
    assert_eq!(rig.nic.health(), Health::Broken(DeviceFault::Gone));
    assert!(matches!(rig.nic.reset(), Err(DriverError::Timeout(_))));
    assert_eq!((rig.lent().rx, rig.lent().tx), (16, 1));
    assert_eq!(rig.bench.pool.stats().packets_in_use, 17);
    rig.card().faults.gone = false;
    rig.nic.reset().expect("it is back");
    rig.assert_traffic_flows();
}

#[test]
fn a_reset_that_never_ends_leaves_packets_lent_and_the_drop_counts_them_as_leaked() {
    let (bench, rig) = Setup::default().try_start();
    let mut rig = rig.expect("starts");
    rig.card().faults.reset_hangs = true;
    rig.card().forge(RX, 99, 0);
    rig.poll();
    for _ in 0..3 {
        assert!(matches!(rig.nic.reset(), Err(DriverError::Timeout(_))));
        assert_eq!(rig.lent().rx, 16, "the device may still write to them");
        assert_eq!(bench.pool.stats().leaked, 0);
    }
    assert_eq!(rig.nic.stats().resets, 0);
    let rings = bench.host.dma.live();
    drop(rig);
    assert_eq!(bench.pool.stats().leaked, 16);
    assert_eq!(bench.pool.stats().packets_in_use, 16);
    assert_eq!(
        bench.host.dma.live(),
        rings,
        "the rings are never given to anyone else"
    );
}

#[test]
fn a_reset_that_fails_is_not_tried_at_every_turn() {
    let mut rig = Rig::new();
    rig.card().faults.reset_hangs = true;
    rig.card().forge(RX, 99, 0);
    rig.poll();
    let mut tries = 0;
    for _ in 0..60_000 {
        if let Health::Broken(_) = rig.nic.health() {
            assert_eq!(rig.arm(), Armed::Work);
            assert!(rig.nic.reset().is_err());
            tries += 1;
        }
        assert_eq!(rig.nic.health(), Health::Waiting(DeviceFault::ResetFailed));
        assert_eq!(rig.arm(), Armed::Sleep);
        rig.bench.host.now_ms.fetch_add(1, Relaxed);
    }
    assert!((8..16).contains(&tries), "{tries} resets in a minute");
    rig.card().faults.reset_hangs = false;
    rig.bench.host.now_ms.fetch_add(10_000, Relaxed);
    assert!(matches!(rig.nic.health(), Health::Broken(_)));
    rig.nic.reset().expect("comes up");
    rig.assert_traffic_flows();
}

#[test]
fn a_device_that_breaks_at_once_after_each_reset_does_not_keep_the_machine_busy() {
    let mut rig = Rig::new();
    for _ in 0..60_000 {
        if rig.nic.health() == Health::Ok {
            rig.card().forge(RX, 99, 0);
            rig.poll();
        }
        if let Health::Broken(_) = rig.nic.health() {
            rig.nic.reset().expect("comes up");
        }
        rig.bench.host.now_ms.fetch_add(1, Relaxed);
    }
    assert!(
        (8..16).contains(&rig.nic.stats().resets),
        "{}",
        rig.nic.stats().resets
    );
}

#[test]
fn a_restart_that_fails_leaves_nothing_behind_and_can_be_tried_again() {
    let mut rig = Rig::new();
    let segments = rig.bench.host.dma.live();
    rig.card().faults.refuses_queue = Some(1);
    for _ in 0..10 {
        assert_eq!(rig.nic.reset(), Err(DriverError::QueueRefused { queue: 1 }));
        assert_eq!(rig.bench.pool.stats().packets_in_use, 0);
        assert_eq!(
            rig.bench.host.dma.live(),
            segments - 2,
            "both rings are free"
        );
    }
    assert_eq!(
        rig.nic.stats().drops.get(DropReason::RxReset),
        16,
        "each packet counts once"
    );
    rig.card().faults.refuses_queue = None;
    rig.nic.reset().expect("comes up");
    rig.assert_traffic_flows();
}

#[test]
fn a_device_that_is_another_one_after_its_reset_is_refused() {
    let changes: [fn(&mut Card); 4] = [
        |card| card.offered &= !Features::CSUM.bits(),
        |card| card.config[5] ^= 1,
        |card| card.queue_max = [8; 2],
        |card| card.config[10..12].copy_from_slice(&1000_u16.to_le_bytes()),
    ];
    for change in changes {
        let mut rig = Rig::new();
        change(&mut rig.card());
        assert_eq!(rig.nic.reset(), Err(DriverError::Changed));
        assert_eq!(rig.bench.pool.stats().packets_in_use, 0);
        assert_eq!(rig.card().status & Status::DRIVER_OK.bits(), 0);
    }
}

#[test]
fn a_queue_pair_that_does_not_exist_is_idle() {
    let mut rig = Rig::new();
    let other = drivers::net::QueueId(1);
    assert_eq!(
        (
            rig.nic.refill(other),
            rig.nic.tx_room(other),
            rig.nic.reclaim(other)
        ),
        (0, 0, 0)
    );
    assert_eq!(rig.nic.lent(other), Default::default());
    rig.nic.flush(other);
    assert_eq!(rig.nic.arm(other), Armed::Sleep);
    assert_eq!(rig.nic.arm(PAIR), Armed::Sleep);
}
