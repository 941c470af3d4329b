//! Instruction budgets: `cargo run -p bench -- budgets`. Runs the image that counts its own
//! instructions and compares with the committed table; the test command does so each time.
//!
//! QEMU's `-icount shift=0` makes the guest's clock count instructions, and the image feeds itself
//! (`kernel/src/budgets/`), so two runs of one image agree to the last digit.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tests::guest::Vm;

use crate::script::script;

const USAGE: &str = "\
usage: cargo run -p bench -- budgets [--renew]

Counts the instructions that a packet takes on its ways through the image, and compares with
bench/budgets.txt. Fails if one of them takes more than 2 % more, or is not in the table.

  --renew   writes the table anew, for a change that is worth its price";

/// What a count may grow by.
const TOLERANCE: f64 = 0.02;
/// A whole run takes seconds.
const LIMIT: Duration = Duration::from_secs(300);
/// The image's last line.
const DONE: &str = "budgets: done";

/// Counts by name. A list, because their order is the image's.
type Counts = Vec<(String, f64)>;

/// Runs with these options.
pub(crate) fn run(options: &[&str]) -> Result<()> {
    let renew = match options {
        [] => false,
        ["--renew"] => true,
        ["--help" | "-h"] => {
            println!("{USAGE}");
            return Ok(());
        }
        _ => bail!("{USAGE}"),
    };
    let path = tests::env::workspace().join("bench/budgets.txt");
    let counts = count()?;
    if renew {
        fs::write(&path, table(&counts)).with_context(|| path.display().to_string())?;
        println!("{}", table(&counts));
        return Ok(());
    }
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let budgets = parse(text.lines())?;
    let (report, wrong) = compare(&budgets, &counts);
    println!("{report}");
    ensure!(wrong.is_empty(), "over budget: {}", wrong.join("; "));
    Ok(())
}

/// Boots the image and reads what it says.
fn count() -> Result<Counts> {
    let vm = Vm::start(command(script("build-kernel.sh", &["--budgets"])?))?;
    let done = vm.log.wait_for(DONE, LIMIT);
    let log = vm.log.render();
    ensure!(done.is_some(), "the image did not come to an end:\n{log}");
    parse(
        log.lines()
            .filter_map(|line| line.split_once("| budget "))
            .map(|(_, rest)| rest),
    )
}

fn command(image: PathBuf) -> Command {
    let mut qemu = Command::new(tests::env::qemu());
    qemu.stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    qemu.args(["-M", "q35", "-cpu", "max", "-smp", "1", "-m", "256"]);
    qemu.args(["-accel", "tcg,thread=single", "-icount", "shift=0"]);
    qemu.args(["-nodefaults", "-no-user-config", "-no-reboot"]);
    qemu.args(["-display", "none", "-serial", "stdio"]);
    qemu.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]);
    qemu.arg("-kernel").arg(image).args(["-append", "budgets"]);
    qemu
}

/// Reads lines of a name and a number; what is behind them is for people. `#` begins a remark.
fn parse<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Counts> {
    let lines = lines.filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines
        .map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next().context("no name")?;
            let number = words.next().and_then(|word| word.parse().ok());
            let number = number.with_context(|| format!("no number: {line:?}"))?;
            Ok((name.to_owned(), number))
        })
        .collect()
}

fn table(counts: &Counts) -> String {
    let mut text = String::from(
        "# Guest instructions for one packet, segment, request or KiB (bench/README.md says which).\n\
         # Written by `cargo run -p bench -- budgets --renew`.\n",
    );
    for (name, count) in counts {
        text += &format!("{name:<24} {count:>10.1}\n");
    }
    text
}

/// A line for each count, and what is wrong with them.
fn compare(budgets: &Counts, counts: &Counts) -> (String, Vec<String>) {
    let mut left: BTreeMap<&str, f64> = budgets
        .iter()
        .map(|(name, budget)| (&**name, *budget))
        .collect();
    let mut report = format!("{:<24} {:>10} {:>10}\n", "instructions", "budget", "now");
    let mut wrong = Vec::new();
    for (name, now) in counts {
        let Some(budget) = left.remove(&**name) else {
            wrong.push(format!("{name} is not in the table"));
            continue;
        };
        let grown = now / budget - 1.0;
        let over = *now > budget * (1.0 + TOLERANCE);
        let remark = match over {
            true => "over budget",
            false if *now < budget * (1.0 - TOLERANCE) => "renew the table",
            false => "",
        };
        report += &format!(
            "{name:<24} {budget:>10.1} {now:>10.1} {:>+6.1} % {remark}\n",
            100.0 * grown
        );
        if over {
            wrong.push(format!("{name} takes {now}, {:.1} % more", 100.0 * grown));
        }
    }
    wrong.extend(left.keys().map(|name| format!("{name} was not counted")));
    (report, wrong)
}

#[cfg(test)]
mod tests_of_tables {
    use super::*;

    fn counts(all: &[(&str, f64)]) -> Counts {
        all.iter().map(|(name, n)| (name.to_string(), *n)).collect()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let written = counts(&[("udp-echo", 1500.5), ("http", 15000.0)]);
        assert_eq!(parse(table(&written).lines()).unwrap(), written);
        assert_eq!(
            parse(["udp-echo 12.5 instructions per datagram"].into_iter()).unwrap(),
            counts(&[("udp-echo", 12.5)])
        );
        assert!(parse(["udp-echo many"].into_iter()).is_err());
    }

    #[test]
    fn a_regression_names_its_row_and_so_does_one_that_is_missing() {
        let budgets = counts(&[("a", 100.0), ("b", 100.0), ("c", 100.0), ("gone", 1.0)]);
        let now = counts(&[("a", 102.0), ("b", 102.1), ("c", 50.0), ("new", 1.0)]);
        let (report, wrong) = compare(&budgets, &now);
        assert_eq!(wrong.len(), 3, "{wrong:?}");
        assert!(wrong[0].starts_with("b takes 102.1"));
        assert!(wrong[1].starts_with("new ") && wrong[2].starts_with("gone "));
        assert!(report.contains("renew the table"));
        assert!(compare(&budgets, &budgets).1.is_empty());
    }
}
