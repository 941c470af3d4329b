//! What the image hands to its hypervisor while it works: doorbells, interrupts, halts and settings of the
//! timer, by its own counters.
//!
//! Each is an exit, which costs more than most packets do. [`during`] reads the counters around a round.
#![forbid(unsafe_code)]

use std::fmt::Write;

use ::tests::stats::Stats;
use anyhow::Result;

use super::client::udp;
use super::machine::Machine;
use super::measure::finite_quartiles;

/// The columns: a heading, and the counters that are added up.
const COLUMNS: [(&str, &str); 5] = [
    ("doorbells", "nic_doorbells"),
    ("device irqs", "device_interrupts"),
    ("halts", "halts"),
    ("timer sets", "timer_sets"),
    ("timer irqs", "timer_interrupts"),
];

/// Exits while a number of frames went in and out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Exits {
    frames: u64,
    counts: [u64; COLUMNS.len()],
}

impl Exits {
    fn between(before: &Stats, after: &Stats) -> Result<Self> {
        let mut counts = [0; COLUMNS.len()];
        for (count, (_, key)) in counts.iter_mut().zip(COLUMNS) {
            *count = after.grown(key, before)?;
        }
        let frames = after.grown("nic_rx", before)? + after.grown("nic_tx", before)?;
        Ok(Self { frames, counts })
    }

    /// For a thousand frames.
    fn per_thousand(&self) -> [f64; COLUMNS.len()] {
        let thousands = self.frames.max(1) as f64 / 1000.0;
        self.counts.map(|count| count as f64 / thousands)
    }
}

/// Does `work`, and counts the exits of `machine` meanwhile; the two questions for the counters are
/// among them.
pub(super) fn during<T>(machine: &Machine, work: impl FnOnce() -> Result<T>) -> Result<(T, Exits)> {
    let statistics = machine.port(11);
    let before = udp::statistics(statistics)?;
    let result = work()?;
    let exits = Exits::between(&before, &udp::statistics(statistics)?)?;
    Ok((result, exits))
}

/// A line for each kind of work, in the order in which they appear, with the medians of its rounds.
/// Nothing without rounds.
pub(super) fn table(rounds: &[(String, Exits)]) -> String {
    let mut text = String::new();
    if rounds.is_empty() {
        return text;
    }
    let _ = write!(text, "{:<36}", "exits for 1,000 frames, Millrace");
    for (heading, _) in COLUMNS {
        let _ = write!(text, " {heading:>12}");
    }
    text.push('\n');
    for (place, (name, _)) in rounds.iter().enumerate() {
        if rounds[..place].iter().any(|(earlier, _)| earlier == name) {
            continue;
        }
        let _ = write!(text, "{name:<36}");
        for column in 0..COLUMNS.len() {
            let own = rounds[place..].iter().filter(|(other, _)| other == name);
            let values = own.map(|(_, exits)| exits.per_thousand()[column]);
            let median = finite_quartiles(values).map_or(f64::NAN, |[_, median, _]| median);
            let _ = write!(text, " {median:>12.1}");
        }
        text.push('\n');
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(frames: u64, exits: u64) -> Stats {
        let mut line = format!("nic_rx={frames} nic_tx={frames}");
        for (number, (_, key)) in COLUMNS.iter().enumerate() {
            let _ = write!(line, " {key}={}", exits * (number as u64 + 1));
        }
        Stats::parse(&line).unwrap()
    }

    #[test]
    fn exits_are_shared_out_to_the_frames_of_both_ways() {
        let exits = Exits::between(&reading(100, 1), &reading(600, 3)).unwrap();
        assert_eq!(exits.per_thousand(), [2.0, 4.0, 6.0, 8.0, 10.0]);
        assert!(Exits::between(&reading(2, 2), &reading(1, 1)).is_err());
    }

    #[test]
    fn a_row_is_one_line_with_the_median_of_its_rounds() {
        let round = |exits| Exits {
            frames: 1000,
            counts: [exits; COLUMNS.len()],
        };
        let mut rounds = vec![("flood".to_owned(), round(0))];
        rounds.extend([1, 9, 2].map(|exits| ("http".to_owned(), round(exits))));
        let text = table(&rounds);
        let lines: Vec<&str> = text.trim_end().lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].starts_with("flood"), "{text}");
        assert!(
            lines[2].starts_with("http") && lines[2].ends_with(" 2.0"),
            "{text}"
        );
        assert_eq!(table(&[]), "");
    }
}
