//! Metrics in the Prometheus text format.

mod store;

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use crate::domain::{
    Core,
    registry::{RemovalCause, Service},
    state::State,
};

pub use self::store::ObservedStore;

/// Everything that is counted.
pub struct Metrics(Registry);

/// Reads what the domain and the cache count anyway.
struct CoreCollector(Arc<Core>);

// === impl Metrics ===

impl Metrics {
    /// An empty registry; every name begins with `stanchion_`.
    pub fn new() -> Self {
        Self(Registry::with_prefix("stanchion"))
    }

    /// Where others register what they count.
    pub fn registry(&mut self) -> &mut Registry {
        &mut self.0
    }

    /// Shows what the domain and the cache of this replica count.
    pub fn add_core(&mut self, core: Arc<Core>) {
        self.0.register_collector(Box::new(CoreCollector(core)));
    }

    /// Writes all of it.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.0)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

// === impl CoreCollector ===

impl fmt::Debug for CoreCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CoreCollector")
    }
}

impl Collector for CoreCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let stats = self.0.cache.stats();
        for (name, help, value) in [
            ("cache_events", "Events of the store applied", stats.events),
            (
                "cache_revisions",
                "Revisions of the store applied",
                stats.revisions,
            ),
            (
                "cache_duplicates",
                "Revisions that came again and were dropped",
                stats.duplicates_dropped,
            ),
            (
                "cache_relists",
                "Listings taken because history was compacted",
                stats.relists,
            ),
            (
                "cache_replacements",
                "Listings taken because the store's history was another one",
                stats.replacements,
            ),
            (
                "cache_interruptions",
                "Breaks of the watch of the store",
                stats.interruptions,
            ),
            (
                "cache_probes",
                "Probes of the store's revision",
                stats.probes,
            ),
            (
                "cache_probe_failures",
                "Probes that failed",
                stats.probe_failures,
            ),
            (
                "cache_probe_waiters",
                "Readers that waited for a probe",
                stats.probe_waiters,
            ),
            (
                "watch_resets",
                "Watchers that were made to start over",
                stats.resets,
            ),
            (
                "watch_differences",
                "Watchers behind the log that were caught up",
                stats.differences,
            ),
        ] {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(
                name,
                help,
                None,
                counter.metric_type(),
            )?)?;
        }
        let mut gauges = vec![(
            "cache_cursors",
            "Readers that follow the cache now: watch streams, and a few of the server's own",
            i64::try_from(stats.subscribers).unwrap_or(i64::MAX),
        )];
        if let Ok(view) = self.0.cache.view() {
            let count = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
            let millis = i64::try_from(view.age.as_millis()).unwrap_or(i64::MAX);
            gauges.extend([
                ("cache_revision", "Revision of the cache", view.revision),
                (
                    "cache_age_milliseconds",
                    "Time since the store confirmed the cache",
                    millis,
                ),
                (
                    "sessions",
                    "Sessions that live",
                    count(view.state.sessions.len()),
                ),
                (
                    "instances",
                    "Instances registered",
                    count(view.state.instances.len()),
                ),
                (
                    "services",
                    "Services with instances",
                    count(view.state.services.len()),
                ),
                (
                    "registry_braked_services",
                    "Services whose removals are held because most of their sessions ended",
                    count_services(&view.state, |service| usize::from(service.braked)),
                ),
                (
                    "registry_removals_held",
                    "Suspect instances of those services",
                    count_services(&view.state, |service| match service.braked {
                        true => service.counts.suspect,
                        false => 0,
                    }),
                ),
                (
                    "registry_protected_services",
                    "Services of which so little works that all their active instances are shown",
                    count_services(&view.state, |service| usize::from(service.protected)),
                ),
                (
                    "configs",
                    "Config items, deleted ones included",
                    count(view.state.configs.len()),
                ),
                (
                    "locks",
                    "Locks that are held or wanted",
                    count(view.state.locks.len()),
                ),
                (
                    "elections",
                    "Elections that have a leader or candidates",
                    count(view.state.elections.len()),
                ),
                (
                    "barriers",
                    "Barriers at which somebody waits",
                    count(view.state.waited_at()),
                ),
                ("latches", "Latches", count(view.state.latches.len())),
                (
                    "locks_closed",
                    "1 while no lock is granted and nobody elected because the store lost data",
                    i64::from(view.state.closed.is_some()),
                ),
                (
                    "replicas",
                    "Replicas that are up",
                    count(view.state.replicas.len()),
                ),
                (
                    "undecodable_records",
                    "Stored records that cannot be decoded",
                    count(view.state.undecodable.len()),
                ),
            ]);
        }
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let mut removals = encoder.encode_descriptor(
            "registry_removals",
            "Instances that this replica removed although nobody deregistered them, by cause",
            None,
            MetricType::Counter,
        )?;
        for (cause, count) in self.0.removals.count() {
            let labels = [("cause", cause_name(cause))];
            let family = removals.encode_family(&labels)?;
            ConstCounter::new(count).encode(family)?;
        }
        Ok(())
    }
}

fn count_services(state: &State, count: impl Fn(&Service) -> usize) -> i64 {
    let services = state.services.values();
    let sum = services.map(|service| count(service)).sum::<usize>();
    i64::try_from(sum).unwrap_or(i64::MAX)
}

fn cause_name(cause: RemovalCause) -> &'static str {
    match cause {
        RemovalCause::Expired => "expired",
        RemovalCause::Unhealthy => "unhealthy",
        RemovalCause::Drained => "drained",
    }
}
