//! Stores to run the same tests on.

use std::{any::Any, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use stanchion::{
    clock::SystemClock,
    store::{
        Error, Event, KeyRange, KeyValue, LeaseId, Operation, RangeRequest, Revision, Store, Txn,
        TxnResponse, Watch, WatchItem,
        embedded::{Embedded, Location, Settings},
        etcd::{self, EtcdStore},
    },
};
use tokio::time::timeout;

use super::etcd::Etcd;

/// How long a test waits for what must happen: generous, for busy machines.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A kind of store.
#[async_trait]
pub trait Adapter: Sync {
    /// A store that other tests may use at the same time, below prefixes of their own.
    async fn shared(&self) -> Fixture;

    /// A store that nobody else writes to or compacts while the fixture lives.
    async fn quiet(&self) -> Fixture;
}

/// A store and a prefix of its own.
pub struct Fixture {
    pub store: Arc<dyn Store>,
    prefix: String,
    /// What must live as long as the test: a directory, a server, a turn.
    _keep: Box<dyn Any + Send + Sync>,
}

/// The embedded store in memory.
pub struct EmbeddedMemory;

/// The embedded store in a temporary directory.
pub struct EmbeddedFile;

/// A real etcd.
pub struct RealEtcd;

// === impl Fixture ===

impl Fixture {
    pub fn new(store: Arc<dyn Store>, keep: impl Any + Send + Sync) -> Self {
        Self {
            store,
            prefix: format!("test/{:016x}/", rand::random::<u64>()),
            _keep: Box::new(keep),
        }
    }

    pub fn key(&self, name: &str) -> Bytes {
        format!("{}{name}", self.prefix).into()
    }

    /// All keys of this fixture.
    pub fn all(&self) -> KeyRange {
        KeyRange::prefix(self.prefix.clone())
    }

    pub fn prefix(&self) -> Bytes {
        self.prefix.clone().into()
    }

    /// A key without the fixture's prefix.
    pub fn name(&self, key: &[u8]) -> String {
        let key = std::str::from_utf8(key).unwrap();
        key.strip_prefix(&self.prefix).unwrap().to_owned()
    }

    pub async fn put(&self, name: &str, value: impl Into<Bytes>) -> Revision {
        let put = Operation::put(self.key(name), value);
        self.store.txn(Txn::new().then(put)).await.unwrap().revision
    }

    pub async fn put_leased(&self, name: &str, lease: LeaseId) -> Revision {
        let put = Operation::put_leased(self.key(name), "leased", lease);
        self.store.txn(Txn::new().then(put)).await.unwrap().revision
    }

    pub async fn delete(&self, name: &str) -> Revision {
        let delete = Operation::delete(self.key(name));
        self.store
            .txn(Txn::new().then(delete))
            .await
            .unwrap()
            .revision
    }

    pub async fn get(&self, name: &str) -> Option<KeyValue> {
        let request = RangeRequest::new(KeyRange::key(self.key(name)));
        let response = self.store.range(request).await.unwrap();
        response.kvs.into_iter().next()
    }

    /// The names of all keys of this fixture.
    pub async fn names(&self) -> Vec<String> {
        let response = self
            .store
            .range(RangeRequest::new(self.all()))
            .await
            .unwrap();
        response.kvs.iter().map(|kv| self.name(&kv.key)).collect()
    }

    pub async fn txn(&self, txn: Txn) -> Result<TxnResponse, Error> {
        self.store.txn(txn).await
    }

    pub async fn revision(&self) -> Revision {
        self.store.status().await.unwrap().revision
    }

    /// Grants a lease under an id of its own.
    pub async fn lease(&self, ttl: Duration) -> (LeaseId, Duration) {
        let id = lease_id();
        let granted = self.store.grant(id, ttl).await.unwrap();
        (id, granted)
    }

    /// Watches all keys of this fixture.
    pub async fn watch(&self, from: Revision) -> Watch {
        self.store.watch(self.prefix(), from).await.unwrap()
    }
}

/// A lease id that nobody else uses.
pub fn lease_id() -> LeaseId {
    rand::random_range(1..=LeaseId::MAX)
}

/// Returns what the watch says next of a change.
pub async fn next_changes(watch: &mut Watch) -> (Revision, Vec<Event>) {
    loop {
        match next_item(watch).await.unwrap() {
            WatchItem::Changes { revision, events } => return (revision, events),
            WatchItem::Progress(_) | WatchItem::Interrupted | WatchItem::Resumed => {}
        }
    }
}

/// Returns what the watch says next.
pub async fn next_item(watch: &mut Watch) -> Result<WatchItem, Error> {
    timeout(PATIENCE, watch.items.recv())
        .await
        .expect("the watch says something in time")
        .expect("the watch goes on")
}

/// Asks for progress until it is reported to at least `revision`; returns the changes before that.
pub async fn changes_until(watch: &mut Watch, revision: Revision) -> Vec<(Revision, Vec<Event>)> {
    let wait = async {
        let mut changes = Vec::new();
        loop {
            watch.probe.request_progress().await;
            while let Ok(item) = timeout(Duration::from_millis(100), watch.items.recv()).await {
                match item.expect("the watch goes on").unwrap() {
                    WatchItem::Changes { revision, events } => changes.push((revision, events)),
                    WatchItem::Progress(reached) if reached >= revision => return changes,
                    WatchItem::Progress(_) | WatchItem::Interrupted | WatchItem::Resumed => {}
                }
            }
        }
    };
    timeout(PATIENCE, wait)
        .await
        .expect("progress is reported in time")
}

// === impl Adapter ===

#[async_trait]
impl Adapter for EmbeddedMemory {
    async fn shared(&self) -> Fixture {
        Fixture::new(Arc::new(open(Location::Memory).await), ())
    }

    async fn quiet(&self) -> Fixture {
        self.shared().await
    }
}

#[async_trait]
impl Adapter for EmbeddedFile {
    async fn shared(&self) -> Fixture {
        let directory = tempfile::tempdir().unwrap();
        let store = open(Location::File(directory.path().to_owned())).await;
        Fixture::new(Arc::new(store), directory)
    }

    async fn quiet(&self) -> Fixture {
        self.shared().await
    }
}

#[async_trait]
impl Adapter for RealEtcd {
    async fn shared(&self) -> Fixture {
        let etcd = Etcd::shared().await;
        Fixture::new(Arc::new(connect(etcd).await), ())
    }

    async fn quiet(&self) -> Fixture {
        let etcd = Etcd::start().await;
        Fixture::new(Arc::new(connect(&etcd).await), etcd)
    }
}

async fn connect(etcd: &Etcd) -> EtcdStore {
    let settings = etcd::Settings::new(etcd.endpoints());
    EtcdStore::connect(settings, Arc::new(SystemClock))
        .await
        .unwrap()
}

async fn open(location: Location) -> Embedded {
    Embedded::open(location, Settings::default(), Arc::new(SystemClock))
        .await
        .unwrap()
}
