//! The network driver beside DPDK's: `cargo run -p bench --release -- virtio`.
//!
//! This process only directs. DPDK's `testpmd` is the device (`net_vhost`) on one core; on the other,
//! workers take turns to be its driver, in short runs: this program again, with
//! [`drivers::virtio::net::VirtioNet`], and a C program with DPDK's `net_virtio_user`. See
//! `bench/README.md` for what each number means.

mod back_end;
mod disturbance;
mod host;
mod huge_pages;
mod measure;
mod memory;
mod plot;
mod report;
mod request;
mod transport;
mod tsc;
mod worker;

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use self::back_end::BackEnd;
use self::huge_pages::HugePages;
use self::measure::{Cell, Effort, Workers};
use self::request::{Case, RingKind};
use crate::child::{Cores, Program};

const USAGE: &str = "\
usage: cargo run -p bench --release -- virtio [--quick] [--no-count] [CASE] [RING]

Measures the virtio network driver, in a host process, against DPDK's vhost back end (testpmd with
net_vhost), beside DPDK's own driver (net_virtio_user) against the same back end, with frames of 64
bytes; and the image's stack and UDP echo service on top of it. Prints a table with ratios; the whole matrix also writes target/bench/virtio.csv and
virtio.svg.

  --quick      fewer and shorter rounds
  --no-count   no instruction counts (they need valgrind)
  CASE         one case only: tx, rx, echo, stack
  RING         one kind of ring only: split, packed

Needs two cores, root or enough free huge pages of 2 MiB, cc, pkg-config and DPDK (Debian: dpdk,
dpdk-dev).";

const FULL: Effort = Effort {
    rounds: 15,
    round_ms: 60,
};
const QUICK: Effort = Effort {
    rounds: 5,
    round_ms: 40,
};

/// Runs the benchmark with these options.
pub(crate) fn run(options: &[&str]) -> Result<()> {
    if let ["worker", core, socket] = options {
        return worker::serve(core.parse()?, socket);
    }
    let (mut effort, mut counted) = (FULL, true);
    let (mut only_case, mut only_ring) = (None, None);
    for option in options {
        match *option {
            "--quick" => effort = QUICK,
            "--no-count" => counted = false,
            "--help" | "-h" => {
                println!("{USAGE}");
                return Ok(());
            }
            word => {
                let (case, ring) = (Case::named(word), RingKind::named(word));
                let known = case.is_some() || ring.is_some();
                ensure!(known, "{word}: no such option\n{USAGE}");
                only_case = case.or(only_case);
                only_ring = ring.or(only_ring);
            }
        }
    }
    let cases = Case::ALL
        .into_iter()
        .filter(|c| only_case.is_none_or(|o| o == *c));
    let rings = RingKind::ALL
        .into_iter()
        .filter(|r| only_ring.is_none_or(|o| o == *r));
    let (cases, rings): (Vec<_>, Vec<_>) = (cases.collect(), rings.collect());
    measure_all(effort, counted, &cases, &rings)
}

fn measure_all(effort: Effort, counted: bool, cases: &[Case], rings: &[RingKind]) -> Result<()> {
    let start = Instant::now();
    let dir = tests::env::workspace().join("target/bench");
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let cores = Cores::find()?;
    BackEnd::check()?;
    let run_dir = tempfile::tempdir()?;
    let socket = run_dir.path().join("vhost");
    let (core, path) = (cores.first.to_string(), socket.display().to_string());
    let source = include_str!("../../peers/virtio_user.c");
    let dpdk = |memory| Program::dpdk(&dir, "virtio_user", source, &[&core, &path, memory]);
    let own = Program::own("millrace", &["virtio", "worker", &core, &path])?;
    let (timed, small) = (dpdk("huge")?, dpdk("small")?);

    let _pages = HugePages::reserve()?;
    let mut workers = Workers::start(&own, &timed)?;
    let mut counters = None;
    if counted {
        match Workers::start_counted(&own, &small, &dir) {
            Ok(workers) => counters = Some(workers),
            Err(error) => println!("instructions are left out: {error:#}"),
        }
    }
    let mut groups: Vec<Vec<Cell>> = Vec::new();
    for &case in cases {
        let back_end = BackEnd::start(case, cores.second, &socket, &dir)?;
        for &ring in rings {
            eprintln!("{}, {}", case.title(), ring.title());
            let mut group = measure::time(&mut workers, &back_end, (case, ring), effort)?;
            if let Some(counters) = &mut counters {
                measure::count(counters, &mut group)?;
            }
            groups.push(group);
        }
        back_end.end()?;
    }
    workers.end()?;
    if let Some(counters) = counters {
        counters.end()?;
    }
    println!("{}\n", report::LEGEND);
    println!("{}", report::table(&groups));
    println!("{}", report::aims(&groups));
    if (cases, rings) == (&Case::ALL[..], &RingKind::ALL[..]) {
        fs::write(dir.join("virtio.csv"), report::csv(&groups))?;
        fs::write(dir.join("virtio.svg"), plot::svg(&groups))?;
        println!("target/bench/virtio.csv, target/bench/virtio.svg");
    }
    eprintln!("took {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}
