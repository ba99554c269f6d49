//! A store that can be out of reach, be full, or have another leader, whenever a test wants.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use stanchion::{
    clock::SystemClock,
    settings::Settings,
    store::{
        self, LeaseId, Operation, Outcome, Probe, RangeRequest, RangeResponse, Renewal, Revision,
        Store, Txn, TxnResponse, Watch,
    },
};

use crate::support::server::{Backend, Server};

/// What is wrong with the store.
#[derive(Default)]
pub(super) struct Trouble {
    away: AtomicBool,
    full: AtomicBool,
    term: AtomicU64,
}

struct Unsteady {
    store: Arc<dyn Store>,
    trouble: Arc<Trouble>,
}

struct UnsteadyProbe {
    probe: Arc<dyn Probe>,
    trouble: Arc<Trouble>,
}

// === impl Trouble ===

impl Trouble {
    /// Nothing reaches the store, but its watch goes on.
    pub(super) fn away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    /// It takes nothing but deletions.
    pub(super) fn full(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
    }

    /// It has another leader.
    pub(super) fn elect(&self) {
        self.term.fetch_add(1, Ordering::SeqCst);
    }

    fn reach(&self) -> Result<(), store::Error> {
        match self.away.load(Ordering::SeqCst) {
            false => Ok(()),
            true => Err(store::Error::Unavailable {
                message: "away".into(),
                outcome: Outcome::NotDone,
            }),
        }
    }

    fn room(&self) -> Result<(), store::Error> {
        self.reach()?;
        match self.full.load(Ordering::SeqCst) {
            false => Ok(()),
            true => Err(store::Error::Full {
                message: "full".into(),
                outcome: Outcome::NotDone,
            }),
        }
    }
}

/// A replica on a store of which the test decides what is wrong with it.
pub(super) async fn unsteady_server(
    backend: &Backend,
    settings: Settings,
) -> (Server, Arc<Trouble>) {
    let trouble = Arc::<Trouble>::default();
    let store = Unsteady {
        store: backend.store().await,
        trouble: trouble.clone(),
    };
    let clock = Arc::new(SystemClock);
    let server = backend.server_on(Arc::new(store), settings, clock).await;
    (server, trouble)
}

fn puts(txn: &Txn) -> bool {
    let steps = txn.success.iter().chain(&txn.failure);
    steps.into_iter().any(|step| match step {
        Operation::Put { .. } | Operation::Overwrite { .. } => true,
        Operation::Txn(nested) => puts(nested),
        Operation::Delete(_) | Operation::Range(_) => false,
    })
}

#[async_trait]
impl Store for Unsteady {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, store::Error> {
        self.trouble.reach()?;
        self.store.range(request).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, store::Error> {
        self.trouble.reach()?;
        if puts(&txn) {
            self.trouble.room()?;
        }
        self.store.txn(txn).await
    }

    async fn grant(&self, id: LeaseId, ttl: Duration) -> Result<Duration, store::Error> {
        self.trouble.room()?;
        self.store.grant(id, ttl).await
    }

    async fn keep_alive(&self, id: LeaseId) -> Result<Renewal, store::Error> {
        self.trouble.reach()?;
        self.store.keep_alive(id).await
    }

    async fn revoke(&self, id: LeaseId) -> Result<(), store::Error> {
        self.trouble.reach()?;
        self.store.revoke(id).await
    }

    async fn watch(&self, prefix: Bytes, from: Revision) -> Result<Watch, store::Error> {
        self.trouble.reach()?;
        let watch = self.store.watch(prefix, from).await?;
        let probe = UnsteadyProbe {
            probe: watch.probe.clone(),
            trouble: self.trouble.clone(),
        };
        Ok(Watch {
            probe: Arc::new(probe),
            ..watch
        })
    }

    async fn compact(&self, revision: Revision) -> Result<(), store::Error> {
        self.trouble.reach()?;
        self.store.compact(revision).await
    }

    async fn status(&self) -> Result<store::Status, store::Error> {
        self.trouble.reach()?;
        self.store.status().await
    }

    fn term(&self) -> u64 {
        self.trouble.term.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Probe for UnsteadyProbe {
    async fn current_revision(&self) -> Result<Revision, store::Error> {
        self.trouble.reach()?;
        self.probe.current_revision().await
    }

    async fn request_progress(&self) {
        if self.trouble.reach().is_ok() {
            self.probe.request_progress().await;
        }
    }
}
