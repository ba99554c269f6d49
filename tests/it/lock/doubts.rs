//! A store that may renew what is gone: it is asked itself before a lock is granted.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use stanchion::store::Operation;
use tonic::Code;

use super::*;
use crate::support::server::{Backend, assert_status, on_both_stores};

on_both_stores! {
    a_grant_costs_one_look_where_renewals_are_in_doubt,
    a_place_that_is_gone_is_not_granted_whatever_the_cache_shows,
}

struct Doubtful {
    inner: Arc<dyn Store>,
    looks: AtomicUsize,
    /// The place ends just before it is looked at.
    ends: AtomicBool,
}

impl Doubtful {
    async fn server(backend: &Backend) -> (Arc<Overlaid<Self>>, Server) {
        let store = Arc::new(Overlaid(Self {
            inner: backend.store().await,
            looks: AtomicUsize::new(0),
            ends: AtomicBool::new(false),
        }));
        let clock = Arc::new(stanchion::clock::SystemClock);
        let server = backend
            .server_on(store.clone(), backend.settings(), clock)
            .await;
        (store, server)
    }
}

#[async_trait]
impl Overlay for Doubtful {
    fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    fn doubts_renewals(&self) -> bool {
        true
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, Error> {
        let looks_only = |operation: &Operation| matches!(operation, Operation::Range(_));
        let is_look = format!("{txn:?}").contains("/state/lock/")
            && txn.success.iter().chain(&txn.failure).all(looks_only);
        if is_look {
            self.looks.fetch_add(1, Ordering::SeqCst);
            if self.ends.swap(false, Ordering::SeqCst) {
                let Operation::Range(place) = &txn.success[0] else {
                    panic!("{txn:?}");
                };
                let end = Operation::Delete(place.keys.clone());
                self.inner.txn(Txn::new().then(end)).await.unwrap();
            }
        }
        self.inner.txn(txn).await
    }
}

async fn a_grant_costs_one_look_where_renewals_are_in_doubt(backend: Backend) {
    let (store, server) = Doubtful::server(&backend).await;
    let session = open(&server).await;
    // Whose transaction found the queue empty needs no other word.
    let first = acquire(&server, wanted("l", &session, "a")).await.unwrap();
    assert_eq!(store.looks.load(Ordering::SeqCst), 0);
    let second = spawn(&server, wanted("l", &session, "b"));
    until_waiting(&server, "l", 1).await;
    assert!(release_token(&server, "l", &session, first.fencing_token).await);
    let second = second.await.unwrap().unwrap();
    assert!(second.fencing_token > first.fencing_token);
    assert_eq!(store.looks.load(Ordering::SeqCst), 1);
    assert!(release_token(&server, "l", &session, second.fencing_token).await);
    take(&server, "l", &session, "c").await;
    assert_eq!(store.looks.load(Ordering::SeqCst), 1);
}

async fn a_place_that_is_gone_is_not_granted_whatever_the_cache_shows(backend: Backend) {
    let (store, server) = Doubtful::server(&backend).await;
    let session = open(&server).await;
    let first = take(&server, "l", &session, "a").await;
    let second = spawn(&server, wanted("l", &session, "b"));
    until_waiting(&server, "l", 1).await;
    store.ends.store(true, Ordering::SeqCst);
    assert!(release_token(&server, "l", &session, first).await);
    let refused = second.await.unwrap().unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "REQUEST_UNDONE");
    assert!(lock(&server, "l").await.holder.is_none());
}
