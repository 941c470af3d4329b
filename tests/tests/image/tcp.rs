//! TCP with real clients: one connection with much data, many connections with little.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tests::bulk;
use tests::clients::{eventually, must_echo_tcp, tcp};
use tests::fixture::Shared;
use tests::guest::Guest;
use tests::http::must_get;
use tests::launch::Machine;
use tests::many::Many;
use tests::stats::{Stats, must_copy_only_scattered};

const MIB: usize = 1 << 20;
/// For steps in which many connections take part.
const MANY_LIMIT: Duration = Duration::from_secs(40);

pub(crate) fn tests() -> Vec<Trial> {
    let guest = Shared::new("tcp", || Guest::boot(Machine::Q35, ""));
    vec![
        guest.case("small_messages_are_echoed_one_by_one", 30, small_messages),
        guest.case("ipv6_connections_are_served", 30, ipv6),
        guest.case(
            "what_was_sent_before_half_closing_is_all_echoed",
            30,
            half_close,
        ),
        guest.case(
            "a_hundred_megabytes_are_echoed_bit_exact",
            200,
            hundred_megabytes,
        ),
        guest.case(
            "a_thousand_connections_are_open_at_once_and_each_echoes",
            120,
            thousand,
        ),
        guest.case(
            "sixty_four_connects_at_once_all_succeed",
            60,
            burst_of_connects,
        ),
        guest.case("connections_are_served_back_to_back", 60, back_to_back),
        guest.case("a_closed_or_reset_connection_is_forgotten", 60, forgotten),
        guest.case(
            "the_character_source_streams_until_the_peer_closes",
            60,
            chargen,
        ),
        guest.case("discard_takes_everything_and_says_nothing", 60, discard),
        guest.case("a_port_without_service_refuses", 30, refused),
        guest.case("two_bulk_transfers_share_the_machine", 60, two_at_once),
    ]
}

fn small_messages(guest: &Guest) -> Result<()> {
    let mut stream = tcp(guest.port(7))?;
    stream.set_nodelay(true)?;
    for number in 0..500 {
        let message = format!("message {number}\n");
        must_echo_tcp(&mut stream, message.as_bytes()).with_context(|| message)?;
    }
    Ok(())
}

fn ipv6(guest: &Guest) -> Result<()> {
    let index = nix::net::if_::if_nametoindex(guest.tap().name())?;
    let target = std::net::SocketAddrV6::new(guest.link_local(), 7, 0, index);
    bulk::echo(target.into(), MIB, 6)
}

fn half_close(guest: &Guest) -> Result<()> {
    let mut stream = tcp(guest.port(7))?;
    stream.write_all(b"last words")?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer == "last words", "echoed {answer:?}");
    Ok(())
}

fn hundred_megabytes(guest: &Guest) -> Result<()> {
    bulk::echo(guest.port(7), 100 * MIB, 100)?;
    must_not_copy(guest)
}

fn two_at_once(guest: &Guest) -> Result<()> {
    let target = guest.port(7);
    let other = std::thread::spawn(move || bulk::echo(target, 4 * MIB, 1));
    bulk::echo(target, 4 * MIB, 2)?;
    other
        .join()
        .map_err(|_| anyhow::anyhow!("a client panicked"))?
}

fn must_not_copy(guest: &Guest) -> Result<()> {
    must_copy_only_scattered(&Stats::read(guest)?)
}

fn thousand(guest: &Guest) -> Result<()> {
    let mut many = Many::open(guest.port(7), 1000, MANY_LIMIT)?;
    for round in 0..3 {
        many.echo(round, MANY_LIMIT)?;
    }
    let open = Stats::read(guest)?.get("tcp_open")?;
    ensure!(open >= 1000, "{open} connections are open");
    many.echo(3, MANY_LIMIT)?;
    drop(many);
    must_forget(guest)
}

/// All connections are gone, in whatever way the image waits for their end.
fn must_forget(guest: &Guest) -> Result<()> {
    eventually(Duration::from_secs(30), || {
        let open = Stats::read(guest)?.get("tcp_open")?;
        ensure!(open == 0, "{open} connections are still open");
        Ok(())
    })
}

fn burst_of_connects(guest: &Guest) -> Result<()> {
    let before = Stats::read(guest)?;
    for round in 0..5 {
        let mut many = Many::open(guest.port(7), 64, MANY_LIMIT)?;
        many.echo(round, MANY_LIMIT)?;
    }
    let after = Stats::read(guest)?;
    ensure!(
        after.grown("tcp_accepted", &before)? == 5 * 64,
        "{}",
        after.changes(&before)
    );
    for lost in ["tcp_evicted", "rx_syn_refused"] {
        ensure!(
            after.grown(lost, &before)? == 0,
            "{}",
            after.changes(&before)
        );
    }
    Ok(())
}

fn back_to_back(guest: &Guest) -> Result<()> {
    for number in 0..200 {
        let mut stream = tcp(guest.port(7)).with_context(|| format!("connection {number}"))?;
        must_echo_tcp(&mut stream, b"next, please")
            .with_context(|| format!("connection {number}"))?;
    }
    must_forget(guest)
}

fn forgotten(guest: &Guest) -> Result<()> {
    let mut stream = tcp(guest.port(7))?;
    must_echo_tcp(&mut stream, b"hello")?;
    drop(stream);
    // Closing with unread data resets the connection.
    let mut stream = tcp(guest.port(19))?;
    stream.read_exact(&mut [0; 100])?;
    drop(stream);
    must_forget(guest)
}

fn chargen(guest: &Guest) -> Result<()> {
    let characters = bulk::drain(guest.port(19), 8 * MIB)?;
    let wrong = characters
        .iter()
        .enumerate()
        .find(|(at, byte)| usize::from(**byte - b' ') != at % 95);
    ensure!(wrong.is_none(), "not RFC 864's pattern: {wrong:?}");
    must_forget(guest)
}

fn discard(guest: &Guest) -> Result<()> {
    let mut stream = tcp(guest.port(9))?;
    let chunk = vec![0x5a; MIB];
    for _ in 0..8 {
        stream.write_all(&chunk)?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .context("the guest did not close")?;
    ensure!(answer.is_empty(), "discard said {} bytes", answer.len());
    Ok(())
}

fn refused(guest: &Guest) -> Result<()> {
    for port in [1, 81, 8080, 65535] {
        let outcome = std::net::TcpStream::connect_timeout(&guest.port(port), MANY_LIMIT);
        let kind = outcome.err().map(|error| error.kind());
        ensure!(
            kind == Some(ErrorKind::ConnectionRefused),
            "port {port}: {kind:?}"
        );
    }
    must_get(&guest.url("/"))?;
    Ok(())
}
