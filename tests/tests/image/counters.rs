//! What the path promises: no copy between driver and smoltcp, no heap on the way.

use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tests::bulk;
use tests::clients::{eventually, must_echo_tcp, must_echo_udp, must_flood_ping, tcp};
use tests::fixture::Shared;
use tests::guest::Guest;
use tests::http::must_get;
use tests::launch::Machine;
use tests::stats::{Stats, must_copy_only_scattered};

pub(crate) fn tests() -> Vec<Trial> {
    let guest = Shared::new("counters", || Guest::boot(Machine::Q35, ""));
    vec![
        guest.case("single_buflet_packets_are_never_copied", 60, no_copies),
        guest.case(
            "steady_udp_traffic_takes_nothing_from_the_heap",
            60,
            udp_heap,
        ),
        guest.case(
            "steady_tcp_traffic_takes_nothing_from_the_heap",
            60,
            tcp_heap,
        ),
        guest.case("steady_pings_take_nothing_from_the_heap", 60, icmp_heap),
        guest.case("the_nic_counts_what_goes_over_the_wire", 30, nic),
        guest.case("interrupts_are_counted_by_the_second", 30, interrupts),
    ]
}

fn no_copies(guest: &Guest) -> Result<()> {
    bulk::echo(guest.port(7), 4 << 20, 3)?;
    for size in [1, 100, 1472] {
        must_echo_udp(guest.port(7), &vec![7; size])?;
    }
    must_flood_ping(&guest.addr().to_string(), 200, "-s 1400")?;
    must_copy_only_scattered(&Stats::read(guest)?)
}

/// Traffic once to warm up, then again: the second time takes no heap block beyond what a
/// reading of the statistics itself takes.
fn must_not_allocate(guest: &Guest, mut traffic: impl FnMut() -> Result<()>) -> Result<()> {
    traffic().context("warming up")?;
    let reading = Stats::read(guest)?;
    let before = Stats::read(guest)?;
    let own = before.grown("heap_allocs", &reading)?;
    traffic()?;
    let after = Stats::read(guest)?;
    let packets = after.grown("nic_rx", &before)?;
    let allocations = after.grown("heap_allocs", &before)?;
    ensure!(packets >= 500, "only {packets} packets");
    ensure!(
        allocations == own,
        "{allocations} heap allocations for {packets} packets: {}",
        after.changes(&before)
    );
    Ok(())
}

fn udp_heap(guest: &Guest) -> Result<()> {
    must_not_allocate(guest, || {
        (0..1000u32).try_for_each(|number| must_echo_udp(guest.port(7), &number.to_be_bytes()))
    })
}

fn tcp_heap(guest: &Guest) -> Result<()> {
    let mut streams: Vec<TcpStream> = (0..10).map(|_| tcp(guest.port(7))).collect::<Result<_>>()?;
    must_not_allocate(guest, || {
        for _ in 0..50 {
            for stream in &mut streams {
                must_echo_tcp(stream, b"steady as she goes")?;
            }
        }
        must_echo_tcp(&mut streams[0], &vec![0x2a; 16 << 10])
    })
}

fn icmp_heap(guest: &Guest) -> Result<()> {
    must_not_allocate(guest, || {
        must_flood_ping(&guest.addr().to_string(), 1000, "")
    })
}

fn nic(guest: &Guest) -> Result<()> {
    let before = Stats::read(guest)?;
    must_flood_ping(&guest.addr().to_string(), 500, "")?;
    let after = Stats::read(guest)?;
    for key in ["nic_rx", "nic_tx"] {
        let grown = after.grown(key, &before)?;
        // The pings and the statistics request, and a few packets of the host's own.
        ensure!(
            (500..600).contains(&grown),
            "{key} grew by {grown} for 500 pings"
        );
    }
    Ok(())
}

/// Each ping that meets a sleeping guest is an interrupt, and the upkeep of each second is one of the
/// timer's.
fn interrupts(guest: &Guest) -> Result<()> {
    eventually(Duration::from_secs(20), || {
        must_flood_ping(&guest.addr().to_string(), 500, "")?;
        let stats = Stats::read(guest)?;
        for key in [
            "device_interrupts_per_s",
            "timer_interrupts_per_s",
            "halts",
            "timer_sets",
        ] {
            ensure!(stats.get(key)? > 0, "{key} is 0");
        }
        Ok(())
    })?;
    let page = must_get(&guest.url("/"))?;
    ensure!(page.contains("interrupts a second from devices"), "{page}");
    Ok(())
}
