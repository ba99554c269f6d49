//! What can be set.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::{cache, domain, rpc};

/// Where the data is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreChoice {
    /// `memory:`
    Memory,
    /// `file:DIR`
    File(PathBuf),
    /// `etcd://host:port,host:port/ROOT`
    Etcd {
        /// `http://host:port` of each.
        endpoints: Vec<String>,
        /// Under which root the keys are.
        root: String,
    },
}

/// Everything that can be set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the data is. Default `file:stanchion-data`.
    pub store: StoreChoice,
    /// Where gRPC is served. Default `127.0.0.1:7650`.
    pub listen: SocketAddr,
    /// Where operations are served over HTTP. Default `127.0.0.1:7651`.
    pub operations_listen: SocketAddr,
    /// How long a shutdown may take. Default 20 s.
    pub shutdown_timeout: Duration,
    /// Times and bounds of the domain.
    pub domain: domain::Settings,
    /// Times and bounds of the watch cache.
    pub cache: cache::Settings,
    /// Times and bounds of watch streams.
    pub watch: rpc::watch::Settings,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            store: StoreChoice::File("stanchion-data".into()),
            listen: SocketAddr::from(([127, 0, 0, 1], 7650)),
            operations_listen: SocketAddr::from(([127, 0, 0, 1], 7651)),
            shutdown_timeout: Duration::from_secs(20),
            domain: domain::Settings::default(),
            cache: cache::Settings::default(),
            watch: rpc::watch::Settings::default(),
        }
    }
}

impl StoreChoice {
    /// Under which root the keys are.
    pub fn root(&self) -> &str {
        match self {
            Self::Memory | Self::File(_) => "stanchion",
            Self::Etcd { root, .. } => root,
        }
    }
}
