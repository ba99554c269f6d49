//! Discovery that must not be stale: it shows all that anybody was told to be written.

use stanchion_client::proto::Consistency;

use super::{
    instances::{list, range, register},
    saturation::{Load, saturate},
};
use crate::{
    BenchError,
    sample::{CPU_WITH_ETCD, Goal, Sample},
    target::{Site, Target},
    wire::Dialect,
};

const SERVICE: &str = "linearizable";

/// What a run of the workload is like.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    load: Load,
}

/// What is wanted of it. Stanchion asks etcd where it is, for many reads at a time.
pub(crate) const GOALS: &[Goal] = &[Goal::against(Target::Etcd, CPU_WITH_ETCD, 5.0, 3.0)];

/// Reads a service of one instance over and over.
pub(crate) async fn measure(site: &Site, options: &Options) -> Result<Sample, BenchError> {
    register(site.port(), site.dialect(), SERVICE, 1).await?;
    let read = match site.dialect() {
        // The proxy passes it on.
        Dialect::Etcd => range(SERVICE, false),
        Dialect::Stanchion => list(SERVICE, Consistency::Linearizable),
    };
    saturate(site, &read, &options.load).await
}
