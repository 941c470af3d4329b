//! IPv4 fragments that overlap, come in any order, or never become whole.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::frames::ipv4::{Ipv4, echo_request, icmp_header, two_fragments};
use tests::frames::{ethertype, get16};
use tests::guest::Guest;
use tests::peer::{Peer, REPLY_LIMIT};
use tests::stats::Stats;

use crate::boot::must_serve;

const SILENCE: Duration = Duration::from_millis(500);

/// The second fragment lies partly over the first: the datagram is given up, once and for all.
pub(super) fn overlapping(guest: &Guest) -> Result<()> {
    let peer = Peer::on_tap(guest, 9)?;
    ensure!(peer.ping(1, b"resolved")?, "no reply to a plain ping");
    let before = Stats::read(guest)?;
    let echo = echo_request(0x4d52, 2, &[0x11; 120]);
    for (id, second_at) in [(301, 56), (302, 32), (303, 8)] {
        let header = Ipv4 {
            id,
            ..icmp_header(peer.addr, peer.guest)
        };
        let [first, _] = two_fragments(&header, &echo, 64);
        let over = Ipv4 {
            fragment_offset: second_at,
            ..header
        };
        peer.send(ethertype::IPV4, &first)?;
        peer.send(
            ethertype::IPV4,
            &over.packet(&echo[usize::from(second_at)..]),
        )?;
    }
    let answer = peer.wait_echo_reply(2, SILENCE)?;
    ensure!(answer.is_none(), "overlapping fragments were put together");
    let after = Stats::read(guest)?;
    ensure!(
        after.grown("rx_bad_fragment", &before)? == 3,
        "{}",
        after.changes(&before)
    );
    must_serve(guest)
}

/// Fragments of whole datagrams come last first and interleaved with others.
pub(super) fn shuffled(guest: &Guest) -> Result<()> {
    let peer = Peer::on_tap(guest, 9)?;
    ensure!(peer.ping(1, b"resolved")?, "no reply to a plain ping");
    let data = [3, 4].map(|sequence: u16| vec![sequence as u8; 1200]);
    let [a, b] = [3, 4].map(|sequence: u16| {
        let header = Ipv4 {
            id: 400 + sequence,
            ..icmp_header(peer.addr, peer.guest)
        };
        let echo = echo_request(0x4d52, sequence, &data[usize::from(sequence) - 3]);
        two_fragments(&header, &echo, 800)
    });
    for fragment in [&a[1], &b[1], &b[0], &a[0]] {
        peer.send(ethertype::IPV4, fragment)?;
    }
    for (sequence, data) in [(4, &data[1]), (3, &data[0])] {
        let answer = peer.wait_echo_reply(sequence, REPLY_LIMIT)?;
        let answer = answer.with_context(|| format!("no reply to datagram {sequence}"))?;
        ensure!(
            answer == *data,
            "datagram {sequence} was put together wrongly"
        );
    }
    Ok(())
}

/// Thousands of datagrams of which only the first part ever comes take bounded memory.
pub(super) fn incomplete(guest: &Guest) -> Result<()> {
    let peer = Peer::on_tap(guest, 9)?;
    let before = Stats::read(guest)?;
    let echo = echo_request(0x4d52, 5, &[0x33; 1400]);
    for id in 1000..6000 {
        let header = Ipv4 {
            id,
            fragment_offset: 64_000,
            ..icmp_header(peer.addr, peer.guest)
        };
        let [first, second] = two_fragments(&header, &echo, 800);
        let part = if id % 2 == 0 { first } else { second };
        ensure!(get16(&part, 4) == Some(id), "identification");
        peer.send(ethertype::IPV4, &part)?;
    }
    must_serve(guest)?;
    let after = Stats::read(guest)?;
    let taken = after
        .get("heap_bytes")?
        .saturating_sub(before.get("heap_bytes")?);
    ensure!(taken < 1 << 20, "{taken} bytes of heap taken");
    Ok(())
}
