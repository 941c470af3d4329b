//! TCP segment by segment: what the image does when its peer is slow, confused or hostile.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tests::clients::eventually;
use tests::fixture::Shared;
use tests::frames::transport::{Ports, Segment, flag};
use tests::frames::{ethernet, ethertype, ipv4::Ipv4, protocol};
use tests::guest::Guest;
use tests::http::must_get;
use tests::launch::Machine;
use tests::peer::Peer;
use tests::stats::Stats;
use tests::tcp_peer::{INITIAL_SEQ, TcpPeer};

use crate::boot::must_serve;

pub(crate) fn tests() -> Vec<Trial> {
    let guest = Shared::new("tcp_by_hand", || Guest::boot(Machine::Q35, ""));
    vec![
        guest.case(
            "a_second_small_reply_does_not_wait_for_an_acknowledgement",
            30,
            no_nagle,
        ),
        guest.case(
            "segments_out_of_order_twice_and_overlapping_are_put_right",
            30,
            reordered,
        ),
        guest.case(
            "a_closed_window_stops_the_character_source",
            30,
            closed_window,
        ),
        guest.case("segments_outside_the_window_change_nothing", 30, outside),
        guest.case(
            "a_segment_to_no_connection_is_answered_by_a_reset",
            30,
            no_connection,
        ),
        guest.case("a_repeated_syn_opens_one_connection", 30, repeated_syn),
        guest.case(
            "twenty_thousand_forged_syns_neither_stop_service_nor_take_memory",
            90,
            syn_flood,
        ),
    ]
}

/// Neither Nagle's algorithm nor a delayed acknowledgement may hold a small reply back: two
/// replies come although the first was never acknowledged.
fn no_nagle(guest: &Guest) -> Result<()> {
    let peer = Peer::on_tap(guest, 9)?;
    let mut connection = TcpPeer::open(&peer, 4001, 7)?;
    let first_unacknowledged = connection.ack;
    for message in [&b"one"[..], b"two", b"three"] {
        let mut segment = connection.segment(flag::ACK | flag::PSH);
        segment.ack = first_unacknowledged;
        segment.data = message.to_vec();
        connection.send(segment)?;
        let echoed = connection.collect(message.len())?;
        ensure!(echoed == message, "echoed {echoed:?}");
    }
    connection.reset()
}

fn reordered(guest: &Guest) -> Result<()> {
    let peer = Peer::on_tap(guest, 9)?;
    let mut connection = TcpPeer::open(&peer, 4002, 7)?;
    let start = connection.seq;
    let piece = |from: u32, data: &[u8]| {
        let mut segment = connection.segment(flag::ACK | flag::PSH);
        segment.seq = start.wrapping_add(from);
        segment.data = data.to_vec();
        segment
    };
    let pieces = [
        piece(6, b"ghi"),
        piece(3, b"defgh"),
        piece(6, b"ghi"),
        piece(0, b"abcd"),
    ];
    for segment in &pieces {
        connection.send_aside(segment)?;
    }
    connection.seq = start.wrapping_add(9);
    let echoed = connection.collect(9)?;
    ensure!(
        echoed == b"abcdefghi",
        "echoed {:?}",
        String::from_utf8_lossy(&echoed)
    );
    connection.reset()
}

fn closed_window(guest: &Guest) -> Result<()> {
    let peer = Peer::on_tap(guest, 9)?;
    let mut connection = TcpPeer::open(&peer, 4003, 19)?;
    connection.collect(1000)?;
    // Acknowledge everything, and what comes meanwhile, with a window of nothing.
    let shut = |connection: &mut TcpPeer| {
        let mut shut = connection.segment(flag::ACK);
        shut.window = 0;
        connection.send(shut)
    };
    shut(&mut connection)?;
    while let Some(segment) = connection.receive(Duration::from_millis(300))? {
        if segment.seq == connection.ack {
            connection.ack = segment.end();
        }
        shut(&mut connection)?;
    }
    if let Some(probe) = connection.receive(Duration::from_millis(700))? {
        ensure!(
            probe.data.len() <= 1,
            "{} bytes into a closed window",
            probe.data.len()
        );
    }
    must_get(&guest.url("/")).context("meanwhile")?;
    connection.send(connection.segment(flag::ACK))?;
    connection.read(20_000).context("after the window opened")?;
    connection.reset()
}

fn outside(guest: &Guest) -> Result<()> {
    let peer = Peer::on_tap(guest, 9)?;
    let mut connection = TcpPeer::open(&peer, 4004, 7)?;
    for distance in [0x4000_0000_u32, 0x8000_0000, 0xc000_0000] {
        for flags in [
            flag::RST,
            flag::RST | flag::ACK,
            flag::ACK,
            flag::FIN | flag::ACK,
        ] {
            let mut segment = connection.segment(flags);
            segment.seq = segment.seq.wrapping_add(distance);
            segment.data = if flags & flag::RST == 0 {
                b"stray".to_vec()
            } else {
                vec![]
            };
            connection.send_aside(&segment)?;
        }
        let mut ahead = connection.segment(flag::ACK);
        ahead.ack = ahead.ack.wrapping_add(distance);
        connection.send_aside(&ahead)?;
    }
    connection.send_data(b"still here?")?;
    let echoed = connection.collect(11)?;
    ensure!(echoed == b"still here?", "echoed {echoed:?}");
    connection.reset()
}

fn no_connection(guest: &Guest) -> Result<()> {
    let peer = Peer::on_tap(guest, 9)?;
    peer.ping(1, b"resolved")?;
    let ports = Ports { src: 4005, dst: 7 };
    peer.send_tcp(&Segment::new(ports, flag::ACK, 77, 88))?;
    let reset = peer.wait(tests::peer::REPLY_LIMIT, |frame| {
        let packet = tests::frames::ethernet_payload(frame, ethertype::IPV4)?;
        let (_, _, bytes) = tests::frames::ipv4::parse(packet, protocol::TCP)?;
        Segment::parse(bytes).filter(|segment| segment.ports.dst == 4005)
    })?;
    let reset = reset.context("no answer")?;
    ensure!(
        reset.flags & flag::RST != 0 && reset.seq == 88,
        "answer: {reset:?}"
    );
    Ok(())
}

fn repeated_syn(guest: &Guest) -> Result<()> {
    let peer = Peer::on_tap(guest, 9)?;
    peer.ping(1, b"resolved")?;
    let before = Stats::read(guest)?;
    let syn = Segment::new(Ports { src: 4006, dst: 7 }, flag::SYN, INITIAL_SEQ, 0);
    for _ in 0..5 {
        peer.send_tcp(&syn)?;
    }
    let mut connection = TcpPeer::open(&peer, 4006, 7)?;
    connection.send_data(b"one of us")?;
    connection.collect(9)?;
    let after = Stats::read(guest)?;
    ensure!(
        after.grown("tcp_accepted", &before)? == 1,
        "{}",
        after.changes(&before)
    );
    connection.reset()
}

const FORGED: u32 = 20_000;

/// SYNs from as many forged sources behind the gateway, whose handshakes nobody will complete.
fn syn_flood(guest: &Guest) -> Result<()> {
    must_get(&guest.url("/"))?;
    let peer = Peer::on_tap(guest, 9)?;
    let before = Stats::read(guest)?;
    for number in 0..FORGED {
        let src = std::net::Ipv4Addr::from_bits(0xc612_0000 + number); // 198.18.0.0/15
        let ports = Ports {
            src: 1024 + (number % 60_000) as u16,
            dst: [7, 80][number as usize % 2],
        };
        let segment = Segment::new(ports, flag::SYN, number, 0);
        let bytes = segment.bytes((src.into(), guest.addr().into()));
        let packet = Ipv4::new(src, guest.addr(), protocol::TCP).packet(&bytes);
        peer.send_frame(&ethernet(guest.mac(), peer.mac, ethertype::IPV4, &packet))?;
        if number % 4000 == 0 {
            eventually(Duration::from_secs(10), || must_get(&guest.url("/")))
                .with_context(|| format!("during the flood, after {number}"))?;
        }
    }
    must_serve(guest).context("right after the flood")?;
    let after = Stats::read(guest)?;
    let taken = before
        .get("mem_avail_kb")?
        .saturating_sub(after.get("mem_avail_kb")?);
    ensure!(
        taken < 32 << 10,
        "{taken} kB of memory taken: {}",
        after.changes(&before)
    );
    ensure!(after.get("tcp_open")? < 2048, "{}", after.changes(&before));
    Ok(())
}
