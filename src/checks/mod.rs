//! Active health checks: what replicas ask the instances themselves.
//!
//! Each instance is checked by one replica, the first in rank for it among those that are up. What
//! it finds is written when its verdict changes, so that all replicas show it; the checks go on
//! while the store is away, and what they found is written once it is back.

mod failure;
mod grpc;
mod http;
mod metrics;
mod plan;
mod probe;
mod schedule;
mod target;
mod task;
mod thresholds;
mod tls;

pub use self::{
    failure::Failure,
    metrics::CheckMetrics,
    probe::{Prober, Target},
    task::Checks,
};

/// How we call ourselves.
const AGENT: &str = concat!("stanchion-check/", env!("CARGO_PKG_VERSION"));

/// Bounds of the checks.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many checks are made at once. Default 512.
    pub concurrency: usize,
    /// Checks link-local and metadata addresses too. Default false: there clouds tell their
    /// machines' secrets.
    pub allow_link_local: bool,
    /// Certificates that vouch for what is checked, in PEM; empty: those the system trusts.
    pub ca_file: String,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            concurrency: 512,
            allow_link_local: false,
            ca_file: String::new(),
        }
    }
}
