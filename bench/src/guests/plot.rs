//! The plot: for each NIC a chart of how many times better Millrace is, figure by figure, on a
//! logarithmic scale with the quartiles of the paired ratios.
#![forbid(unsafe_code)]

use std::fmt::Write;

use super::contender::Contender;
use super::measure::Results;
use super::rows::Aim;

const WIDTH: f64 = 900.0;
const LABELS: f64 = 270.0;
const ROW: f64 = 30.0;
const HEAD: f64 = 56.0;
const RIGHT: f64 = 60.0;
/// Ratios at the ends of the scale.
const SCALE: [f64; 2] = [0.25, 64.0];
const TICKS: [f64; 9] = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
const AGAINST: [(Contender, &str); 2] = [
    (Contender::Linux, "#8fb8de"),
    (Contender::LinuxBest, "#0b6fb8"),
];

/// Draws all NICs, one below the other.
pub(super) fn svg(all: &[Results]) -> String {
    let heights = all.iter().map(height);
    let total: f64 = heights.sum();
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{total}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let mut top = 0.0;
    for results in all {
        let _ = writeln!(out, "<g transform=\"translate(0,{top})\">");
        chart(&mut out, results);
        out.push_str("</g>\n");
        top += height(results);
    }
    out.push_str("</svg>\n");
    out
}

fn height(results: &Results) -> f64 {
    HEAD + results.lines.len() as f64 * ROW + 12.0
}

/// Where a ratio lies.
fn x(ratio: f64) -> f64 {
    let [low, high] = SCALE.map(f64::log2);
    let part = (ratio.clamp(SCALE[0], SCALE[1]).log2() - low) / (high - low);
    LABELS + part * (WIDTH - LABELS - RIGHT)
}

fn chart(out: &mut String, results: &Results) {
    let bottom = HEAD + results.lines.len() as f64 * ROW;
    let _ = writeln!(
        out,
        "<text x=\"8\" y=\"20\" font-weight=\"bold\">{}: times better than</text>",
        results.nic.name()
    );
    for (number, (contender, colour)) in AGAINST.iter().enumerate() {
        let left = LABELS + 110.0 * number as f64;
        let _ = writeln!(
            out,
            "<rect x=\"{left}\" y=\"11\" width=\"20\" height=\"10\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"20\">{}</text>",
            left + 26.0,
            contender.name()
        );
    }
    for tick in TICKS {
        let colour = if tick == 1.0 { "#444" } else { "#ddd" };
        let _ = writeln!(
            out,
            "<line x1=\"{0:.1}\" y1=\"{1}\" x2=\"{0:.1}\" y2=\"{bottom}\" stroke=\"{colour}\"/>\
             <text x=\"{0:.1}\" y=\"{2}\" text-anchor=\"middle\">{tick}</text>",
            x(tick),
            HEAD - 6.0,
            HEAD - 12.0
        );
    }
    for (number, line) in results.lines.iter().enumerate() {
        let top = HEAD + number as f64 * ROW;
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            LABELS - 8.0,
            top + 19.0,
            line.figure.name
        );
        for (place, (contender, colour)) in AGAINST.iter().enumerate() {
            if let Some(ratios) = line.ratios(*contender) {
                bar(out, top + 4.0 + 12.0 * place as f64, ratios, colour);
            }
        }
        if let Some((Aim::Times(aim, _), _)) = results.aim(line) {
            let _ = writeln!(
                out,
                "<line x1=\"{0:.1}\" y1=\"{1}\" x2=\"{0:.1}\" y2=\"{2}\" stroke=\"#c0392b\" \
                 stroke-width=\"2\"><title>aim</title></line>",
                x(aim),
                top + 14.0,
                top + 29.0
            );
        }
    }
}

fn bar(out: &mut String, top: f64, [low, median, high]: [f64; 3], colour: &str) {
    let (one, end, middle) = (x(1.0), x(median), top + 5.0);
    let _ = writeln!(
        out,
        "<rect x=\"{:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"10\" fill=\"{colour}\"/>\
         <line x1=\"{:.1}\" y1=\"{middle}\" x2=\"{:.1}\" y2=\"{middle}\" stroke=\"black\"/>\
         <text x=\"{:.1}\" y=\"{}\" font-size=\"10\">{median:.2}</text>",
        one.min(end),
        (end - one).abs().max(0.5),
        x(low),
        x(high),
        x(high).max(end).max(one) + 5.0,
        top + 9.0
    );
}
