//! The image beside Linux guests: `cargo run -p bench --release -- guests`.
//!
//! Same QEMU, same machine, same NIC, same client: only what boots differs. All contenders are
//! started, and all but the one that is being measured are stopped, so that they take turns within
//! seconds: A B C A B C, row by row. See `bench/README.md` for what each row means.

mod client;
mod contender;
mod exits;
pub(crate) mod instructions;
mod machine;
mod measure;
mod memory;
mod plot;
mod report;
mod rows;

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use self::contender::{Contender, Files, Nic};
use self::measure::{Effort, Results};
use self::rows::Row;

const USAGE: &str = "\
usage: cargo run -p bench --release -- guests [--quick] [--nic NIC] [--sessions N] [ROW ...]

Builds the image and a minimal Linux guest, and measures both on the same QEMU, with the same
client: \"Linux\" is Debian's cloud kernel with -cpu max, \"Linux, best\" the same kernel without
mitigations on a CPU whose string moves are not the slow ones of TCG. Prints a table with medians,
spread and paired ratios; a run of all rows also writes target/bench/guests.csv,
guests-rounds.csv and guests.svg.

  --quick       short rounds, virtio only, and not the row `memory`: below two minutes
  --nic NIC     one NIC only: virtio, virtio-plain (no offloads), e1000e, igb (QEMU 8 or later)
  --sessions N  boot each guest N times (default 3)
  ROW           only the rows that begin so, as in: udp-echo, tcp, http. All rows:";

const FULL: Effort = Effort {
    sessions: 3,
    rounds: 3,
    time: Duration::from_millis(1000),
};
const QUICK: Effort = Effort {
    sessions: 3,
    rounds: 1,
    time: Duration::from_millis(250),
};

struct Options {
    effort: Effort,
    nics: Vec<Nic>,
    rows: Vec<Row>,
    /// Whether no row and no NIC was chosen, so that the results are worth keeping.
    whole: bool,
}

/// Runs the benchmark with these options.
pub(crate) fn run(options: &[&str]) -> Result<()> {
    let Some(options) = parse(options)? else {
        let rows: Vec<String> = Row::ALL.iter().map(|row| row.word()).collect();
        println!("{USAGE}\n                {}", rows.join(" "));
        return Ok(());
    };
    let start = Instant::now();
    let ceiling = options
        .rows
        .iter()
        .any(|row| row.is_for(Contender::Ceiling));
    let files = Files::build(&options.nics, ceiling)?;
    tests::namespace::enter()?;
    let mut all = Vec::new();
    for &nic in &options.nics {
        let results = measure::run(&files, nic, &options.rows, options.effort)?;
        println!("{}", report::table(&results));
        print!("{}", exits::table(&results.exits));
        all.push(results);
    }
    println!("{}", report::LEGEND);
    if options.whole {
        write(&all)?;
    }
    eprintln!("took {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn write(all: &[Results]) -> Result<()> {
    let dir = tests::env::workspace().join("target/bench");
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    fs::write(dir.join("guests.csv"), report::csv(all))?;
    fs::write(dir.join("guests-rounds.csv"), report::rounds_csv(all))?;
    fs::write(dir.join("guests.svg"), plot::svg(all))?;
    println!("target/bench/guests.csv, guests-rounds.csv, guests.svg");
    Ok(())
}

/// `None` if only help is wanted.
fn parse(words: &[&str]) -> Result<Option<Options>> {
    let quick = words.contains(&"--quick");
    let mut options = Options {
        effort: if quick { QUICK } else { FULL },
        nics: if quick {
            vec![Nic::Virtio]
        } else {
            Nic::ALL.to_vec()
        },
        rows: Vec::new(),
        whole: true,
    };
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        match word {
            "--help" | "-h" => return Ok(None),
            "--quick" => {}
            "--nic" => {
                let name = words.next().context("--nic needs a name (see --help)")?;
                let nic = Nic::named(name)
                    .with_context(|| format!("{name}: no such NIC (see --help)"))?;
                options.nics = vec![nic];
                options.whole = false;
            }
            "--sessions" => {
                let count = words.next().and_then(|text| text.parse().ok());
                match count {
                    Some(count @ 1..=100) => options.effort.sessions = count,
                    _ => bail!("--sessions needs a number from 1 to 100"),
                }
            }
            _ => {
                let found = Row::named(word);
                ensure!(!found.is_empty(), "{word}: no such row or option\n{USAGE}");
                options.rows.extend(found);
                options.whole = false;
            }
        }
    }
    if options.rows.is_empty() {
        let all = Row::ALL.into_iter();
        options.rows = all
            .filter(|row| !quick || *row != Row::LeastMemory)
            .collect();
    }
    Ok(Some(options))
}

#[cfg(test)]
mod tests_of_options {
    use super::*;

    #[test]
    fn a_row_is_chosen_by_its_beginning() {
        let options = parse(&["tcp-echo", "--nic", "e1000e"]).unwrap().unwrap();
        assert_eq!(options.rows, [1, 16, 256].map(Row::TcpEcho));
        assert_eq!(options.nics, [Nic::E1000e]);
        assert!(!options.whole);
        // A whole name is one row, though another begins so.
        assert_eq!(
            parse(&["tcp-echo-1"]).unwrap().unwrap().rows,
            [Row::TcpEcho(1)]
        );
        assert!(parse(&["tpc"]).is_err());
    }

    #[test]
    fn the_quick_run_takes_one_nic_and_leaves_the_slow_row_out() {
        let options = parse(&["--quick"]).unwrap().unwrap();
        assert!(options.whole && options.nics == [Nic::Virtio]);
        assert!(!options.rows.contains(&Row::LeastMemory));
        assert!(parse(&["--help"]).unwrap().is_none());
    }
}
