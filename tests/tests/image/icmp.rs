//! Echo requests, by the real `ping`.

use anyhow::Result;
use libtest_mimic::Trial;
use tests::clients::{must_flood_ping, must_ping};
use tests::fixture::Shared;
use tests::guest::Guest;
use tests::launch::Machine;

pub(crate) fn tests() -> Vec<Trial> {
    let guest = Shared::new("icmp", || Guest::boot(Machine::Q35, ""));
    vec![
        guest.case("ten_thousand_flood_pings_all_come_back", 90, flood),
        guest.case("payloads_of_every_kind_of_size_come_back_intact", 30, sizes),
        guest.case("a_fragmented_ping_comes_back_intact", 30, fragmented),
        guest.case("the_ipv6_link_local_address_answers", 30, link_local),
    ]
}

fn flood(guest: &Guest) -> Result<()> {
    must_flood_ping(&guest.addr().to_string(), 10_000, "")
}

fn sizes(guest: &Guest) -> Result<()> {
    for size in [0, 1, 17, 18, 63, 512, 1471, 1472] {
        let options = format!("-s {size} -p a55a0f");
        must_ping(&guest.addr().to_string(), 2, &options)?;
    }
    Ok(())
}

fn fragmented(guest: &Guest) -> Result<()> {
    for size in [1473, 2000, 4000] {
        let options = format!("-s {size} -p 00ff5a");
        must_ping(&guest.addr().to_string(), 3, &options)?;
    }
    Ok(())
}

fn link_local(guest: &Guest) -> Result<()> {
    let target = format!("{}%{}", guest.link_local(), guest.tap().name());
    for size in [0, 56, 1000, 1452] {
        must_ping(&target, 2, &format!("-6 -s {size}"))?;
    }
    must_flood_ping(&target, 1000, "-6")
}
