//! Benchmarks. `cargo run -p bench --release -- boot | memory | size | budgets | instructions | guests | pool | virtio`
//!
//! `pool` measures the packet pool and `virtio` the network driver on the host. The others measure the image: they start guests
//! just as the image tests do (and with their library), in a private network namespace, with
//! QEMU's TCG, one at a time. Progress goes to standard error, the result to standard output.
// pool/worker: peers.rs calls heaps, ring.rs copies runs; virtio: shared memory, the cycle counter
#![deny(unsafe_code)]

mod boot;
mod budgets;
mod callgrind;
mod child;
mod guests;
mod memory;
mod numbers;
mod pool;
mod script;
mod size;
mod virtio;

use std::env;
use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "usage: cargo run -p bench --release -- COMMAND

  boot [RUNS]   time from QEMU's start to the first answered UDP echo (default 10 runs each)
  memory        least memory (-m) with which the image boots, answers ping and serves HTTP
  size          sizes of the kernel ELF
  budgets       instructions a packet takes, against the committed table (budgets --help)
  instructions  instructions an operation takes over the wire (instructions --help)
  guests        the image beside Linux guests, on the same QEMU (guests --help)
  pool          the packet pool beside DPDK and other peers (pool --help)
  virtio        the network driver beside DPDK's, against DPDK's vhost (virtio --help)

MILLRACE_KERNEL names the ELF (default: target/millrace, which ./run-qemu.sh builds).";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--help" | "-h"] | ["boot" | "memory" | "size", "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        ["boot"] => boot::run(boot::DEFAULT_RUNS),
        ["boot", runs] => match runs.parse() {
            Ok(runs @ 1..=1000) => boot::run(runs),
            _ => bail!("boot {runs}: a number of runs from 1 to 1000 is needed"),
        },
        ["memory"] => memory::run(),
        ["size"] => size::run(),
        ["budgets", options @ ..] => budgets::run(options),
        ["instructions", options @ ..] => guests::instructions::run(options),
        ["guests", options @ ..] => guests::run(options),
        ["pool", options @ ..] => pool::run(options),
        ["virtio", options @ ..] => virtio::run(options),
        [] => bail!("{USAGE}"),
        words => bail!("{}: no such command\n{USAGE}", words.join(" ")),
    }
}
