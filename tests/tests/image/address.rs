//! Addresses: static with a gateway, DHCP with renewal, and IPv6 by router advertisement.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::clients::{eventually, must_echo_udp, must_ping};
use tests::dhcp::{Lease, Manner, Server};
use tests::frames::{ethertype, eui64, ipv4, protocol};
use tests::guest::Guest;
use tests::http::must_get;
use tests::launch::{Launch, Machine};
use tests::limit::case;
use tests::namespace::ip;
use tests::peer::Peer;
use tests::router;
use tests::tap::Tap;

use crate::boot::must_serve;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        case("address::dhcp_gives_address_gateway_and_resolver", 40, dhcp),
        case(
            "address::damaged_dhcp_replies_are_not_believed",
            40,
            noisy_dhcp,
        ),
        case("address::a_lease_is_renewed_before_it_ends", 60, renewal),
        case("address::a_refused_lease_is_asked_for_anew", 60, refusal),
        case(
            "address::a_static_guest_reaches_other_networks_by_its_gateway",
            30,
            gateway,
        ),
        case(
            "address::a_packet_for_another_host_is_not_answered",
            30,
            foreign,
        ),
        case(
            "address::the_first_ping_of_a_stranger_is_answered",
            60,
            strangers,
        ),
        case(
            "address::forty_neighbours_are_all_answered",
            60,
            many_neighbours,
        ),
        case(
            "address::a_router_advertisement_gives_an_ipv6_address",
            40,
            slaac,
        ),
        case("address::a_fixed_ipv6_address_answers", 30, fixed_ipv6),
        case("address::services_none_serves_nothing", 30, no_services),
        case(
            "address::without_the_key_only_icmp_and_http_are_served",
            30,
            default_services,
        ),
    ]
}

fn lease(tap: &Tap, seconds: u32) -> Lease {
    let [a, b, c, _] = tap.host().octets();
    Lease {
        addr: [a, b, c, 77].into(),
        server: tap.host(),
        dns: [a, b, c, 53].into(),
        seconds,
    }
}

fn start_dhcp(seconds: u32, manner: Manner) -> Result<(Server, Guest)> {
    let tap = Tap::new()?;
    let lease = lease(&tap, seconds);
    let server = Server::start(&tap, lease, manner)?;
    let launch = Launch::pvh(Machine::Q35, "ip=dhcp services=all");
    let mut guest = Guest::start_ready(&launch, tap)?;
    guest.set_addr(lease.addr);
    Ok((server, guest))
}

fn dhcp() -> Result<()> {
    let (_server, guest) = start_dhcp(3600, Manner::Plain)?;
    must_serve(&guest)?;
    let page = must_get(&guest.url("/"))?;
    for part in [
        guest.tap().host().to_string(),
        lease(guest.tap(), 0).dns.to_string(),
    ] {
        ensure!(page.contains(&part), "the status page lacks {part}: {page}");
    }
    Ok(())
}

fn noisy_dhcp() -> Result<()> {
    let (_server, guest) = start_dhcp(3600, Manner::Noisy)?;
    must_serve(&guest)
}

fn renewal() -> Result<()> {
    let (server, guest) = start_dhcp(6, Manner::Plain)?;
    let before = server.seen().requests.load(Ordering::Relaxed);
    eventually(Duration::from_secs(20), || {
        let now = server.seen().requests.load(Ordering::Relaxed);
        ensure!(now >= before + 2, "{now} requests seen, {before} at first");
        Ok(())
    })?;
    must_serve(&guest)
}

fn refusal() -> Result<()> {
    let (server, guest) = start_dhcp(6, Manner::Plain)?;
    server.seen().refuse.store(true, Ordering::Relaxed);
    let discovers = server.seen().discovers.load(Ordering::Relaxed);
    eventually(Duration::from_secs(30), || {
        let now = server.seen().discovers.load(Ordering::Relaxed);
        ensure!(now > discovers, "no new discover after a refused renewal");
        Ok(())
    })?;
    server.seen().refuse.store(false, Ordering::Relaxed);
    eventually(Duration::from_secs(20), || {
        must_echo_udp(guest.port(7), b"back again")
    })
}

/// Another network, behind the gateway: the guest must send its replies to the gateway's MAC.
fn gateway() -> Result<()> {
    let guest = Guest::boot(Machine::Q35, "")?;
    must_ping(&guest.addr().to_string(), 1, "")?;
    // As seen from the guest's network it is the gateway that resolves addresses, not the host
    // behind it.
    guest.tap().know_guest()?;
    ip(&["addr", "add", "192.168.200.1/32", "dev", "lo"])?;
    let options = "-I 192.168.200.1";
    let outcome = must_ping(&guest.addr().to_string(), 3, options);
    ip(&["addr", "del", "192.168.200.1/32", "dev", "lo"])?;
    outcome
}

/// A frame for the guest's MAC but another IP address is not the guest's to answer.
fn foreign() -> Result<()> {
    let guest = Guest::boot(Machine::Q35, "")?;
    let peer = Peer::on_tap(&guest, 9)?;
    ensure!(peer.ping(1, b"known")?, "no reply to a plain ping");
    let [a, b, c, _] = guest.addr().octets();
    let other = ipv4::icmp_header(peer.addr, [a, b, c, 200].into());
    peer.send(
        ethertype::IPV4,
        &other.packet(&ipv4::echo_request(0x4d52, 2, b"not yours")),
    )?;
    let answer = peer.wait_echo_reply(2, Duration::from_secs(1))?;
    ensure!(answer.is_none(), "answered for another host");
    ensure!(peer.ping(3, b"still there")?, "no reply afterwards");
    Ok(())
}

/// RFC 1122, 2.3.2.2: what waits for address resolution is kept. Strangers that never answer do
/// not delay one that does.
fn strangers() -> Result<()> {
    let guest = Guest::boot(Machine::Q35, "")?;
    for host in 100..110 {
        let silent = Peer::stranger_on_tap(&guest, host)?;
        silent.send_ipv4(protocol::ICMP, &ipv4::echo_request(1, 1, b"from nobody"))?;
    }
    for host in 20..30 {
        let peer = Peer::stranger_on_tap(&guest, host)?;
        ensure!(
            peer.ping(7, b"first words")?,
            "{}: no reply to its first ping",
            peer.addr
        );
    }
    Ok(())
}

/// More neighbours than a small table would hold, each with its own addresses, in turn.
fn many_neighbours() -> Result<()> {
    let guest = Guest::boot(Machine::Q35, "")?;
    let peers: Vec<Peer> = (20..60)
        .map(|host| Peer::on_tap(&guest, host))
        .collect::<Result<_>>()?;
    for round in 0..3 {
        for peer in &peers {
            ensure!(peer.ping(round, b"one of many")?, "{}: no reply", peer.addr);
            peer.ask_udp(4000, 7, b"one of many")?;
        }
    }
    Ok(())
}

fn slaac() -> Result<()> {
    let guest = Guest::boot(Machine::Q35, "")?;
    router::advertise(&guest)?;
    let addr = eui64(guest.tap().prefix6(), guest.mac());
    eventually(Duration::from_secs(10), || {
        must_ping(&addr.to_string(), 1, "-6")
    })?;
    must_ping(&addr.to_string(), 5, "-6 -s 1000")?;
    must_echo_udp((addr, 7).into(), b"over IPv6")?;
    let page = must_get(&format!("http://[{addr}]/"))?;
    ensure!(
        page.contains(&addr.to_string()),
        "the status page lacks {addr}: {page}"
    );
    Ok(())
}

fn fixed_ipv6() -> Result<()> {
    let tap = Tap::new()?;
    let addr = std::net::Ipv6Addr::from_bits(tap.prefix6().to_bits() | 0x42);
    let words = format!("{} ip6={addr}/64 gw6={}", tap.static_config(), tap.host6());
    let launch = Launch::pvh(Machine::Q35, format!("{words} services=all"));
    let guest = Guest::start_ready(&launch, tap)?;
    must_ping(&addr.to_string(), 3, "-6")?;
    must_echo_udp((addr, 7).into(), b"over IPv6")?;
    must_serve(&guest)
}

fn boot_with(services: &str) -> Result<Guest> {
    let tap = Tap::new()?;
    let cmdline = format!("{} {services}", tap.static_config());
    Guest::start_ready(&Launch::pvh(Machine::Q35, cmdline), tap)
}

fn must_not_serve_small_services(guest: &Guest) -> Result<()> {
    for port in [7, 9, 19] {
        ensure!(
            tests::clients::tcp(guest.port(port)).is_err(),
            "port {port}/TCP is open"
        );
    }
    let socket = tests::clients::udp(guest.port(7))?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    socket.send(b"anybody?")?;
    ensure!(socket.recv(&mut [0; 16]).is_err(), "7/UDP answered");
    Ok(())
}

fn no_services() -> Result<()> {
    let guest = boot_with("services=none")?;
    must_not_serve_small_services(&guest)?;
    ensure!(
        tests::clients::tcp(guest.port(80)).is_err(),
        "port 80/TCP is open"
    );
    let pings = tests::clients::ping(&guest.addr().to_string(), "-c 2 -i 0.2 -W 1")?;
    ensure!(pings.received == 0, "answered a ping");
    guest.must_be_running()
}

fn default_services() -> Result<()> {
    let guest = boot_with("")?;
    must_not_serve_small_services(&guest)?;
    must_ping(&guest.addr().to_string(), 3, "")?;
    must_get(&guest.url("/"))?;
    Ok(())
}
