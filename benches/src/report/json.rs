//! For programs.

use serde_json::{Map, Value, json};

use super::{Report, Results, median};
use crate::{
    sample::{Goal, GoalKind, Sample},
    target::Target,
};

// === impl Results ===

impl Results {
    /// All that was measured.
    pub(crate) fn json(&self) -> Value {
        let workloads: Vec<_> = self.reports.iter().map(Report::json).collect();
        json!({
            "etcd": self.etcd,
            "stanchion": self.stanchion,
            "hardware": self.hardware,
            "cores_apart": self.apart,
            "warnings": self.warnings(),
            "workloads": workloads,
        })
    }
}

// === impl Report ===

impl Report {
    fn json(&self) -> Value {
        let parameters = self.parameters.iter().cloned();
        let parameters: Map<_, _> = parameters
            .map(|(name, value)| (name, json!(value)))
            .collect();
        let samples = self.samples.iter();
        let samples: Vec<_> = samples
            .map(|(round, target, sample)| row(*round, *target, sample))
            .collect();
        let medians = self.targets.iter().map(|target| {
            let metrics = self.metrics().into_iter();
            let row = metrics.filter_map(|metric| {
                let values = self.values(*target, metric);
                (!values.is_empty()).then(|| (metric.key.to_owned(), json!(median(values))))
            });
            (target.name().to_owned(), Value::Object(row.collect()))
        });
        let ratios: Vec<_> = self
            .comparisons()
            .map(|(peer, metric)| {
                let ratios = self.ratios(peer, metric);
                let median = median(ratios.clone());
                json!({"against": peer.name(), "of": metric.key, "rounds": ratios, "median": median})
            })
            .collect();
        let goals: Vec<_> = self.goals.iter().map(|goal| self.goal(goal)).collect();
        json!({
            "workload": self.name,
            "about": self.about,
            "parameters": parameters,
            "rounds": self.rounds,
            "samples": samples,
            "medians": Value::Object(medians.collect()),
            "ratios": ratios,
            "goals": goals,
            "warnings": self.warnings(),
        })
    }

    fn goal(&self, goal: &Goal) -> Value {
        let against = match goal.kind {
            GoalKind::Against(peer) => Some(peer.name()),
            GoalKind::AtMost => None,
        };
        let figures = self.figures(goal);
        json!({
            "of": goal.metric.key,
            "against": against,
            "reach": goal.reach,
            "least": goal.least,
            "median": median(figures.clone()),
            "rounds": figures,
            "verdict": self.verdict(goal),
        })
    }
}

fn row(round: u32, target: Target, sample: &Sample) -> Value {
    let mut row = Map::new();
    row.insert("round".to_owned(), json!(round));
    row.insert("target".to_owned(), json!(target.name()));
    for (metric, value) in &sample.values {
        row.insert(metric.key.to_owned(), json!(value));
    }
    if let Some(usage) = &sample.usage {
        row.insert("operations".to_owned(), json!(usage.operations));
        row.insert("seconds".to_owned(), json!(usage.elapsed.as_secs_f64()));
        for (metric, value) in usage.counters.metrics() {
            row.insert(metric.key.to_owned(), json!(value));
        }
    }
    Value::Object(row)
}
