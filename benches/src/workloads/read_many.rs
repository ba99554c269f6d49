//! Discovery of a large service.

use super::{reads::read, saturation::Load};
use crate::{
    BenchError,
    sample::{CPU_WITH_ETCD, Goal, Sample},
    target::{Site, Target},
};

/// What a run of the workload is like.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// How many instances the service has; up to 1,000 fit into one answer of Stanchion.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    instances: u32,
    #[command(flatten)]
    load: Load,
}

/// What is wanted of it: the proxy answers from its cache, etcd does not.
pub(crate) const GOALS: &[Goal] = &[
    Goal::against(Target::Etcd, CPU_WITH_ETCD, 10.0, 6.0),
    Goal::against(Target::GrpcProxy, CPU_WITH_ETCD, 2.5, 1.6),
];

/// Measures one target.
pub(crate) async fn measure(site: &Site, options: &Options) -> Result<Sample, BenchError> {
    read(site, options.instances.into(), &options.load).await
}
