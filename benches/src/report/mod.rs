//! Results: as a table for people, as JSON for programs, as a plot for both.

mod json;
mod machine;
mod numbers;
mod plot;
mod table;
mod warnings;

pub(crate) use machine::hardware;
pub(crate) use numbers::{median, range};

use crate::{
    BenchError,
    sample::{Better, Goal, GoalKind, Metric, Sample},
    target::{Programs, Target},
    workloads::Workload,
};

/// The results of all workloads that ran.
pub(crate) struct Results {
    etcd: String,
    stanchion: String,
    hardware: String,
    apart: bool,
    reports: Vec<Report>,
}

/// The results of a workload.
pub(crate) struct Report {
    name: &'static str,
    about: &'static str,
    parameters: Vec<(String, String)>,
    targets: &'static [Target],
    goals: &'static [Goal],
    rounds: u32,
    samples: Vec<(u32, Target, Sample)>,
    failures: Vec<String>,
}

// === impl Results ===

impl Results {
    /// Asks the programs what they are.
    pub(crate) fn new(programs: &Programs) -> Result<Self, BenchError> {
        let (etcd, stanchion) = programs.versions()?;
        Ok(Self {
            etcd,
            stanchion,
            hardware: hardware(),
            apart: programs.cores.apart(),
            reports: Vec::new(),
        })
    }

    /// Adds those of a workload.
    pub(crate) fn add(&mut self, report: Report) {
        self.reports.push(report);
    }
}

// === impl Report ===

impl Report {
    /// Without any sample yet.
    pub(crate) fn new(workload: &Workload, parameters: Vec<(String, String)>, rounds: u32) -> Self {
        Self {
            name: workload.name,
            about: workload.about,
            parameters,
            targets: workload.targets,
            goals: workload.goals,
            rounds,
            samples: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// Adds what was measured of a target in a round.
    pub(crate) fn add(&mut self, round: u32, target: Target, sample: Sample) {
        self.samples.push((round, target, sample));
    }

    /// Adds why a target has no sample in a round.
    pub(crate) fn add_failure(&mut self, round: u32, error: &BenchError) {
        self.failures.push(format!("round {round}: {error}"));
    }

    /// All metrics, in the order of the samples.
    fn metrics(&self) -> Vec<Metric> {
        let mut metrics: Vec<Metric> = Vec::new();
        for (_, _, sample) in &self.samples {
            for (metric, _) in &sample.values {
                if !metrics.iter().any(|known| known.key == metric.key) {
                    metrics.push(*metric);
                }
            }
        }
        metrics
    }

    fn samples_of(&self, target: Target) -> impl Iterator<Item = (u32, &Sample)> {
        let of_target = self.samples.iter().filter(move |(_, of, _)| *of == target);
        of_target.map(|(round, _, sample)| (*round, sample))
    }

    /// The values of a metric, round by round.
    fn values(&self, target: Target, metric: Metric) -> Vec<f64> {
        let samples = self.samples_of(target);
        samples
            .filter_map(|(_, sample)| sample.get(metric))
            .collect()
    }

    /// How many times better Stanchion is than a peer, in each round that has both.
    fn ratios(&self, peer: Target, metric: Metric) -> Vec<f64> {
        let pairs = self
            .samples_of(Target::Stanchion)
            .filter_map(|(round, ours)| {
                let (_, theirs) = self.samples_of(peer).find(|(other, _)| *other == round)?;
                metric.ratio(ours.get(metric)?, theirs.get(metric)?)
            });
        pairs.collect()
    }

    /// What is compared: each peer, and each metric that is better one way.
    fn comparisons(&self) -> impl Iterator<Item = (Target, Metric)> {
        let peers = self
            .targets
            .iter()
            .filter(|target| **target != Target::Stanchion);
        peers.flat_map(|peer| {
            let compared = self.metrics().into_iter();
            let compared = compared.filter(|metric| metric.better != Better::Neither);
            compared.map(|metric| (*peer, metric))
        })
    }

    /// The figures that a goal looks at, round by round.
    fn figures(&self, goal: &Goal) -> Vec<f64> {
        match goal.kind {
            GoalKind::Against(peer) => self.ratios(peer, goal.metric),
            GoalKind::AtMost => self.values(Target::Stanchion, goal.metric),
        }
    }

    /// What to say of a goal; a dash if nothing was measured.
    fn verdict(&self, goal: &Goal) -> &'static str {
        let figures = self.figures(goal);
        if figures.is_empty() {
            "-"
        } else {
            goal.verdict(median(figures))
        }
    }
}

#[cfg(test)]
mod tests;
