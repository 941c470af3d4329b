//! More clients than there is room for, and clients that never finish: each is bounded, and
//! what they took comes back.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tests::clients::{eventually, must_echo_tcp, tcp};
use tests::guest::Guest;
use tests::launch::{Launch, Machine};
use tests::limit::case;
use tests::stats::{Stats, must_be_idle};
use tests::tap::Tap;

use crate::boot::must_serve;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        case(
            "limits::more_connections_than_memory_do_no_harm",
            120,
            out_of_memory,
        ),
        case(
            "limits::a_client_that_never_finishes_its_request_is_let_go",
            60,
            half_a_request,
        ),
    ]
}

const LITTLE_MIB: u32 = 16;
/// Far more than have room in that memory.
const CROWD: usize = 3000;

/// Connections are opened until the guest takes no more. Those it took go on working; when they
/// are closed, others can come.
fn out_of_memory() -> Result<()> {
    let tap = Tap::new()?;
    let cmdline = format!("{} services=all", tap.static_config());
    let launch = Launch::pvh(Machine::Q35, cmdline).mem(LITTLE_MIB);
    let guest = Guest::start_ready(&launch, tap)?;
    must_serve(&guest)?;
    let before = must_be_idle(&guest)?;

    let mut crowd = open_all(&guest)?;
    ensure!(
        crowd.len() >= 20,
        "only {} connections in {LITTLE_MIB} MiB",
        crowd.len()
    );
    Stats::read(&guest).context("statistics in the crowd")?;
    for (number, stream) in crowd.iter_mut().enumerate() {
        must_echo_tcp(stream, format!("number {number}").as_bytes())
            .with_context(|| format!("connection {number} of {CROWD}"))?;
    }
    drop(crowd);
    eventually(Duration::from_secs(40), || must_serve(&guest)).context("after the crowd left")?;
    eventually(Duration::from_secs(40), || {
        let open = Stats::read(&guest)?.get("tcp_open")?;
        ensure!(open == 0, "{open} connections are still open");
        Ok(())
    })?;
    let after = must_be_idle(&guest)?;
    ensure!(
        after.get("pool_packets")? == before.get("pool_packets")?,
        "the pool changed size"
    );
    must_serve(&guest)
}

/// Opens connections one by one until one is not taken within a second, or the crowd is whole.
fn open_all(guest: &Guest) -> Result<Vec<TcpStream>> {
    let mut streams = Vec::new();
    while streams.len() < CROWD {
        let Ok(stream) = TcpStream::connect_timeout(&guest.port(7), Duration::from_secs(1)) else {
            break;
        };
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        streams.push(stream);
    }
    Ok(streams)
}

fn half_a_request() -> Result<()> {
    let guest = Guest::boot(Machine::Q35, "")?;
    let mut waiting = Vec::new();
    for request in [&b""[..], b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n"] {
        let mut stream = tcp(guest.port(80))?;
        stream.set_read_timeout(Some(Duration::from_secs(40)))?;
        stream.write_all(request)?;
        waiting.push(stream);
    }
    for stream in &mut waiting {
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .context("the server did not close")?;
        let proper = answer.is_empty() || answer.starts_with("HTTP/1.1 408");
        ensure!(proper, "answered: {answer}");
    }
    drop(waiting);
    must_serve(&guest)
}
