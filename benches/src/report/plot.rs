//! The ratios as a picture: a bar for each goal against a peer, on a logarithmic scale.

use std::fmt::Write as _;

use super::{Report, Results, median, range};
use crate::sample::{Goal, GoalKind};

/// Sizes in pixels.
const WIDTH: f64 = 860.0;
const LEFT: f64 = 330.0;
const RIGHT: f64 = 60.0;
const ROW: f64 = 24.0;
const TOP: f64 = 48.0;
const BAR: f64 = 12.0;

/// The ends of the scale.
const LOWEST: f64 = 0.5;
const HIGHEST: f64 = 100.0;

/// Shades that can be read on white and on black.
const TEXT: &str = "#808890";
const GRID: &str = "#808080";
const ENOUGH: &str = "#2f9e6e";
const MISSED: &str = "#d9705a";
const MARK: &str = "#c79a2b";

// === impl Results ===

impl Results {
    /// The picture.
    pub(crate) fn svg(&self) -> String {
        let rows: Vec<_> = self
            .reports
            .iter()
            .flat_map(|report| report.goals.iter().map(move |goal| (report, goal)))
            .filter_map(|(report, goal)| bar(report, goal))
            .collect();
        let height = TOP + ROW * rows.len() as f64 + 24.0;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"{TEXT}\">\n\
             <title>How many times better Stanchion is, measured side by side</title>\n\
             <text x=\"0\" y=\"16\" font-size=\"14\">How many times better Stanchion is (median and range of rounds)</text>\n"
        );
        for tick in [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0] {
            let x = position(tick);
            let bottom = height - 20.0;
            let _ = writeln!(
                svg,
                "<path d=\"M{x:.1} {TOP}V{bottom:.1}\" stroke=\"{GRID}\" stroke-opacity=\"0.35\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick}×</text>",
                TOP - 8.0
            );
        }
        for (index, row) in rows.iter().enumerate() {
            let y = TOP + ROW * index as f64;
            let _ = writeln!(svg, "<g transform=\"translate(0 {y:.1})\">{row}</g>");
        }
        let _ = writeln!(
            svg,
            "<text x=\"{LEFT}\" y=\"{:.1}\" font-size=\"11\">thin mark: at least; thick mark: the goal. {}</text>\n</svg>",
            height - 6.0,
            escaped(&self.hardware)
        );
        svg
    }
}

/// A row, unless the goal is a bound or nothing was measured.
fn bar(report: &Report, goal: &Goal) -> Option<String> {
    let GoalKind::Against(peer) = goal.kind else {
        return None;
    };
    let ratios = report.ratios(peer, goal.metric);
    if ratios.is_empty() {
        return None;
    }
    let (low, high) = range(&ratios);
    let ratio = median(ratios);
    let colour = if ratio >= goal.least { ENOUGH } else { MISSED };
    let (start, end) = (position(1.0), position(ratio));
    let middle = ROW / 2.0;
    // Without units: a ratio has none.
    let metric = goal
        .metric
        .head
        .trim_end_matches(" us")
        .trim_end_matches(" ms");
    let label = format!("{}: {metric}, against {}", report.name, peer.name());
    let mut row = format!(
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
        LEFT - 10.0,
        middle + 4.0,
        escaped(&label)
    );
    let _ = write!(
        row,
        "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\" fill=\"{colour}\"/>",
        start.min(end),
        (ROW - BAR) / 2.0,
        (end - start).abs().max(1.0)
    );
    let _ = write!(
        row,
        "<path d=\"M{:.1} {middle:.1}H{:.1}\" stroke=\"{TEXT}\" stroke-width=\"1.5\"/>",
        position(low),
        position(high)
    );
    for (bound, width) in [(goal.least, 1.0), (goal.reach, 3.0)] {
        let _ = write!(
            row,
            "<path d=\"M{:.1} 3V{:.1}\" stroke=\"{MARK}\" stroke-width=\"{width}\"/>",
            position(bound),
            ROW - 3.0
        );
    }
    let right = position(high.max(goal.reach).max(1.0)) + 8.0;
    let _ = write!(
        row,
        "<text x=\"{right:.1}\" y=\"{:.1}\">{ratio:.1}×</text>",
        middle + 4.0
    );
    Some(row)
}

/// Where a ratio lies.
fn position(ratio: f64) -> f64 {
    let share = (ratio.clamp(LOWEST, HIGHEST) / LOWEST).ln() / (HIGHEST / LOWEST).ln();
    LEFT + share * (WIDTH - LEFT - RIGHT)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
