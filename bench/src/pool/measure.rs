//! Runs the matrix: times in short rounds, contender after contender and round after round, so
//! that a disturbance hits all alike; then instruction counts under callgrind.
#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::matrix::{BULKS, Contender, Home, contenders};
use super::request::{Case, Mode, Request};
use crate::callgrind::total;
use crate::child::{Program, Worker};
use crate::numbers::quartiles;

/// Objects in a counted run: whole turns of every bulk, and many magazines.
const COUNTED: usize = 4 * 1024;
/// The same without magazines: each burst costs alike.
const COUNTED_BARE: usize = 1024;

/// How long to measure.
#[derive(Clone, Copy)]
pub(super) struct Effort {
    /// Rounds a cell.
    pub(super) rounds: usize,
    /// Nanoseconds a round, about.
    pub(super) round_ns: u64,
}

/// A cell of the matrix.
pub(super) struct Cell {
    /// Who.
    pub(super) contender: Contender,
    /// What.
    pub(super) case: Case,
    /// Objects at once.
    pub(super) bulk: usize,
    /// With per-core caches.
    pub(super) magazines: bool,
    /// Nanoseconds an object, round by round; the rounds of a group belong together.
    pub(super) rounds: Vec<f64>,
    /// Instructions an object.
    pub(super) instructions: Option<f64>,
}

impl Cell {
    fn request(&self, objects: usize, mode: Mode) -> Request {
        Request {
            contender: self.contender.word.to_owned(),
            case: self.case,
            bulk: self.bulk,
            magazines: self.magazines,
            objects,
            mode,
        }
    }

    /// Nanoseconds an object: first quartile, median, third quartile.
    pub(super) fn ns(&self) -> [f64; 3] {
        quartiles(self.rounds.clone())
    }

    /// The time beside `base`'s: the median of the ratios of rounds that ran one after the
    /// other. What slows the machine for a while slows both, so the ratio holds.
    pub(super) fn time_ratio(&self, base: &Self) -> f64 {
        let pairs = self.rounds.iter().zip(&base.rounds);
        quartiles(pairs.map(|(own, base)| own / base).collect())[1]
    }

    /// Objects that were moved, for `objects` in the request.
    fn moved(&self, objects: usize) -> f64 {
        let senders = if self.case == Case::BothWays { 2 } else { 1 };
        (objects * senders) as f64
    }
}

/// A part of the matrix; `None` stands for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// This case only.
    pub(super) case: Option<Case>,
    /// This bulk only.
    pub(super) bulk: Option<usize>,
    /// With magazines only, or without only.
    pub(super) magazines: Option<bool>,
}

impl Part {
    fn has(&self, case: Case, bulk: usize, magazines: bool) -> bool {
        self.case.is_none_or(|c| c == case)
            && self.bulk.is_none_or(|b| b == bulk)
            && self.magazines.is_none_or(|m| m == magazines)
    }
}

/// The cells of a part, unmeasured, in groups that share case, bulk and caches.
pub(super) fn groups(with_dpdk: bool, part: Part) -> Vec<Vec<Cell>> {
    let mut groups = Vec::new();
    for case in Case::ALL {
        for magazines in [true, false] {
            for bulk in BULKS.into_iter().filter(|b| part.has(case, *b, magazines)) {
                let cells = contenders(case)
                    .into_iter()
                    .filter(|c| with_dpdk || c.home == Home::Own)
                    .filter(|c| magazines || c.caches)
                    .map(|contender| Cell {
                        contender,
                        case,
                        bulk,
                        magazines,
                        rounds: Vec::new(),
                        instructions: None,
                    });
                groups.push(cells.collect());
            }
        }
    }
    groups
}

/// Times all groups.
pub(super) fn time(
    groups: &mut [Vec<Cell>],
    programs: &[(Home, Program)],
    effort: Effort,
) -> Result<()> {
    let mut workers = Vec::new();
    for (home, program) in programs {
        workers.push((*home, program.start()?));
    }
    let all = groups.len();
    for (number, group) in groups.iter_mut().enumerate() {
        if let Some(cell) = group.first() {
            let caches = if cell.magazines { "with" } else { "without" };
            eprintln!(
                "time {:>2}/{all}: {}, bulk {}, {caches} magazines",
                number + 1,
                cell.case.title(),
                cell.bulk
            );
        }
        time_group(group, &mut workers, effort)?;
    }
    workers.into_iter().try_for_each(|(_, worker)| worker.end())
}

fn time_group(group: &mut [Cell], workers: &mut [(Home, Worker)], effort: Effort) -> Result<()> {
    let mut run = |cell: &Cell, objects: usize| -> Result<f64> {
        let worker = workers
            .iter_mut()
            .find(|(home, _)| *home == cell.contender.home);
        let (_, worker) = worker.context("no worker for a contender")?;
        let request = cell.request(objects, Mode::Time);
        let ns = worker.run(&request)?;
        let ns = ns.with_context(|| format!("{request}: not done by its worker"))?;
        let ns: f64 = ns.parse().with_context(|| format!("{request}: {ns:?}"))?;
        Ok(ns / cell.moved(objects))
    };
    let mut sizes = Vec::new();
    for cell in group.iter() {
        // The best of a few tries says how many objects fill a round.
        let few = 16 * cell.bulk.max(64);
        let mut best = f64::MAX;
        for _ in 0..5 {
            best = best.min(run(cell, few)?);
        }
        let objects = effort.round_ns as f64 / best.max(0.1);
        sizes.push((objects as usize / cell.bulk).max(4) * cell.bulk);
    }
    for _ in 0..effort.rounds {
        for (cell, objects) in group.iter_mut().zip(&sizes) {
            let took = run(cell, *objects)?;
            cell.rounds.push(took);
        }
    }
    Ok(())
}

/// Counts the instructions of all cells of `home`, with profiles in `dir`.
pub(super) fn count(
    groups: &mut [Vec<Cell>],
    home: Home,
    program: &Program,
    dir: &Path,
) -> Result<()> {
    let cells = groups.iter_mut().flatten();
    let cells: Vec<&mut Cell> = cells.filter(|c| c.contender.home == home).collect();
    let base = dir.join(format!("callgrind.{}", program.name));
    let mut worker = program.start_counted(&base)?;
    let all = cells.len();
    for (number, cell) in cells.into_iter().enumerate() {
        if number % 10 == 0 {
            eprintln!("count {}: {number}/{all}", program.name);
        }
        let objects = if cell.magazines {
            COUNTED
        } else {
            COUNTED_BARE
        };
        let done = worker.run(&cell.request(objects, Mode::Count))?;
        ensure!(done.is_some(), "{}: not done", cell.contender.name);
        // Profiles are numbered from 1, two for each request: its warm-up, its run.
        let profile = |part: usize| {
            let mut path = base.clone().into_os_string();
            path.push(format!(".{part}"));
            path
        };
        let path = profile(2 * number + 2);
        let text = fs::read_to_string(&path).with_context(|| format!("{path:?}"))?;
        cell.instructions = Some(total(&text)? as f64 / cell.moved(objects));
        fs::remove_file(path)?;
        fs::remove_file(profile(2 * number + 1))?;
    }
    worker.end()?;
    let _ = fs::remove_file(base);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::matrix::is_reference;
    use super::*;

    #[test]
    fn a_ratio_is_the_median_of_paired_rounds() {
        let cell = |rounds: &[f64]| Cell {
            contender: contenders(Case::Alloc)[0],
            case: Case::Alloc,
            bulk: 32,
            magazines: true,
            rounds: rounds.to_vec(),
            instructions: None,
        };
        // The third round hit both, the second only one.
        let (own, base) = (cell(&[1.0, 9.0, 50.0]), cell(&[2.0, 2.0, 100.0]));
        assert_eq!(own.time_ratio(&base), 0.5);
        assert_eq!(own.ns(), [1.0, 9.0, 9.0]);
        assert!(cell(&[]).ns()[1].is_nan());
    }

    #[test]
    fn a_part_is_what_was_asked_for() {
        let part = Part {
            case: Some(Case::Clone),
            bulk: Some(32),
            magazines: Some(true),
        };
        let groups = groups(true, part);
        assert_eq!(groups.len(), 1);
        assert!(
            groups[0]
                .iter()
                .all(|c| c.case == Case::Clone && c.bulk == 32 && c.magazines)
        );
    }

    #[test]
    fn every_group_has_someone_to_compare_with() {
        for group in groups(true, Part::default()) {
            assert!(
                group.iter().any(|c| is_reference(c.case, &c.contender)),
                "{:?}",
                group[0].case
            );
        }
    }
}
