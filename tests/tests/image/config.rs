//! A wrong configuration is refused in one clear line, and the machine stops with its own exit
//! status.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tests::guest::Guest;
use tests::launch::{Launch, Machine, Wire};
use tests::limit::case;

/// What QEMU exits with when the guest writes 0x13 to `isa-debug-exit`.
const BAD_CONFIGURATION: i32 = (0x13 << 1) | 1;

/// Command line, the setting that is named, and words that say what is allowed.
const CASES: [(&str, &str, &str, &[&str]); 16] = [
    (
        "an_unknown_key",
        "colour=red",
        "colour=red",
        &["unknown key", "services"],
    ),
    ("a_word_without_value", "quiet", "'quiet'", &["key=value"]),
    (
        "an_address_out_of_range",
        "ip=10.0.0.300/24",
        "ip=10.0.0.300/24",
        &["dhcp", "default"],
    ),
    (
        "an_address_without_prefix",
        "ip=10.0.0.2",
        "ip=10.0.0.2",
        &["A.B.C.D/PREFIX"],
    ),
    (
        "a_network_address",
        "ip=10.0.0.0/24",
        "ip=10.0.0.0/24",
        &["host address"],
    ),
    (
        "a_key_given_twice",
        "ip=dhcp ip=dhcp",
        "ip=dhcp",
        &["twice"],
    ),
    (
        "a_gateway_with_dhcp",
        "ip=dhcp gw=10.0.0.1",
        "gw=10.0.0.1",
        &["ip="],
    ),
    (
        "a_gateway_elsewhere",
        "ip=10.0.0.2/24 gw=10.0.1.1",
        "gw=10.0.1.1",
        &["network of ip=10.0.0.2/24"],
    ),
    (
        "an_ipv6_gateway_without_address",
        "gw6=fe80::1",
        "gw6=fe80::1",
        &["ip6="],
    ),
    (
        "an_unknown_service",
        "services=echo,gopher",
        "services=echo,gopher",
        &["icmp", "default"],
    ),
    (
        "an_unknown_log_level",
        "log=loud",
        "log=loud",
        &["trace", "default info"],
    ),
    (
        "a_ring_that_is_no_power_of_two",
        "ring.rx=100",
        "ring.rx=100",
        &["power of two", "1024"],
    ),
    (
        "a_pool_too_small",
        "pool.packets=12",
        "pool.packets=12",
        &["96", "65536"],
    ),
    (
        "a_pool_smaller_than_its_rings",
        "pool.packets=100 ring.rx=64",
        "pool.packets=100",
        &["ring.rx=64", "at least"],
    ),
    (
        "no_connections_at_all",
        "tcp.max=0",
        "tcp.max=0",
        &["1 to 65536"],
    ),
    (
        "a_backlog_beyond_all_connections",
        "tcp.max=10 tcp.backlog=20",
        "tcp.backlog=20",
        &["tcp.max=10"],
    ),
];

/// The least pool that is chosen where none was asked for.
const POOL: &str = "pool.packets=192 with pool.buffer=2048";

pub(crate) fn tests() -> Vec<Trial> {
    let make = |(name, cmdline, setting, allowed): (_, &'static str, _, _)| {
        let name = format!("config::{name}_is_refused");
        let launch = move || Launch::pvh(Machine::Q35, cmdline);
        case(name, 20, move || {
            must_be_refused(&launch(), setting, allowed)
        })
    };
    // No word was said of a pool: what is chosen then has to fit as well, with the stack beside it.
    let little = case("config::too_little_memory_is_refused", 20, || {
        let launch = Launch::pvh(Machine::Q35, "services=all").mem(3);
        must_be_refused(&launch, POOL, &["KiB", "more memory"])
    });
    CASES.into_iter().map(make).chain([little]).collect()
}

fn must_be_refused(launch: &Launch, setting: &str, allowed: &[&str]) -> Result<()> {
    let vm = Guest::start_on(launch, &Wire::User, [0x52, 0x54, 0, 0x12, 0x34, 0x56])?;
    let line = vm
        .log
        .wait_for("bad configuration", Duration::from_secs(10));
    let line = line.context("no line about the configuration")?;
    let start = format!("millrace: bad configuration: {setting}: ");
    ensure!(
        line.contains(&start),
        "{line:?} does not start with {start:?}"
    );
    for part in allowed {
        ensure!(line.contains(part), "{line:?} lacks {part:?}");
    }
    let status = vm.process.wait(Duration::from_secs(10))?;
    ensure!(
        status.code() == Some(BAD_CONFIGURATION),
        "exit status {status}"
    );
    ensure!(
        vm.log.find("millrace: ready").is_none(),
        "it came up all the same"
    );
    Ok(())
}
