//! The small services over UDP, and what they never answer.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tests::bulk::Pattern;
use tests::clients::{must_echo_udp, udp};
use tests::fixture::Shared;
use tests::frames::ipv4::Ipv4;
use tests::frames::transport::{Ports, udp as datagram};
use tests::frames::{BROADCAST, ethernet, ethertype, ipv6, protocol};
use tests::guest::Guest;
use tests::launch::Machine;
use tests::peer::Peer;
use tests::stats::Stats;

/// Ports of the small services.
const SMALL: [u16; 4] = [7, 9, 11, 19];
/// How long silence has to last.
const SILENCE: Duration = Duration::from_millis(700);

pub(crate) fn tests() -> Vec<Trial> {
    let guest = Shared::new("udp", || Guest::boot(Machine::Q35, ""));
    vec![
        guest.case("datagrams_of_every_size_are_echoed", 30, echo_sizes),
        guest.case("ipv6_datagrams_are_echoed", 30, echo_ipv6),
        guest.case("a_datagram_without_checksum_is_echoed", 30, no_checksum),
        guest.case("discarded_datagrams_are_counted_exactly", 60, discard),
        guest.case("the_statistics_line_has_every_promised_key", 30, statistics),
        guest.case("the_character_source_sends_what_was_asked_for", 30, chargen),
        guest.case(
            "an_excessive_request_to_the_character_source_is_ignored",
            30,
            chargen_bounds,
        ),
        guest.case(
            "a_datagram_from_another_small_service_is_never_answered",
            30,
            no_loops,
        ),
        guest.case("a_broadcast_or_multicast_is_never_answered", 30, no_groups),
    ]
}

fn echo_sizes(guest: &Guest) -> Result<()> {
    let mut pattern = Pattern::new(1);
    for size in [0, 1, 2, 17, 18, 19, 100, 511, 1000, 1471, 1472] {
        let mut data = vec![0; size];
        pattern.fill(&mut data);
        must_echo_udp(guest.port(7), &data)?;
    }
    Ok(())
}

fn echo_ipv6(guest: &Guest) -> Result<()> {
    let index = nix::net::if_::if_nametoindex(guest.tap().name())?;
    let target = std::net::SocketAddrV6::new(guest.link_local(), 7, 0, index);
    must_echo_udp(target.into(), b"over the link-local address")?;
    must_echo_udp(target.into(), &[0x5a; 1452])
}

fn no_checksum(guest: &Guest) -> Result<()> {
    let peer = Peer::on_tap(guest, 9)?;
    let ports = Ports { src: 4000, dst: 7 };
    let mut bytes = datagram(peer.ends(), ports, b"unsummed");
    bytes[6..8].fill(0);
    peer.send_ipv4(protocol::UDP, &bytes)?;
    let answer = peer.wait_udp(7, 4000, tests::peer::REPLY_LIMIT)?;
    ensure!(answer.as_deref() == Some(b"unsummed"), "answer: {answer:?}");
    Ok(())
}

/// In bursts that a receive ring holds, so that none is lost before the service counts.
fn discard(guest: &Guest) -> Result<()> {
    let before = Stats::read(guest)?;
    let socket = udp(guest.port(9))?;
    for burst in 0..100 {
        for number in 0..20 {
            socket.send(format!("{burst}/{number}").as_bytes())?;
        }
        Stats::read(guest)?; // the burst has been received
    }
    let after = Stats::read(guest)?;
    let counted = after.grown("udp_rx", &before)?;
    ensure!(
        counted == 2000,
        "{counted} of 2000 counted: {}",
        after.changes(&before)
    );
    Ok(())
}

fn statistics(guest: &Guest) -> Result<()> {
    let stats = Stats::read(guest)?;
    for key in [
        "udp_rx",
        "nic_rx",
        "nic_drop",
        "nic_tx",
        "mem_total_kb",
        "mem_avail_kb",
        "pool_packets",
        "pool_outstanding",
        "pool_idle",
        "pool_alloc_fail",
        "ring_rx_size",
        "ring_tx_size",
        "ring_rx_posted",
        "ring_tx_inflight",
        "copies_rx",
        "copies_tx",
        "linearised",
        "heap_allocs",
        "heap_frees",
        "heap_bytes",
        "tcp_open",
        "tcp_accepted",
        "tcp_evicted",
    ] {
        stats.get(key)?;
    }
    let (total, available) = (stats.get("mem_total_kb")?, stats.get("mem_avail_kb")?);
    ensure!(
        available > 0 && available < total && total <= 128 << 10,
        "{available} of {total} kB"
    );
    ensure!(
        stats.get("nic_rx")? > 0 && stats.get("nic_tx")? > 0,
        "no traffic counted"
    );
    Ok(())
}

fn chargen(guest: &Guest) -> Result<()> {
    let socket = udp(guest.port(19))?;
    for (count, size) in [(1, 0), (1, 1), (5, 100), (50, 1472)] {
        socket.send(format!("{count} {size}").as_bytes())?;
        for number in 0..count {
            let mut bytes = [0; 2000];
            let length = socket.recv(&mut bytes);
            let length = length.with_context(|| format!("{count} {size}: datagram {number}"))?;
            ensure!(length == size, "{count} {size}: {length} bytes");
            ensure!(
                bytes[..length]
                    .iter()
                    .all(|byte| (b' '..=b'~').contains(byte)),
                "characters"
            );
        }
    }
    Ok(())
}

/// Everything outside the bounds is ignored, and one request is never worth more than its bound.
fn chargen_bounds(guest: &Guest) -> Result<()> {
    let socket = udp(guest.port(19))?;
    socket.set_read_timeout(Some(SILENCE))?;
    for bad in [
        "",
        "5",
        "5 x",
        "-1 5",
        "1 65000",
        "4000000000 1",
        "99999999999 1",
        "1 2 3",
    ] {
        socket.send(bad.as_bytes())?;
    }
    socket.send(&[0xff; 40])?;
    let answer = socket.recv(&mut [0; 2000]);
    ensure!(
        answer.is_err(),
        "an answer of {answer:?} bytes to a bad request"
    );
    Ok(())
}

fn no_loops(guest: &Guest) -> Result<()> {
    let peer = Peer::on_tap(guest, 9)?;
    peer.ask_udp(4000, 7, b"resolved")?;
    let before = Stats::read(guest)?;
    for src in SMALL {
        for dst in SMALL {
            peer.send_udp(Ports { src, dst }, b"1 10")?;
        }
    }
    must_stay_silent(guest, &peer, "a small service's port")?;
    let after = Stats::read(guest)?;
    let dropped = after.grown("rx_udp_loop", &before)?;
    ensure!(
        dropped == 16,
        "{dropped} of 16 counted: {}",
        after.changes(&before)
    );
    ensure!(
        after.grown("udp_rx", &before)? == 0,
        "one of them reached a service"
    );
    Ok(())
}

fn no_groups(guest: &Guest) -> Result<()> {
    let peer = Peer::on_tap(guest, 9)?;
    peer.ask_udp(4000, 7, b"resolved")?;
    let before = Stats::read(guest)?;
    let [a, b, c, _] = guest.addr().octets();
    let groups = [
        ([255; 4], BROADCAST),
        ([a, b, c, 255], BROADCAST),
        ([224, 0, 0, 1], [0x01, 0, 0x5e, 0, 0, 1]),
        ([224, 0, 0, 251], [0x01, 0, 0x5e, 0, 0, 251]),
    ];
    for (group, mac) in groups {
        for dst in SMALL {
            let ends = (peer.addr.into(), std::net::Ipv4Addr::from(group).into());
            let data = datagram(ends, Ports { src: 4000, dst }, b"1 10");
            let packet = Ipv4::new(peer.addr, group.into(), protocol::UDP).packet(&data);
            peer.send_frame(&ethernet(mac, peer.mac, ethertype::IPV4, &packet))?;
        }
    }
    let (src, group) = (peer.link_local(), ipv6::ALL_NODES);
    for dst in SMALL {
        let data = datagram(
            (src.into(), group.into()),
            Ports { src: 4000, dst },
            b"1 10",
        );
        let packet = ipv6::packet(src, group, protocol::UDP, 64, &data);
        let mac = ipv6::multicast_mac(group);
        peer.send_frame(&ethernet(mac, peer.mac, ethertype::IPV6, &packet))?;
    }
    must_stay_silent(guest, &peer, "a group")?;
    let after = Stats::read(guest)?;
    let dropped = after.grown("rx_udp_group", &before)?;
    // The guest is in four of the groups; the card keeps what is for the fifth out.
    let reached = 4 * SMALL.len() as u64;
    ensure!(
        dropped == reached,
        "{dropped} of {reached} counted: {}",
        after.changes(&before)
    );
    ensure!(
        after.grown("udp_rx", &before)? == 0,
        "one of them reached a service"
    );
    Ok(())
}

/// No UDP datagram comes from the guest for a while, whatever its ports and addresses, unless it
/// is for the host itself (which asked for statistics).
fn must_stay_silent(guest: &Guest, peer: &Peer, what: &str) -> Result<()> {
    let host = guest.tap().host_mac();
    let answer = peer.wait(SILENCE, |frame| {
        if frame.starts_with(&host) {
            return None;
        }
        let packet_protocol = match frame.get(12..14)? {
            [0x08, 0x00] => *frame.get(14 + 9)?,
            [0x86, 0xdd] => *frame.get(14 + 6)?,
            _ => return None,
        };
        (packet_protocol == protocol::UDP).then(|| frame.to_vec())
    })?;
    ensure!(answer.is_none(), "{what} was answered: {answer:02x?}");
    Ok(())
}
