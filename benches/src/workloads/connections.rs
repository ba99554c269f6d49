//! Watchers with a connection each, where the kernel does most of the work.

use super::deliveries::{Shape, deliver};
use crate::{
    BenchError,
    sample::{CPU, Goal, P99, Sample},
    target::{Site, Target},
};

/// What a run of the workload is like.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// How many streams watch the key.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    streams: u32,
    /// Over how many connections.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Writes in a second.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Bytes of a value.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(24..=60_000))]
    value_bytes: u32,
    /// Seconds that are measured; less than 2 is too coarse for the kernel's clock.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..=600))]
    seconds: u32,
}

/// What is wanted of it.
pub(crate) const GOALS: &[Goal] = &[
    Goal::against(Target::GrpcProxy, CPU, 2.3, 1.6),
    Goal::against(Target::GrpcProxy, P99, 10.0, 4.0),
];

/// Measures one target.
pub(crate) async fn measure(site: &Site, options: &Options) -> Result<Sample, BenchError> {
    let shape = Shape {
        streams: options.streams,
        connections: options.connections,
        rate: options.rate,
        value_bytes: options.value_bytes,
        seconds: options.seconds,
    };
    deliver(site, &shape).await
}
