//! More than the rings and the pool can hold: what does not fit is dropped and counted, and
//! nothing leaks.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tests::clients::{eventually, udp};
use tests::fixture::Shared;
use tests::frames::{ethernet, ethertype, ipv4};
use tests::guest::Guest;
use tests::launch::Machine;
use tests::many::Many;
use tests::peer::Peer;
use tests::stats::{Stats, must_be_idle};

use crate::boot::must_serve;

pub(crate) fn tests() -> Vec<Trial> {
    // The smallest rings and the smallest pool that they allow.
    let words = "ring.rx=16 ring.tx=16 pool.packets=96 tcp.max=64 tcp.backlog=16";
    let guest = Shared::new("exhaustion", move || Guest::boot(Machine::Q35, words));
    vec![
        guest.case("the_smallest_rings_and_pool_serve", 30, must_serve),
        guest.case("a_flood_beyond_the_receive_ring_is_survived", 60, receive),
        guest.case(
            "a_burst_beyond_the_transmit_ring_is_sent_whole",
            60,
            transmit,
        ),
        guest.case(
            "replies_that_nobody_resolves_hold_no_buffers",
            60,
            unresolved,
        ),
        guest.case(
            "connections_beyond_the_limit_do_not_harm_those_within",
            60,
            connections,
        ),
    ]
}

fn receive(guest: &Guest) -> Result<()> {
    let peer = Peer::on_tap(guest, 9)?;
    ensure!(peer.ping(1, b"resolved")?, "no reply to a plain ping");
    let ping =
        ipv4::icmp_header(peer.addr, peer.guest).packet(&ipv4::echo_request(7, 7, &[0x77; 1000]));
    let frame = ethernet(peer.guest_mac, peer.mac, ethertype::IPV4, &ping);
    for _ in 0..20_000 {
        peer.send_frame(&frame)?;
    }
    eventually(Duration::from_secs(20), || must_serve(guest))?;
    must_be_idle(guest)?;
    Ok(())
}

/// More datagrams at once than transmit slots: they wait for room instead of being lost. (No more
/// than the client's own socket buffer holds.)
fn transmit(guest: &Guest) -> Result<()> {
    let socket = udp(guest.port(19))?;
    for round in 0..20 {
        socket.send(b"64 1000")?;
        for number in 0..64 {
            let length = socket.recv(&mut [0; 2000]);
            let length = length.with_context(|| format!("round {round}, datagram {number}"))?;
            ensure!(length == 1000, "{length} bytes");
        }
    }
    must_be_idle(guest)?;
    Ok(())
}

/// Requests from hosts that do not exist: their replies wait for an ARP answer that never comes.
fn unresolved(guest: &Guest) -> Result<()> {
    let peer = Peer::on_tap(guest, 9)?;
    let [a, b, c, _] = guest.addr().octets();
    for host in 20..250 {
        let ping = ipv4::icmp_header([a, b, c, host].into(), peer.guest)
            .packet(&ipv4::echo_request(8, 8, b"from nowhere"));
        peer.send(ethertype::IPV4, &ping)?;
    }
    must_serve(guest)?;
    must_be_idle(guest)?;
    Ok(())
}

fn connections(guest: &Guest) -> Result<()> {
    let limit = Duration::from_secs(20);
    let mut within = Many::open(guest.port(7), 12, limit)?;
    for _ in 0..3 {
        within.join(Many::open(guest.port(7), 12, limit)?);
    }
    within.echo(0, limit)?;
    // These may or may not be accepted; they must not disturb the others.
    let _beyond = Many::open(guest.port(7), 100, Duration::from_secs(3));
    within.echo(1, limit)?;
    drop(within);
    drop(_beyond);
    eventually(limit, || {
        let open = Stats::read(guest)?.get("tcp_open")?;
        ensure!(open == 0, "{open} connections are still open");
        Ok(())
    })?;
    must_serve(guest)
}
