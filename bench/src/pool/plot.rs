//! The plot: one panel a case, nanoseconds an object over bulk, both on logarithmic scales. With
//! magazines the lines are solid, without them dashed.
#![forbid(unsafe_code)]

use std::fmt::Write;

use super::matrix::{BULKS, contenders};
use super::measure::Cell;
use super::request::Case;

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 320.0;
/// Room around the lines of a panel: left, top, right, bottom.
const MARGIN: [f64; 4] = [52.0, 34.0, 12.0, 34.0];
const COLUMNS: usize = 3;
const LEGEND_ROW: f64 = 18.0;
const COLOURS: [&str; 17] = [
    "#0b6fb8", "#12a0d7", "#0a3d62", "#5fa8d3", "#c0392b", "#e67e22", "#27ae60", "#8e44ad",
    "#7f8c8d", "#b7950b", "#2c3e50", "#16a085", "#8fd3b6", "#d98880", "#a04000", "#6c3483",
    "#aab7b8",
];

/// Draws all cells.
pub(super) fn svg(groups: &[Vec<Cell>]) -> String {
    let names = names();
    let rows = Case::ALL.len().div_ceil(COLUMNS);
    let legend = (names.len().div_ceil(COLUMNS) + 1) as f64 * LEGEND_ROW;
    let (width, height) = (WIDTH * COLUMNS as f64, HEIGHT * rows as f64 + legend);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (number, case) in Case::ALL.into_iter().enumerate() {
        let (x, y) = (number % COLUMNS, number / COLUMNS);
        let _ = writeln!(
            out,
            "<g transform=\"translate({},{})\">",
            x as f64 * WIDTH,
            y as f64 * HEIGHT
        );
        let cells: Vec<&Cell> = groups.iter().flatten().filter(|c| c.case == case).collect();
        panel(&mut out, case, &cells, &names);
        out.push_str("</g>\n");
    }
    for (number, name) in names.iter().enumerate() {
        let x = (number % COLUMNS) as f64 * WIDTH + MARGIN[0];
        let y = HEIGHT * rows as f64 + (number / COLUMNS + 1) as f64 * LEGEND_ROW;
        let colour = colour(&names, name);
        let _ = writeln!(
            out,
            "<line x1=\"{x}\" y1=\"{0}\" x2=\"{1}\" y2=\"{0}\" stroke=\"{colour}\" stroke-width=\"3\"/>\
             <text x=\"{2}\" y=\"{y}\">{name}</text>",
            y - 4.0,
            x + 24.0,
            x + 32.0
        );
    }
    out.push_str("</svg>\n");
    out
}

/// Every contender's name once, in order.
fn names() -> Vec<&'static str> {
    let mut names = Vec::new();
    for contender in Case::ALL.into_iter().flat_map(contenders) {
        if !names.contains(&contender.name) {
            names.push(contender.name);
        }
    }
    names
}

fn colour(names: &[&str], name: &str) -> &'static str {
    let at = names.iter().position(|n| *n == name).unwrap_or(0);
    COLOURS[at % COLOURS.len()]
}

/// Where values lie in a panel.
struct Scale {
    /// log10 of the least and the greatest value.
    low: f64,
    high: f64,
}

impl Scale {
    fn of(cells: &[&Cell]) -> Self {
        let medians = cells.iter().map(|c| c.ns()[1].max(0.01).log10());
        let (low, high) = medians.fold((f64::MAX, f64::MIN), |(low, high), v| {
            (low.min(v), high.max(v))
        });
        Self {
            low: low.floor(),
            high: high.ceil().max(low.floor() + 1.0),
        }
    }
    fn x(bulk: usize) -> f64 {
        let most = (BULKS[BULKS.len() - 1] as f64).log2();
        let room = WIDTH - MARGIN[0] - MARGIN[2];
        MARGIN[0] + (bulk as f64).log2() / most * room
    }
    fn y(&self, ns: f64) -> f64 {
        let room = HEIGHT - MARGIN[1] - MARGIN[3];
        let part = (ns.max(0.01).log10() - self.low) / (self.high - self.low);
        HEIGHT - MARGIN[3] - part * room
    }
}

fn panel(out: &mut String, case: Case, cells: &[&Cell], names: &[&str]) {
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"20\" font-weight=\"bold\">{}: ns an object, by bulk</text>",
        MARGIN[0],
        case.title()
    );
    if cells.is_empty() {
        return;
    }
    let scale = Scale::of(cells);
    grid(out, &scale);
    for name in names {
        for magazines in [true, false] {
            let line = cells
                .iter()
                .filter(|c| c.contender.name == *name && c.magazines == magazines);
            let points: Vec<String> = line
                .map(|c| format!("{:.1},{:.1}", Scale::x(c.bulk), scale.y(c.ns()[1])))
                .collect();
            if points.is_empty() {
                continue;
            }
            let dashes = if magazines { "none" } else { "5 4" };
            let _ = writeln!(
                out,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\" \
                 stroke-dasharray=\"{dashes}\"/>",
                points.join(" "),
                colour(names, name)
            );
        }
    }
}

fn grid(out: &mut String, scale: &Scale) {
    for bulk in BULKS {
        let (x, bottom) = (Scale::x(bulk), HEIGHT - MARGIN[3]);
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" y1=\"{}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#eee\"/>\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{bulk}</text>",
            MARGIN[1],
            bottom + 18.0
        );
    }
    for power in scale.low as i32..=scale.high as i32 {
        let value = 10f64.powi(power);
        let y = scale.y(value);
        let _ = writeln!(
            out,
            "<line x1=\"{}\" y1=\"{y:.1}\" x2=\"{}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
            MARGIN[0],
            WIDTH - MARGIN[2],
            MARGIN[0] - 6.0,
            y + 4.0
        );
    }
}
