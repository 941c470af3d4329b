//! The least memory with which the image boots and serves.

use std::time::Duration;

use anyhow::{Result, ensure};
use tests::clients::must_ping;
use tests::guest::Guest;
use tests::http::must_get;
use tests::launch::{Launch, Machine};
use tests::namespace;
use tests::tap::Tap;

/// The search ends here: a machine of this size must do.
const AMPLE_MIB: u32 = 128;
const READY_LIMIT: Duration = Duration::from_secs(5);

const MACHINES: [(&str, Machine); 3] = [
    ("q35", Machine::Q35),
    ("pc", Machine::Pc),
    ("microvm", Machine::Microvm),
];

/// Searches and prints the least `-m` per machine.
pub(crate) fn run() -> Result<()> {
    namespace::enter()?;
    println!("PVH boot: least -m (MiB) that boots, answers ping and serves HTTP");
    for (name, machine) in MACHINES {
        println!("{name:<8} {:>4}", least(name, machine)?);
    }
    Ok(())
}

fn least(name: &str, machine: Machine) -> Result<u32> {
    let (mut too_little, mut enough) = (0, AMPLE_MIB);
    ensure!(
        serves(machine, enough).is_ok(),
        "{name} does not even serve with {enough} MiB"
    );
    while enough - too_little > 1 {
        let middle = too_little + (enough - too_little) / 2;
        match serves(machine, middle) {
            Ok(()) => enough = middle,
            Err(error) => {
                eprintln!("{name} with {middle} MiB: {error:#}");
                too_little = middle;
                continue;
            }
        }
        eprintln!("{name} with {middle} MiB: serves");
    }
    Ok(enough)
}

fn serves(machine: Machine, mib: u32) -> Result<()> {
    let tap = Tap::new()?;
    tap.know_guest()?;
    let cmdline = format!("{} services=all", tap.static_config());
    let guest = Guest::start(&Launch::pvh(machine, cmdline).mem(mib), tap)?;
    guest.vm().wait_ready(READY_LIMIT)?;
    must_ping(&guest.addr().to_string(), 2, "")?;
    must_get(&guest.url("/"))?;
    Ok(())
}
