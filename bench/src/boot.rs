//! Time from QEMU's start until a client has its first answer over a tap.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tests::clients::udp;
use tests::guest::Guest;
use tests::launch::{Launch, Machine};
use tests::namespace;
use tests::tap::Tap;

/// Runs per machine.
pub(crate) const DEFAULT_RUNS: usize = 10;

const LIMIT: Duration = Duration::from_secs(30);
/// How often the client asks while nobody answers.
const ASK_EVERY: Duration = Duration::from_millis(1);

const MACHINES: [(&str, Machine); 3] = [
    ("q35", Machine::Q35),
    ("pc", Machine::Pc),
    ("microvm", Machine::Microvm),
];

/// Boots each machine `runs` times by PVH and prints median, least and most.
pub(crate) fn run(runs: usize) -> Result<()> {
    namespace::enter()?;
    println!("PVH boot, TCG: QEMU's start to the first answered UDP echo, {runs} runs, in ms");
    println!(
        "{:<8} {:>8} {:>8} {:>8} {:>12}",
        "machine", "median", "min", "max", "ready line"
    );
    for (name, machine) in MACHINES {
        let mut times = Vec::new();
        let mut ready = Vec::new();
        for number in 1..=runs {
            let (answered, said) =
                boot_once(machine).with_context(|| format!("{name}, run {number}"))?;
            eprintln!("{name} {number}/{runs}: {:.1} ms", millis(answered));
            times.push(answered);
            ready.push(said);
        }
        times.sort_unstable();
        ready.sort_unstable();
        println!(
            "{name:<8} {:>8.1} {:>8.1} {:>8.1} {:>12.1}",
            millis(times[runs / 2]),
            millis(times[0]),
            millis(times[runs - 1]),
            millis(ready[runs / 2]),
        );
    }
    Ok(())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Times to the first answer, and to the line on the serial port that says "ready".
fn boot_once(machine: Machine) -> Result<(Duration, Duration)> {
    let tap = Tap::new()?;
    // The host must not wait a second between its own ARP requests.
    tap.know_guest()?;
    let cmdline = format!("{} services=all", tap.static_config());
    let launch = Launch::pvh(machine, cmdline);
    let start = Instant::now();
    let guest = Guest::start(&launch, tap)?;
    let socket = udp(guest.port(7))?;
    socket.set_read_timeout(Some(ASK_EVERY))?;
    loop {
        // The tap refuses datagrams until QEMU has opened it.
        let _ = socket.send(b"anybody?");
        if socket.recv(&mut [0; 16]).is_ok() {
            break;
        }
        if start.elapsed() > LIMIT {
            bail!(
                "no answer within {LIMIT:?}; serial log:\n{}",
                guest.log().render()
            );
        }
    }
    let answered = start.elapsed();
    guest.vm().wait_ready(LIMIT)?;
    let ready = guest.log().time_of("millrace: ready").unwrap_or(answered);
    Ok((answered, ready))
}
