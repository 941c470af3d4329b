//! What a card is told at its start, and what is refused.

use crate::models::intel::{IntelCard, MAC, at};
use crate::models::intel_igb::reg;
use crate::models::intel_rig::{KINDS, Setup};
use drivers::DriverError;
use drivers::intel::{Family, MODELS, Options};
use drivers::net::{InterruptMode, LinkState, MacAddr, NetDevice};

#[test]
fn a_card_is_reset_and_told_all_that_matters() {
    for kind @ (family, msix) in KINDS {
        let rig = Setup::new(kind).start();
        let info = rig.nic.info();
        assert_eq!(info.mac, MacAddr(MAC));
        assert_eq!((info.rx_ring, info.tx_ring, info.mtu), (16, 16, 1500));
        let mode = if msix {
            InterruptMode::MsiX(family.vectors(1))
        } else {
            InterruptMode::Line
        };
        assert_eq!(info.interrupts, mode);
        let card = rig.card();
        assert_eq!(card.resets, 1);
        assert_eq!(card.buffer_size(), 2048);
        assert_eq!(card.is_extended(), family != Family::E8254x);
        assert_eq!(card.receive_buffers(), 16);
        let receive = card.register(at::RCTL);
        // Enabled, broadcasts, only known VLANs, no check sequence; neither all stations or groups by
        // this register, nor bad or long frames.
        assert_eq!(receive & 0x0404_803e, 0x0404_8002, "{receive:#x}");
        assert_eq!(card.register(at::MTA), u32::MAX, "all groups");
        let transmit = card.register(at::TCTL);
        assert_eq!(transmit & 0x003f_fffa, 0x0004_00fa, "{transmit:#x}");
        assert_eq!(card.register(at::CTRL) & 0x7c00_0048, 0x40, "set link up");
        assert_eq!(card.register(at::RXCSUM), 0x300);
        assert_eq!(
            card.register(at::IMS),
            0,
            "all masked until the core sleeps"
        );
        let clear = if family.is_igb() { reg::EIAC } else { at::EIAC };
        assert_eq!(card.register(clear) != 0, msix);
        if family == Family::E8254x {
            assert_eq!(card.register(at::MANC), 0, "firmware answers nothing");
        }
        drop(card);
        rig.assert_idle();
    }
}

#[test]
fn a_card_that_keeps_its_registers_over_a_reset_works_too() {
    for kind in KINDS {
        let mut setup = Setup::new(kind);
        setup.card = |card| card.faults.forgets_nothing = true;
        let mut rig = setup.start();
        rig.assert_traffic_flows();
        rig.card().faults.forgets_nothing = true;
        rig.nic.reset().expect("comes up");
        rig.assert_traffic_flows();
    }
}

#[test]
fn every_buffer_size_is_told_as_it_is() {
    for (bytes, told) in [
        (2048, 2048),
        (4000, 2048),
        (4096, 4096),
        (8192, 8192),
        (16_384, 16_384),
    ] {
        let mut setup = Setup::new(KINDS[0]);
        setup.buffer = bytes;
        let mut rig = setup.start();
        assert_eq!(rig.card().buffer_size(), told);
        rig.assert_traffic_flows();
    }
}

#[test]
fn an_address_that_was_not_loaded_is_read_from_the_eeprom() {
    for kind in KINDS {
        let mut setup = Setup::new(kind);
        setup.card = |card| {
            card.faults.no_address = true;
            card.eeprom = [0x2202, 0x4433, 0x6655];
            card.put(at::RAL0, 0);
            card.put(at::RAH0, 0);
        };
        let rig = setup.start();
        let mac = MacAddr([0x02, 0x22, 0x33, 0x44, 0x55, 0x66]);
        assert_eq!(rig.nic.info().mac, mac);
        let low = rig.card().register(at::RAL0);
        assert_eq!(low, 0x4433_2202, "the filter has it");
        assert_eq!(rig.card().register(at::RAH0), 0x8000_6655);
    }
}

#[track_caller]
fn refused(setup: Setup) -> DriverError {
    let (bench, rig) = setup.try_start();
    let why = rig.err().expect("refused");
    assert_eq!(bench.pool.stats().packets_in_use, 0, "a leak");
    let transmits = bench
        .card
        .lock()
        .expect("no panic inside")
        .register(at::TCTL)
        & 2;
    assert_eq!(transmits, 0, "left running");
    why
}

#[test]
fn cards_that_cannot_be_started_are_refused_in_words() {
    type Change = fn(&mut IntelCard);
    let cases: [(Change, DriverError); 5] = [
        (|card| card.faults.gone = true, DriverError::NoDevice),
        (
            |card| {
                card.faults.reset_hangs = true;
            },
            DriverError::Timeout("the card to come out of its reset"),
        ),
        (
            |card| {
                card.faults.no_address = true;
                card.eeprom = [0; 3];
            },
            DriverError::BadMac([0; 6]),
        ),
        (
            |card| {
                card.faults.no_address = true;
                card.eeprom = [0xffff; 3];
            },
            DriverError::BadMac([0xff; 6]),
        ),
        (
            |card| {
                card.faults.no_address = true;
                card.faults.no_eeprom = true;
            },
            DriverError::BadMac([0; 6]),
        ),
    ];
    for kind in KINDS {
        for (change, why) in &cases {
            let mut setup = Setup::new(kind);
            setup.card = *change;
            assert_eq!(refused(setup), *why);
        }
    }
    let mut setup = Setup::new(KINDS[2]);
    setup.card = |card| card.faults.never_quiet = true;
    let why = DriverError::Timeout("the card to read its EEPROM");
    assert_eq!(refused(setup), why);
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let with = |options: fn(&mut Options)| {
        let mut setup = Setup::new(KINDS[0]);
        options(&mut setup.options);
        refused(setup)
    };
    for ring in [0, 1, 1025, u16::MAX] {
        let mut setup = Setup::new(KINDS[0]);
        setup.options.rx_ring = ring;
        let why = refused(setup);
        assert!(
            matches!(why, DriverError::BadOption { name: "ring.rx", value, .. } if value == usize::from(ring))
        );
    }
    let why = with(|options| options.tx_ring = 1025);
    assert!(matches!(
        why,
        DriverError::BadOption {
            name: "ring.tx",
            ..
        }
    ));
    let why = with(|options| options.mtu = 67);
    assert!(matches!(
        why,
        DriverError::BadOption {
            name: "mtu",
            value: 67,
            ..
        }
    ));
    let why = with(|options| options.mtu = 9001);
    assert!(matches!(why, DriverError::BadOption { name: "mtu", .. }));
    // A jumbo frame in one buffer of 2 KiB.
    let (size, needed) = (2048, 9014);
    let why = with(|options| options.mtu = 9000);
    assert_eq!(why, DriverError::BufferTooSmall { size, needed });
    let mut setup = Setup::new(KINDS[0]);
    setup.buffer = 1984;
    let (size, needed) = (1984, 2048);
    assert_eq!(refused(setup), DriverError::BufferTooSmall { size, needed });
}

#[test]
fn the_link_is_what_the_status_register_says() {
    let mut rig = Setup::new(KINDS[0]).start();
    let up = LinkState::Up { mbps: Some(1000) };
    assert_eq!(rig.nic.link(), up);
    rig.card().carrier = false;
    assert_eq!(rig.nic.link(), LinkState::Down);
    rig.card().carrier = true;
    assert_eq!(rig.nic.link(), up);
}

#[test]
fn a_driver_that_goes_away_leaves_a_stopped_card_and_a_full_pool() {
    for kind in KINDS {
        let mut rig = Setup::new(kind).start();
        assert!(rig.post(&[7; 60]));
        rig.nic.flush(crate::models::bench::PAIR);
        let bench = rig.bench.clone();
        drop(rig);
        let card = bench.card.lock().expect("no panic inside");
        assert_eq!(
            (card.register(at::RCTL) & 2, card.register(at::TCTL) & 2),
            (0, 0)
        );
        assert_eq!(bench.pool.stats().packets_in_use, 0);
    }
}

#[test]
fn no_model_is_listed_twice() {
    for (n, model) in MODELS.iter().enumerate() {
        assert!(
            MODELS[..n].iter().all(|other| other.device != model.device),
            "{model:?}"
        );
    }
}
