//! What goes wrong between a blob and what refers to it.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use stanchion::{
    clock::{Clock, SystemClock},
    store::{Error, Operation, Outcome, Store, Txn, TxnResponse},
};
use stanchion_client::proto::PutConfigRequest;
use tokio::sync::oneshot;
use tonic::Code;

use super::{MIB, content};
use crate::{
    config::{get, put},
    support::{
        overlay::{Overlaid, Overlay},
        server::{Backend, Server, assert_status, on_both_stores},
    },
};

on_both_stores! {
    a_lost_answer_writes_neither_blob_nor_version_twice,
    a_request_whose_answers_were_all_lost_is_repeated_once,
    a_full_store_refuses_a_large_content_and_keeps_what_was,
    a_blob_that_goes_before_its_version_comes_is_written_again,
    an_unknown_outcome_of_the_blob_changes_nothing,
}

/// Stands between a replica and its store.
pub(super) struct Hand {
    store: Arc<dyn Store>,
    /// How many answers to a written blob get lost.
    pub(super) lost_blobs: AtomicUsize,
    /// How many answers to a written head get lost.
    pub(super) lost_heads: AtomicUsize,
    /// No head gets through any more.
    pub(super) no_heads: AtomicBool,
    /// Nothing is put any more.
    pub(super) full: AtomicBool,
    /// Told when a head is about to be written; it is when the answer to that comes.
    pub(super) held: Mutex<Option<oneshot::Sender<oneshot::Sender<()>>>>,
}

impl Hand {
    pub(super) async fn over(backend: &Backend) -> Arc<Overlaid<Self>> {
        Arc::new(Overlaid(Self {
            store: backend.store().await,
            lost_blobs: AtomicUsize::new(0),
            lost_heads: AtomicUsize::new(0),
            no_heads: AtomicBool::new(false),
            full: AtomicBool::new(false),
            held: Mutex::new(None),
        }))
    }
}

/// A replica whose store is behind the hand.
pub(super) async fn server_behind(
    hand: &Arc<Overlaid<Hand>>,
    backend: &Backend,
    clock: Arc<dyn Clock>,
) -> Server {
    backend
        .server_on(hand.clone(), backend.settings(), clock)
        .await
}

#[async_trait]
impl Overlay for Hand {
    fn inner(&self) -> &Arc<dyn Store> {
        &self.store
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, Error> {
        let puts = |room: &str| puts(&txn, room);
        let set = Ordering::SeqCst;
        if self.full.load(set) && puts("/") {
            return Err(Error::Full {
                message: "database space exceeded".into(),
                outcome: Outcome::NotDone,
            });
        }
        let (is_blob, is_head) = (puts("/history/blob/"), puts("/state/cfg/"));
        if is_head && self.no_heads.load(set) {
            return Err(Error::Invalid("the replica is dead".into()));
        }
        let held = is_head.then(|| self.held.lock().unwrap().take()).flatten();
        if let Some(held) = held {
            let (go_on, gone_on) = oneshot::channel();
            held.send(go_on).unwrap();
            gone_on.await.unwrap();
        }
        let response = self.store.txn(txn).await?;
        let lose = |losses: &AtomicUsize| {
            let left = losses.fetch_update(set, set, |left| left.checked_sub(1));
            left.is_ok()
        };
        if is_blob && lose(&self.lost_blobs) || is_head && lose(&self.lost_heads) {
            return Err(Error::Unavailable {
                message: "the answer was lost".into(),
                outcome: Outcome::Unknown,
            });
        }
        Ok(response)
    }
}

/// Inside of other transactions too.
fn puts(txn: &Txn, room: &str) -> bool {
    txn.success.iter().any(|step| match step {
        Operation::Put { key, .. } => String::from_utf8_lossy(key).contains(room),
        Operation::Txn(inside) => puts(inside, room),
        _ => false,
    })
}

async fn a_lost_answer_writes_neither_blob_nor_version_twice(backend: Backend) {
    let hand = Hand::over(&backend).await;
    let server = server_behind(&hand, &backend, Arc::new(SystemClock)).await;
    hand.lost_blobs.store(2, Ordering::SeqCst);
    hand.lost_heads.store(2, Ordering::SeqCst);
    let written = server.try_put(put("a", content(1, MIB))).await.unwrap();
    assert_eq!(
        (written.unchanged, written.config.unwrap().version),
        (false, 1)
    );
    assert_eq!(hand.lost_blobs.load(Ordering::SeqCst), 0);
    assert_eq!(hand.lost_heads.load(Ordering::SeqCst), 0);
    assert_eq!(server.version_numbers("a").await, [1]);
    let [blob] = server.blobs().await[..] else {
        panic!("not one blob");
    };
    let keys = &server.app().core.keys;
    assert_eq!(server.keys_in(keys.blob_pieces(&blob)).await.len(), 16);
    assert_eq!(server.keys_in(keys.blob_uses(&blob)).await.len(), 1);
    assert_eq!(server.version("a", 1).await, content(1, MIB));
    server.stop().await;
}

async fn a_request_whose_answers_were_all_lost_is_repeated_once(backend: Backend) {
    let hand = Hand::over(&backend).await;
    let server = server_behind(&hand, &backend, Arc::new(SystemClock)).await;
    let other = backend.server().await;
    let request = PutConfigRequest {
        request_id: "r".into(),
        ..put("a", content(1, MIB))
    };
    hand.lost_heads.store(usize::MAX, Ordering::SeqCst);
    let unknown = server.try_put(request.clone()).await.unwrap_err();
    assert_status(&unknown, Code::Unknown, "COMMIT_UNKNOWN");
    other.current().await;
    let again = other.try_put(request).await.unwrap();
    assert_eq!((again.unchanged, again.config.unwrap().version), (false, 1));
    assert_eq!(other.version_numbers("a").await, [1]);
    assert_eq!(other.blobs().await.len(), 1);
    server.stop().await;
    other.stop().await;
}

async fn an_unknown_outcome_of_the_blob_changes_nothing(backend: Backend) {
    let hand = Hand::over(&backend).await;
    let mut settings = backend.settings();
    settings.domain.commit_timeout = std::time::Duration::from_millis(400);
    let server = backend
        .server_on(hand.clone(), settings, Arc::new(SystemClock))
        .await;
    // The first look finds none, and each sending after that loses its answer.
    hand.lost_blobs.store(usize::MAX, Ordering::SeqCst);
    let refused = server.try_put(put("a", content(1, MIB))).await.unwrap_err();
    assert_status(&refused, Code::Unavailable, "STORE_UNAVAILABLE");
    assert!(server.versions("a").await.is_empty());
    hand.lost_blobs.store(0, Ordering::SeqCst);
    assert_eq!(server.put("a", content(1, MIB)).await.version, 1);
    assert_eq!(server.blobs().await.len(), 1);
    server.stop().await;
}

async fn a_full_store_refuses_a_large_content_and_keeps_what_was(backend: Backend) {
    let hand = Hand::over(&backend).await;
    let server = server_behind(&hand, &backend, Arc::new(SystemClock)).await;
    server.put("a", content(1, MIB)).await;
    hand.full.store(true, Ordering::SeqCst);
    let refused = server.try_put(put("a", content(2, MIB))).await.unwrap_err();
    assert_status(&refused, Code::ResourceExhausted, "STORE_FULL");
    hand.full.store(false, Ordering::SeqCst);
    assert_eq!(server.version_numbers("a").await, [1]);
    assert_eq!(server.blobs().await.len(), 1);
    assert_eq!(server.version("a", 1).await, content(1, MIB));
    server.stop().await;
}

async fn a_blob_that_goes_before_its_version_comes_is_written_again(backend: Backend) {
    let hand = Hand::over(&backend).await;
    let server = server_behind(&hand, &backend, Arc::new(SystemClock)).await;
    let (held, is_held) = oneshot::channel();
    *hand.held.lock().unwrap() = Some(held);
    let mut configs = server.configs();
    let put = tokio::spawn(async move { configs.put_config(put("a", content(1, MIB))).await });
    let go_on = is_held.await.unwrap();
    // As whoever sweeps would, that only looks at what refers to it.
    let [blob] = server.blobs().await[..] else {
        panic!("not one blob");
    };
    let keys = &server.app().core.keys;
    let gone = Txn::new()
        .then(Operation::delete(keys.blob(&blob)))
        .then(Operation::Delete(keys.blob_pieces(&blob)));
    hand.inner().txn(gone).await.unwrap();
    go_on.send(()).unwrap();
    let written = put.await.unwrap().unwrap().into_inner();
    assert_eq!(
        (written.unchanged, written.config.unwrap().version),
        (false, 1)
    );
    assert_eq!(server.version("a", 1).await, content(1, MIB));
    assert_eq!(
        server.try_get(get("a")).await.unwrap().content,
        content(1, MIB)
    );
    assert_eq!(server.blobs().await, [blob]);
    server.stop().await;
}
