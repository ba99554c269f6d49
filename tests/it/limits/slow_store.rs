//! A store that takes its time.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use stanchion::{
    clock::SystemClock,
    settings::Settings,
    store::{Error, Store, Txn, TxnResponse},
};

use crate::support::{
    overlay::{Overlaid, Overlay},
    server::{Backend, Server},
};

/// Never answers a transaction while it is told not to.
pub struct SlowStore {
    inner: Arc<dyn Store>,
    slow: AtomicBool,
}

// === impl SlowStore ===

impl SlowStore {
    /// A replica over an embedded store that will be slow.
    pub async fn server(change: impl FnOnce(&mut Settings)) -> (Arc<Overlaid<Self>>, Server) {
        let backend = Backend::embedded().await;
        let store = Arc::new(Overlaid(Self {
            inner: backend.store().await,
            slow: AtomicBool::new(false),
        }));
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
impl Overlay for SlowStore {
    fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, Error> {
        if self.slow.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.inner.txn(txn).await
    }
}
