//! Chains in tables of descriptors (`INDIRECT_DESC`): one entry of the ring each, and tables that run out and
//! come back. That a table is as the specification wants it, the model of the device looks at whenever it
//! reads one.

use std::collections::VecDeque;

use drivers::net::{Armed, DropReason, Health, NetDevice};
use drivers::virtio::Features;
use drivers::virtio::net::Options;
use pbufpool::PacketQueue;

use crate::models::bench::PAIR;
use crate::models::card::Posted;
use crate::models::*;

/// Tables of a queue.
pub(crate) const TABLES: usize = 16;
/// Entries of a table at most.
const LONGEST: usize = 64;

/// A card with tables and a transmit ring of `tx_ring`.
pub(crate) fn with_tables(tx_ring: u16) -> Setup {
    Setup {
        besides: Features::INDIRECT_DESC,
        max_frags: 80,
        packets: 1024,
        rings: Options {
            rx_ring: 16,
            tx_ring,
            ..Options::default()
        },
        ..Setup::default()
    }
}

/// The parts of chain `n`, and the frame that they are together.
fn parts(n: u32, count: usize) -> (Vec<Vec<u8>>, Vec<u8>) {
    let len = |part: usize| {
        if part == 0 {
            14 + n as usize % 40
        } else {
            1 + part % 17
        }
    };
    let whole = frame(n, (0..count).map(len).sum());
    let mut rest = &whole[..];
    let mut cut = |part| {
        let (here, behind) = rest.split_at(len(part));
        rest = behind;
        here.to_vec()
    };
    ((0..count).map(&mut cut).collect(), whole)
}

/// Posts chain `n` of `count` pieces; returns the frame, and whether the driver took it.
pub(crate) fn post(rig: &mut Rig, n: u32, count: usize) -> (Vec<u8>, bool) {
    let (parts, whole) = parts(n, count);
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let chain = rig.chain(&parts);
    let taken = rig.post_packet(chain);
    (whole, taken)
}

/// The same where there is room; publishes it.
#[track_caller]
pub(crate) fn send(rig: &mut Rig, n: u32, count: usize) -> Vec<u8> {
    let (whole, taken) = post(rig, n, count);
    assert!(taken, "chain {n} of {count} pieces does not fit");
    rig.nic.flush(PAIR);
    whole
}

/// What the device makes of the next frame: it is `whole`, of so many pieces.
#[track_caller]
pub(crate) fn fetch(rig: &Rig, whole: &[u8], count: usize) -> Posted {
    let sent = rig.card().fetch().expect("posted");
    assert_eq!((sent.frame(), sent.descriptors.len()), (whole, count));
    sent
}

#[test]
fn a_chain_in_a_table_takes_one_entry() {
    let mut rig = with_tables(16).start();
    assert!(rig.nic.info().features.contains(" indirect_desc"));
    for n in 0..300 {
        let count = 2 + n as usize % 14;
        let whole = send(&mut rig, n, count);
        assert_eq!(rig.nic.tx_room(PAIR), 15);
        let sent = fetch(&rig, &whole, count);
        assert_eq!(sent.table.map(|table| table.len), Some(16 * count as u32));
        rig.card().complete(TX, sent.head, 0);
        assert_eq!(rig.nic.reclaim(PAIR), 1);
        assert_eq!(rig.nic.tx_room(PAIR), 16);
    }
    rig.assert_traffic_flows();
}

#[test]
fn a_frame_of_one_piece_needs_no_table() {
    let mut rig = with_tables(16).start();
    assert!(rig.send(&frame(1, 60)).table.is_none());
    // One that asks for something goes another way through the driver; so does one whose other pieces are empty.
    let mut packet = rig.packet(&frame(2, 60));
    packet.offload_mut().tx_checksum = Some(pbufpool::PartialChecksum {
        start: 34,
        offset: 16,
    });
    assert!(rig.send_packet(packet).table.is_none());
    let chain = rig.chain(&[&frame(3, 60), &[]]);
    let sent = rig.send_packet(chain);
    assert!(sent.table.is_none() && sent.descriptors.len() == 1);
    assert!(rig.card().deliver(&frame(4, 60)));
    assert_eq!(rig.receive(), [frame(4, 60)]);
    rig.assert_idle();
}

#[test]
fn a_ring_holds_as_many_chains_as_it_has_entries() {
    for (ring, count) in [(4, 3), (8, 7), (16, 15)] {
        let mut rig = with_tables(ring).start();
        for round in 0..50 {
            let ring = u32::from(ring);
            let all: Vec<_> = (0..ring)
                .map(|n| post(&mut rig, round + n, count))
                .collect();
            assert!(all.iter().all(|(_, taken)| *taken));
            assert_eq!(rig.nic.tx_room(PAIR), 0);
            rig.nic.flush(PAIR);
            let sent = rig.card().transmit_all();
            assert!(sent.iter().all(|sent| sent.table.is_some()));
            let sent = sent.iter().map(Posted::frame);
            assert!(sent.eq(all.iter().map(|(whole, _)| whole)));
            assert_eq!(rig.nic.reclaim(PAIR), ring as usize);
        }
        rig.assert_traffic_flows();
    }
}

/// Where nothing is negotiated, or the command line says so, a chain is as many entries as it has pieces.
#[test]
fn without_tables_chains_take_descriptors() {
    let mut rigs = [with_tables(16), with_tables(16)];
    rigs[0].besides = Features::empty();
    rigs[1].rings.without = Features::INDIRECT_DESC;
    for setup in rigs {
        let mut rig = setup.start();
        assert!(!rig.nic.info().features.contains("indirect"));
        let whole = send(&mut rig, 7, 15);
        assert_eq!(rig.nic.tx_room(PAIR), 1);
        assert!(!post(&mut rig, 8, 2).1, "no room for two");
        assert!(fetch(&rig, &whole, 15).table.is_none());
    }
}

#[test]
fn a_chain_as_long_as_the_ring_takes_all_of_it_and_a_longer_one_is_dropped() {
    let mut rig = with_tables(16).start();
    let whole = send(&mut rig, 1, 16);
    assert_eq!(rig.nic.tx_room(PAIR), 0);
    let sent = fetch(&rig, &whole, 16);
    assert!(sent.table.is_none());
    rig.card().complete(TX, sent.head, 0);
    rig.nic.reclaim(PAIR);
    assert!(post(&mut rig, 2, 17).1, "taken, if only to be dropped");
    assert_eq!(rig.nic.stats().drops.get(DropReason::TxTooManyBuflets), 1);
    rig.assert_traffic_flows();
}

#[test]
fn a_chain_longer_than_a_table_takes_descriptors() {
    let mut rig = with_tables(128).start();
    for (count, in_table) in [(33, true), (LONGEST, true), (LONGEST + 1, false)] {
        let whole = send(&mut rig, 3, count);
        let sent = fetch(&rig, &whole, count);
        assert_eq!(sent.table.is_some(), in_table, "{count} pieces");
        rig.card().complete(TX, sent.head, 0);
        rig.nic.reclaim(PAIR);
    }
    rig.assert_traffic_flows();
}

/// When all tables are lent, chains take descriptors, until one comes back.
#[test]
fn chains_that_find_no_table_take_descriptors() {
    let mut rig = with_tables(64).start();
    for round in 0..40 {
        let mut held = VecDeque::new();
        for n in 0..TABLES as u32 {
            let whole = send(&mut rig, round + n, 3);
            held.push_back(fetch(&rig, &whole, 3));
        }
        assert!(held.iter().all(|sent| sent.table.is_some()));
        assert_eq!(rig.nic.tx_room(PAIR), 64 - TABLES);
        for left in [45, 42] {
            let whole = send(&mut rig, round, 3);
            held.push_back(fetch(&rig, &whole, 3));
            assert!(held.back().is_some_and(|sent| sent.table.is_none()));
            assert_eq!(rig.nic.tx_room(PAIR), left);
        }
        let first = held.pop_front().expect("sixteen");
        rig.card().complete(TX, first.head, 0);
        assert_eq!(rig.nic.reclaim(PAIR), 1);
        let whole = send(&mut rig, round, 3);
        assert_eq!(
            fetch(&rig, &whole, 3).table.map(|t| t.address),
            first.table.map(|t| t.address)
        );
        rig.nic.reset().expect("it comes up again");
        rig.bench
            .host
            .now_ms
            .fetch_add(60_000, std::sync::atomic::Ordering::Relaxed);
    }
    rig.assert_traffic_flows();
}

/// Its id may be lent again, to a frame of one piece that the device keeps.
#[test]
fn a_table_is_free_once_its_loan_is_over_whoever_has_its_id() {
    let mut rig = with_tables(64).start();
    let chains = |rig: &mut Rig| {
        let sent: Vec<_> = (0..TABLES as u32).map(|n| send(rig, n, 3)).collect();
        let sent = sent.iter().map(|whole| fetch(rig, whole, 3));
        let ids: Vec<_> = sent.map(|sent| (sent.head, sent.table.is_some())).collect();
        ids
    };
    let first = chains(&mut rig);
    for (id, _) in &first {
        rig.card().complete(TX, *id, 0);
    }
    rig.nic.reclaim(PAIR);
    for n in 0..48 {
        rig.send(&frame(n, 60));
    }
    let mut kept = Vec::new();
    for n in 0..TABLES as u32 {
        assert!(rig.post(&frame(n, 60)));
        rig.nic.flush(PAIR);
        kept.push((rig.card().fetch().expect("posted").head, true));
    }
    assert_eq!(kept, first, "the ids that had tables");
    assert!(chains(&mut rig).iter().all(|(_, in_table)| *in_table));
    rig.assert_recovers();
}

/// Neither a table nor as many entries: the chain waits with the caller, an interrupt comes when there is
/// something to take back, and then it is sent.
#[test]
fn a_chain_that_fits_neither_way_waits_for_room() {
    let mut rig = with_tables(32).start();
    let mut expected: Vec<_> = (0..TABLES as u32).map(|n| send(&mut rig, n, 3)).collect();
    for n in 0..14 {
        assert!(rig.post(&frame(n, 60)));
        expected.push(frame(n, 60));
    }
    rig.nic.flush(PAIR);
    assert_eq!(rig.nic.tx_room(PAIR), 2);
    let (cut, whole) = parts(99, 3);
    let mut queue = PacketQueue::new();
    queue.push_back(rig.chain(&cut.iter().map(Vec::as_slice).collect::<Vec<_>>()));
    for _ in 0..100 {
        assert_eq!(rig.nic.tx_burst(PAIR, &mut queue), 0);
        assert_eq!(rig.nic.tx_room(PAIR), 2);
    }
    assert_eq!(rig.arm(), Armed::Sleep);
    let before = rig.card().interrupts;
    let sent = rig.card().transmit_all();
    assert!(sent.iter().map(Posted::frame).eq(&expected));
    assert!(rig.card().interrupts > before, "nothing wakes it");
    assert_eq!(rig.nic.reclaim(PAIR), 30);
    assert_eq!(rig.nic.tx_burst(PAIR, &mut queue), 1);
    rig.nic.flush(PAIR);
    assert!(fetch(&rig, &whole, 3).table.is_some());
}

/// With a table a chain fits into the last entry, and is not waited for.
#[test]
fn the_last_entry_has_room_for_a_chain() {
    let mut rig = with_tables(16).start();
    for n in 0..15 {
        assert!(rig.post(&frame(n, 60)));
    }
    rig.nic.flush(PAIR);
    let before = rig.card().interrupts;
    let whole = send(&mut rig, 1, 9);
    assert_eq!(rig.arm(), Armed::Sleep);
    let sent = rig.card().transmit_all();
    assert_eq!(sent[15].frame(), whole);
    assert!(rig.card().interrupts > before, "a full ring waits for room");
    assert_eq!(rig.nic.reclaim(PAIR), 16);
    rig.assert_traffic_flows();
}

/// The device is slow with some and quick with others: what it reads late is still what was posted.
#[test]
fn a_table_is_not_written_while_it_is_lent() {
    for in_order in [false, true] {
        if crate::LEGACY && in_order {
            continue;
        }
        let mut setup = with_tables(64);
        setup.in_order = in_order;
        let mut rig = setup.start();
        let mut random = 0x2545_f491_u32;
        let mut draw = move |below: u32| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 8) % below
        };
        let (mut posted, mut taken) = (VecDeque::new(), Vec::new());
        let mut in_tables = 0;
        for n in 0..20_000 {
            let count = 1 + draw(8) as usize;
            let (whole, fits) = post(&mut rig, n, count);
            if fits {
                posted.push_back((whole, count));
            }
            if draw(3) == 0 {
                rig.nic.flush(PAIR);
                let reads = draw(6);
                for _ in 0..reads {
                    let Some(sent) = rig.card().fetch() else {
                        break;
                    };
                    let (whole, count) = posted.pop_front().expect("it was posted");
                    assert_eq!((sent.frame(), sent.descriptors.len()), (&whole[..], count));
                    in_tables += usize::from(sent.table.is_some());
                    taken.push(sent);
                }
            }
            for _ in 0..draw(4) {
                if taken.is_empty() {
                    break;
                }
                let which = if in_order {
                    0
                } else {
                    draw(taken.len() as u32) as usize
                };
                let sent = taken.remove(which);
                // It is the device's last look; the next one that gets the table writes it anew.
                if let Some(table) = sent.table {
                    table.scribble(rig.card().memory());
                }
                rig.card().complete(TX, sent.head, u32::MAX);
            }
            rig.nic.reclaim(PAIR);
            assert_eq!(rig.nic.health(), Health::Ok);
        }
        assert!(in_tables > 5_000, "{in_tables} chains in tables");
        rig.nic.reset().expect("it comes up again");
        rig.assert_traffic_flows();
    }
}

/// Where loans are counted in 16 bits, a number comes round, and with it one that had a table.
#[test]
fn tables_are_found_however_many_frames_pass() {
    let mut rig = with_tables(16).start();
    let whole = send(&mut rig, 0, 3);
    assert_eq!(rig.card().transmit_all()[0].frame(), whole);
    rig.nic.reclaim(PAIR);
    for n in 1..65_536 {
        rig.send(&frame(n, 60));
    }
    assert!(rig.post(&frame(0, 60)), "the loan with the same number");
    let whole = send(&mut rig, 1, 3);
    let sent = rig.card().transmit_all();
    assert_eq!(sent[1].frame(), whole);
    assert!(sent[1].table.is_some());
    assert_eq!(rig.nic.reclaim(PAIR), 2);
    rig.assert_traffic_flows();
}

/// A command is a part to read and a part to write.
#[test]
fn a_command_goes_by_a_table() {
    for (besides, told) in [(Features::INDIRECT_DESC, 3), (Features::empty(), 0)] {
        let mut rig = Setup {
            besides: besides | Features::CTRL_VQ | Features::CTRL_MAC_ADDR,
            ..Setup::default()
        }
        .start();
        for n in 0..3 {
            let mac = drivers::net::MacAddr([2, 0, 0, 0, 0, n]);
            assert_eq!(rig.nic.set_mac(mac), Ok(()));
            assert_eq!(rig.card().told.mac, Some(mac.0));
        }
        assert_eq!(rig.card().tables_told, told);
        rig.assert_traffic_flows();
    }
}
