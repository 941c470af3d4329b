//! The table and the CSVs.
#![forbid(unsafe_code)]

use std::fmt::Write;

use super::contender::Contender;
use super::measure::{Line, Results};
use super::rows::Aim;

/// What the columns mean; printed below the tables.
pub(super) const LEGEND: &str = "\
Medians; ±: half the distance between the quartiles, in per cent of the median. x Linux, x best: how many
times better Millrace is (rates: ours to theirs; times and sizes: theirs to ours), the median of the
ratios of rounds that ran one after the other. ceiling: driver and pools of the image without its stack,
a datagram turned round where it lies; of it: what part of that Millrace reaches, in the same way. It has no
TCP, since what turns segments round is no peer. aim: with all offloads, how many times \"Linux, best\", or
for times and sizes (<) the most that ours may be; without offloads, how many times Linux.
Linux: Debian's kernel, -cpu max. Linux, best: -cpu max,erms=off,fsrm=off, mitigations=off.";

/// One NIC's table.
pub(super) fn table(results: &Results) -> String {
    let mut text = format!(
        "{:<36} {:<5} {:>16} {:>16} {:>16} {:>16} {:>8} {:>8} {:>6}  {}\n",
        results.nic.name(),
        "unit",
        Contender::Linux.name(),
        Contender::LinuxBest.name(),
        Contender::Millrace.name(),
        Contender::Ceiling.name(),
        "x Linux",
        "x best",
        "of it",
        "aim"
    );
    for line in &results.lines {
        let figure = &line.figure;
        let cell = |contender| match line.quartiles(contender) {
            Some(quartiles) => format!("{} ±{:>2.0}%", short(quartiles[1]), spread(quartiles)),
            None => "-".to_owned(),
        };
        let ratio = |contender| match line.ratios(contender) {
            Some([_, median, _]) => format!("{median:.2}"),
            None => "-".to_owned(),
        };
        let _ = writeln!(
            text,
            "{:<36} {:<5} {:>16} {:>16} {:>16} {:>16} {:>8} {:>8} {:>6}  {}",
            figure.name,
            figure.unit,
            cell(Contender::Linux),
            cell(Contender::LinuxBest),
            cell(Contender::Millrace),
            cell(Contender::Ceiling),
            ratio(Contender::Linux),
            ratio(Contender::LinuxBest),
            ratio(Contender::Ceiling),
            verdict(results, line),
        );
    }
    for remark in &results.remarks {
        let _ = writeln!(text, "{remark}");
    }
    text
}

fn verdict(results: &Results, line: &Line) -> String {
    let Some((aim, Some(met))) = results.aim(line) else {
        return String::new();
    };
    let met = if met { "met" } else { "missed" };
    match aim {
        Aim::Times(times, _) => format!("{times:.1} {met}"),
        Aim::AtMost(most) => format!("<{most} {met}"),
    }
}

/// Half the distance between the quartiles, in per cent of the median.
fn spread([low, median, high]: [f64; 3]) -> f64 {
    if median == 0.0 {
        return 0.0;
    }
    (high - low) / 2.0 / median * 100.0
}

/// Three digits or more.
fn short(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// All figures.
pub(super) fn csv(all: &[Results]) -> String {
    let mut text = String::from("nic,figure,unit");
    for contender in Contender::ALL {
        let name = contender.name().replace(", ", " ");
        let _ = write!(text, ",{name} q1,{name} median,{name} q3");
    }
    text.push_str(",x Linux q1,x Linux,x Linux q3,x best q1,x best,x best q3,of ceiling q1,of ceiling,of ceiling q3,aim\n");
    for (results, line) in lines(all) {
        let figure = &line.figure;
        let _ = write!(
            text,
            "{},\"{}\",{}",
            results.nic.word(),
            figure.name,
            figure.unit
        );
        for contender in Contender::ALL {
            push_three(&mut text, line.quartiles(contender));
        }
        push_three(&mut text, line.ratios(Contender::Linux));
        push_three(&mut text, line.ratios(Contender::LinuxBest));
        push_three(&mut text, line.ratios(Contender::Ceiling));
        let aim = match results.aim(line) {
            Some((Aim::Times(aim, _) | Aim::AtMost(aim), _)) => aim.to_string(),
            None => String::new(),
        };
        let _ = writeln!(text, ",{aim}");
    }
    text
}

fn push_three(text: &mut String, values: Option<[f64; 3]>) {
    let _ = match values {
        Some([low, median, high]) => write!(text, ",{low:.4},{median:.4},{high:.4}"),
        None => write!(text, ",,,"),
    };
}

/// All rounds, in the order in which they ran.
pub(super) fn rounds_csv(all: &[Results]) -> String {
    let mut text = String::from("nic,figure,unit,contender,round,value\n");
    for (results, line) in lines(all) {
        for contender in Contender::ALL {
            for (round, value) in line.rounds(contender).iter().enumerate() {
                let _ = writeln!(
                    text,
                    "{},\"{}\",{},\"{}\",{},{value:.4}",
                    results.nic.word(),
                    line.figure.name,
                    line.figure.unit,
                    contender.name(),
                    round + 1
                );
            }
        }
    }
    text
}

fn lines(all: &[Results]) -> impl Iterator<Item = (&Results, &Line)> {
    all.iter()
        .flat_map(|results| results.lines.iter().map(move |line| (results, line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        let texts = [0.2345, 5.678, 47.11, 123_456.7].map(short);
        assert_eq!(texts, ["0.234", "5.68", "47.1", "123457"]);
        assert_eq!(spread([90.0, 100.0, 120.0]), 15.0);
    }
}
