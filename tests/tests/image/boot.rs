//! The boot matrix: every way in on every machine ends in an image that serves.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tests::clients::{must_echo_tcp, must_echo_udp, must_ping, tcp};
use tests::guest::Guest;
use tests::http::must_get;
use tests::launch::{Boot, Launch, Machine};
use tests::limit::case;
use tests::tap::Tap;

pub(crate) fn tests() -> Vec<Trial> {
    let mut trials = vec![
        case("boot::pvh_on_q35_serves", 30, || pvh(Machine::Q35)),
        case("boot::pvh_on_pc_serves", 30, || pvh(Machine::Pc)),
        case("boot::pvh_on_microvm_serves", 30, || pvh(Machine::Microvm)),
        case(
            "boot::nine_mebibytes_of_memory_are_enough_to_serve",
            30,
            little_memory,
        ),
    ];
    for (name, boot) in [("bios", Boot::Bios), ("uefi", Boot::Uefi)] {
        for (on, machine) in [("q35", Machine::Q35), ("pc", Machine::Pc)] {
            let name = format!("boot::{name}_on_{on}_serves");
            trials.push(case(name, 90, move || disk(boot, machine)));
        }
    }
    trials
}

fn pvh(machine: Machine) -> Result<()> {
    let guest = Guest::boot(machine, "")?;
    must_serve(&guest)?;
    must_tell_its_story(&guest)
}

fn disk(boot: Boot, machine: Machine) -> Result<()> {
    let guest = Guest::start_ready(&Launch::disk(boot, machine), Tap::for_disk_image()?)?;
    must_serve(&guest)?;
    must_tell_its_story(&guest)
}

/// The aim that Unikraft sets.
fn little_memory() -> Result<()> {
    let tap = Tap::new()?;
    let cmdline = format!("{} services=all", tap.static_config());
    let guest = Guest::start_ready(&Launch::pvh(Machine::Q35, cmdline).mem(9), tap)?;
    must_serve(&guest)
}

/// Every kind of client gets its answer.
pub(crate) fn must_serve(guest: &Guest) -> Result<()> {
    must_ping(&guest.addr().to_string(), 2, "")?;
    must_echo_udp(guest.port(7), b"over UDP").context("UDP echo")?;
    must_echo_tcp(&mut tcp(guest.port(7))?, b"over TCP").context("TCP echo")?;
    let page = must_get(&guest.url("/"))?;
    ensure!(
        page.contains(&guest.addr().to_string()),
        "the status page lacks the address: {page}"
    );
    Ok(())
}

/// A person at the serial port sees who booted, and the address it got.
fn must_tell_its_story(guest: &Guest) -> Result<()> {
    let log = guest.log();
    log.find("Millrace")
        .context("no banner in the serial log")?;
    let ready = log.find("millrace: ready").context("no ready line")?;
    let address = format!("ip={}/24", guest.addr());
    ensure!(ready.contains(&address), "{ready:?} lacks {address}");
    Ok(())
}
