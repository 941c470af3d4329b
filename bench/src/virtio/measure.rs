//! Runs the cells: times in short rounds, contender after contender and round after round, so that a
//! drift of the two cores hits all alike; then instruction counts under callgrind.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::back_end::BackEnd;
use super::disturbance::Watch;
use super::request::{Amount, Case, Request, RingKind, Sample};
use crate::callgrind::total;
use crate::child::{Program, Worker};
use crate::numbers::quartiles;

/// Packets in a counted run.
const COUNTED: u64 = 64 * 1024;
/// Of the turns of a counted run, one in so many may be idle.
const IDLE_SHARE: u64 = 50;
/// Times that a run is repeated at most, because something else had its cores.
const TRIES: usize = 3;

/// How long to measure.
#[derive(Clone, Copy)]
pub(super) struct Effort {
    /// Rounds a cell.
    pub(super) rounds: usize,
    /// Milliseconds a round.
    pub(super) round_ms: u64,
}

/// Who runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Contender {
    /// The word in requests.
    pub(super) word: &'static str,
    /// The name for people.
    pub(super) name: &'static str,
    /// This project's, not DPDK's.
    pub(super) ours: bool,
}

/// With no more features than [`REFERENCE`] negotiates.
pub(super) const LIKE_FOR_LIKE: &str = "ours-like";

/// All, in the table's order.
pub(super) const CONTENDERS: [Contender; 6] = [
    Contender {
        word: "ours",
        name: "VirtioNet",
        ours: true,
    },
    Contender {
        word: "ours-merged",
        name: "VirtioNet, mergeable buffers",
        ours: true,
    },
    Contender {
        word: LIKE_FOR_LIKE,
        name: "VirtioNet, features of DPDK's",
        ours: true,
    },
    Contender {
        word: "dpdk",
        name: "DPDK net_virtio_user",
        ours: false,
    },
    Contender {
        word: "dpdk-plain",
        name: "DPDK, neither merging nor in order",
        ours: false,
    },
    Contender {
        word: "dpdk-vector",
        name: "DPDK, vector path",
        ours: false,
    },
];

/// The one that the others are compared with: DPDK's driver as it comes.
pub(super) const REFERENCE: &str = "dpdk";

/// A cell of the matrix.
pub(super) struct Cell {
    /// Who.
    pub(super) contender: Contender,
    /// What.
    pub(super) case: Case,
    /// Over which rings.
    pub(super) ring: RingKind,
    /// What the rounds came to; those of a group belong together.
    pub(super) rounds: Vec<Sample>,
    /// Rounds among them during which others ran on the cores, or frames got lost, however often they
    /// were repeated.
    pub(super) disturbed: usize,
    /// Instructions a packet.
    pub(super) instructions: Option<f64>,
}

impl Cell {
    /// Best and median of a figure, where `more` is better or not.
    pub(super) fn best_and_median(&self, figure: fn(&Sample) -> f64, more: bool) -> [f64; 2] {
        let values: Vec<f64> = self.rounds.iter().map(figure).collect();
        let better = if more { f64::max } else { f64::min };
        let best = values.iter().copied().reduce(better).unwrap_or(f64::NAN);
        [best, quartiles(values)[1]]
    }

    /// A figure beside `base`'s: the ratio of the best rounds, and the median of the ratios of rounds
    /// that ran one after the other.
    pub(super) fn ratios(&self, base: &Self, figure: fn(&Sample) -> f64, more: bool) -> [f64; 2] {
        let best = |cell: &Self| cell.best_and_median(figure, more)[0];
        let pairs = self.rounds.iter().zip(&base.rounds);
        let pairs = pairs
            .map(|(own, base)| figure(own) / figure(base))
            .collect();
        [best(self) / best(base), quartiles(pairs)[1]]
    }

    /// Frames of all rounds that went missing or were not as sent.
    pub(super) fn lost(&self) -> u64 {
        self.rounds.iter().map(|sample| sample.lost).sum()
    }

    fn request(&self, amount: Amount) -> Request {
        Request {
            contender: self.contender.word.to_owned(),
            case: self.case,
            ring: self.ring,
            amount,
        }
    }
}

/// Both workers, and where their profiles go if they are counted.
pub(super) struct Workers {
    own: Worker,
    dpdk: Worker,
    profiles: Option<[Profiles; 2]>,
}

impl Workers {
    /// Starts both, to be timed.
    pub(super) fn start(own: &Program, dpdk: &Program) -> Result<Self> {
        Ok(Self {
            own: own.start()?,
            dpdk: dpdk.start()?,
            profiles: None,
        })
    }

    /// Starts both under callgrind, with profiles in `dir`.
    pub(super) fn start_counted(own: &Program, dpdk: &Program, dir: &Path) -> Result<Self> {
        let bases = [own, dpdk].map(|p| dir.join(format!("callgrind.virtio.{}", p.name)));
        Ok(Self {
            own: own.start_counted(&bases[0])?,
            dpdk: dpdk.start_counted(&bases[1])?,
            profiles: Some(bases.map(|base| Profiles { base, written: 0 })),
        })
    }

    fn worker(&mut self, cell: &Cell) -> &mut Worker {
        if cell.contender.ours {
            &mut self.own
        } else {
            &mut self.dpdk
        }
    }

    fn run(&mut self, cell: &Cell, amount: Amount) -> Result<Sample> {
        let request = cell.request(amount);
        let answer = self.worker(cell).run(&request)?;
        let answer = answer.with_context(|| format!("{request}: not done by its worker"))?;
        let sample: Sample = answer.parse().with_context(|| request.to_string())?;
        Ok(sample)
    }

    /// Ends both.
    pub(super) fn end(self) -> Result<()> {
        self.own.end()?;
        self.dpdk.end()?;
        for profiles in self.profiles.iter().flatten() {
            let _ = fs::remove_file(&profiles.base);
        }
        Ok(())
    }
}

/// The profiles of a worker: numbered from 1, two for each request: its warm-up, its run.
struct Profiles {
    base: PathBuf,
    written: usize,
}

impl Profiles {
    /// The instructions of the run that was last.
    fn next(&mut self) -> Result<u64> {
        self.written += 2;
        let path = |number: usize| {
            let mut path = self.base.clone().into_os_string();
            path.push(format!(".{number}"));
            path
        };
        let (warm, run) = (path(self.written - 1), path(self.written));
        let text = fs::read_to_string(&run).with_context(|| format!("{run:?}"))?;
        fs::remove_file(warm)?;
        fs::remove_file(run)?;
        total(&text)
    }
}

/// Times all contenders against `back_end`.
pub(super) fn time(
    workers: &mut Workers,
    back_end: &BackEnd,
    (case, ring): (Case, RingKind),
    effort: Effort,
) -> Result<Vec<Cell>> {
    let cell = |contender| Cell {
        contender,
        case,
        ring,
        rounds: Vec::new(),
        disturbed: 0,
        instructions: None,
    };
    // The stack asks for checksums.
    let takes_part = |contender: &Contender| {
        case != Case::Stack || contender.ours && contender.word != LIKE_FOR_LIKE
    };
    let group = CONTENDERS.into_iter().filter(takes_part);
    let mut group: Vec<Cell> = group.map(cell).collect();
    let amount = Amount::Milliseconds(effort.round_ms);
    for _ in 0..effort.rounds {
        for cell in &mut group {
            let mut tries = 0;
            let (sample, disturbed) = loop {
                tries += 1;
                let watch = Watch::start([back_end.id(), workers.worker(cell).id()]);
                let sample = workers.run(cell, amount)?;
                let disturbed = watch.disturbed() || sample.packets == 0 || sample.lost > 0;
                if !disturbed || tries == TRIES {
                    break (sample, disturbed);
                }
            };
            cell.rounds.push(sample);
            cell.disturbed += usize::from(disturbed);
        }
    }
    Ok(group)
}

/// Counts the instructions of all cells of a group. A back end that was kept from its core lets the
/// driver look in vain, which says nothing of the driver: such runs are repeated, and the least counts.
pub(super) fn count(workers: &mut Workers, group: &mut [Cell]) -> Result<()> {
    for cell in group {
        for _ in 0..TRIES {
            let sample = workers.run(cell, Amount::Packets(COUNTED))?;
            let which = usize::from(!cell.contender.ours);
            let profiles = workers.profiles.as_mut().context("no profiles")?;
            let counted = profiles[which].next()? as f64 / sample.packets.max(1) as f64;
            cell.instructions = Some(cell.instructions.map_or(counted, |c| c.min(counted)));
            if sample.idle * IDLE_SHARE < sample.bursts {
                break;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(packets: &[u64]) -> Cell {
        let sample = |&packets| Sample {
            packets,
            ns: 1000.0,
            busy_ns: 500.0,
            bursts: 1,
            idle: 0,
            lost: 0,
        };
        Cell {
            contender: CONTENDERS[0],
            case: Case::Tx,
            ring: RingKind::Split,
            rounds: packets.iter().map(sample).collect(),
            disturbed: 0,
            instructions: None,
        }
    }

    #[test]
    fn the_best_is_the_most_or_the_least() {
        let cell = cell(&[10, 20, 50]);
        assert_eq!(cell.best_and_median(Sample::mpps, true), [50.0, 20.0]);
        assert_eq!(cell.best_and_median(Sample::busy, false), [10.0, 25.0]);
    }

    #[test]
    fn ratios_are_of_the_best_and_of_pairs() {
        // The third round was slow for both.
        let (own, base) = (cell(&[30, 40, 6]), cell(&[20, 20, 4]));
        assert_eq!(own.ratios(&base, Sample::mpps, true), [2.0, 1.5]);
    }

    #[test]
    fn there_is_one_to_compare_with() {
        assert!(CONTENDERS.iter().any(|c| c.word == REFERENCE && !c.ours));
    }
}
