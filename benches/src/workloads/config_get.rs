//! A config that is read over and over.

use bytes::Bytes;

use super::saturation::{Load, saturate};
use crate::{
    BenchError,
    sample::{CPU_WITH_ETCD, Goal, Sample},
    target::{Site, Target},
};

const KEY: &str = "config";

/// What a run of the workload is like.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Bytes of the content.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    content_bytes: u32,
    #[command(flatten)]
    load: Load,
}

/// What is wanted of it: the proxy answers from its cache, etcd does not.
pub(crate) const GOALS: &[Goal] = &[
    Goal::against(Target::Etcd, CPU_WITH_ETCD, 5.0, 3.0),
    Goal::against(Target::GrpcProxy, CPU_WITH_ETCD, 2.5, 1.6),
];

/// Measures one target.
pub(crate) async fn measure(site: &Site, options: &Options) -> Result<Sample, BenchError> {
    let content = Bytes::from(vec![b'.'; options.content_bytes as usize]);
    let channel = site.connect().await?;
    site.dialect().put(&channel, KEY, content).await?;
    // Only such a read comes from the proxy's cache.
    let serializable = site.target() == Target::GrpcProxy;
    let get = site.dialect().get_call(KEY, serializable);
    saturate(site, &get, &options.load).await
}
