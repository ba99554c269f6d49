//! Wiring: the only place that names both an adapter and a handler.

use std::{net::SocketAddr, sync::Arc};

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    clock::Clock,
    domain::{
        Core,
        epoch::EpochKeeper,
        keyspace::Keyspace,
        names::ReplicaId,
        state::{Cache, StateProjection},
    },
    rpc,
    settings::Settings,
    store::Store,
};

/// A running replica.
pub struct App {
    /// Where gRPC is served.
    pub address: SocketAddr,
    /// The domain's shared part.
    pub core: Arc<Core>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

/// Why a replica does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port is taken, or not ours.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// A fault of ours.
    #[error("internal: {0}")]
    Internal(String),
}

// === impl App ===

impl App {
    /// Starts a replica over an open store and returns once it serves.
    pub async fn start(
        store: Arc<dyn Store>,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let listener =
            TcpListener::bind(settings.listen)
                .await
                .map_err(|error| StartError::Listen {
                    address: settings.listen,
                    error,
                })?;
        let address = listener
            .local_addr()
            .map_err(|error| StartError::Internal(error.to_string()))?;

        let keys = Keyspace::new(settings.store.root());
        let replica = format!("{:016x}", rand::random::<u64>());
        let lineage = EpochKeeper::new(store.clone(), keys.clone(), clock.clone());
        let core = Arc::new(Core {
            cache: Cache::start(
                store.clone(),
                keys.state(),
                StateProjection::new(keys.clone()),
                Arc::new(lineage),
                settings.cache,
                clock.clone(),
            ),
            store,
            keys,
            clock,
            settings: settings.domain,
            replica: ReplicaId::parse(&replica)
                .map_err(|error| StartError::Internal(error.to_string()))?,
        });
        core.cache.ready().await;

        let shutdown = CancellationToken::new();
        let tasks = TaskTracker::new();
        let context = rpc::Context::new(core.clone(), settings.watch);
        let routes =
            rpc::routes(&context).map_err(|error| StartError::Internal(error.to_string()))?;
        let stop = shutdown.clone();
        tasks.spawn(async move {
            let served = tonic::transport::Server::builder()
                .tcp_nodelay(true)
                .add_routes(routes)
                .serve_with_incoming_shutdown(
                    TcpListenerStream::new(listener),
                    stop.cancelled_owned(),
                )
                .await;
            if let Err(error) = served {
                tracing::error!(%error, "the server ended");
            }
        });
        Ok(Self {
            address,
            core,
            shutdown,
            tasks,
        })
    }

    /// Stops serving: streams get their final message, calls finish.
    pub async fn shutdown(self) {
        self.core.cache.drain();
        self.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
