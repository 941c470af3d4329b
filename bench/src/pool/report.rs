//! The table, the aims and the CSV.
#![forbid(unsafe_code)]

use std::fmt::Write;

use super::matrix::{AIM_BULK, aim, is_ours, is_reference};
use super::measure::Cell;
use crate::numbers::number;

/// What the columns mean; printed above the table.
pub(super) const LEGEND: &str = "\
One object is: a packet ready for use with its buffer attached, metadata as new (pbufpool), or an
rte_mbuf of rte_pktmbuf_alloc[_bulk] (DPDK); a chain of three of them; a clone over the same buffer;
in \"buffer only\" a bare buffer of 2 KiB. Bulk 1 uses the calls for one object.
ns: wall time an object, median of the rounds (two cores: time until all objects have arrived,
divided by their number, both directions together). instr: instructions an object, by callgrind.
x time, x instr: ratio to DPDK (the faster rte_pktmbuf row; buffer only: rte_mempool), less is
better; of times, the median of the ratios of rounds that ran side by side. DPDK's rte_pktmbuf is packed in huge pages; the row \"4 KiB pages\" is its default with
--no-huge.";

/// The group's reference cell: the fastest of those that count as one.
fn reference_of(group: &[Cell]) -> Option<&Cell> {
    group
        .iter()
        .filter(|c| is_reference(c.case, &c.contender))
        .min_by(|a, b| a.ns()[1].total_cmp(&b.ns()[1]))
}

fn ratios(cell: &Cell, group: &[Cell]) -> (Option<f64>, Option<f64>) {
    let base = reference_of(group);
    let time = base.map(|base| cell.time_ratio(base));
    let count = base
        .and_then(|base| base.instructions)
        .zip(cell.instructions)
        .map(|(base, own)| own / base);
    (time, count)
}

/// The whole table.
pub(super) fn table(groups: &[Vec<Cell>]) -> String {
    let mut text = format!(
        "{:<20} {:>4} {:<9} {:<36} {:>8} {:>8} {:>7} {:>7}\n",
        "case", "bulk", "magazines", "contender", "ns", "instr", "x time", "x instr"
    );
    for group in groups {
        for cell in group {
            let caches = match (cell.contender.caches || cell.magazines, cell.magazines) {
                (false, _) => "",
                (true, true) if cell.contender.caches => "yes",
                (true, true) => "-",
                (true, false) => "no",
            };
            let (time, count) = ratios(cell, group);
            let _ = writeln!(
                text,
                "{:<20} {:>4} {caches:<9} {:<36} {:>8.2} {:>8} {:>7} {:>7}",
                cell.case.title(),
                cell.bulk,
                cell.contender.name,
                cell.ns()[1],
                number(cell.instructions, 1),
                number(time, 2),
                number(count, 2),
            );
        }
    }
    text
}

/// The aims: ours at a bulk of 32 with magazines.
pub(super) fn aims(groups: &[Vec<Cell>]) -> String {
    let mut text = format!(
        "{:<20} {:<36} {:>5} {:>7} {:>7}\n",
        "aim, bulk 32", "ours", "aim", "x time", "x instr"
    );
    for group in groups {
        let ours = group.iter().filter(|c| is_ours(&c.contender));
        for cell in ours.filter(|c| c.bulk == AIM_BULK && c.magazines) {
            let (time, count) = ratios(cell, group);
            let verdict = |ratio: Option<f64>| match ratio {
                Some(ratio) if ratio <= aim(cell.case) => "met",
                Some(_) => "missed",
                None => "-",
            };
            let _ = writeln!(
                text,
                "{:<20} {:<32} {:>5.1} {:>7} {:>7}  time {}, instructions {}",
                cell.case.title(),
                cell.contender.name,
                aim(cell.case),
                number(time, 2),
                number(count, 2),
                verdict(time),
                verdict(count),
            );
        }
    }
    text
}

/// All numbers.
pub(super) fn csv(groups: &[Vec<Cell>]) -> String {
    let mut text = String::from(
        "case,bulk,magazines,contender,ns_q1,ns_median,ns_q3,instructions,ratio_time,ratio_instructions\n",
    );
    for group in groups {
        for cell in group {
            let (time, count) = ratios(cell, group);
            let [low, median, high] = cell.ns();
            let _ = writeln!(
                text,
                "{},{},{},\"{}\",{low:.3},{median:.3},{high:.3},{},{},{}",
                cell.case.word(),
                cell.bulk,
                cell.magazines,
                cell.contender.name,
                number(cell.instructions, 2).replace('-', ""),
                number(time, 3).replace('-', ""),
                number(count, 3).replace('-', ""),
            );
        }
    }
    text
}
