//! A store that loses answers, or answers when everything has changed.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use async_trait::async_trait;
use stanchion::store::{Error, Outcome, Store, Txn, TxnResponse};
use tokio::sync::Notify;
use tonic::Code;

use super::*;
use crate::support::{
    overlay::{Overlaid, Overlay},
    server::{Backend, assert_status, on_both_stores},
};

on_both_stores! {
    a_campaign_and_a_proclamation_whose_answers_were_lost_happen_once,
    a_proclamation_that_arrives_after_its_term_is_refused,
}

/// What becomes of the next transaction about elections.
const GOOD: u8 = 0;
/// It happens, and the answer is lost.
const ANSWER_LOST: u8 = 1;
/// It arrives when the gate opens.
const HELD_UP: u8 = 2;

struct Faulty {
    inner: Arc<dyn Store>,
    next: AtomicU8,
    held_up: Notify,
    gate: Notify,
}

impl Faulty {
    async fn server(backend: &Backend) -> (Arc<Overlaid<Self>>, Server) {
        let store = Arc::new(Overlaid(Self {
            inner: backend.store().await,
            next: AtomicU8::new(GOOD),
            held_up: Notify::new(),
            gate: Notify::new(),
        }));
        let clock = Arc::new(stanchion::clock::SystemClock);
        let server = backend
            .server_on(store.clone(), backend.settings(), clock)
            .await;
        (store, server)
    }

    fn set(&self, next: u8) {
        self.next.store(next, Ordering::SeqCst);
    }

    fn happened(&self) -> bool {
        self.next.load(Ordering::SeqCst) == GOOD
    }
}

#[async_trait]
impl Overlay for Faulty {
    fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, Error> {
        if !format!("{txn:?}").contains("/state/elect/") {
            return self.inner.txn(txn).await;
        }
        match self.next.swap(GOOD, Ordering::SeqCst) {
            ANSWER_LOST => {
                self.inner.txn(txn).await?;
                Err(Error::Timeout {
                    outcome: Outcome::Unknown,
                })
            }
            HELD_UP => {
                self.held_up.notify_one();
                self.gate.notified().await;
                self.inner.txn(txn).await
            }
            _ => self.inner.txn(txn).await,
        }
    }
}

async fn a_campaign_and_a_proclamation_whose_answers_were_lost_happen_once(backend: Backend) {
    let (store, server) = Faulty::server(&backend).await;
    let session = open(&server).await;
    store.set(ANSWER_LOST);
    let term = lead(&server, "e", &session, "r").await;
    assert!(store.happened());
    let seen = election(&server, "e").await;
    assert_eq!((seen.leader.unwrap().term, seen.candidate_count), (term, 0));
    store.set(ANSWER_LOST);
    let said = proclaim(&server, "e", &session, term, "here")
        .await
        .unwrap();
    assert!(store.happened());
    assert_eq!(said.proclamation, "here");
    assert_eq!(election(&server, "e").await.leader.unwrap(), said);
    store.set(ANSWER_LOST);
    // It is gone, and the call cannot know that it was the one that did it.
    resign(&server, "e", &session, Claim::Term(term))
        .await
        .unwrap();
    assert!(election(&server, "e").await.leader.is_none());
}

/// The lookup found the term; what compares is the transaction.
async fn a_proclamation_that_arrives_after_its_term_is_refused(backend: Backend) {
    let (store, server) = Faulty::server(&backend).await;
    let other = backend.server().await;
    let (first, second) = (open(&server).await, open(&server).await);
    let former = lead(&server, "e", &first, "r").await;
    let next = spawn(&other, standing("e", &second, "r"));
    until_standing(&other, "e", 1).await;
    store.set(HELD_UP);
    let mut elections = server.elections();
    let session = first.clone();
    let late = tokio::spawn(async move {
        let request = ProclaimRequest {
            election: "e".into(),
            session_id: session,
            term: former,
            proclamation: "late".into(),
            ..Default::default()
        };
        elections.proclaim(request).await
    });
    store.held_up.notified().await;
    assert!(
        resign(&other, "e", &first, Claim::Term(former))
            .await
            .unwrap()
    );
    let next = next.await.unwrap().unwrap().term;
    proclaim(&other, "e", &second, next, "new").await.unwrap();
    store.gate.notify_one();
    let refused = late.await.unwrap().unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "NOT_LEADER");
    let leader = election(&other, "e").await.leader.unwrap();
    assert_eq!((leader.term, &leader.proclamation[..]), (next, &b"new"[..]));
}
