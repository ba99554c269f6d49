//! Memory of watchers that share connections and have nothing to read.

use super::deliveries::{KIB_PER_WATCHER, weigh};
use crate::{
    BenchError,
    sample::{Goal, Sample},
    target::Site,
};

/// What a run of the workload is like.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// How many streams watch.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    streams: u32,
    /// Over how many connections.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
}

/// What is wanted of it.
pub(crate) const GOALS: &[Goal] = &[Goal::at_most(KIB_PER_WATCHER, 3.0, 6.0)];

/// Measures one target.
pub(crate) async fn measure(site: &Site, options: &Options) -> Result<Sample, BenchError> {
    weigh(site, (options.streams, options.connections)).await
}
