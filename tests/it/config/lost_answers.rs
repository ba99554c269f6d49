//! Answers of the store that get lost on the way.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use stanchion::{
    clock::SystemClock,
    store::{Error, Operation, Outcome, Store, Txn, TxnResponse},
};
use stanchion_client::proto::{
    AcquireLockRequest, CommitConfigsRequest, ConfigChange, ConfigFromDraft, ConfigPut, Guard,
    OpenSessionRequest, PublishReleaseRequest, PutConfigRequest, PutDraftRequest,
    ReleaseLockRequest, config_change, put_draft_request,
};
use tokio::sync::oneshot;

use super::{delete, get, put, rollback};
use crate::support::{
    overlay::{Overlaid, Overlay},
    server::{Backend, on_both_stores},
};

on_both_stores! {
    a_lost_answer_never_writes_twice,
    a_lost_answer_is_recognised_under_what_others_wrote_since,
    a_lost_answer_is_recognised_although_the_lock_is_gone_since,
    a_lost_answer_to_many_changes_a_draft_or_a_release_is_recognised,
}

/// Carries out transactions and loses the answers of the next ones that change a config.
struct Lossy {
    store: Arc<dyn Store>,
    losses: AtomicUsize,
    /// Told when an answer was lost; the caller hears of it when the answer to that comes.
    lost: Mutex<Option<oneshot::Sender<oneshot::Sender<()>>>>,
}

impl Lossy {
    async fn over(backend: &Backend) -> Arc<Overlaid<Self>> {
        Arc::new(Overlaid(Self {
            store: backend.store().await,
            losses: AtomicUsize::new(0),
            lost: Mutex::new(None),
        }))
    }
}

#[async_trait]
impl Overlay for Lossy {
    fn inner(&self) -> &Arc<dyn Store> {
        &self.store
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, Error> {
        let changes_config = changes_config(&txn);
        let response = self.store.txn(txn).await?;
        let lose = |left: usize| left.checked_sub(1);
        let (set, fetch) = (Ordering::SeqCst, Ordering::SeqCst);
        if !changes_config || self.losses.fetch_update(set, fetch, lose).is_err() {
            return Ok(response);
        }
        let lost = self.lost.lock().unwrap().take();
        if let Some(lost) = lost {
            let (go_on, gone_on) = oneshot::channel();
            lost.send(go_on).unwrap();
            gone_on.await.unwrap();
        }
        Err(Error::Unavailable {
            message: "the answer was lost".into(),
            outcome: Outcome::Unknown,
        })
    }
}

/// Inside of other transactions too: under a guard, and in large commits.
pub(super) fn changes_config(txn: &Txn) -> bool {
    txn.success.iter().any(|step| match step {
        Operation::Put { key, .. } => {
            let key = String::from_utf8_lossy(key);
            key.contains("/state/cfg/") || key.contains("/history/draft/")
        }
        Operation::Delete(keys) => String::from_utf8_lossy(&keys.start).contains("/history/draft/"),
        Operation::Txn(inside) => changes_config(inside),
        _ => false,
    })
}

async fn a_lost_answer_never_writes_twice(backend: Backend) {
    let lossy = Lossy::over(&backend).await;
    let clock = Arc::new(SystemClock);
    let server = backend
        .server_on(lossy.clone(), backend.settings(), clock)
        .await;
    // Without a request id of the caller's, too.
    lossy.losses.store(2, Ordering::SeqCst);
    let written = server.try_put(put("a", "1")).await.unwrap();
    assert!(!written.unchanged);
    let written = written.config.unwrap();
    assert_eq!(written, {
        let mut found = server.try_get(get("a")).await.unwrap();
        found.content.clear();
        found
    });
    lossy.losses.store(1, Ordering::SeqCst);
    assert_eq!(server.put("a", "2").await.version, 2);
    lossy.losses.store(1, Ordering::SeqCst);
    let back = server.try_rollback(rollback("a", 1)).await.unwrap();
    assert_eq!((back.unchanged, back.config.unwrap().version), (false, 3));
    lossy.losses.store(1, Ordering::SeqCst);
    let deleted = server.try_delete(delete("a")).await.unwrap();
    assert_eq!((deleted.deleted, deleted.version), (true, 4));
    assert_eq!(server.version_numbers("a").await, [4, 3, 2, 1]);
    server.stop().await;
}

async fn a_lost_answer_is_recognised_under_what_others_wrote_since(backend: Backend) {
    let lossy = Lossy::over(&backend).await;
    let clock = Arc::new(SystemClock);
    let server = backend
        .server_on(lossy.clone(), backend.settings(), clock)
        .await;
    let other = backend.server().await;
    let (lost, loss) = oneshot::channel();
    *lossy.lost.lock().unwrap() = Some(lost);
    lossy.losses.store(1, Ordering::SeqCst);
    let mut configs = server.configs();
    let put = tokio::spawn(async move { configs.put_config(put("a", "mine")).await });
    let go_on = loss.await.unwrap();
    for number in 0..20 {
        other.put("a", format!("{number}")).await;
    }
    go_on.send(()).unwrap();
    let mine = put.await.unwrap().unwrap().into_inner().config.unwrap();
    assert_eq!((mine.version, mine.size_bytes), (1, 4));
    assert_eq!(other.version_numbers("a").await.len(), 21);
    server.stop().await;
    other.stop().await;
}

async fn a_lost_answer_is_recognised_although_the_lock_is_gone_since(backend: Backend) {
    let lossy = Lossy::over(&backend).await;
    let clock = Arc::new(SystemClock);
    let server = backend
        .server_on(lossy.clone(), backend.settings(), clock)
        .await;
    let open = OpenSessionRequest::default();
    let session = server.sessions().open_session(open).await.unwrap();
    let session_id = session.into_inner().session_id;
    let acquire = AcquireLockRequest {
        lock: "l".into(),
        session_id: session_id.clone(),
        ..Default::default()
    };
    let held = server.locks().acquire_lock(acquire).await.unwrap();
    let fencing_token = held.into_inner().fencing_token;
    let (lost, loss) = oneshot::channel();
    *lossy.lost.lock().unwrap() = Some(lost);
    lossy.losses.store(1, Ordering::SeqCst);
    let mut configs = server.configs();
    let request = PutConfigRequest {
        guard: Some(Guard {
            lock: "l".into(),
            fencing_token,
            ..Default::default()
        }),
        ..put("a", "mine")
    };
    let put = tokio::spawn(async move { configs.put_config(request).await });
    let go_on = loss.await.unwrap();
    let release = ReleaseLockRequest {
        lock: "l".into(),
        session_id,
        ..Default::default()
    };
    let released = server.locks().release_lock(release).await.unwrap();
    assert!(released.into_inner().released);
    go_on.send(()).unwrap();
    let written = put.await.unwrap().unwrap().into_inner();
    assert!(!written.unchanged);
    assert_eq!(written.config.unwrap().version, 1);
    assert_eq!(server.version_numbers("a").await, [1]);
    server.stop().await;
}

async fn a_lost_answer_to_many_changes_a_draft_or_a_release_is_recognised(backend: Backend) {
    let lossy = Lossy::over(&backend).await;
    let clock = Arc::new(SystemClock);
    let server = backend
        .server_on(lossy.clone(), backend.settings(), clock)
        .await;
    let change = |number: usize| ConfigChange {
        key: format!("many/{number:02}"),
        change: Some(config_change::Change::Put(ConfigPut {
            content: "1".into(),
            ..Default::default()
        })),
        ..Default::default()
    };
    lossy.losses.store(1, Ordering::SeqCst);
    let commit = CommitConfigsRequest {
        changes: (0..100).map(change).collect(),
        ..Default::default()
    };
    let done = server.configs().commit_configs(commit).await.unwrap();
    let done = done.into_inner();
    assert!(done.committed && done.results.iter().all(|result| !result.unchanged));
    assert_eq!(server.version_numbers("many/99").await, [1]);

    lossy.losses.store(1, Ordering::SeqCst);
    let draft = PutDraftRequest {
        key: "many/00".into(),
        change: Some(put_draft_request::Change::Put(ConfigPut {
            content: "2".into(),
            ..Default::default()
        })),
        ..Default::default()
    };
    let put = server
        .configs()
        .put_draft(draft)
        .await
        .unwrap()
        .into_inner();
    assert!(!put.unchanged);
    lossy.losses.store(1, Ordering::SeqCst);
    let publish = PublishReleaseRequest {
        name: "r".into(),
        changes: vec![ConfigChange {
            key: "many/00".into(),
            change: Some(config_change::Change::Draft(ConfigFromDraft::default())),
            ..Default::default()
        }],
        ..Default::default()
    };
    let published = server.configs().publish_release(publish).await.unwrap();
    let release = published.into_inner().release.unwrap();
    assert_eq!((release.item_count, release.items[0].version), (1, 2));
    assert_eq!(server.version_numbers("many/00").await, [2, 1]);
    server.stop().await;
}
