//! A store that loses answers, answers late, or lost its data.

use std::sync::atomic::{AtomicU8, Ordering};

use stanchion::{
    domain::{epoch::Epoch, keyspace::Keyspace, records},
    store::{KeyRange, Operation, Outcome, RangeRequest},
};
use tokio::sync::Notify;
use tonic::Code;

use super::*;
use crate::support::server::{Backend, assert_status, eventually, on_both_stores};

on_both_stores! {
    an_acquire_whose_answer_was_lost_is_granted_once,
    a_place_that_arrives_after_its_call_broke_off_is_given_up,
    a_place_is_given_up_while_the_deletion_of_another_is_not_answered,
    the_end_of_a_delay_whose_answer_was_lost_is_told,
    a_guarded_mutation_of_unknown_outcome_says_so,
    tokens_rise_over_the_loss_of_data,
}

/// What becomes of the next transaction about locks.
const GOOD: u8 = 0;
/// It happens, and the answer is lost.
const ANSWER_LOST: u8 = 1;
/// It happens long after its caller has gone.
const LATE: u8 = 2;
/// It happens when it is let through.
const STUCK: u8 = 3;

struct Faulty {
    inner: Arc<dyn Store>,
    next: AtomicU8,
    let_through: Notify,
}

impl Faulty {
    async fn server(backend: &Backend) -> (Arc<Overlaid<Self>>, Server) {
        let store = Arc::new(Overlaid(Self {
            inner: backend.store().await,
            next: AtomicU8::new(GOOD),
            let_through: Notify::new(),
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
        if !format!("{txn:?}").contains("/state/lock/") {
            return self.inner.txn(txn).await;
        }
        match self.next.swap(GOOD, Ordering::SeqCst) {
            ANSWER_LOST => {
                self.inner.txn(txn).await?;
                Err(Error::Timeout {
                    outcome: Outcome::Unknown,
                })
            }
            LATE => {
                let inner = self.inner.clone();
                let late = tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(1500)).await;
                    inner.txn(txn).await
                });
                late.await.unwrap()
            }
            STUCK => {
                self.let_through.notified().await;
                self.inner.txn(txn).await
            }
            _ => self.inner.txn(txn).await,
        }
    }
}

async fn an_acquire_whose_answer_was_lost_is_granted_once(backend: Backend) {
    let (store, server) = Faulty::server(&backend).await;
    let session = open(&server).await;
    for (index, request) in [tried("l", &session, "a"), wanted("m", &session, "b")]
        .into_iter()
        .enumerate()
    {
        store.set(ANSWER_LOST);
        let granted = acquire(&server, request.clone()).await.unwrap();
        assert!(store.happened(), "{index}");
        let there = lock(&server, &request.lock).await;
        assert_eq!(there.holder.unwrap().fencing_token, granted.fencing_token);
        assert!(there.waiters.is_empty());
    }
    // Taking a place up again is no different.
    let token = lock(&server, "l").await.holder.unwrap().fencing_token;
    store.set(ANSWER_LOST);
    assert_eq!(take(&server, "l", &session, "a").await, token);
    // And nothing of it is given up later.
    tokio::time::sleep(backend.settings().domain.waiter_keep * 2).await;
    assert!(lock(&server, "l").await.holder.is_some());
}

async fn a_place_that_arrives_after_its_call_broke_off_is_given_up(backend: Backend) {
    let (store, server) = Faulty::server(&backend).await;
    let session = open(&server).await;
    store.set(LATE);
    let cut = spawn(&server, wanted("l", &session, "r"));
    eventually("the transaction to be sent", || async {
        store.happened().then_some(())
    })
    .await;
    cut.abort();
    eventually("the place to arrive", || async {
        lock(&server, "l").await.holder
    })
    .await;
    eventually("the place to be given up", || async {
        lock(&server, "l").await.holder.is_none().then_some(())
    })
    .await;
}

async fn a_place_is_given_up_while_the_deletion_of_another_is_not_answered(backend: Backend) {
    let (store, server) = Faulty::server(&backend).await;
    let (session, other) = (open(&server).await, open(&server).await);
    for name in ["l", "m"] {
        take(&server, name, &session, name).await;
    }
    let waiting = spawn(&server, wanted("l", &other, "a"));
    until_waiting(&server, "l", 1).await;
    store.set(STUCK);
    waiting.abort();
    eventually("its deletion to be sent", || async {
        store.happened().then_some(())
    })
    .await;
    let waiting = spawn(&server, wanted("m", &other, "b"));
    until_waiting(&server, "m", 1).await;
    waiting.abort();
    until_waiting(&server, "m", 0).await;
    assert_eq!(lock(&server, "l").await.waiter_count, 1);
    store.let_through.notify_one();
    until_waiting(&server, "l", 0).await;
}

async fn the_end_of_a_delay_whose_answer_was_lost_is_told(backend: Backend) {
    let (store, server) = Faulty::server(&backend).await;
    let session = open_for(&server, 1, "worker").await;
    let request = AcquireLockRequest {
        lock_delay: Some(Duration::from_secs(60).try_into().unwrap()),
        ..tried("l", &session, "r")
    };
    let token = acquire(&server, request).await.unwrap().fencing_token;
    eventually("the lock to be delayed", || async {
        lock(&server, "l").await.delay
    })
    .await;
    store.set(ANSWER_LOST);
    let ended = super::oversight::force(&server, "l", token).await;
    assert!(store.happened());
    assert!(ended.released && ended.noted, "{ended:?}");
}

async fn a_guarded_mutation_of_unknown_outcome_says_so(backend: Backend) {
    let (store, server) = Faulty::server(&backend).await;
    let session = open(&server).await;
    let token = take(&server, "l", &session, "r").await;
    // Releasing a lock under itself: the repetition finds that the guard holds no longer.
    let request = ReleaseLockRequest {
        lock: "l".into(),
        session_id: session,
        claim: Some(Claim::FencingToken(token)),
        guard: Some(stanchion_client::proto::Guard {
            lock: "l".into(),
            fencing_token: token,
            ..Default::default()
        }),
        ..Default::default()
    };
    store.set(ANSWER_LOST);
    let unknown = server.locks().release_lock(request).await.unwrap_err();
    assert_status(&unknown, Code::Unknown, "COMMIT_UNKNOWN");
    assert!(lock(&server, "l").await.holder.is_none());
}

async fn tokens_rise_over_the_loss_of_data(backend: Backend) {
    let server = backend.server().await;
    let (first, second) = (open(&server).await, open(&server).await);
    let token = take(&server, "l", &first, "r").await;
    let waiting = spawn(&server, wanted("l", &second, "r"));
    until_waiting(&server, "l", 1).await;

    // What a replica writes that finds that data was lost, but for the closing.
    let keys = Keyspace::new(backend.settings().store.root());
    let store = backend.store().await;
    let key = KeyRange::key(keys.epoch());
    let found = store.range(RangeRequest::new(key)).await.unwrap();
    let epoch = records::epoch(&found.kvs[0]).unwrap();
    let next = Epoch {
        id: epoch.id + 1,
        era: epoch.era + 1,
        claims_from: epoch.era + 1,
        ..epoch
    };
    let txn = Txn::new().then(Operation::put(keys.epoch(), records::encode_epoch(&next)));
    store.txn(txn).await.unwrap();

    // The places outlived it here, but they count no more: who waits queues anew.
    let second_token = waiting.await.unwrap().unwrap().fencing_token;
    assert!(second_token - token > 1 << 39, "{second_token} {token}");
    assert!(!release_token(&server, "l", &first, token).await);
    assert!(release_token(&server, "l", &second, second_token).await);
    let third = take(&server, "l", &first, "r").await;
    assert!(third > second_token);
}
