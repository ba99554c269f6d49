//! Heartbeats: many sessions, each kept alive over a stream of its own.

mod beats;
mod sessions;

use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::sleep;

pub(crate) use self::{
    beats::{Beats, Counts},
    sessions::open,
};
use crate::{
    BenchError,
    counters::RENEWALS,
    http2::{Connection, Windows},
    meter::Meter,
    sample::{CPU, CPU_WITH_ETCD, Goal, Metric, P50, P99, Sample},
    target::{Site, Target},
};

/// How many heartbeats were answered. The proxy answers only those that it passes on.
const ANSWERED: Metric = Metric::large("answered_percent", "answered %");

/// Renewals that etcd counts for each heartbeat.
const RENEWALS_EACH: Metric = Metric::small("renewals_each", "renewals each");

/// After a session's first third, at whose end Stanchion renews it in the store for the first time.
const REST: Duration = Duration::from_secs(1);

/// What a run of the workload is like.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// How many sessions live.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    sessions: u32,
    /// Over how many connections, at most 900 sessions each.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
    /// Seconds that a session lives without a heartbeat. Each sends one every second.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(5..=600))]
    ttl: u32,
    /// Seconds that are measured: a multiple of a third of the TTL, which is how often Stanchion
    /// renews a session.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=600))]
    seconds: u32,
}

/// What is wanted of it. The CPU counts by itself and with etcd's.
pub(crate) const GOALS: &[Goal] = &[
    Goal::against(Target::Etcd, RENEWALS_EACH, 5.0, 4.0),
    Goal::against(Target::Etcd, CPU, 6.0, 3.0),
    Goal::against(Target::Etcd, CPU_WITH_ETCD, 6.0, 3.0),
];

/// Opens all sessions on one target, and keeps them.
pub(crate) async fn measure(site: &Site, options: &Options) -> Result<Sample, BenchError> {
    if options.sessions < options.connections {
        return Err(BenchError::failed("each connection needs a session"));
    }
    let connect = || Connection::open(site.port(), Windows::Large);
    let mut connections = try_join_all((0..options.connections).map(|_| connect())).await?;
    let beats = open(
        &mut connections,
        site.dialect(),
        options.sessions,
        options.ttl,
    )
    .await?;

    let counts = Counts::new();
    let keep = connections
        .iter_mut()
        .zip(beats)
        .map(|(connection, beats)| beats.send(connection, &counts));
    let measure = async {
        sleep(Duration::from_secs(options.ttl.into()) / 3 + REST).await;
        counts.clear();
        let meter = Meter::start(site).await?;
        sleep(Duration::from_secs(u64::from(options.seconds))).await;
        meter.stop(|| counts.sent.get()).await
    };
    let usage = tokio::select! {
        usage = measure => usage?,
        Err(error) = try_join_all(keep) => return Err(error),
    };

    let mut sample = Sample::of(usage);
    sample.set(P50, counts.latency.quantile_ms(0.5));
    sample.set(P99, counts.latency.quantile_ms(0.99));
    let renewals = usage.counters.get(RENEWALS);
    sample.set(RENEWALS_EACH, renewals / usage.operations as f64);
    let answered = counts.answered.get() as f64 * 100.0 / counts.sent.get() as f64;
    sample.set(ANSWERED, answered);
    Ok(sample)
}
