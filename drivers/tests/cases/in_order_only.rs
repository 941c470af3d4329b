//! What only a device that promised to use buffers in their order can do: complete a batch with one
//! claim, rightly or wrongly.

use drivers::DeviceFault;
use drivers::net::{Armed, NetDevice};
use drivers::virtio::Features;
use drivers::virtio::net::Options;

use crate::cases::hostile::{busy, is_found_out_and_recovers};
use crate::models::bench::PAIR;
use crate::models::*;

#[test]
fn the_order_is_what_was_negotiated() {
    let accepted = Features::from_bits_truncate(Rig::new().card().accepted);
    assert!(accepted.contains(Features::IN_ORDER));
    let without = Setup {
        rings: Options {
            without: Features::IN_ORDER,
            ..Setup::default().rings
        },
        ..Setup::default()
    };
    let mut rig = without.start();
    assert!(!rig.card().in_order());
    rig.assert_traffic_flows();
}

/// Batches of every length, across the end of the ring.
#[test]
fn one_claim_settles_a_batch_of_frames_that_were_sent() {
    let mut rig = Rig::new();
    for n in 0..500 {
        for part in 0..1 + n % 16 {
            assert!(rig.post(&frame(part, 60)));
        }
        rig.nic.flush(PAIR);
        let sent = rig.card().transmit_all();
        assert_eq!(rig.nic.reclaim(PAIR), sent.len());
        assert_eq!(rig.lent().tx, 0);
    }
    rig.assert_traffic_flows();
}

#[test]
fn batches_of_chains_and_frames_of_one_buffer_are_settled() {
    let mut rig = Setup {
        max_frags: 4,
        ..Setup::default()
    }
    .start();
    for n in 0..500 {
        let parts = [frame(n, 60), frame(n + 1, 100), frame(n + 2, 40)];
        let mut expected = Vec::new();
        for m in 0..1 + n % 4 {
            let used = 1 + (n + m) as usize % 3;
            let slices: Vec<&[u8]> = parts[..used].iter().map(Vec::as_slice).collect();
            let chain = rig.chain(&slices);
            assert!(rig.post_packet(chain));
            expected.push(parts[..used].concat());
        }
        rig.nic.flush(PAIR);
        let sent = rig.card().transmit_all();
        let sent: Vec<_> = sent.iter().map(|sent| sent.frame().to_vec()).collect();
        assert_eq!(sent, expected);
        assert_eq!(rig.nic.reclaim(PAIR), sent.len());
        assert_eq!(rig.nic.tx_room(PAIR), 16);
    }
    rig.assert_traffic_flows();
}

/// The receive buffers that a claim skips are full, whatever the last one is.
#[test]
fn received_buffers_without_a_claim_of_their_own_are_full() {
    let mut rig = Rig::new();
    let lengths = [2048, 2048, 2048, 300];
    for round in 0..50 {
        let mut used = Vec::new();
        for (n, len) in (0..).zip(lengths) {
            let mut card = rig.card();
            let (id, address, _) = card.next_receive_buffer().expect("posted");
            let bytes = [&[0; HEADER][..], &frame(round + n, len - HEADER)].concat();
            let memory = card.memory();
            vm_memory::Bytes::write_slice(memory, &bytes, address).expect("valid");
            used.push((id, len as u32));
        }
        rig.card().complete_all(RX, &used);
        let arrived = rig.receive();
        let expected = (0..).zip(lengths);
        let expected = expected.map(|(n, len)| frame(round + n, len - HEADER));
        assert_eq!(arrived, expected.collect::<Vec<_>>());
    }
    rig.assert_traffic_flows();
}

/// What a claim speaks for is work, though it may take several turns to take it.
#[test]
fn a_batch_taken_in_part_is_work() {
    let mut rig = Rig::new();
    let mut used = Vec::new();
    for _ in 0..3 {
        let (id, ..) = rig.card().next_receive_buffer().expect("posted");
        used.push((id, 2048));
    }
    rig.card().complete_all(RX, &used);
    for left in [2, 1] {
        assert_eq!(rig.nic.rx_burst(PAIR, 1, &mut rig.arrived), 1);
        assert_eq!(rig.arm(), Armed::Work, "{left} are left");
    }
    assert_eq!(rig.poll(), 1);
    assert_eq!(rig.arm(), Armed::Sleep);
    rig.receive();
    rig.assert_traffic_flows();
}

/// A claim for the fifth buffer. A split ring's index says how many are done; in a packed ring what is not
/// said cannot be wrong, so all five are.
#[test]
fn a_buffer_out_of_order() {
    let mut rig = busy();
    let buffers = std::iter::from_fn(|| rig.card().next_receive_buffer());
    let (id, ..) = buffers.take(5).last().expect("posted");
    rig.card().forge(RX, id.into(), 100);
    if crate::PACKED {
        assert_eq!(rig.poll(), 5);
        rig.arrived.clear();
        rig.nic.reset().expect("it comes up again");
        rig.assert_traffic_flows();
        return;
    }
    is_found_out_and_recovers(
        rig,
        DeviceFault::OutOfOrder {
            queue: 0,
            id,
            before: 4,
            claimed: 1,
        },
    );
}

/// The index of a split ring says how many frames were sent, and the order which: whatever ids stand there,
/// the oldest are settled, and no more than there are.
#[test]
fn ids_of_frames_that_were_sent_are_not_read_from_a_split_ring() {
    if crate::PACKED {
        return;
    }
    let mut rig = busy();
    for (left, id) in [(4, 0), (3, 0xffff), (2, u32::MAX), (1, 7), (0, 7)] {
        rig.card().forge(TX, id, u32::MAX);
        assert_eq!(rig.nic.reclaim(PAIR), 1);
        assert_eq!(rig.lent().tx, left);
    }
    // This one it does not know of.
    assert!(rig.post(&frame(9, 60)));
    rig.card().forge(TX, 0, 0);
    let fault = DeviceFault::IndexRanAhead {
        queue: 1,
        claimed: 1,
        outstanding: 0,
    };
    is_found_out_and_recovers(rig, fault);
}

/// A batch up to a buffer of which the device was not told.
#[test]
fn a_batch_that_goes_beyond_what_was_published() {
    let mut rig = busy();
    let buffers = std::iter::from_fn(|| rig.card().next_receive_buffer());
    let ids: Vec<_> = buffers.map(|(id, ..)| id).collect();
    assert_eq!(ids.len(), 16);
    // Posted again, and not published.
    rig.card().complete(RX, ids[0], 100);
    assert_eq!(rig.poll(), 1);
    rig.arrived.clear();
    assert_eq!(rig.nic.refill(PAIR), 1);
    rig.card().forge(RX, ids[0].into(), 100);
    let fault = DeviceFault::NotLent {
        queue: 0,
        id: ids[0].into(),
    };
    is_found_out_and_recovers(rig, fault);
}

/// The last buffer of a batch has its length from the device, and not more than it holds.
#[test]
fn a_batch_whose_last_length_is_beyond_the_buffer() {
    let mut rig = busy();
    let mut used = Vec::new();
    for _ in 0..3 {
        let (id, ..) = rig.card().next_receive_buffer().expect("posted");
        used.push((id, 2049));
    }
    rig.card().complete_all(RX, &used);
    assert_eq!(rig.poll(), 2, "what the claim skips is full");
    rig.arrived.clear();
    let fault = DeviceFault::LengthTooLarge {
        queue: 0,
        id: used[2].0,
        len: 2049,
        posted: 2048,
    };
    is_found_out_and_recovers(rig, fault);
}

#[test]
fn the_id_of_a_descriptor_inside_a_chain() {
    if !crate::PACKED {
        return; // ids of what is sent are not read
    }
    let mut rig = Setup {
        max_frags: 4,
        ..Setup::default()
    }
    .start();
    let chain = rig.chain(&[&frame(1, 60), &frame(2, 100), &frame(3, 40)]);
    assert!(rig.post_packet(chain));
    rig.nic.flush(PAIR);
    let sent = rig.card().fetch().expect("posted");
    let id = sent.tail[0].into();
    rig.card().forge(TX, id, 0);
    is_found_out_and_recovers(rig, DeviceFault::NotLent { queue: 1, id });
}
