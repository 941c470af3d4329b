//! Two bar charts: packets a second and busy nanoseconds, each best and median, by case and ring.
#![forbid(unsafe_code)]

use std::fmt::Write;

use super::measure::{CONTENDERS, Cell};
use super::request::Sample;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 280.0;
/// Room around the bars of a chart: left, top, right, bottom.
const MARGIN: [f64; 4] = [52.0, 34.0, 12.0, 34.0];
const LEGEND_ROW: f64 = 18.0;
/// In the order of the contenders.
const COLOURS: [&str; CONTENDERS.len()] = [
    "#0b6fb8", "#12a0d7", "#27ae60", "#c0392b", "#e67e22", "#b7950b",
];
const LINES: usize = 5;

/// Draws the cells that have something beside them; the stack's would make the others' bars tiny.
pub(super) fn svg(groups: &[Vec<Cell>]) -> String {
    let compared = |group: &&Vec<Cell>| group.iter().any(|cell| !cell.contender.ours);
    let groups: Vec<&Vec<Cell>> = groups.iter().filter(compared).collect();
    let height = 2.0 * HEIGHT + (CONTENDERS.len() + 1) as f64 * LEGEND_ROW;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let best = "(bar: the best round; line: the median)";
    chart(&mut out, &groups, &format!("Mpps {best}"), |cell| {
        cell.best_and_median(Sample::mpps, true)
    });
    let _ = writeln!(out, "<g transform=\"translate(0,{HEIGHT})\">");
    chart(
        &mut out,
        &groups,
        &format!("busy ns a packet {best}"),
        |cell| cell.best_and_median(Sample::busy, false),
    );
    out.push_str("</g>\n");
    for (number, contender) in CONTENDERS.iter().enumerate() {
        let y = 2.0 * HEIGHT + (number + 1) as f64 * LEGEND_ROW;
        let _ = writeln!(
            out,
            "<rect x=\"{}\" y=\"{}\" width=\"20\" height=\"10\" fill=\"{}\"/>\
             <text x=\"{}\" y=\"{y}\">{}</text>",
            MARGIN[0],
            y - 10.0,
            COLOURS[number],
            MARGIN[0] + 28.0,
            contender.name
        );
    }
    out.push_str("</svg>\n");
    out
}

fn chart(
    out: &mut String,
    groups: &[&Vec<Cell>],
    title: &str,
    figures: impl Fn(&Cell) -> [f64; 2],
) {
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"20\" font-weight=\"bold\">{title}</text>",
        MARGIN[0]
    );
    let all = groups.iter().copied().flatten().flat_map(&figures);
    let most = all.filter(|v| v.is_finite()).fold(1.0, f64::max);
    let room = HEIGHT - MARGIN[1] - MARGIN[3];
    let y = |value: f64| HEIGHT - MARGIN[3] - value / most * room;
    for line in 0..=LINES {
        let value = most * line as f64 / LINES as f64;
        let _ = writeln!(
            out,
            "<line x1=\"{}\" y1=\"{2:.1}\" x2=\"{1}\" y2=\"{2:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{3}\" y=\"{4:.1}\" text-anchor=\"end\">{value:.0}</text>",
            MARGIN[0],
            WIDTH - MARGIN[2],
            y(value),
            MARGIN[0] - 6.0,
            y(value) + 4.0
        );
    }
    let step = (WIDTH - MARGIN[0] - MARGIN[2]) / groups.len().max(1) as f64;
    let width = step / (CONTENDERS.len() + 1) as f64;
    for (place, group) in groups.iter().enumerate() {
        let left = MARGIN[0] + place as f64 * step;
        for (number, cell) in group.iter().enumerate() {
            let x = left + (number as f64 + 0.5) * width;
            let [best, median] = figures(cell).map(y);
            let _ = writeln!(
                out,
                "<rect x=\"{x:.1}\" y=\"{best:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"/>\
                 <line x1=\"{x:.1}\" y1=\"{median:.1}\" x2=\"{:.1}\" y2=\"{median:.1}\" \
                 stroke=\"black\" stroke-width=\"2\"/>",
                width * 0.9,
                HEIGHT - MARGIN[3] - best,
                COLOURS[number],
                x + width * 0.9
            );
        }
        if let Some(cell) = group.first() {
            let _ = writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}, {}</text>",
                left + step / 2.0,
                HEIGHT - MARGIN[3] + 18.0,
                cell.case.title(),
                cell.ring.word()
            );
        }
    }
}
