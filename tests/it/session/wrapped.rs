//! A store with a test's hand on it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use stanchion::{
    clock::SystemClock,
    store::{
        Error, LeaseId, Operation, Outcome, RangeRequest, RangeResponse, Renewal, Revision, Status,
        Store, Txn, TxnResponse, Watch,
    },
};

use crate::support::server::{Backend, Server};

/// Notes the renewals it makes, and fails when told to.
pub struct Wrapped {
    inner: Arc<dyn Store>,
    renewals: Mutex<Vec<(LeaseId, Renewal)>>,
    full: AtomicBool,
    silent: AtomicBool,
}

// === impl Wrapped ===

impl Wrapped {
    /// A replica over a wrapped store.
    pub async fn server(backend: &Backend) -> (Arc<Self>, Server) {
        let store = Arc::new(Self {
            inner: backend.store().await,
            renewals: Mutex::default(),
            full: AtomicBool::new(false),
            silent: AtomicBool::new(false),
        });
        let server = backend
            .server_on(store.clone(), backend.settings(), Arc::new(SystemClock))
            .await;
        (store, server)
    }

    /// From now on, takes no transaction with a put in any branch, as a full etcd does.
    pub fn fill(&self) {
        self.full.store(true, Ordering::SeqCst);
    }

    /// Whether renewals fail from now on.
    pub fn set_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::SeqCst);
    }

    /// The renewals of a lease so far.
    pub fn renewals_of(&self, lease: LeaseId) -> Vec<Renewal> {
        let renewals = self.renewals.lock().unwrap();
        let of_it = renewals.iter().filter(|(id, _)| *id == lease);
        of_it.map(|(_, renewal)| *renewal).collect()
    }
}

#[async_trait]
impl Store for Wrapped {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        self.inner.range(request).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, Error> {
        if self.full.load(Ordering::SeqCst) && puts(&txn) {
            return Err(Error::Full("no space".to_owned()));
        }
        self.inner.txn(txn).await
    }

    async fn grant(&self, id: LeaseId, ttl: Duration) -> Result<Duration, Error> {
        self.inner.grant(id, ttl).await
    }

    async fn keep_alive(&self, id: LeaseId) -> Result<Renewal, Error> {
        if self.silent.load(Ordering::SeqCst) {
            return Err(Error::Timeout {
                outcome: Outcome::Unknown,
            });
        }
        let renewal = self.inner.keep_alive(id).await?;
        self.renewals.lock().unwrap().push((id, renewal));
        Ok(renewal)
    }

    async fn revoke(&self, id: LeaseId) -> Result<(), Error> {
        self.inner.revoke(id).await
    }

    async fn watch(&self, prefix: Bytes, from: Revision) -> Result<Watch, Error> {
        self.inner.watch(prefix, from).await
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.inner.compact(revision).await
    }

    async fn status(&self) -> Result<Status, Error> {
        self.inner.status().await
    }
}

fn puts(txn: &Txn) -> bool {
    let mut operations = txn.success.iter().chain(&txn.failure);
    operations.any(|operation| match operation {
        Operation::Put { .. } | Operation::Overwrite { .. } => true,
        Operation::Txn(nested) => puts(nested),
        Operation::Delete(_) | Operation::Range(_) => false,
    })
}
