//! The HTTP server: with `curl`, and with requests that `curl` would never send.

use std::io::{Read, Write};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tests::clients::tcp;
use tests::fixture::Shared;
use tests::guest::Guest;
use tests::http::{curl, must_get, parse, parse_all, send_raw};
use tests::launch::{Machine, Nic};
use tests::stats::{Stats, parse_prometheus};

pub(crate) fn tests() -> Vec<Trial> {
    let guest = Shared::new("http", || Guest::boot(Machine::Q35, ""));
    vec![
        guest.case(
            "the_status_page_shows_addresses_nic_pool_and_counters",
            30,
            status_page,
        ),
        guest.case("http_1_0_and_1_1_are_both_spoken", 30, versions),
        guest.case(
            "metrics_are_prometheus_text_and_agree_with_the_statistics",
            30,
            metrics,
        ),
        guest.case("another_path_is_not_found", 30, not_found),
        guest.case("head_and_other_methods_are_answered_properly", 30, methods),
        guest.case(
            "two_hundred_connections_back_to_back_are_all_served",
            60,
            back_to_back,
        ),
        guest.case("one_connection_carries_many_requests", 30, keep_alive),
        guest.case("pipelined_requests_are_answered_in_order", 30, pipelined),
        guest.case("a_request_that_drips_in_is_answered", 30, dripping),
        guest.case("garbage_is_answered_by_400_or_closed", 30, garbage),
        guest.case("an_oversized_request_is_refused", 30, oversized),
        guest.case("a_client_that_leaves_early_costs_nothing", 30, leaving),
    ]
}

fn status_page(guest: &Guest) -> Result<()> {
    let response = curl(&guest.url("/"), "")?;
    ensure!(response.status == 200, "status {}", response.status);
    let kind = response.header("content-type").context("no Content-Type")?;
    ensure!(kind.starts_with("text/"), "Content-Type: {kind}");
    let page = response.body.to_lowercase();
    let mac = tests::frames::mac_text(guest.mac());
    let addresses = [
        guest.addr().to_string(),
        guest.link_local().to_string(),
        mac,
    ];
    let kind = match tests::env::nic()? {
        Nic::Virtio => "virtio-net",
        Nic::E1000 => "e1000 (82540em)",
        Nic::E1000e => "e1000e (82574l)",
        Nic::Igb => "igb (82576)",
    };
    for part in addresses
        .iter()
        .map(String::as_str)
        .chain([kind, "pool", "millrace"])
    {
        ensure!(page.contains(part), "the page lacks {part}: {page}");
    }
    Ok(())
}

fn versions(guest: &Guest) -> Result<()> {
    for option in ["--http1.0", "--http1.1"] {
        let response = curl(&guest.url("/"), option)?;
        ensure!(
            response.status == 200,
            "{option}: status {}",
            response.status
        );
        let length: usize = response
            .header("content-length")
            .context("no length")?
            .parse()?;
        ensure!(
            length == response.body.len(),
            "{option}: {length} bytes announced"
        );
    }
    // HTTP/1.1 without Host is a bad request (RFC 9112, 3.2); 1.0 needs none.
    let old = send_raw(guest.port(80), b"GET / HTTP/1.0\r\n\r\n")?;
    ensure!(
        parse(&old).is_some_and(|r| r.status == 200),
        "HTTP/1.0: {old}"
    );
    let new = send_raw(
        guest.port(80),
        b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
    )?;
    ensure!(
        parse(&new).is_some_and(|r| r.status == 400),
        "1.1 without Host: {new}"
    );
    Ok(())
}

fn metrics(guest: &Guest) -> Result<()> {
    let before = Stats::read(guest)?.get("nic_rx")?;
    let response = curl(&guest.url("/metrics"), "")?;
    ensure!(response.status == 200, "status {}", response.status);
    let kind = response.header("content-type").context("no Content-Type")?;
    ensure!(kind.starts_with("text/plain"), "Content-Type: {kind}");
    let samples = parse_prometheus(&response.body)?;
    let after = Stats::read(guest)?.get("nic_rx")?;
    let name = "millrace_nic_rx_total";
    let &value = samples.get(name).with_context(|| format!("no {name}"))?;
    let range = before as f64..=after as f64;
    ensure!(
        range.contains(&value),
        "{name} is {value}, the statistics say {range:?}"
    );
    ensure!(
        samples.keys().all(|name| name.starts_with("millrace_")),
        "a name without prefix"
    );
    Ok(())
}

fn not_found(guest: &Guest) -> Result<()> {
    for path in [
        "/nothing",
        "/metrics/",
        "/..%2f",
        "/?",
        "/index.html/../../etc",
    ] {
        let response = curl(&guest.url(path), "--path-as-is")?;
        let expected = if path == "/?" { 200 } else { 404 };
        ensure!(
            response.status == expected,
            "{path}: status {}",
            response.status
        );
    }
    Ok(())
}

fn methods(guest: &Guest) -> Result<()> {
    let head = curl(&guest.url("/"), "--head")?;
    ensure!(head.status == 200 && head.body.is_empty(), "HEAD: {head:?}");
    for method in ["POST", "DELETE", "BREW"] {
        let response = curl(&guest.url("/"), &format!("-X {method}"))?;
        ensure!(
            [405, 501].contains(&response.status),
            "{method}: status {}",
            response.status
        );
    }
    Ok(())
}

fn back_to_back(guest: &Guest) -> Result<()> {
    let request = b"GET /metrics HTTP/1.0\r\n\r\n";
    for number in 0..200 {
        let answer = send_raw(guest.port(80), request).with_context(|| format!("{number}"))?;
        ensure!(
            parse(&answer).is_some_and(|r| r.status == 200),
            "{number}: {answer}"
        );
    }
    Ok(())
}

fn keep_alive(guest: &Guest) -> Result<()> {
    let mut stream = tcp(guest.port(80))?;
    for number in 0..20 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: millrace\r\n\r\n")?;
        let response = read_one(&mut stream).with_context(|| format!("request {number}"))?;
        ensure!(
            response.status == 200,
            "request {number}: status {}",
            response.status
        );
    }
    Ok(())
}

/// Reads one response by its length.
fn read_one(stream: &mut impl Read) -> Result<tests::http::Response> {
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let length = stream.read(&mut chunk)?;
        ensure!(length != 0, "closed in the middle of a response");
        text.extend(&chunk[..length]);
        if let Some(mut all) = parse_all(&String::from_utf8_lossy(&text)) {
            ensure!(all.len() == 1, "{} responses to one request", all.len());
            return all.pop().context("no response");
        }
    }
}

fn pipelined(guest: &Guest) -> Result<()> {
    let mut requests = String::new();
    for path in ["/", "/nothing", "/metrics", "/", "/nothing"] {
        requests += &format!("GET {path} HTTP/1.1\r\nHost: millrace\r\n\r\n");
    }
    requests += "GET /last HTTP/1.1\r\nHost: millrace\r\nConnection: close\r\n\r\n";
    let answer = send_raw(guest.port(80), requests.as_bytes())?;
    let statuses: Vec<u16> = parse_all(&answer)
        .with_context(|| answer.clone())?
        .iter()
        .map(|r| r.status)
        .collect();
    ensure!(statuses == [200, 404, 200, 200, 404, 404], "{statuses:?}");
    Ok(())
}

fn dripping(guest: &Guest) -> Result<()> {
    let mut stream = tcp(guest.port(80))?;
    stream.set_nodelay(true)?;
    for byte in b"GET / HTTP/1.1\r\nHost: millrace\r\n\r\n" {
        stream.write_all(&[*byte])?;
        std::thread::sleep(Duration::from_millis(5));
    }
    ensure!(read_one(&mut stream)?.status == 200, "not 200");
    Ok(())
}

fn garbage(guest: &Guest) -> Result<()> {
    let long_method = [b"X".repeat(300), b" / HTTP/1.1\r\n\r\n".to_vec()].concat();
    for bytes in [
        &b"\r\n\r\n\r\n\r\nnonsense\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / SMTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon here\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n\r\n\r\n",
        &long_method,
    ] {
        let mut request = bytes.to_vec();
        request.extend(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let answer = send_raw(guest.port(80), &request)?;
        let first = parse(&answer).map(|response| response.status);
        let proper = first.is_none_or(|status| (400..=505).contains(&status));
        ensure!(
            proper,
            "{:?} was answered: {answer}",
            String::from_utf8_lossy(bytes)
        );
    }
    must_get(&guest.url("/"))?;
    Ok(())
}

fn oversized(guest: &Guest) -> Result<()> {
    let long_path = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(20_000));
    let field = format!("X-Filler: {}\r\n", "b".repeat(1000));
    let long_head = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", field.repeat(200));
    for request in [long_path, long_head] {
        let answer = send_raw(guest.port(80), request.as_bytes())?;
        let status = parse(&answer).map(|response| response.status);
        // The answer may be lost to the reset that unread data causes.
        let refused = status.is_none_or(|status| [400, 413, 414, 431].contains(&status));
        ensure!(refused, "answered: {answer}");
    }
    must_get(&guest.url("/"))?;
    Ok(())
}

fn leaving(guest: &Guest) -> Result<()> {
    for request in [
        &b""[..],
        b"G",
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        for _ in 0..25 {
            tcp(guest.port(80))?.write_all(request)?;
        }
    }
    must_get(&guest.url("/"))?;
    Ok(())
}
