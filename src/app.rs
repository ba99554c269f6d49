//! Wiring: the only place that names both an adapter and a handler.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceBuilder;

use crate::{
    checks::{CheckMetrics, Checks},
    clock::Clock,
    domain::{
        Acknowledged, Core,
        audit::Sealing,
        barrier::{Barriers, Latches},
        compaction::Compaction,
        config::{BlobSweep, Retention},
        epoch::EpochKeeper,
        keyspace::Keyspace,
        lock::{Locks, VoidClaims},
        names::ReplicaId,
        presence::Presence,
        registry::{DrainDuty, Drains, Registry, Removal, Removals, Timers, UnhealthyRemoval},
        session::Sessions,
        state::{Cache, StateProjection},
    },
    metrics::{Metrics, ObservedStore},
    operations_http,
    rpc::{
        self,
        health::HealthHandler,
        layers::{CallMetrics, DeadlineLayer, ErrorsLayer, ObserveLayer},
        listener::{ConnectionMetrics, Listener},
        workers::Workers,
    },
    settings::{Settings, StoreChoice},
    store::{
        self, Store,
        embedded::{self, Embedded, Location},
        etcd::EtcdStore,
    },
};

/// How much of a shutdown's time is kept for what comes after the calls: last words to the store.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A running replica.
pub struct App {
    /// Where gRPC is served.
    pub address: SocketAddr,
    /// Where operations are served over HTTP.
    pub operations_address: SocketAddr,
    /// The domain's shared part.
    pub core: Arc<Core>,
    shutdown_timeout: Duration,
    drain: CancellationToken,
    cut: CancellationToken,
    /// What ends by itself once drained.
    calls: TaskTracker,
    /// What has to be told.
    services: TaskTracker,
    /// The sessions of all clients.
    pub sessions: Sessions,
    locks: Locks,
    barriers: Barriers,
    latches: Latches,
    drains: Drains,
    /// What goes on behind the calls, and ends after them.
    background: CancellationToken,
    background_tasks: TaskTracker,
}

/// Why a replica does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The embedded store does not open.
    #[error(transparent)]
    Open(#[from] embedded::OpenError),
    /// The store cannot be reached, or not be used.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The store answers but does not let itself be read.
    #[error("the store could not be read within {}; the log says why", humantime::format_duration(*after))]
    Unread {
        /// How long it was tried.
        after: Duration,
    },
    /// The port is taken, or not ours.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The file that says whom to trust in checks is no good.
    #[error("checks.ca_file: {0}")]
    CheckTrust(io::Error),
    /// A fault of ours.
    #[error("internal: {0}")]
    Internal(String),
}

/// Opens the store that the settings choose.
pub async fn open_store(
    settings: &Settings,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn Store>, StartError> {
    let location = match &settings.store {
        StoreChoice::Memory => Location::Memory,
        StoreChoice::File(directory) => Location::File(directory.clone()),
        StoreChoice::Etcd {
            tls,
            endpoints,
            root,
        } => {
            let mut etcd = settings.etcd.clone();
            etcd.endpoints.clone_from(endpoints);
            etcd.tls = *tls;
            // A user may be allowed what is under the root, and nothing else.
            etcd.any_key = format!("/{root}/");
            return Ok(Arc::new(EtcdStore::connect(etcd, clock).await?));
        }
    };
    let store = Embedded::open(location, embedded::Settings::default(), clock).await?;
    Ok(Arc::new(store))
}

// === impl App ===

impl App {
    /// Starts a replica over an open store and returns once it serves.
    pub async fn start(
        store: Arc<dyn Store>,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let (listener, address) = listen(settings.listen).await?;
        let (operations, operations_address) = listen(settings.operations_listen).await?;
        let mut metrics = Metrics::new();
        let store = Arc::new(ObservedStore::new(store, metrics.registry()));
        let core = core(store, &settings, clock)?;
        metrics.add_core(core.clone());
        let context = rpc::Context::new(core.clone(), Arc::new(settings.rpc));
        let app = Self {
            address,
            operations_address,
            core: core.clone(),
            shutdown_timeout: settings.shutdown_timeout,
            drain: CancellationToken::new(),
            cut: CancellationToken::new(),
            calls: TaskTracker::new(),
            services: TaskTracker::new(),
            sessions: context.sessions.clone(),
            locks: context.locks.clone(),
            barriers: context.barriers.clone(),
            latches: context.latches.clone(),
            drains: context.drains.clone(),
            background: CancellationToken::new(),
            background_tasks: TaskTracker::new(),
        };
        let registry = Registry::new(core.clone(), context.sessions.clone());
        let check_metrics = CheckMetrics::new(metrics.registry());
        let checks = Checks::new(core.clone(), registry, &settings.checks, check_metrics);
        let checks = checks.map_err(StartError::CheckTrust)?;
        let traces = !settings.telemetry.otlp_endpoint.is_empty();
        let calls = CallMetrics::new(metrics.registry());
        let connections = ConnectionMetrics::new(metrics.registry());
        app.serve_operations(operations, metrics);

        let start_timeout = (!settings.wait_for_store).then_some(settings.start_timeout);
        app.ready(start_timeout).await?;
        app.run_background(checks, settings.advertise);

        let health = HealthHandler::new(context.clone(), app.drain.clone());
        let services = rpc::Services::new(&context, health.clone())
            .map_err(|error| StartError::Internal(error.to_string()))?;
        app.services.spawn(health.run());
        let service = ServiceBuilder::new()
            .layer(ObserveLayer::new(calls, traces))
            .layer(ErrorsLayer)
            .layer(DeadlineLayer::new(
                context.settings.clone(),
                app.drain.clone(),
            ))
            .map_response(rpc::framed::in_place)
            .service(services);
        let workers = Workers::start(context.settings.threads)
            .map_err(|error| StartError::Internal(format!("no threads to serve on: {error}")))?;
        let listener = Listener::new(
            listener,
            workers,
            context.settings.clone(),
            connections,
            app.drain.clone(),
            app.cut.clone(),
        );
        app.calls.spawn(listener.serve(service));
        Ok(app)
    }

    fn serve_operations(&self, listener: TcpListener, metrics: Metrics) {
        let serving = operations_http::serve(
            listener,
            self.core.clone(),
            Arc::new(metrics),
            self.drain.clone(),
            self.cut.clone(),
        );
        self.services.spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "operations are no longer served");
            }
        });
    }

    /// Waits until the store has been read, for ever or for so long.
    async fn ready(&self, limit: Option<Duration>) -> Result<(), StartError> {
        let ready = self.core.cache.ready();
        match limit {
            None => ready.await,
            Some(after) => timeout(after, ready)
                .await
                .map_err(|_| StartError::Unread { after })?,
        }
        Ok(())
    }

    fn run_background(&self, checks: Checks, advertise: String) {
        let advertise = match advertise.is_empty() {
            true => self.address.to_string(),
            false => advertise,
        };
        let presence = Presence::new(self.core.clone(), advertise);
        let duty = DrainDuty::new(self.drains.clone(), presence.lease());
        let (tasks, stop) = (&self.background_tasks, &self.background);
        tasks.spawn(self.sessions.clone().run(stop.clone()));
        tasks.spawn(self.locks.clone().run(stop.clone()));
        tasks.spawn(self.barriers.clone().run(stop.clone()));
        tasks.spawn(self.latches.clone().run(stop.clone()));
        tasks.spawn(presence.run(stop.clone()));
        tasks.spawn(duty.run(stop.clone()));
        tasks.spawn(Removal::new(self.core.clone()).run(stop.clone()));
        tasks.spawn(checks.run(stop.clone()));
        tasks.spawn(UnhealthyRemoval::new(self.core.clone()).run(stop.clone()));
        tasks.spawn(Timers::new(self.core.clone()).run(stop.clone()));
        tasks.spawn(VoidClaims::new(self.core.clone()).run(stop.clone()));
        tasks.spawn(Sealing::new(self.core.clone()).run(stop.clone()));
        tasks.spawn(Retention::new(self.core.clone()).run(stop.clone()));
        tasks.spawn(Compaction::new(self.core.clone()).run(stop.clone()));
        tasks.spawn(BlobSweep::new(self.core.clone()).run(stop.clone()));
    }

    /// Stops serving: health says so, streams get their final message, calls finish; what is not
    /// done in time is cut. Says whether everything ended by itself.
    pub async fn shutdown(self) -> bool {
        let deadline = Instant::now() + self.shutdown_timeout;
        let last_words = LAST_WORDS.min(self.shutdown_timeout / 4);
        self.drain.cancel();
        self.core.cache.drain();
        self.sessions.drain();
        self.locks.drain();
        self.barriers.drain();
        self.latches.drain();
        self.drains.stop();
        self.calls.close();
        self.services.close();
        let for_calls = timeout_at(deadline - last_words, self.calls.wait()).await;
        self.cut.cancel();
        self.background.cancel();
        self.background_tasks.close();
        // Places in queues are kept for a moment before they are given up, and a store that is
        // away must not hold up the end.
        let rest = async {
            self.calls.wait().await;
            self.services.wait().await;
            self.background_tasks.wait().await;
        };
        let ended = timeout_at(deadline, rest).await.is_ok() && for_calls.is_ok();
        // Before the runtime goes: it ends tasks in any order, and one that misses another would
        // take that for a fault of the store.
        self.core.cache.shutdown().await;
        ended
    }
}

impl Drop for App {
    /// Whoever drops a replica does not wait for it.
    fn drop(&mut self) {
        self.drain.cancel();
        self.cut.cancel();
        self.background.cancel();
    }
}

fn core(
    store: Arc<dyn Store>,
    settings: &Settings,
    clock: Arc<dyn Clock>,
) -> Result<Arc<Core>, StartError> {
    let keys = Keyspace::new(settings.store.root());
    let replica = format!("{:016x}", rand::random::<u64>());
    let lineage = EpochKeeper::new(
        store.clone(),
        keys.clone(),
        clock.clone(),
        settings.domain.clone(),
    );
    let cache = Cache::start(
        store.clone(),
        keys.state(),
        StateProjection::new(keys.clone()),
        Arc::new(lineage),
        settings.cache.clone(),
        clock.clone(),
    );
    Ok(Arc::new(Core {
        store,
        cache,
        keys,
        clock,
        settings: settings.domain.clone(),
        replica: ReplicaId::parse(&replica)
            .map_err(|error| StartError::Internal(error.to_string()))?,
        removals: Removals::default(),
        acknowledged: Acknowledged::default(),
    }))
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let error = |error| StartError::Listen { address, error };
    let listener = TcpListener::bind(address).await.map_err(error)?;
    let bound = listener.local_addr().map_err(error)?;
    Ok((listener, bound))
}
