//! The packet pool beside its peers: `cargo run -p bench --release -- pool`.
//!
//! This process only directs. Two workers do the work, each asked for short runs in turn: this
//! program again, with the pool and the peers from crates, and a C program with DPDK. See
//! `bench/README.md` for what each row means.

mod matrix;
mod measure;
mod plot;
mod report;
mod request;
mod worker;

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use self::matrix::{BULKS, Home};
use self::measure::{Effort, Part};
use self::request::Case;
use crate::child::{Cores, Program};

const USAGE: &str = "\
usage: cargo run -p bench --release -- pool [--quick] [--no-count] [CASE] [BULK] [with | without]

Measures allocation and free of packets, chains and clones, on one core and across two, in bulk of
1 to 256, with and without per-core magazines, beside DPDK, crossbeam, heapless, object-pool, glibc
malloc and mimalloc. Prints a table with ratios; the whole matrix also writes target/bench/pool.csv
and pool.svg.

  --quick      fewer and shorter rounds
  --no-count   no instruction counts (they need valgrind)
  CASE         one case only: alloc, chain, clone, oneway, bothways, buffer
  BULK         one bulk only: 1, 8, 32, 64, 256
  with         with magazines only; without: without them only

DPDK's rows need cc, pkg-config and dpdk-dev; without them they are left out.";

const FULL: Effort = Effort {
    rounds: 101,
    round_ns: 1_000_000,
};
const QUICK: Effort = Effort {
    rounds: 15,
    round_ns: 400_000,
};

/// Runs the benchmark with these options.
pub(crate) fn run(options: &[&str]) -> Result<()> {
    let (mut effort, mut counted, mut part) = (FULL, true, Part::default());
    if let ["worker", core, other_core] = options {
        return worker::serve(core.parse()?, other_core.parse()?);
    }
    for option in options {
        match *option {
            "--quick" => effort = QUICK,
            "--no-count" => counted = false,
            "--help" | "-h" => {
                println!("{USAGE}");
                return Ok(());
            }
            "with" => part.magazines = Some(true),
            "without" => part.magazines = Some(false),
            word => {
                let case = Case::named(word);
                let bulk = BULKS.into_iter().find(|b| b.to_string() == word);
                ensure!(
                    case.is_some() || bulk.is_some(),
                    "{word}: no such option\n{USAGE}"
                );
                part.case = case.or(part.case);
                part.bulk = bulk.or(part.bulk);
            }
        }
    }
    measure_all(effort, counted, part)
}

fn measure_all(effort: Effort, counted: bool, part: Part) -> Result<()> {
    let start = Instant::now();
    let dir = tests::env::workspace().join("target/bench");
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let cores = Cores::find()?;
    let (first, second) = (cores.first.to_string(), cores.second.to_string());
    let own = Program::own("pool", &["pool", "worker", &first, &second])?;
    let mut programs = vec![(Home::Own, own)];
    let source = include_str!("../../peers/dpdk.c");
    match Program::dpdk(&dir, "dpdk", source, &[&first, &second]) {
        Ok(program) => programs.push((Home::Dpdk, program)),
        Err(error) => println!("DPDK's rows are left out: {error:#}"),
    }
    let mut groups = measure::groups(programs.len() > 1, part);
    measure::time(&mut groups, &programs, effort)?;
    if counted {
        for (home, program) in &programs {
            if let Err(error) = measure::count(&mut groups, *home, program, &dir) {
                println!("instructions of {} are left out: {error:#}", program.name);
            }
        }
    }
    println!("{}\n", report::LEGEND);
    println!("{}", report::table(&groups));
    println!("{}", report::aims(&groups));
    if part == Part::default() {
        fs::write(dir.join("pool.csv"), report::csv(&groups))?;
        fs::write(dir.join("pool.svg"), plot::svg(&groups))?;
        println!("target/bench/pool.csv, target/bench/pool.svg");
    }
    eprintln!("took {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}
