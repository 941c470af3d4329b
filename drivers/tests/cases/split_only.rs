//! What only the device of a split ring can claim: an index, and ids inside a chain.

use std::sync::atomic::Ordering::Relaxed;

use drivers::DeviceFault;
use drivers::net::NetDevice;

use crate::cases::hostile::{busy, is_found_out_and_recovers};
use crate::models::bench::PAIR;
use crate::models::*;

#[test]
fn the_id_of_a_descriptor_in_the_middle_of_a_chain() {
    let mut rig = Setup {
        max_frags: 4,
        ..Setup::default()
    }
    .start();
    for place in 0..2 {
        let chain = rig.chain(&[&frame(1, 60), &frame(2, 100), &frame(3, 40)]);
        assert!(rig.post_packet(chain));
        rig.nic.flush(PAIR);
        let sent = rig.card().fetch().expect("posted");
        let id = sent.tail[place].into();
        rig.card().forge(TX, id, 0);
        rig.assert_found_out(DeviceFault::NotLent { queue: 1, id });
        rig.assert_recovers();
        rig.bench.host.now_ms.fetch_add(60_000, Relaxed);
    }
}

#[test]
fn an_index_that_runs_ahead() {
    for (queue, ahead) in [(RX, 17), (RX, 0x8000), (RX, 0xffff), (TX, 6), (TX, 0xffff)] {
        let rig = busy();
        let next = rig.card().used_index(queue);
        rig.card().forge_used_index(queue, next.wrapping_add(ahead));
        let outstanding = if queue == RX { 16 } else { 5 };
        let fault = DeviceFault::IndexRanAhead {
            queue: queue as u16,
            claimed: ahead,
            outstanding,
        };
        is_found_out_and_recovers(rig, fault);
    }
}

#[test]
fn an_index_over_elements_that_name_one_loan_settles_it_once() {
    let mut rig = busy();
    // No further than what is lent, but each element names the same id.
    let id = rig.card().stale_id(TX).into();
    for _ in 0..5 {
        rig.card().forge(TX, id, 0);
    }
    assert_eq!(rig.nic.reclaim(PAIR), 1);
    assert_eq!(rig.lent().tx, 4);
    is_found_out_and_recovers(rig, DeviceFault::NotLent { queue: 1, id });
}
