//! What a workload measures of one target in one round, and what it is held against.

use crate::{meter::Usage, target::Target};

/// Which values are the better ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    /// The smaller it is.
    Small,
    /// The larger it is.
    Large,
    /// It tells something about the run, and is not compared.
    Neither,
}

/// Something that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Metric {
    /// Its name in JSON, with the unit.
    pub(crate) key: &'static str,
    /// Its head in the table, at most 13 characters.
    pub(crate) head: &'static str,
    /// How to compare it.
    pub(crate) better: Better,
}

/// One target in one round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    /// What the processes used, if that is part of the workload.
    pub(crate) usage: Option<Usage>,
    /// Values, in the order of the table's columns.
    pub(crate) values: Vec<(Metric, f64)>,
    /// Why to read the figures with care.
    pub(crate) warnings: Vec<String>,
}

/// What the median of all rounds ought to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Goal {
    /// What is looked at.
    pub(crate) metric: Metric,
    /// With what it is compared.
    pub(crate) kind: GoalKind,
    /// What we want. For a bound, the largest value; else the smallest ratio.
    pub(crate) reach: f64,
    /// What it has to be at least.
    pub(crate) least: f64,
}

/// How a goal looks at Stanchion's metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GoalKind {
    /// How many times better it is than that of a peer, in the same round.
    Against(Target),
    /// By itself: it must not be larger.
    AtMost,
}

/// CPU of the measured process for each operation.
pub(crate) const CPU: Metric = Metric::small("server_us", "CPU us");
/// The same and that of the etcd behind it.
pub(crate) const CPU_WITH_ETCD: Metric = Metric::small("with_etcd_us", "+ etcd us");
/// Half of all operations took no longer.
pub(crate) const P50: Metric = Metric::small("p50_ms", "p50 ms");
/// 99 of 100 operations took no longer.
pub(crate) const P99: Metric = Metric::small("p99_ms", "p99 ms");
/// 999 of 1000 operations took no longer.
pub(crate) const P999: Metric = Metric::small("p999_ms", "p99.9 ms");
/// Operations in a second of the clock.
pub(crate) const RATE: Metric = Metric::large("operations_per_second", "operations/s");
/// Watchers that etcd counts.
pub(crate) const ETCD_WATCHERS: Metric = Metric::neither("etcd_watchers", "etcd watchers");

// === impl Metric ===

impl Metric {
    /// A metric that is better when small.
    pub(crate) const fn small(key: &'static str, head: &'static str) -> Self {
        let better = Better::Small;
        Self { key, head, better }
    }

    /// A metric that is better when large.
    pub(crate) const fn large(key: &'static str, head: &'static str) -> Self {
        let better = Better::Large;
        Self { key, head, better }
    }

    /// A metric that is not compared.
    pub(crate) const fn neither(key: &'static str, head: &'static str) -> Self {
        let better = Better::Neither;
        Self { key, head, better }
    }

    /// How many times better `ours` is than `theirs`; nothing if one of them is zero, which is what
    /// the kernel counts of less than a tick.
    pub(crate) fn ratio(self, ours: f64, theirs: f64) -> Option<f64> {
        let (above, below) = match self.better {
            Better::Small => (theirs, ours),
            Better::Large => (ours, theirs),
            Better::Neither => return None,
        };
        (above > 0.0 && below > 0.0).then_some(above / below)
    }
}

// === impl Sample ===

impl Sample {
    /// A sample of what `usage` says for each operation.
    pub(crate) fn of(usage: Usage) -> Self {
        let mut sample = Self::default();
        for (metric, value) in usage.metrics() {
            sample.set(metric, value);
        }
        sample.usage = Some(usage);
        sample
    }

    /// Adds a value.
    pub(crate) fn set(&mut self, metric: Metric, value: f64) {
        self.values.push((metric, value));
    }

    /// Adds a reason to read the figures with care.
    pub(crate) fn warn(&mut self, why: impl Into<String>) {
        self.warnings.push(why.into());
    }

    /// The value of a metric, if it was measured.
    pub(crate) fn get(&self, metric: Metric) -> Option<f64> {
        let found = self
            .values
            .iter()
            .find(|(other, _)| other.key == metric.key);
        found.map(|(_, value)| *value)
    }
}

// === impl Goal ===

impl Goal {
    /// To be better than a peer by so many times.
    pub(crate) const fn against(peer: Target, metric: Metric, reach: f64, least: f64) -> Self {
        let kind = GoalKind::Against(peer);
        Self {
            metric,
            kind,
            reach,
            least,
        }
    }

    /// Not to be larger than this.
    pub(crate) const fn at_most(metric: Metric, reach: f64, least: f64) -> Self {
        let kind = GoalKind::AtMost;
        Self {
            metric,
            kind,
            reach,
            least,
        }
    }

    /// What to say of a figure.
    pub(crate) fn verdict(&self, figure: f64) -> &'static str {
        let good = |bound: f64| match self.kind {
            GoalKind::Against(_) => figure >= bound,
            GoalKind::AtMost => figure <= bound,
        };
        if good(self.reach) {
            "reached"
        } else if good(self.least) {
            "enough"
        } else {
            "MISSED"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_above_one_means_better_whatever_is_better() {
        assert_eq!(CPU.ratio(2.0, 8.0), Some(4.0));
        assert_eq!(RATE.ratio(8.0, 2.0), Some(4.0));
        assert_eq!(CPU.ratio(0.0, 8.0), None);
        assert_eq!(ETCD_WATCHERS.ratio(1.0, 8.0), None);
    }

    #[test]
    fn goals_are_ratios_from_below_and_bounds_from_above() {
        let ratio = Goal::against(Target::Etcd, CPU, 6.0, 4.0);
        assert_eq!(
            [7.0, 5.0, 3.0].map(|figure| ratio.verdict(figure)),
            ["reached", "enough", "MISSED"]
        );
        let bound = Goal::at_most(P99, 3.0, 6.0);
        assert_eq!(
            [3.0, 4.0, 7.0].map(|figure| bound.verdict(figure)),
            ["reached", "enough", "MISSED"]
        );
    }
}
