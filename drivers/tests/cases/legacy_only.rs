//! What is different with a card from before virtio 1.0.

use drivers::net::{DropReason, Health, InterruptMode, NetDevice};
use drivers::virtio::Features;
use drivers::virtio::net::Options;
use drivers::{DeviceFault, DriverError};
use virtio_queue::QueueT;

use crate::models::bench::PAIR;
use crate::models::*;

fn refused(setup: Setup) -> DriverError {
    let (bench, rig) = setup.try_start();
    assert_eq!(bench.pool.stats().packets_in_use, 0);
    assert_eq!(bench.host.dma.live(), bench.pool.stats().live_segments);
    let Err(why) = rig else { panic!("it started") };
    why
}

#[test]
fn the_driver_never_speaks_of_virtio_1() {
    let rig = Rig::new();
    let card = rig.card();
    assert_eq!(card.status, 7, "no FEATURES_OK");
    assert_eq!(card.accepted & Features::VERSION_1.bits(), 0);
    assert_ne!(card.accepted & Features::ANY_LAYOUT.bits(), 0);
    assert_eq!(rig.nic.tx_headroom(), 10);
    assert!(rig.nic.info().features.starts_with("split ring"));
}

#[test]
fn with_merged_buffers_the_header_is_as_long_as_ever() {
    let mut rig = Setup {
        besides: Features::MRG_RXBUF,
        packets: 128,
        max_frags: 4,
        ..Setup::default()
    }
    .start();
    assert_eq!(rig.nic.tx_headroom(), 12);
    rig.assert_traffic_flows();
    let long = frame(1, 5000);
    assert!(rig.card().deliver_merged(Header::default(), &long));
    rig.poll();
    let arrived = rig.arrived.front().expect("a frame");
    assert_eq!((arrived.len(), arrived.buflet_count()), (5000, 3));
}

/// A ring lies in one piece, and is as long as the device has it: of less memory the driver may not
/// speak, of fewer buffers it may.
#[test]
fn the_size_of_a_queue_is_the_device_s_and_its_depth_the_driver_s() {
    for size in [16, 256, 1024, 32768] {
        let mut rig = Setup {
            queue_max: Some([size; 2]),
            ..Setup::default()
        }
        .start();
        let info = rig.nic.info();
        assert_eq!((info.rx_ring, info.tx_ring), (16, 16));
        assert_eq!(rig.card().queues[RX].split().size(), size);
        assert_eq!(rig.card().available(RX), 16);
        for _ in 0..3 {
            rig.assert_traffic_flows();
        }
    }
}

#[test]
fn a_queue_whose_size_is_no_power_of_two_is_refused() {
    for size in [3, 48, 255, 0xffff] {
        let setup = Setup {
            queue_max: Some([256, size]),
            ..Setup::default()
        };
        assert_eq!(refused(setup), DriverError::QueueSize { queue: 1, size });
    }
    for max in [0, 1] {
        let setup = Setup {
            queue_max: Some([max, 256]),
            ..Setup::default()
        };
        assert_eq!(refused(setup), DriverError::QueueTooSmall { queue: 0, max });
    }
}

#[test]
fn a_queue_that_the_device_does_not_take_is_refused() {
    let setup = Setup {
        card: |card| card.faults.refuses_queue = Some(1),
        ..Setup::default()
    };
    assert_eq!(refused(setup), DriverError::QueueRefused { queue: 1 });
}

/// A card that wants headers in descriptors of their own, with a pool for chains.
fn headers_apart(besides: Features) -> Setup {
    Setup {
        besides,
        without: Features::ANY_LAYOUT,
        packets: 128,
        max_frags: 4,
        ..Setup::default()
    }
}

#[test]
fn a_header_has_a_descriptor_of_its_own_where_the_device_needs_that() {
    for (merge, header) in [(Features::empty(), 10), (Features::MRG_RXBUF, 12)] {
        let mut rig = headers_apart(merge).start();
        // Every buffer takes two of the 16 descriptors; the card checks each of them.
        assert_eq!((rig.nic.info().rx_ring, rig.nic.info().tx_ring), (8, 8));
        assert_eq!(rig.card().available(RX), 8);
        let sent = rig.send(&frame(1, 60));
        assert_eq!(sent.descriptors, [header, 60]);
        let chain = rig.chain(&[&[1; 100], &[2; 200], &[3; 300]]);
        assert!(rig.post_packet(chain));
        rig.nic.flush(PAIR);
        let sent = rig.card().transmit_all().remove(0);
        assert_eq!(sent.descriptors, [header, 100, 200, 300]);
        assert_eq!(sent.frame().len(), 600);
        rig.nic.reclaim(PAIR);
        for _ in 0..3 {
            rig.assert_traffic_flows();
        }
    }
}

#[test]
fn a_ring_of_two_descriptors_for_each_frame_is_filled_and_emptied() {
    let mut rig = Setup {
        without: Features::ANY_LAYOUT,
        ..Setup::default()
    }
    .start();
    for round in 0..20 {
        assert_eq!(rig.nic.tx_room(PAIR), 8);
        let taken = (0..10).filter(|n| rig.post(&frame(*n, 60 + round))).count();
        assert_eq!((taken, rig.nic.tx_room(PAIR)), (8, 0));
        rig.nic.flush(PAIR);
        assert_eq!(rig.card().transmit_all().len(), 8);
        assert_eq!(rig.nic.reclaim(PAIR), 8);
    }
    rig.assert_traffic_flows();
}

/// A chain takes an odd number of descriptors and may leave one, in which no frame fits.
#[test]
fn a_frame_for_which_one_descriptor_is_left_stays_with_the_caller() {
    for merge in [Features::empty(), Features::MRG_RXBUF] {
        let mut rig = headers_apart(merge).start();
        let chain = rig.chain(&[&[1; 100], &[2; 200]]);
        assert!(rig.post_packet(chain));
        let taken = (0..8).filter(|n| rig.post(&frame(*n, 60))).count();
        assert_eq!((taken, rig.nic.tx_room(PAIR)), (6, 0));
        assert_eq!(rig.nic.stats().drops.total(), 0);
        rig.nic.flush(PAIR);
        assert_eq!(rig.card().transmit_all().len(), 7);
        assert_eq!(rig.nic.reclaim(PAIR), 7);
        rig.assert_traffic_flows();
    }
}

/// What is longer than header and first descriptor is in the second: a claim is held against both.
#[test]
fn a_length_beyond_both_descriptors_is_found_out() {
    let mut rig = Setup {
        without: Features::ANY_LAYOUT,
        ..Setup::default()
    }
    .start();
    let (id, _, posted) = rig.card().next_receive_buffer().expect("posted");
    rig.card().forge(RX, id.into(), posted + 1);
    rig.poll();
    let fault = DeviceFault::LengthTooLarge {
        queue: 0,
        id,
        len: posted + 1,
        posted,
    };
    assert_eq!(rig.nic.health(), Health::Broken(fault));
    rig.nic.reset().expect("comes up");
    // The second descriptor of a chain names no packet.
    let (id, ..) = rig.card().next_receive_buffer().expect("posted");
    rig.card().forge(RX, u32::from(id) + 1, 60);
    rig.poll();
    let fault = DeviceFault::NotLent {
        queue: 0,
        id: u32::from(id) + 1,
    };
    assert_eq!(rig.nic.health(), Health::Waiting(fault));
    assert_eq!(rig.nic.stats().drops.get(DropReason::RxReset), 8);
}

/// Ids that the ring has and the driver does not use are nobody's.
#[test]
fn an_id_beyond_the_depth_is_not_lent() {
    let mut rig = Setup {
        queue_max: Some([256; 2]),
        ..Setup::default()
    }
    .start();
    rig.card().forge(RX, 16, 60);
    rig.poll();
    let fault = DeviceFault::NotLent { queue: 0, id: 16 };
    assert_eq!(rig.nic.health(), Health::Broken(fault));
    rig.nic.reset().expect("comes up");
    rig.assert_traffic_flows();
}

#[test]
fn large_frames_are_accepted_only_if_a_ring_of_half_as_many_holds_them() {
    let large = |without, rx_ring| {
        let rig = Setup {
            besides: Features::MRG_RXBUF | Features::GUEST_TSO4,
            without,
            rings: Options {
                rx_ring,
                tx_ring: 16,
                ..Options::default()
            },
            queue_max: Some([64; 2]),
            packets: 256,
            max_frags: 40,
            ..Setup::default()
        }
        .start();
        let accepted = rig.card().accepted;
        accepted & Features::GUEST_TSO4.bits() != 0
    };
    assert!(large(Features::empty(), 64));
    assert!(!large(Features::ANY_LAYOUT, 64), "32 buffers are too few");
    assert!(!large(Features::empty(), 32));
}

#[test]
fn a_pin_interrupt_is_acknowledged_by_reading_it() {
    let mut rig = Rig::new();
    assert_eq!(rig.nic.info().interrupts, InterruptMode::Line);
    rig.card().pending = 1;
    rig.nic.on_interrupt();
    rig.nic.on_interrupt();
    assert_eq!((rig.nic.stats().interrupts, rig.card().pending), (1, 0));
}
