//! What is counted of the checks.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::domain::registry::CheckKind;

/// Counts of checks.
#[derive(Clone, Debug, Default)]
pub struct CheckMetrics {
    made: Family<Labels, Counter>,
    pub(super) planned: Gauge,
    pub(super) running: Gauge,
    pub(super) late: Counter,
    pub(super) unwritten: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    kind: &'static str,
    outcome: &'static str,
}

// === impl CheckMetrics ===

impl CheckMetrics {
    /// Counts in what `registry` shows.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "checks",
            "Checks of instances that ended, by kind and outcome",
            metrics.made.clone(),
        );
        registry.register(
            "checks_planned",
            "Checks that this replica makes again and again",
            metrics.planned.clone(),
        );
        registry.register(
            "checks_running",
            "Checks that are being made, or their verdicts written",
            metrics.running.clone(),
        );
        registry.register(
            "checks_late",
            "Checks that began over a second after they were due, because too many were running",
            metrics.late.clone(),
        );
        registry.register(
            "checks_unwritten",
            "Verdicts that could not be written yet; the next outcome tries again",
            metrics.unwritten.clone(),
        );
        metrics
    }

    pub(super) fn count(&self, kind: &CheckKind, passed: bool) {
        let labels = Labels {
            kind: match kind {
                CheckKind::Tcp { .. } => "tcp",
                CheckKind::Http { .. } => "http",
                CheckKind::Grpc { .. } => "grpc",
            },
            outcome: if passed { "passed" } else { "failed" },
        };
        self.made.get_or_create(&labels).inc();
    }
}
