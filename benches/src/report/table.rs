//! For people.

use std::{fmt::Write as _, time::Duration};

use super::{Report, Results, median, range};
use crate::{
    sample::{Goal, GoalKind},
    target::Target,
};

/// Width of a column.
const WIDTH: usize = 14;

// === impl Results ===

impl Results {
    /// What was measured, and on what.
    pub(crate) fn head(&self) -> String {
        let mut text = format!("{}; {}; {}\n", self.etcd, self.stanchion, self.hardware);
        for warning in self.warnings() {
            let _ = writeln!(text, "warning: {warning}");
        }
        text
    }

    /// All goals together, if there was more than one workload.
    pub(crate) fn tail(&self) -> String {
        if self.reports.len() < 2 {
            return String::new();
        }
        let mut text = "\nall goals\n".to_owned();
        for report in &self.reports {
            for goal in report.goals {
                let _ = writeln!(text, "{:<18}{}", report.name, report.goal_line(goal));
            }
        }
        text
    }
}

// === impl Report ===

impl Report {
    /// The results of a workload.
    pub(crate) fn table(&self, took: Duration) -> String {
        let parameters: Vec<_> = self
            .parameters
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        let mut text = format!(
            "\n{}: {}\n{}; median of {} rounds, {} s in all\n\n{:<12}",
            self.name,
            self.about,
            parameters.join(", "),
            self.rounds,
            took.as_secs(),
            ""
        );
        let metrics = self.metrics();
        for metric in &metrics {
            let _ = write!(text, "{:>WIDTH$}", metric.head);
        }
        for target in self.targets {
            let _ = write!(text, "\n{:<12}", target.name());
            for metric in &metrics {
                let values = self.values(*target, *metric);
                if values.is_empty() {
                    let _ = write!(text, "{:>WIDTH$}", "-");
                } else {
                    let _ = write!(text, "{:>WIDTH$.2}", median(values));
                }
            }
        }
        text.push_str("\n\netcd in the measured time");
        for target in self.targets {
            text.push_str(&self.counters(*target));
        }
        text.push_str(
            "\n\nstanchion against, in the same round: median (lowest to highest), above 1 it is better\n",
        );
        for (peer, metric) in self.comparisons() {
            let ratios = self.ratios(peer, metric);
            if ratios.is_empty() {
                continue;
            }
            let (low, high) = range(&ratios);
            let _ = writeln!(
                text,
                "{:<12}{:>WIDTH$}{:>10.2} ({low:.2} to {high:.2})",
                peer.name(),
                metric.head,
                median(ratios),
            );
        }
        text.push_str("\ngoals\n");
        for goal in self.goals {
            let _ = writeln!(text, "{}", self.goal_line(goal));
        }
        for warning in self.warnings() {
            let _ = writeln!(text, "warning: {warning}");
        }
        text
    }

    /// How much etcd's counters grew.
    fn counters(&self, target: Target) -> String {
        let usages: Vec<_> = self
            .samples_of(target)
            .filter_map(|(_, sample)| sample.usage)
            .collect();
        let mut text = String::new();
        let Some(first) = usages.first() else {
            return text;
        };
        let _ = write!(text, "\n{:<12}", target.name());
        for (metric, _) in first.counters.metrics() {
            let values = usages.iter().map(|usage| usage.counters.get(metric));
            let name = metric.head.trim_start_matches("etcd ");
            let _ = write!(text, "{name} {:.0}  ", median(values.collect()));
        }
        let watchers = usages.iter().map(|usage| usage.counters.watchers);
        let _ = write!(text, "watchers {:.0}", median(watchers.collect()));
        text
    }

    /// A goal and what became of it.
    fn goal_line(&self, goal: &Goal) -> String {
        let figures = self.figures(goal);
        let (low, high) = range(&figures);
        let verdict = self.verdict(goal);
        let Goal {
            metric,
            reach,
            least,
            ..
        } = goal;
        let figure = format!("{:.2} ({low:.2} to {high:.2})", median(figures));
        match goal.kind {
            GoalKind::Against(peer) => format!(
                "{:<24}{:<12}{figure:<26}reach {reach:.2}, at least {least:.2}: {verdict}",
                metric.head,
                peer.name(),
            ),
            GoalKind::AtMost => format!(
                "{:<24}{:<12}{figure:<26}reach {reach:.2}, at most {least:.2}: {verdict}",
                metric.head, "by itself",
            ),
        }
    }
}
