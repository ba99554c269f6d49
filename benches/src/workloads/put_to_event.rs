//! How long one watcher waits for a change, when there is nothing else to do.

use super::deliveries::{Shape, deliver};
use crate::{
    BenchError,
    sample::{Goal, P50, Sample},
    target::{Site, Target},
};

/// What a run of the workload is like.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Writes in a second.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Bytes of a value.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(24..=60_000))]
    value_bytes: u32,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(2..=600))]
    seconds: u32,
}

/// What is wanted of it: no more than 1.35 times as long as with etcd alone, at least 1.6 times.
pub(crate) const GOALS: &[Goal] = &[Goal::against(Target::Etcd, P50, 1.0 / 1.35, 1.0 / 1.6)];

/// Measures one target.
pub(crate) async fn measure(site: &Site, options: &Options) -> Result<Sample, BenchError> {
    let shape = Shape {
        streams: 1,
        connections: 1,
        rate: options.rate,
        value_bytes: options.value_bytes,
        seconds: options.seconds,
    };
    deliver(site, &shape).await
}
