//! The table, the aims and the CSV.
#![forbid(unsafe_code)]

use std::fmt::Write;

use super::measure::{Cell, REFERENCE};
use super::request::Sample;
use crate::numbers::number;

/// What the columns mean; printed above the table.
pub(super) const LEGEND: &str = "\
Frames of 64 bytes, bursts of 32, rings of 256. Mpps: millions of packets a second, the best round and
the median. busy: nanoseconds a packet on the driver's core in turns that moved something (the cycle
counter is read after each turn). instr: instructions a packet under callgrind, with the back end at
full speed, so that nearly all bursts are full. x: ratio to DPDK net_virtio_user as it comes, of the
best rounds and (med) the median of rounds that ran side by side; of Mpps more is better, of busy and
instr less.";

fn reference(group: &[Cell]) -> Option<&Cell> {
    group.iter().find(|cell| cell.contender.word == REFERENCE)
}

/// The figures of a row, in the order of the columns.
struct Row {
    mpps: [f64; 2],
    busy: [f64; 2],
    burst: f64,
    instructions: Option<f64>,
    /// Best and median; nothing where DPDK has nothing to compare with.
    x_mpps: Option<[f64; 2]>,
    x_busy: Option<[f64; 2]>,
    x_instructions: Option<f64>,
}

impl Row {
    fn of(cell: &Cell, group: &[Cell]) -> Self {
        let base = reference(group);
        let pair = cell.instructions.zip(base.and_then(|b| b.instructions));
        Self {
            mpps: cell.best_and_median(Sample::mpps, true),
            busy: cell.best_and_median(Sample::busy, false),
            burst: cell.best_and_median(Sample::burst, true)[1],
            instructions: cell.instructions,
            x_mpps: base.map(|base| cell.ratios(base, Sample::mpps, true)),
            x_busy: base.map(|base| cell.ratios(base, Sample::busy, false)),
            x_instructions: pair.map(|(own, base)| own / base),
        }
    }
}

/// The whole table.
pub(super) fn table(groups: &[Vec<Cell>]) -> String {
    let mut text = format!(
        "{:<8} {:<6} {:<35} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>7}\n",
        "case",
        "ring",
        "driver",
        "Mpps",
        "med",
        "busy",
        "med",
        "burst",
        "instr",
        "x Mpps",
        "med",
        "x busy",
        "med",
        "x instr"
    );
    for (cell, group) in rows(groups) {
        let row = Row::of(cell, group);
        let _ = writeln!(
            text,
            "{:<8} {:<6} {:<35} {:>6.2} {:>6.2} {:>6.1} {:>6.1} {:>6.1} {:>6} {:>6} {:>6} \
             {:>6} {:>6} {:>7}",
            cell.case.title(),
            cell.ring.word(),
            cell.contender.name,
            row.mpps[0],
            row.mpps[1],
            row.busy[0],
            row.busy[1],
            row.burst,
            number(row.instructions, 1),
            number(row.x_mpps.map(|x| x[0]), 2),
            number(row.x_mpps.map(|x| x[1]), 2),
            number(row.x_busy.map(|x| x[0]), 2),
            number(row.x_busy.map(|x| x[1]), 2),
            number(row.x_instructions, 2),
        );
    }
    let doubtful = |cell: &Cell| cell.lost() > 0 || cell.disturbed > 0;
    for (cell, _) in rows(groups).filter(|(cell, _)| doubtful(cell)) {
        let _ = writeln!(
            text,
            "{}, {}, {}: {} frames lost or damaged; {} of {} rounds disturbed",
            cell.case.title(),
            cell.ring.title(),
            cell.contender.name,
            cell.lost(),
            cell.disturbed,
            cell.rounds.len()
        );
    }
    text
}

/// The aim: no slower than DPDK, in each case on each ring.
pub(super) fn aims(groups: &[Vec<Cell>]) -> String {
    let mut text = String::from("aim: at least 1.00 of DPDK's packets a second\n");
    for (cell, group) in rows(groups).filter(|(cell, _)| cell.contender.ours) {
        let Some([best, median]) = Row::of(cell, group).x_mpps else {
            continue;
        };
        let verdict = |ratio: f64| if ratio >= 1.0 { "met" } else { "missed" };
        let _ = writeln!(
            text,
            "{:<8} {:<6} {:<35} best {best:.2} {}, median {median:.2} {}",
            cell.case.title(),
            cell.ring.word(),
            cell.contender.name,
            verdict(best),
            verdict(median),
        );
    }
    text
}

/// All numbers.
pub(super) fn csv(groups: &[Vec<Cell>]) -> String {
    let mut text = String::from(
        "case,ring,driver,lost,disturbed,mpps_best,mpps_median,busy_ns_best,busy_ns_median,burst,instructions,\
         ratio_mpps_best,ratio_mpps_median,ratio_busy_best,ratio_busy_median,ratio_instructions\n",
    );
    let empty_or = |value: Option<f64>| value.map_or_else(String::new, |v| format!("{v:.3}"));
    for (cell, group) in rows(groups) {
        let row = Row::of(cell, group);
        let _ = writeln!(
            text,
            "{},{},\"{}\",{},{},{:.3},{:.3},{:.3},{:.3},{:.2},{},{},{},{},{},{}",
            cell.case.word(),
            cell.ring.word(),
            cell.contender.name,
            cell.lost(),
            cell.disturbed,
            row.mpps[0],
            row.mpps[1],
            row.busy[0],
            row.busy[1],
            row.burst,
            empty_or(row.instructions),
            empty_or(row.x_mpps.map(|x| x[0])),
            empty_or(row.x_mpps.map(|x| x[1])),
            empty_or(row.x_busy.map(|x| x[0])),
            empty_or(row.x_busy.map(|x| x[1])),
            empty_or(row.x_instructions),
        );
    }
    text
}

fn rows(groups: &[Vec<Cell>]) -> impl Iterator<Item = (&Cell, &[Cell])> {
    groups
        .iter()
        .flat_map(|group| group.iter().map(move |cell| (cell, group.as_slice())))
}
