//! A store with a test's hand on it.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use stanchion::{
    clock::SystemClock,
    store::{Error, LeaseId, Operation, Outcome, Renewal, Store, Txn, TxnResponse},
};

use crate::support::{
    overlay::{Overlaid, Overlay},
    server::{Backend, Server},
};

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
    pub async fn server(backend: &Backend) -> (Arc<Overlaid<Self>>, Server) {
        let store = Arc::new(Overlaid(Self {
            inner: backend.store().await,
            renewals: Mutex::default(),
            full: AtomicBool::new(false),
            silent: AtomicBool::new(false),
        }));
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
impl Overlay for Wrapped {
    fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, Error> {
        if self.full.load(Ordering::SeqCst) && puts(&txn) {
            return Err(Error::Full {
                message: "no space".to_owned(),
                outcome: Outcome::Unknown,
            });
        }
        self.inner.txn(txn).await
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
}

fn puts(txn: &Txn) -> bool {
    let mut operations = txn.success.iter().chain(&txn.failure);
    operations.any(|operation| match operation {
        Operation::Put { .. } | Operation::Overwrite { .. } => true,
        Operation::Txn(nested) => puts(nested),
        Operation::Delete(_) | Operation::Range(_) => false,
    })
}
