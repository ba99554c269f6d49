//! Memory of watchers that have a connection each and nothing to read.

use super::deliveries::{KEY, KIB_PER_WATCHER, stand};
use crate::{
    BenchError,
    sample::{ETCD_WATCHERS, Goal, Sample},
    target::Site,
    wire::Selection,
};

/// What a run of the workload is like.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// How many streams watch.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    streams: u32,
    /// Over how many connections.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
}

/// What is wanted of it.
pub(crate) const GOALS: &[Goal] = &[Goal::at_most(KIB_PER_WATCHER, 24.0, 32.0)];

/// Measures one target.
pub(crate) async fn measure(site: &Site, options: &Options) -> Result<Sample, BenchError> {
    let shares = (options.streams, options.connections);
    let standing = stand(site, shares, Selection::Key(KEY), 200).await?;
    let mut sample = Sample::default();
    sample.set(KIB_PER_WATCHER, standing.kib_per_watcher);
    sample.set(ETCD_WATCHERS, standing.etcd_watchers);
    Ok(sample)
}
