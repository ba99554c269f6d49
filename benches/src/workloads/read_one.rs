//! Discovery of a service that has one instance.

use super::{reads::read, saturation::Load};
use crate::{
    BenchError,
    sample::{CPU_WITH_ETCD, Goal, Sample},
    target::{Site, Target},
};

/// What a run of the workload is like.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    load: Load,
}

/// What is wanted of it: the proxy answers from its cache, etcd does not.
pub(crate) const GOALS: &[Goal] = &[
    Goal::against(Target::Etcd, CPU_WITH_ETCD, 7.0, 4.0),
    Goal::against(Target::GrpcProxy, CPU_WITH_ETCD, 2.5, 1.6),
];

/// Measures one target.
pub(crate) async fn measure(site: &Site, options: &Options) -> Result<Sample, BenchError> {
    read(site, 1, &options.load).await
}
