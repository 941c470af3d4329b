//! Sessions and rounds: who is measured when, and what came of it.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};

use super::contender::{Contender, Files, Nic};
use super::exits::{self, Exits};
use super::machine::{MEMORY_MIB, Machine};
use super::memory;
use super::rows::{Aim, Better, Figure, Row};

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// How often every guest is booted anew.
    pub(super) sessions: usize,
    /// Turns for each row in a session.
    pub(super) rounds: usize,
    /// A turn.
    pub(super) time: Duration,
}

/// One figure of everybody, round by round. A round that failed is not a number.
pub(super) struct Line {
    /// The figure.
    pub(super) figure: Figure,
    rounds: BTreeMap<Contender, Vec<f64>>,
}

impl Line {
    /// The rounds of `contender`; those of all contenders belong together.
    pub(super) fn rounds(&self, contender: Contender) -> &[f64] {
        self.rounds.get(&contender).map_or(&[], Vec::as_slice)
    }

    /// First quartile, median and third quartile.
    pub(super) fn quartiles(&self, contender: Contender) -> Option<[f64; 3]> {
        finite_quartiles(self.rounds(contender).iter().copied())
    }

    /// How many times better ours is than `other`: quartiles of the ratios of rounds that ran one
    /// after the other.
    pub(super) fn ratios(&self, other: Contender) -> Option<[f64; 3]> {
        let pairs = self
            .rounds(Contender::Millrace)
            .iter()
            .zip(self.rounds(other));
        finite_quartiles(pairs.map(|(own, other)| match self.figure.better {
            Better::More => own / other,
            Better::Less => other / own,
        }))
    }
}

/// Quartiles of what is a number. There are few rounds, so they lie between values in proportion.
pub(super) fn finite_quartiles(values: impl Iterator<Item = f64>) -> Option<[f64; 3]> {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    Some([0.25, 0.5, 0.75].map(|part| {
        let place = last as f64 * part;
        let (low, high) = (
            values[place.floor() as usize],
            values[place.ceil() as usize],
        );
        low + (high - low) * place.fract()
    }))
}

/// All that was measured on one NIC.
pub(super) struct Results {
    /// The NIC.
    pub(super) nic: Nic,
    /// In the order of the rows.
    pub(super) lines: Vec<Line>,
    /// The image's exits in each round, by the row.
    pub(super) exits: Vec<(String, Exits)>,
    /// What went wrong, each once.
    pub(super) remarks: Vec<String>,
}

impl Results {
    fn new(nic: Nic, rows: &[Row]) -> Self {
        let figures = rows.iter().flat_map(|row| row.figures());
        let lines = figures.map(|figure| Line {
            figure,
            rounds: BTreeMap::new(),
        });
        Self {
            nic,
            lines: lines.collect(),
            exits: Vec::new(),
            remarks: Vec::new(),
        }
    }

    /// The aim of a figure on this NIC, and whether it was met, if it was measured.
    pub(super) fn aim(&self, line: &Line) -> Option<(Aim, Option<bool>)> {
        let aim = line.figure.aim(self.nic)?;
        let met = match aim {
            Aim::Times(times, other) => line.ratios(other).map(|[_, x, _]| x >= times),
            Aim::AtMost(most) => line
                .quartiles(Contender::Millrace)
                .map(|[_, own, _]| own <= most),
        };
        Some((aim, met))
    }

    /// Notes a round of `row`; a failure is a remark, and not a number in each of its figures.
    fn note(&mut self, row: Row, contender: Contender, outcome: Result<Vec<f64>>) {
        let figures = row.figures();
        let values = outcome.unwrap_or_else(|error| {
            self.remark(format!("{}, {}: {error:#}", contender.name(), row.word()));
            vec![f64::NAN; figures.len()]
        });
        for (figure, value) in figures.iter().zip(values) {
            let line = self.lines.iter_mut().find(|l| l.figure.name == figure.name);
            if let Some(line) = line {
                line.rounds.entry(contender).or_default().push(value);
            }
        }
    }

    /// Notes that `contender` is not there for a session: its places stay empty, so that pairs stay
    /// pairs.
    fn leave_out(&mut self, contender: Contender, rows: &[Row], rounds: usize) {
        let each_session = [Row::Boot, Row::Resident];
        for &row in rows.iter().filter(|row| row.is_for(contender)) {
            let times = if row.is_traffic() {
                rounds
            } else {
                usize::from(each_session.contains(&row))
            };
            for _ in 0..times {
                self.note(row, contender, Ok(vec![f64::NAN; row.figures().len()]));
            }
        }
    }

    fn remark(&mut self, text: String) {
        eprintln!("  {text}");
        if !self.remarks.contains(&text) {
            self.remarks.push(text);
        }
    }
}

/// Measures `rows` on `nic`.
pub(super) fn run(files: &Files, nic: Nic, rows: &[Row], effort: Effort) -> Result<Results> {
    let mut results = Results::new(nic, rows);
    let has = |row: Row| rows.contains(&row);
    let traffic: Vec<Row> = rows
        .iter()
        .copied()
        .filter(|row| row.is_traffic())
        .collect();
    let running = !traffic.is_empty() || has(Row::Boot) || has(Row::Resident);
    for session in 1..=effort.sessions {
        if !running {
            break;
        }
        let at = format!("{}, session {session}/{}", nic.word(), effort.sessions);
        let mut machines = Vec::new();
        for contender in Contender::ALL {
            if !rows.iter().any(|row| row.is_for(contender)) {
                continue;
            }
            match Machine::boot(files, contender, nic, MEMORY_MIB) {
                Ok(machine) => {
                    let seconds = machine.booted().as_secs_f64();
                    eprintln!("{at}: {} is up after {seconds:.2} s", contender.name());
                    results.note(Row::Boot, contender, Ok(vec![seconds]));
                    machine.stop()?;
                    machines.push((contender, machine));
                }
                Err(error) => {
                    results.remark(format!("{}: {error:#}", contender.name()));
                    results.leave_out(contender, rows, effort.rounds);
                }
            }
        }
        for &row in &traffic {
            eprintln!("{at}: {}", row.word());
            take_turns(&mut results, &machines, row, effort)?;
        }
        for (contender, machine) in &machines {
            let resident = machine.resident().map(|bytes| vec![bytes as f64 / 1e6]);
            results.note(Row::Resident, *contender, resident);
        }
    }
    if has(Row::LeastMemory) {
        for contender in Contender::WHOLE {
            let least = memory::least(files, contender, nic);
            results.note(
                Row::LeastMemory,
                contender,
                least.map(|mib| vec![f64::from(mib)]),
            );
        }
    }
    if has(Row::Size) {
        for contender in Contender::WHOLE {
            let size = files
                .size(contender, nic)
                .map(|bytes| vec![bytes as f64 / 1e6]);
            results.note(Row::Size, contender, size);
        }
    }
    Ok(results)
}

/// One after the other, round after round. Only the machine whose turn it is runs.
fn take_turns(
    results: &mut Results,
    machines: &[(Contender, Machine)],
    row: Row,
    effort: Effort,
) -> Result<()> {
    for _ in 0..effort.rounds {
        for (contender, machine) in machines.iter().filter(|(whose, _)| row.is_for(*whose)) {
            let name = contender.name();
            machine
                .go_on()
                .with_context(|| format!("continuing {name}"))?;
            let outcome = match contender {
                Contender::Millrace => exits::during(machine, || row.measure(machine, effort.time))
                    .map(|(figures, exits)| {
                        results.exits.push((row.word(), exits));
                        figures
                    }),
                _ => row.measure(machine, effort.time),
            };
            machine.stop().with_context(|| format!("stopping {name}"))?;
            results.note(row, *contender, outcome);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_above_one_is_in_our_favour_whichever_way_is_better() {
        let mut results = Results::new(Nic::Virtio, &[Row::UdpEcho(64, 1)]);
        for (contender, rate) in [(Contender::Millrace, 300.0), (Contender::Linux, 100.0)] {
            let values = vec![rate, 1e6 / rate, 2e6 / rate];
            results.note(Row::UdpEcho(64, 1), contender, Ok(values));
        }
        for line in &results.lines {
            let [_, median, _] = line.ratios(Contender::Linux).unwrap();
            assert!((median - 3.0).abs() < 1e-9, "{}", line.figure.name);
            assert!(line.ratios(Contender::LinuxBest).is_none());
        }
    }

    #[test]
    fn an_aim_is_against_a_guest_or_a_limit_and_depends_on_the_nic() {
        let met = |nic, row: Row, own: f64, linux: f64, best: f64| {
            let mut results = Results::new(nic, &[row]);
            for (contender, value) in [
                (Contender::Millrace, own),
                (Contender::Linux, linux),
                (Contender::LinuxBest, best),
            ] {
                results.note(row, contender, Ok(vec![value]));
            }
            results.aim(&results.lines[0]).map(|(_, met)| met)
        };
        let (virtio, plain) = (Nic::Virtio, Nic::VirtioPlain);
        assert_eq!(met(virtio, Row::TcpIn, 12.0, 1.0, 10.0), Some(Some(true)));
        assert_eq!(met(virtio, Row::TcpIn, 11.0, 1.0, 10.0), Some(Some(false)));
        assert_eq!(met(plain, Row::TcpIn, 20.0, 10.0, 19.0), Some(Some(true)));
        assert_eq!(met(plain, Row::TcpIn, 19.0, 10.0, 1.0), Some(Some(false)));
        assert_eq!(met(virtio, Row::Boot, 0.15, 2.0, 2.0), Some(Some(true)));
        assert_eq!(met(virtio, Row::Boot, 0.16, 2.0, 2.0), Some(Some(false)));
        assert_eq!(met(plain, Row::Boot, 0.1, 2.0, 2.0), None);
        assert_eq!(met(Nic::E1000e, Row::Http, 9.0, 1.0, 1.0), None);
        let unmeasured = Results::new(virtio, &[Row::Boot]);
        let aim = unmeasured.aim(&unmeasured.lines[0]);
        assert_eq!(aim, Some((Aim::AtMost(0.15), None)));
    }

    #[test]
    fn quartiles_of_few_rounds_lie_between_them() {
        let of = |values: &[f64]| finite_quartiles(values.iter().copied());
        assert_eq!(of(&[3.0, 1.0]), Some([1.5, 2.0, 2.5]));
        assert_eq!(of(&[1.0, f64::NAN, 9.0, 2.0]), Some([1.5, 2.0, 5.5]));
        assert_eq!(of(&[7.0]), Some([7.0; 3]));
        assert_eq!(of(&[f64::NAN]), None);
    }

    #[test]
    fn a_failed_round_leaves_its_place_so_that_pairs_stay_pairs() {
        let mut results = Results::new(Nic::Virtio, &[Row::Http]);
        let mut note = |contender, value: Option<f64>| {
            let outcome = value.map(|v| vec![v]).context("failed");
            results.note(Row::Http, contender, outcome);
        };
        for (own, linux) in [(None, Some(1.0)), (Some(8.0), Some(2.0))] {
            note(Contender::Linux, linux);
            note(Contender::Millrace, own);
        }
        let line = &results.lines[0];
        assert_eq!(line.rounds(Contender::Millrace).len(), 2);
        assert_eq!(line.ratios(Contender::Linux), Some([4.0; 3]));
        assert_eq!(results.remarks.len(), 1);
    }

    #[test]
    fn who_did_not_boot_leaves_as_many_places_as_the_others_fill() {
        let rows = [Row::Http, Row::Boot, Row::Size];
        let mut results = Results::new(Nic::Virtio, &rows);
        results.leave_out(Contender::Millrace, &rows, 3);
        let places = results
            .lines
            .iter()
            .map(|l| l.rounds(Contender::Millrace).len());
        assert_eq!(places.collect::<Vec<_>>(), [3, 1, 0]);
        assert!(results.lines[0].quartiles(Contender::Millrace).is_none());
        // Nobody misses the ceiling where there is none.
        results.leave_out(Contender::Ceiling, &rows, 3);
        let places = results
            .lines
            .iter()
            .map(|l| l.rounds(Contender::Ceiling).len());
        assert_eq!(places.collect::<Vec<_>>(), [0, 1, 0]);
    }
}
