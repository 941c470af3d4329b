//! Mistakes that good drivers made, each with the test that it would fail here.
//!
//! Those that another file's tests cover are named at the end.

use crate::models::bench::PAIR;
use crate::models::*;
use drivers::DeviceFault;
use drivers::net::{Armed, DropReason, Health, NetDevice};
use drivers::ring::index::RingIndex;
use drivers::virtio::Features;
use pbufpool::PacketQueue;

/// A device that reports an id beyond the ring made a driver index out of bounds, or panic in an
/// `expect`; another looked no further than whether a cookie was there.
#[test]
fn a_bad_id_neither_panics_nor_indexes_anything() {
    for id in [16, 0xffff, 0x1_0000, u32::MAX] {
        if crate::PACKED && id > 0xffff {
            continue; // its ids have 16 bits
        }
        let mut rig = Rig::new();
        rig.card().forge(RX, id, 100);
        assert_eq!(rig.poll(), 0);
        let fault = DeviceFault::IdOutOfRange {
            queue: 0,
            id,
            size: 16,
        };
        assert_eq!(rig.nic.health(), Health::Broken(fault));
    }
}

/// A driver's free loop walked the `next` fields of the table that the device can write to.
#[test]
fn free_descriptors_are_not_found_through_the_shared_table() {
    let mut rig = Setup {
        max_frags: 4,
        ..Setup::default()
    }
    .start();
    for round in 0..20 {
        let chain = rig.chain(&[&frame(round, 60), &frame(1, 40), &frame(2, 20)]);
        assert!(rig.post_packet(chain));
        rig.nic.flush(PAIR);
        let sent = rig.card().fetch().expect("posted");
        assert_eq!(sent.frame()[..4], round.to_le_bytes());
        rig.card().scribble_descriptors(TX);
        rig.card().complete(TX, sent.head, 0);
        assert_eq!(rig.nic.reclaim(PAIR), 1);
        assert_eq!(rig.nic.tx_room(PAIR), 16);
    }
    rig.assert_traffic_flows();
}

/// A failed allocation in the middle of a chain returned early, and the descriptors taken so far
/// were gone.
#[test]
fn a_chain_that_does_not_fit_takes_no_descriptor() {
    let mut rig = Setup {
        max_frags: 4,
        ..Setup::default()
    }
    .start();
    for n in 0..14 {
        assert!(rig.post(&frame(n, 60)));
    }
    let mut queue = PacketQueue::new();
    queue.push_back(rig.chain(&[&frame(1, 60), &frame(2, 40), &frame(3, 20)]));
    for _ in 0..100 {
        assert_eq!(rig.nic.tx_burst(PAIR, &mut queue), 0);
        assert_eq!(rig.nic.tx_room(PAIR), 2);
    }
    rig.nic.flush(PAIR);
    rig.card().transmit_all();
    rig.nic.reclaim(PAIR);
    assert_eq!(rig.nic.tx_burst(PAIR, &mut queue), 1);
    rig.nic.flush(PAIR);
    rig.card().transmit_all();
    rig.nic.reclaim(PAIR);
    rig.assert_traffic_flows();
}

/// A driver believed `num_buffers` and unwrapped buffers that never came. Merged buffers are not
/// negotiated here, and some hardware leaves the field wrong then: it means nothing.
#[test]
fn a_number_of_buffers_that_was_not_negotiated_means_nothing() {
    let mut rig = Rig::new();
    for number in [0_u16, 1, 2, 17, 0xffff] {
        let mut header = Header::default();
        header[10..].copy_from_slice(&number.to_le_bytes());
        assert!(rig.card().deliver_with(header, &frame(1, 60)));
        assert_eq!(rig.receive(), [frame(1, 60)]);
    }
    rig.assert_traffic_flows();
}

/// A driver enabled interrupts and slept without another look at the ring: what came in between
/// waited for the timer.
#[test]
fn a_frame_that_came_before_the_interrupt_was_asked_for_is_seen() {
    let mut rig = Rig::new();
    for n in 0..100 {
        assert!(rig.card().deliver(&frame(n, 60)));
        assert_eq!(rig.arm(), Armed::Work);
        assert_eq!(rig.receive().len(), 1);
        assert_eq!(rig.arm(), Armed::Sleep);
    }
}

/// A driver filled its queues and rang their doorbells before DRIVER_OK, which is forbidden.
#[test]
fn no_doorbell_rings_before_the_driver_is_ready() {
    let mut rig = Rig::new();
    rig.nic.reset().expect("comes up");
    assert_eq!(rig.card().early_doorbells, 0);
    assert_eq!(
        rig.card().doorbells[RX],
        2,
        "once at the start and once after the reset"
    );
}

/// A driver compared event indices with `>=`, which is not modular: with an index of 1 and an
/// event of 0xfffe it never rang again.
#[test]
fn event_indices_are_compared_modulo_their_range() {
    assert!(RingIndex(1).passed(RingIndex(0xfffe), RingIndex(0xfffe)));
    assert!(RingIndex(0).passed(RingIndex(0xffff), RingIndex(0xfff0)));
    assert!(!RingIndex(1).passed(RingIndex(1), RingIndex(0)));
}

/// With event indices, a driver's switch for interrupts did nothing, so they never stopped.
#[test]
fn frames_that_come_while_the_driver_works_do_not_interrupt() {
    for without in [Features::empty(), Features::EVENT_IDX] {
        let mut rig = Setup {
            without,
            ..Setup::default()
        }
        .start();
        assert_eq!(rig.arm(), Armed::Sleep);
        assert!(rig.card().deliver(&frame(0, 60)));
        let before = rig.card().interrupts;
        for n in 0..1000 {
            assert_eq!(rig.receive().len(), 1);
            assert!(rig.card().deliver(&frame(n, 60)));
        }
        assert_eq!(rig.card().interrupts, before);
    }
}

/// A driver sliced a packet by the length that the device gave, and panicked when it was longer
/// than the buffer.
#[test]
fn a_length_beyond_the_buffer_is_a_fault_and_no_panic() {
    let mut rig = Rig::new();
    let (id, _, posted) = rig.card().next_receive_buffer().expect("posted");
    rig.card().forge(RX, id.into(), posted + 1);
    assert_eq!(rig.poll(), 0);
    let fault = DeviceFault::LengthTooLarge {
        queue: 0,
        id,
        len: posted + 1,
        posted,
    };
    assert_eq!(rig.nic.health(), Health::Broken(fault));
}

/// A driver took completions for a queue in the order of posting and ignored which buffer they
/// named: out of order, the wrong frame went up.
#[test]
fn the_id_and_not_the_order_names_the_frame() {
    let mut rig = Setup {
        in_order: false,
        ..Setup::default()
    }
    .start();
    let memory = rig.bench.host.dma.memory();
    let mut taken: Vec<_> = std::iter::from_fn(|| rig.card().next_receive_buffer()).collect();
    taken.reverse();
    for (n, (head, at, _)) in taken.iter().enumerate() {
        let bytes = [&[0; HEADER][..], &frame(n as u32, 60 + n)].concat();
        vm_memory::Bytes::write_slice(memory, &bytes, *at).expect("valid");
        rig.card().complete(RX, *head, bytes.len() as u32);
    }
    let expected: Vec<_> = (0..16).map(|n| frame(n, 60 + n as usize)).collect();
    assert_eq!(rig.receive(), expected);
}

/// `used.len - header` was computed unchecked.
#[test]
fn a_length_below_the_header_does_not_wrap() {
    let mut rig = Rig::new();
    for len in [0, 1, HEADER as u32 - 1] {
        let (id, ..) = rig.card().next_receive_buffer().expect("posted");
        rig.card().forge(RX, id.into(), len);
    }
    assert_eq!(rig.receive().len(), 0);
    assert_eq!(rig.nic.stats().drops.get(DropReason::RxBadHeader), 3);
    rig.assert_traffic_flows();
}

/// An empty pool was a panic in one driver, and in another the ring was never filled again.
#[test]
fn an_empty_pool_is_neither_a_panic_nor_the_end() {
    let mut rig = Rig::new();
    let mut hoard = PacketQueue::new();
    assert!(!rig.bench.pool.alloc_burst(1000, &mut hoard).is_complete());
    while rig.card().deliver(&frame(0, 60)) {}
    assert_eq!(rig.poll(), 16);
    for _ in 0..100 {
        assert_eq!(rig.nic.refill(PAIR), 0);
    }
    rig.arrived.clear();
    assert_eq!(rig.nic.refill(PAIR), 16);
    rig.nic.flush(PAIR);
    hoard.clear();
    rig.assert_traffic_flows();
}

/// A driver added up to 64 buffers and then asked whether the *last* step passed the event. A
/// device that ran dry had set it to the index before the first, and was never told.
#[test]
fn a_device_that_ran_dry_is_told_about_a_burst() {
    let mut rig = Rig::new();
    while rig.card().deliver(&frame(0, 60)) {}
    assert!(!rig.card().want_doorbell(RX));
    let before = rig.card().doorbells[RX];
    assert_eq!(rig.receive().len(), 16, "which posts sixteen at once");
    assert_eq!(rig.card().doorbells[RX], before + 1);
}

/// A driver dropped a malformed frame's parts and still passed the freed packet up.
#[test]
fn a_frame_is_passed_up_or_dropped_and_never_both() {
    let mut rig = Rig::new();
    let mut bad = Header::default();
    bad[1] = 1;
    for n in 0..8 {
        let header = if n % 2 == 0 { bad } else { Header::default() };
        assert!(rig.card().deliver_with(header, &frame(n, 60)));
    }
    assert_eq!(rig.receive(), [1, 3, 5, 7].map(|n| frame(n, 60)));
    assert_eq!(rig.nic.stats().drops.total(), 4);
    rig.assert_idle();
}

/// A driver looked at the last used element only and lost the rest of a burst.
#[test]
fn every_element_of_a_burst_is_taken() {
    let mut rig = Rig::new();
    for round in 0..50 {
        let burst: Vec<_> = (0..13).map(|n| frame(round * 100 + n, 60)).collect();
        assert!(burst.iter().all(|frame| rig.card().deliver(frame)));
        assert_eq!(rig.receive(), burst);
    }
}

/// A driver waited for each frame to be sent before it took the next.
#[test]
fn frames_are_posted_while_others_are_under_way() {
    let mut rig = Rig::new();
    for n in 0..16 {
        assert!(rig.post(&frame(n, 60)));
        rig.nic.flush(PAIR);
    }
    assert_eq!(rig.lent().tx, 16);
    assert_eq!(rig.card().transmit_all().len(), 16);
}

/// A driver wrote the hardware address, which is the device's to say. `Transport` has no way to
/// write configuration; this shows that the address is what the device says, and stays so.
#[test]
fn the_address_is_read_and_never_written() {
    let mut rig = Rig::new();
    let before = rig.card().config;
    rig.assert_traffic_flows();
    rig.nic.reset().expect("comes up");
    assert_eq!(rig.card().config, before);
    assert_eq!(rig.nic.info().mac.0, before[..6]);
}

/// A burst to send was one publication, one barrier and one look at the event for each frame.
#[test]
fn a_burst_is_one_publication_and_one_doorbell() {
    let mut rig = Rig::new();
    assert!(!rig.card().want_doorbell(TX));
    let before = rig.card().doorbells[TX];
    for n in 0..16 {
        assert!(rig.post(&frame(n, 60)));
        assert_eq!(rig.card().available(TX), 0, "not published yet");
    }
    rig.nic.flush(PAIR);
    assert_eq!(rig.card().available(TX), 16);
    assert_eq!(rig.card().doorbells[TX], before + 1);
}

// Covered elsewhere:
// - No barrier between publishing the index and reading the other side's wish, or between the
//   used index and its element: `sleep.rs`, `no_wake_up_is_lost_between_two_threads`.
// - A malformed completion that runs into an assertion: all of `hostile.rs`.
// - A received frame over several buffers handed up in part, or skipped for ever, and a number of
//   buffers that was believed: all of `merged.rs`.
// - Copies into and out of the ring's own buffers: the ring has none, frames stay where the pool
//   put them (`exchange.rs`, `a_frame_and_its_header_are_one_descriptor`).
// - A segmentation checksum over the wrong length: `kernel/src/net/offload.rs`, tests.
