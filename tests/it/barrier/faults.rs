//! Replicas and stores that fail in between.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use stanchion::{
    clock::SystemClock,
    domain::{epoch::Epoch, keyspace::Keyspace, records},
    store::{Error, KeyRange, Operation, Outcome, RangeRequest, Store, Txn, TxnResponse},
};
use tonic::Code;

use super::*;
use crate::{
    full_store::{Brim, Room},
    support::{
        overlay::{Overlaid, Overlay},
        server::{Backend, assert_status, on_both_stores},
    },
};

on_both_stores! {
    an_answer_that_is_lost_changes_nothing,
    another_one_releases_all_if_the_last_one_does_not,
    who_waits_while_data_is_lost_enters_anew,
    a_full_store_releases_nobody_until_there_is_room,
}

/// What becomes of the next transaction about barriers that puts something.
const GOOD: u8 = 0;
/// It happens, and the answer is lost.
const ANSWER_LOST: u8 = 1;
/// None that releases happens, as long as this is so.
const NO_RELEASE: u8 = 2;

struct Faulty {
    inner: Arc<dyn Store>,
    next: AtomicU8,
}

impl Faulty {
    async fn server(backend: &Backend) -> (Arc<Overlaid<Self>>, Server) {
        let store = Arc::new(Overlaid(Self {
            inner: backend.store().await,
            next: AtomicU8::new(GOOD),
        }));
        let clock = Arc::new(SystemClock);
        let server = backend
            .server_on(store.clone(), backend.settings(), clock)
            .await;
        (store, server)
    }

    fn set(&self, next: u8) {
        self.next.store(next, Ordering::SeqCst);
    }
}

#[async_trait::async_trait]
impl Overlay for Faulty {
    fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, Error> {
        let steps = format!("{:?}", txn.success);
        let unknown = Error::Timeout {
            outcome: Outcome::Unknown,
        };
        if !steps.contains("/state/barrier") {
            return self.inner.txn(txn).await;
        }
        if self.next.load(Ordering::SeqCst) == NO_RELEASE {
            return match steps.contains("/state/barrier-released/") {
                true => Err(unknown),
                false => self.inner.txn(txn).await,
            };
        }
        let answer = self.inner.txn(txn).await;
        match self.next.swap(GOOD, Ordering::SeqCst) {
            ANSWER_LOST => Err(unknown),
            _ => answer,
        }
    }
}

async fn an_answer_that_is_lost_changes_nothing(backend: Backend) {
    let (store, server) = Faulty::server(&backend).await;
    let (first, second) = (open(&server).await, open(&server).await);
    // Of the one who enters.
    store.set(ANSWER_LOST);
    let waiting = spawn(&server, wanted("b", 2, &first, "r"));
    until_waiting(&server, "b", 1).await;
    // Of the one who leaves.
    let third = open(&server).await;
    let leaving = spawn(&server, wanted("b", 2, &third, "r"));
    together(&[
        waiting.await.unwrap().unwrap(),
        leaving.await.unwrap().unwrap(),
    ]);
    let time = Duration::from_millis(300);
    let ending = spawn(&server, timed(wanted("b", 2, &first, "r2"), time));
    until_waiting(&server, "b", 1).await;
    store.set(ANSWER_LOST);
    let ended = ending.await.unwrap().unwrap_err();
    assert_status(&ended, Code::FailedPrecondition, "BARRIER_NOT_RELEASED");
    assert!(barrier(&server, "b").await.participants.is_empty());
    // Of the release, after the one who is last has entered.
    let waiting = spawn(&server, wanted("b", 3, &first, "r3"));
    until_waiting(&server, "b", 1).await;
    let other = spawn(&server, wanted("b", 3, &second, "r3"));
    until_waiting(&server, "b", 2).await;
    let last = spawn(&server, wanted("b", 3, &third, "r3"));
    store.set(ANSWER_LOST);
    let mut answers = Vec::new();
    for call in [waiting, other, last] {
        answers.push(call.await.unwrap().unwrap());
    }
    together(&answers);
    assert!(barrier(&server, "b").await.participants.is_empty());
}

async fn another_one_releases_all_if_the_last_one_does_not(backend: Backend) {
    let (store, stuck) = Faulty::server(&backend).await;
    let server = backend.server().await;
    store.set(NO_RELEASE);
    let waiting = spawn(&server, wanted("b", 2, &open(&server).await, "r"));
    until_waiting(&server, "b", 1).await;
    // The last one comes to a replica that cannot release anybody.
    let last = enter(&stuck, wanted("b", 2, &open(&stuck).await, "r")).await;
    together(&[waiting.await.unwrap().unwrap(), last.unwrap()]);
}

async fn who_waits_while_data_is_lost_enters_anew(backend: Backend) {
    let (server, other) = (backend.server().await, backend.server().await);
    let (first, second, third) = (
        open(&server).await,
        open(&server).await,
        open(&server).await,
    );
    let (one, two) = tokio::join!(
        enter(&server, wanted("b", 2, &first, "0")),
        enter(&server, wanted("b", 2, &second, "0")),
    );
    let before = together(&[one.unwrap(), two.unwrap()]);
    let waiting = spawn(&server, wanted("b", 2, &first, "r"));
    until_waiting(&other, "b", 1).await;

    // What a replica writes that finds that data was lost, but for the closing of locks.
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
    other.write(txn).await;

    // The place outlived it here, but counts no more until its call has entered anew.
    let last = enter(&other, wanted("b", 2, &third, "r")).await.unwrap();
    let after = together(&[waiting.await.unwrap().unwrap(), last]);
    assert!(after - before > 1 << 39, "{after} {before}");
}

async fn a_full_store_releases_nobody_until_there_is_room(backend: Backend) {
    let (brim, server) = Brim::server(&backend).await;
    let (first, second) = (open(&server).await, open(&server).await);
    let waiting = spawn(&server, wanted("b", 2, &first, "r"));
    until_waiting(&server, "b", 1).await;
    brim.has(Room::Nothing);
    let refused = enter(&server, wanted("b", 2, &second, "r")).await;
    let refused = refused.unwrap_err();
    assert_status(&refused, Code::ResourceExhausted, "STORE_FULL");
    assert!(!waiting.is_finished());
    waiting.abort();
    until_waiting(&server, "b", 0).await;
    brim.has(Room::Plenty);
    // The write that takes the last room is the last one's, and the release finds none.
    let waiting = spawn(&server, wanted("b", 2, &first, "r2"));
    until_waiting(&server, "b", 1).await;
    brim.has(Room::Last("r3".into()));
    let refused = enter(&server, wanted("b", 2, &second, "r3")).await;
    let refused = refused.unwrap_err();
    assert_status(&refused, Code::ResourceExhausted, "STORE_FULL");
    until_waiting(&server, "b", 1).await;
    assert!(!waiting.is_finished());
    brim.has(Room::Plenty);
    let last = enter(&server, wanted("b", 2, &second, "r4")).await.unwrap();
    together(&[waiting.await.unwrap().unwrap(), last]);
    server.stop().await;
}
