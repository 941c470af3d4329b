//! Guest instructions for one operation, over the wire: `cargo run -p bench --release -- instructions`.
//!
//! The guest is the ordinary image on QEMU's own card; a plugin counts what it executes. Unlike the
//! budgets this has everything in it that an operation costs the guest: turns that carry few packets,
//! interrupts, doorbells, going to sleep. It depends on how the host's packets fall into turns, a
//! little.
#![forbid(unsafe_code)]

mod counter;
mod operations;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use self::counter::{Counter, Reading, Symbols};
use self::operations::Operation;
use super::contender::{Contender, Files, Nic};
use super::exits;
use super::machine::{MEMORY_MIB, Machine};
use super::measure::finite_quartiles;
use crate::script::script;

const USAGE: &str = "\
usage: cargo run -p bench --release -- instructions [--profile] [--linux] [--ceiling] [--rounds N] [ROW ...]

Counts the instructions that a guest executes for one operation, with a QEMU plugin, and prints the
median of the rounds with their spread beside the aim.

  --profile   also says in which functions of the image (the last round)
  --linux     the Linux guests too
  --ceiling   the image without a stack too, for boot and UDP
  --rounds N  rounds of each (default 5)
  ROW         boot, or an operation: udp-echo, udp-discard, tcp-echo, http, tcp-in, tcp-out";

/// The most instructions from QEMU's start to the first answer, firmware included.
const BOOT_AIM: f64 = 60e6;
/// An image that looks on before it sleeps executes as much as there is time for.
const AT_REST: &str = "idle.poll=0";
/// Functions of a profile.
const SHOWN: usize = 30;

struct Options {
    profile: bool,
    contenders: Vec<Contender>,
    rounds: usize,
    boot: bool,
    operations: Vec<Operation>,
}

/// Runs with these options.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let Some(options) = parse(words)? else {
        println!("{USAGE}");
        return Ok(());
    };
    let has_linux = options.contenders.contains(&Contender::Linux);
    let nics: &[Nic] = if has_linux { &[Nic::Virtio] } else { &[] };
    let files = Files::build(nics, options.contenders.contains(&Contender::Ceiling))?;
    let symbols = options
        .profile
        .then(|| Symbols::of(&script("build-kernel.sh", &["--symbols"])?));
    let symbols = symbols.transpose()?;
    let plugin = compile()?;
    ::tests::namespace::enter()?;
    println!(
        "{:<36} {:<12} {:>14} {:>8} {:>12}",
        "guest instructions", "guest", "median", "spread", "aim"
    );
    for &contender in &options.contenders {
        let symbols = symbols
            .as_ref()
            .filter(|_| contender == Contender::Millrace);
        count(&files, contender, &plugin, &options, symbols)?;
    }
    Ok(())
}

fn count(
    files: &Files,
    contender: Contender,
    plugin: &Path,
    options: &Options,
    symbols: Option<&Symbols>,
) -> Result<()> {
    let run = tempfile::tempdir()?;
    let mut boots = Vec::new();
    let boot_rounds = if options.boot { options.rounds } else { 1 };
    let mut booted = None;
    for round in 0..boot_rounds {
        drop(booted.take()); // one after the other
        let table = run.path().join(format!("table{round}"));
        let words = format!("{},to={}", plugin.display(), table.display());
        let machine = Machine::boot_with(
            files,
            contender,
            Nic::Virtio,
            MEMORY_MIB,
            AT_REST,
            &["-plugin", &words],
        )?;
        let counter = Counter::new(table);
        boots.push(counter.read()?.total() as f64);
        booted = Some((machine, counter));
    }
    let (machine, counter) = booted.context("no round")?;
    if options.boot {
        line("boot to the first answer", contender, boots, BOOT_AIM);
    }
    let mut exits = Vec::new();
    let operations = options.operations.iter().copied();
    for operation in operations.filter(|operation| operation.is_for(contender)) {
        let mut rounds = Vec::new();
        let mut last = (Reading::default(), 1.0);
        for _ in 0..options.rounds {
            let (mut from, mut to) = (Reading::default(), Reading::default());
            let note = |reading: &mut Reading| {
                *reading = counter.read()?;
                Ok(())
            };
            let mut run = || operation.run(&machine, || note(&mut from), || note(&mut to));
            let times = match contender {
                Contender::Millrace => exits::during(&machine, &mut run).map(|(times, seen)| {
                    exits.push((operation.title().to_owned(), seen));
                    times
                }),
                _ => run(),
            };
            let times = times.with_context(|| operation.word().to_owned())?;
            let grown = to.since(&from);
            rounds.push(grown.total() as f64 / times);
            last = (grown, times);
        }
        line(operation.title(), contender, rounds, operation.aim());
        if let Some(symbols) = symbols {
            profile(&last.0, last.1, symbols);
        }
    }
    print!("{}", exits::table(&exits));
    Ok(())
}

fn line(title: &str, contender: Contender, rounds: Vec<f64>, aim: f64) {
    let least = rounds.iter().copied().fold(f64::INFINITY, f64::min);
    let most = rounds.iter().copied().fold(0.0, f64::max);
    let Some([_, median, _]) = finite_quartiles(rounds.into_iter()) else {
        return;
    };
    let spread = 50.0 * (most - least) / median;
    let verdict = match contender {
        Contender::Millrace if median <= aim => "met",
        Contender::Millrace => "missed",
        _ => "",
    };
    println!(
        "{title:<36} {:<12} {median:>14.0} {:>8} {aim:>12.0} {verdict}",
        contender.name(),
        format!("±{spread:.1} %")
    );
}

fn profile(reading: &Reading, times: f64, symbols: &Symbols) {
    for (name, count) in reading.by_function(symbols).into_iter().take(SHOWN) {
        println!("    {:>10.1}  {name}", count as f64 / times);
    }
}

/// Compiles the plugin.
fn compile() -> Result<PathBuf> {
    let root = ::tests::env::workspace();
    let (source, folder) = (root.join("bench/peers/count.c"), root.join("target/bench"));
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let plugin = folder.join("count.so");
    let mut cc = Command::new("cc");
    cc.args([
        "-O2",
        "-Wall",
        "-shared",
        "-fPIC",
        "-fvisibility=hidden",
        "-o",
    ]);
    let status = cc
        .arg(&plugin)
        .arg(&source)
        .status()
        .context("running `cc`")?;
    ensure!(status.success(), "cc {}: {status}", source.display());
    Ok(plugin)
}

/// `None` if only help is wanted.
fn parse(words: &[&str]) -> Result<Option<Options>> {
    let mut options = Options {
        profile: false,
        contenders: vec![Contender::Millrace],
        rounds: 5,
        boot: false,
        operations: Vec::new(),
    };
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        match word {
            "--help" | "-h" => return Ok(None),
            "--profile" => options.profile = true,
            "--linux" => options
                .contenders
                .extend([Contender::Linux, Contender::LinuxBest]),
            "--ceiling" => options.contenders.push(Contender::Ceiling),
            "--rounds" => {
                let count = words.next().and_then(|text| text.parse().ok());
                match count {
                    Some(count @ 1..=100) => options.rounds = count,
                    _ => bail!("--rounds needs a number from 1 to 100"),
                }
            }
            "boot" => options.boot = true,
            _ => {
                let found = Operation::ALL.into_iter().find(|row| row.word() == word);
                let operation =
                    found.with_context(|| format!("{word}: no such row or option\n{USAGE}"));
                options.operations.push(operation?);
            }
        }
    }
    if !options.boot && options.operations.is_empty() {
        (options.boot, options.operations) = (true, Operation::ALL.to_vec());
    }
    Ok(Some(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_word_everything_of_the_image_is_counted() {
        let options = parse(&[]).unwrap().unwrap();
        assert!(options.boot && options.operations.len() == Operation::ALL.len());
        assert_eq!(options.contenders, [Contender::Millrace]);
        let options = parse(&["http", "--rounds", "2", "--linux"])
            .unwrap()
            .unwrap();
        assert!(!options.boot && options.operations == [Operation::Http]);
        assert_eq!((options.rounds, options.contenders.len()), (2, 3));
        assert!(parse(&["htpt"]).is_err() && parse(&["--rounds", "0"]).is_err());
        assert!(parse(&["--help"]).unwrap().is_none());
    }
}
