//! Real servers to call: in this process, on port 0, over either store.

use std::{any::Any, future::Future, net::SocketAddr, sync::Arc, time::Duration};

use stanchion::{
    app::App,
    cache::Freshness,
    clock::{Clock, SystemClock},
    domain::{session_id::SessionId, state::View},
    settings::{Settings, StoreChoice},
    store::{
        Store, Txn,
        embedded::{self, Embedded, Location},
        etcd::{self, EtcdStore},
    },
};
use stanchion_client::proto::{
    audit_service_client::AuditServiceClient, barrier_service_client::BarrierServiceClient,
    config_service_client::ConfigServiceClient, election_service_client::ElectionServiceClient,
    lock_service_client::LockServiceClient, operator_service_client::OperatorServiceClient,
    registry_service_client::RegistryServiceClient, server_service_client::ServerServiceClient,
    session_service_client::SessionServiceClient,
};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

use super::{etcd::Etcd, store::PATIENCE};

/// Runs each behaviour, an `async fn(Backend)`, on both stores.
macro_rules! on_both_stores {
    ($($behaviour:ident,)*) => {
        mod embedded {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $behaviour() {
                    super::$behaviour($crate::support::server::Backend::embedded().await).await;
                }
            )*
        }

        mod etcd {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $behaviour() {
                    super::$behaviour($crate::support::server::Backend::etcd().await).await;
                }
            )*
        }
    };
}
pub(crate) use on_both_stores;

/// A store of a test's own, on which replicas can be started.
pub struct Backend {
    kind: Kind,
    choice: StoreChoice,
    /// What must live as long as the test.
    _keep: Box<dyn Any + Send + Sync>,
}

enum Kind {
    /// One store, which all replicas of the test share: it is one process's.
    Embedded(Arc<dyn Store>),
    /// Each replica has connections of its own.
    Etcd(Vec<String>),
}

/// A running replica. Stops when dropped.
pub struct Server {
    pub address: SocketAddr,
    app: Option<App>,
    channel: Channel,
}

// === impl Backend ===

impl Backend {
    /// The embedded store, in memory.
    pub async fn embedded() -> Self {
        Self::embedded_with(Arc::new(SystemClock)).await
    }

    /// The embedded store, in memory, with a clock of the test's.
    pub async fn embedded_with(clock: Arc<dyn Clock>) -> Self {
        let settings = embedded::Settings {
            min_ttl: Duration::from_secs(1),
            ..embedded::Settings::default()
        };
        let store = Embedded::open(Location::Memory, settings, clock)
            .await
            .unwrap();
        Self {
            kind: Kind::Embedded(Arc::new(store)),
            choice: StoreChoice::Memory,
            _keep: Box::new(()),
        }
    }

    /// The real etcd that the tests share, under a root of this test's own.
    pub async fn etcd() -> Self {
        let etcd = Etcd::shared().await;
        Self::on(etcd.endpoints(), ())
    }

    /// An etcd of the test's own.
    pub fn on(endpoints: Vec<String>, keep: impl Any + Send + Sync) -> Self {
        Self {
            kind: Kind::Etcd(endpoints.clone()),
            choice: StoreChoice::Etcd {
                tls: false,
                endpoints,
                root: format!("test-{:016x}", rand::random::<u64>()),
            },
            _keep: Box::new(keep),
        }
    }

    /// Opens the store as a replica would.
    pub async fn store(&self) -> Arc<dyn Store> {
        match &self.kind {
            Kind::Embedded(store) => store.clone(),
            Kind::Etcd(endpoints) => {
                let settings = etcd::Settings {
                    endpoints: endpoints.clone(),
                    ..etcd::Settings::default()
                };
                let store = EtcdStore::connect(settings, Arc::new(SystemClock));
                Arc::new(store.await.unwrap())
            }
        }
    }

    /// Settings for tests: the real ones, but port 0 and short times where a test would wait.
    pub fn settings(&self) -> Settings {
        let mut settings = Settings {
            store: self.choice.clone(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            operations_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            ..Settings::default()
        };
        settings.domain.min_ttl = Duration::from_secs(1);
        settings.domain.suspect_grace = Duration::from_secs(1);
        settings.domain.expiry_hold = Duration::from_secs(1);
        settings.domain.rank_delay = Duration::from_millis(200);
        settings.domain.waiter_keep = Duration::from_secs(1);
        settings.cache.idle_probe = Duration::from_millis(200);
        // It is everybody's on a store that tests share, and where a test has the clock an hour is
        // soon over.
        settings.domain.history = None;
        settings
    }

    /// Starts a replica.
    pub async fn server(&self) -> Server {
        self.server_with(self.settings()).await
    }

    /// Starts a replica with other settings.
    pub async fn server_with(&self, settings: Settings) -> Server {
        self.server_on(self.store().await, settings, Arc::new(SystemClock))
            .await
    }

    /// Starts a replica over a store that the test has wrapped, or with a clock of its own.
    pub async fn server_on(
        &self,
        store: Arc<dyn Store>,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> Server {
        let app = App::start(store, settings, clock).await.unwrap();
        let channel = connect(app.address).await;
        Server {
            address: app.address,
            app: Some(app),
            channel,
        }
    }
}

// === impl Server ===

impl Server {
    pub fn app(&self) -> &App {
        self.app.as_ref().unwrap()
    }

    /// The one connection that all clients below share.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub fn sessions(&self) -> SessionServiceClient<Channel> {
        SessionServiceClient::new(self.channel())
    }

    pub fn registry(&self) -> RegistryServiceClient<Channel> {
        RegistryServiceClient::new(self.channel())
    }

    pub fn audits(&self) -> AuditServiceClient<Channel> {
        AuditServiceClient::new(self.channel())
    }

    pub fn configs(&self) -> ConfigServiceClient<Channel> {
        ConfigServiceClient::new(self.channel())
    }

    pub fn locks(&self) -> LockServiceClient<Channel> {
        LockServiceClient::new(self.channel())
    }

    pub fn barriers(&self) -> BarrierServiceClient<Channel> {
        BarrierServiceClient::new(self.channel())
    }

    pub fn elections(&self) -> ElectionServiceClient<Channel> {
        ElectionServiceClient::new(self.channel())
    }

    pub fn operators(&self) -> OperatorServiceClient<Channel> {
        OperatorServiceClient::new(self.channel())
    }

    pub fn server_info(&self) -> ServerServiceClient<Channel> {
        ServerServiceClient::new(self.channel())
    }

    /// What it shows once it knows whatever the store has done by now.
    pub async fn current(&self) -> View {
        let cache = &self.app().core.cache;
        cache.read(Freshness::Linearizable).await.unwrap()
    }

    /// Writes past it, and waits until it has heard of that.
    pub async fn write(&self, txn: Txn) {
        let core = &self.app().core;
        let revision = core.store.txn(txn).await.unwrap().revision;
        let reached = core.cache.reached(revision, PATIENCE).await;
        assert!(reached, "the replica stays behind {revision}");
    }

    /// Ends a session as if its time were over, and waits until the replica has heard of that.
    pub async fn expire(&self, session: &str) {
        let lease = SessionId::parse(session).unwrap().lease();
        self.app().core.store.revoke(lease).await.unwrap();
        self.current().await;
    }

    /// Stops as on SIGTERM, and returns when it has.
    pub async fn stop(mut self) {
        if let Some(app) = self.app.take() {
            app.shutdown().await;
        }
    }
}

/// Opens a connection.
pub async fn connect(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

/// Asserts code and reason of an error.
#[track_caller]
pub fn assert_status(status: &Status, code: Code, reason: &str) {
    assert_eq!(status.code(), code, "{status:?}");
    let info = status.get_details_error_info().expect("no ErrorInfo");
    assert_eq!(info.domain, "stanchion");
    assert_eq!(info.reason, format!("ERROR_REASON_{reason}"), "{status:?}");
}

/// Asserts that an error is an INVALID_ARGUMENT that names `field`.
#[track_caller]
pub fn assert_invalid(status: &Status, field: &str) {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let fields: Vec<_> = status
        .get_details_bad_request()
        .expect("no BadRequest")
        .field_violations
        .into_iter()
        .map(|violation| violation.field)
        .collect();
    assert!(
        fields.iter().any(|found| found == field),
        "{fields:?} has no {field}"
    );
}

/// Waits until `check` returns something, asking again every few milliseconds; panics with `what`
/// when it takes too long.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut check: impl FnMut() -> F,
) -> T {
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(found) = check().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited
        .await
        .unwrap_or_else(|_| panic!("waited in vain for: {what}"))
}
