//! Two queue pairs of an e1000e and of an igb: connections are spread over both, before and after a reset.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tests::bulk;
use tests::clients::eventually;
use tests::launch::Nic;
use tests::limit::case;
use tests::stats::{Stats, must_be_idle};

use crate::boot::must_serve;
use crate::intel_broken::Breakable;

/// The heads of the second pair's rings: what the card has done (82574 10.2.5.7, 10.2.6.5).
const HEADS: [(&str, u64); 2] = [("receive", 0x2910), ("transmit", 0x3910)];

/// By then each pair has had one, unless it has none at all.
const MOST_CONNECTIONS: u32 = 40;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        case("intel::e1000e_with_two_queue_pairs_serves", 120, || {
            pairs(Nic::E1000e)
        }),
        case("intel::igb_with_two_queue_pairs_serves", 120, || {
            pairs(Nic::Igb)
        }),
        case("intel::e1000_has_one_queue_pair_whatever_is_asked", 60, one),
    ]
}

fn pairs(nic: Nic) -> Result<()> {
    let card = Breakable::start_with(nic, "nic.queues=2")?;
    let log = card.guest.log();
    log.find("descriptors msix rss").context("no second pair")?;
    let pairs = Stats::read(&card.guest)?.get("nic_queue_pairs")?;
    ensure!(pairs == 2, "{pairs} queue pairs");
    for round in 0..2 {
        must_use_both(&card)?;
        if round == 0 {
            card.stop_receiver()?;
            eventually(Duration::from_secs(20), || {
                let resets = card.resets()?;
                ensure!(resets == 1, "{resets} resets");
                Ok(())
            })?;
        }
    }
    let stats = must_be_idle(&card.guest)?;
    ensure!(stats.get("nic_resets")? == 1, "it was reset again");
    Ok(())
}

/// Transfers on several connections each way, until the second pair's rings have moved: their ports
/// decide on the pair, and are the host's to choose.
fn must_use_both(card: &Breakable) -> Result<()> {
    let guest = &card.guest;
    let heads = || -> Result<Vec<u32>> {
        let each = HEADS.iter().map(|(_, register)| card.register(*register));
        each.collect()
    };
    let before = heads()?;
    let mut moved = [false; HEADS.len()];
    for connections in 1..=MOST_CONNECTIONS {
        bulk::echo(guest.port(7), 256 << 10, 20 + u64::from(connections))?;
        for (moved, (now, then)) in moved.iter_mut().zip(heads()?.iter().zip(&before)) {
            *moved |= now != then;
        }
        if connections >= 6 && moved == [true; HEADS.len()] {
            break;
        }
    }
    for ((ring, _), moved) in HEADS.into_iter().zip(moved) {
        ensure!(moved, "the second {ring} ring stands");
    }
    bulk::drain(guest.port(19), 4 << 20)?;
    must_serve(guest)
}

fn one() -> Result<()> {
    let card = Breakable::start_with(Nic::E1000, "nic.queues=4")?;
    must_serve(&card.guest)?;
    bulk::echo(card.guest.port(7), 1 << 20, 3)?;
    let stats = must_be_idle(&card.guest)?;
    ensure!(stats.get("nic_queue_pairs")? == 1);
    Ok(())
}
