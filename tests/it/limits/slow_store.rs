//! A store that takes its time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use stanchion::{
    clock::SystemClock,
    settings::Settings,
    store::{
        Error, LeaseId, RangeRequest, RangeResponse, Renewal, Revision, Status, Store, Txn,
        TxnResponse, Watch,
    },
};

use crate::support::server::{Backend, Server};

/// Never answers a transaction while it is told not to.
pub struct SlowStore {
    inner: Arc<dyn Store>,
    slow: AtomicBool,
}

// === impl SlowStore ===

impl SlowStore {
    /// A replica over an embedded store that will be slow.
    pub async fn server(change: impl FnOnce(&mut Settings)) -> (Arc<Self>, Server) {
        let backend = Backend::embedded().await;
        let store = Arc::new(Self {
            inner: backend.store().await,
            slow: AtomicBool::new(false),
        });
        let mut settings = backend.settings();
        change(&mut settings);
        let server = backend
            .server_on(store.clone(), settings, Arc::new(SystemClock))
            .await;
        (store, server)
    }

    /// From now on, answers no transaction.
    pub fn slow_down(&self) {
        self.slow.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl Store for SlowStore {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        self.inner.range(request).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, Error> {
        if self.slow.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.inner.txn(txn).await
    }

    async fn grant(&self, id: LeaseId, ttl: Duration) -> Result<Duration, Error> {
        self.inner.grant(id, ttl).await
    }

    async fn keep_alive(&self, id: LeaseId) -> Result<Renewal, Error> {
        self.inner.keep_alive(id).await
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
