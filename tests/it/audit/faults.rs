//! Stores that lose answers or are away while the audit is sealed.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use stanchion::{
    clock::SystemClock,
    store::{Error, Operation, Outcome, RangeRequest, RangeResponse, Store, Txn, TxnResponse},
};
use tonic::Code;

use super::SOON;
use crate::support::{
    overlay::{Overlaid, Overlay},
    server::{Backend, Server, assert_status, eventually, on_both_stores},
};

on_both_stores! {
    a_lost_answer_seals_nothing_twice,
    sealing_goes_on_when_the_store_is_back,
}

/// Loses the answers of the next transactions that seal, or reads and seals nothing.
struct Shaky {
    store: Arc<dyn Store>,
    losses: AtomicUsize,
    away: AtomicBool,
}

fn unavailable(outcome: Outcome) -> Error {
    Error::Unavailable {
        message: "a test has it so".into(),
        outcome,
    }
}

#[async_trait]
impl Overlay for Shaky {
    fn inner(&self) -> &Arc<dyn Store> {
        &self.store
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        let audit = String::from_utf8_lossy(&request.keys.start).contains("/history/audit/");
        if audit && self.away.load(Ordering::SeqCst) {
            return Err(unavailable(Outcome::NotDone));
        }
        self.store.range(request).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, Error> {
        let seals = txn.success.iter().any(|step| match step {
            Operation::Put { key, .. } => String::from_utf8_lossy(key).contains("/history/seal/"),
            _ => false,
        });
        let response = self.store.txn(txn).await?;
        let lose = |left: usize| left.checked_sub(1);
        let (set, fetch) = (Ordering::SeqCst, Ordering::SeqCst);
        if seals && self.losses.fetch_update(set, fetch, lose).is_ok() {
            return Err(unavailable(Outcome::Unknown));
        }
        Ok(response)
    }
}

async fn shaky(backend: &Backend) -> (Arc<Overlaid<Shaky>>, Server) {
    let store = Arc::new(Overlaid(Shaky {
        store: backend.store().await,
        losses: AtomicUsize::new(0),
        away: AtomicBool::new(false),
    }));
    let mut settings = backend.settings();
    settings.domain.audit_seal_interval = SOON;
    let clock = Arc::new(SystemClock);
    let server = backend.server_on(store.clone(), settings, clock).await;
    (store, server)
}

async fn a_lost_answer_seals_nothing_twice(backend: Backend) {
    let (store, server) = shaky(&backend).await;
    for number in 0..5 {
        store.losses.store(2, Ordering::SeqCst);
        server.put_config("a", &format!("{number}")).await;
        server.sealed().await;
        eventually("the answers to be lost", || async {
            (store.losses.load(Ordering::SeqCst) == 0).then_some(())
        })
        .await;
    }
    let entries = server.entries().await;
    let numbers: Vec<_> = entries.iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, [5, 4, 3, 2, 1]);
    server.is_whole().await;
    server.stop().await;
}

async fn sealing_goes_on_when_the_store_is_back(backend: Backend) {
    let (store, server) = shaky(&backend).await;
    server.put_config("a", "1").await;
    server.sealed().await;
    store.away.store(true, Ordering::SeqCst);
    server.put_config("a", "2").await;
    let refused = server.try_list(Default::default()).await.unwrap_err();
    assert_status(&refused, Code::Unavailable, "STORE_UNAVAILABLE");
    let refused = server.try_verify(Default::default()).await.unwrap_err();
    assert_status(&refused, Code::Unavailable, "STORE_UNAVAILABLE");
    store.away.store(false, Ordering::SeqCst);
    server.sealed().await;
    assert_eq!(server.is_whole().await.tip.unwrap().number, 2);
    server.stop().await;
}
