//! What becomes of instances whose session is gone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use stanchion::{
    clock::SystemClock,
    store::{
        self, LeaseId, Outcome, Probe, RangeRequest, RangeResponse, Renewal, Revision, Store, Txn,
        TxnResponse, Watch,
    },
};
use stanchion_client::proto::{
    BatchRegisterInstancesRequest, DeleteCause, Health, batch_register_instances_request,
};

use crate::support::server::{Backend, on_both_stores};

use super::{
    ALL, SERVING, Watcher, added, deleted, expire, ids, instance, list, modified, open,
    patient_server, register_on, told, watching,
};

on_both_stores! {
    a_session_that_ends_makes_its_instances_suspect_and_then_they_go,
    a_suspect_that_registers_again_in_time_stays,
    several_replicas_remove_a_suspect_once,
    many_suspects_are_removed_in_chunks,
}

async fn a_session_that_ends_makes_its_instances_suspect_and_then_they_go(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server, "").await;
    for id in ["a", "b"] {
        register_on(&server, &session, id).await;
    }
    let other = open(&server, "").await;
    register_on(&server, &other, "c").await;
    let mut serving = Watcher::open(&server, watching(SERVING, None)).await;
    let mut all = Watcher::open(&server, watching(ALL, None)).await;
    assert_eq!(serving.snapshot().await.0, ["a", "b", "c"]);
    assert_eq!(all.snapshot().await.0, ["a", "b", "c"]);

    expire(&server, &session).await;
    // One revision, for both, whoever watches.
    let (left, _) = serving.delta().await;
    let cause = DeleteCause::NoLongerMatching;
    assert_eq!(told(&left), [deleted("a", cause), deleted("b", cause)]);
    let (changed, _) = all.delta().await;
    assert_eq!(told(&changed), [modified("a"), modified("b")]);
    assert_eq!(changed.revision, left.revision);
    let suspect = changed.events[0].instance.clone().unwrap();
    assert_eq!(suspect.health(), Health::Suspect);

    // Removed, both, by one transaction; those who watch what serves have nothing to learn.
    let (removed, _) = all.delta().await;
    let cause = DeleteCause::Expired;
    assert_eq!(told(&removed), [deleted("a", cause), deleted("b", cause)]);
    assert_eq!(ids(&server, ALL).await, ["c"]);
    register_on(&server, &other, "d").await;
    assert_eq!(serving.event().await, added("d"));
    server.stop().await;
}

async fn a_suspect_that_registers_again_in_time_stays(backend: Backend) {
    let server = patient_server(&backend).await;
    let session = open(&server, "").await;
    register_on(&server, &session, "a").await;
    expire(&server, &session).await;
    assert!(list(&server, SERVING).await.protected);
    let listed = list(&server, ALL).await.instances;
    assert_eq!(listed[0].health(), Health::Suspect);

    let next = open(&server, "").await;
    let returned = register_on(&server, &next, "a").await;
    assert_eq!(returned.health(), Health::Healthy);
    assert_eq!(ids(&server, SERVING).await, ["a"]);
    server.stop().await;
}

async fn several_replicas_remove_a_suspect_once(backend: Backend) {
    let (one, two) = (backend.server().await, backend.server().await);
    let session = open(&one, "").await;
    register_on(&one, &session, "a").await;
    let mut watcher = Watcher::open(&two, watching(ALL, None)).await;
    if watcher.snapshot().await.0.is_empty() {
        assert_eq!(watcher.event().await, added("a"));
    }
    expire(&one, &session).await;
    assert_eq!(watcher.event().await, modified("a"));
    let removed = deleted("a", DeleteCause::Expired);
    assert_eq!(watcher.event().await, removed);
    // Whoever was second found nothing to do: the next thing that happens is this.
    let next = open(&one, "").await;
    register_on(&one, &next, "b").await;
    assert_eq!(watcher.event().await, added("b"));
    one.stop().await;
    two.stop().await;
}

async fn many_suspects_are_removed_in_chunks(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server, "").await;
    for batch in 0..2 {
        let ids = (0..50).map(|n| instance(&format!("{batch}-{n}")));
        let request = BatchRegisterInstancesRequest {
            instances: ids.collect(),
            liveness: Some(batch_register_instances_request::Liveness::SessionId(
                session.clone(),
            )),
            ..BatchRegisterInstancesRequest::default()
        };
        let response = server.registry().batch_register_instances(request).await;
        assert_eq!(response.unwrap().into_inner().outcomes.len(), 50);
    }
    let mut watcher = Watcher::open(&server, watching(ALL, None)).await;
    assert_eq!(watcher.snapshot().await.0.len(), 100);
    expire(&server, &session).await;
    let (suspects, _) = watcher.delta().await;
    assert_eq!(suspects.events.len(), 100);
    let mut left = 100;
    while left > 0 {
        let (removed, _) = watcher.delta().await;
        assert!(removed.events.len() <= 32);
        left -= removed.events.len();
    }
    server.stop().await;
}

/// A store that can be out of reach for a while.
struct Distant {
    store: Arc<dyn Store>,
    away: Arc<AtomicBool>,
}

struct DistantProbe {
    probe: Arc<dyn Probe>,
    away: Arc<AtomicBool>,
}

impl Distant {
    fn reach(&self) -> Result<&dyn Store, store::Error> {
        reach(&self.away)?;
        Ok(self.store.as_ref())
    }
}

fn reach(away: &AtomicBool) -> Result<(), store::Error> {
    match away.load(Ordering::SeqCst) {
        false => Ok(()),
        true => Err(store::Error::Unavailable {
            message: "away".into(),
            outcome: Outcome::NotDone,
        }),
    }
}

#[async_trait]
impl Store for Distant {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, store::Error> {
        self.reach()?.range(request).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, store::Error> {
        self.reach()?.txn(txn).await
    }

    async fn grant(&self, id: LeaseId, ttl: Duration) -> Result<Duration, store::Error> {
        self.reach()?.grant(id, ttl).await
    }

    async fn keep_alive(&self, id: LeaseId) -> Result<Renewal, store::Error> {
        self.reach()?.keep_alive(id).await
    }

    async fn revoke(&self, id: LeaseId) -> Result<(), store::Error> {
        self.reach()?.revoke(id).await
    }

    async fn watch(&self, prefix: Bytes, from: Revision) -> Result<Watch, store::Error> {
        let watch = self.reach()?.watch(prefix, from).await?;
        let probe = DistantProbe {
            probe: watch.probe.clone(),
            away: self.away.clone(),
        };
        Ok(Watch {
            probe: Arc::new(probe),
            ..watch
        })
    }

    async fn compact(&self, revision: Revision) -> Result<(), store::Error> {
        self.reach()?.compact(revision).await
    }

    async fn status(&self) -> Result<store::Status, store::Error> {
        self.reach()?.status().await
    }
}

#[async_trait]
impl Probe for DistantProbe {
    async fn current_revision(&self) -> Result<Revision, store::Error> {
        reach(&self.away)?;
        self.probe.current_revision().await
    }

    async fn request_progress(&self) {
        if reach(&self.away).is_ok() {
            self.probe.request_progress().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_store_is_away_nothing_expires_and_then_the_grace_begins_anew() {
    let backend = Backend::embedded().await;
    let mut settings = backend.settings();
    let grace = Duration::from_secs(2);
    settings.domain.suspect_grace = grace;
    settings.domain.removal_hold = Duration::from_millis(600);
    settings.cache.idle_probe = Duration::from_millis(100);
    let away = Arc::new(AtomicBool::new(false));
    let store = Distant {
        store: backend.store().await,
        away: away.clone(),
    };
    let clock = Arc::new(SystemClock);
    let server = backend.server_on(Arc::new(store), settings, clock).await;
    let session = open(&server, "").await;
    register_on(&server, &session, "a").await;
    let mut watcher = Watcher::open(&server, watching(ALL, None)).await;
    assert_eq!(watcher.snapshot().await.0, ["a"]);
    expire(&server, &session).await;
    assert_eq!(watcher.event().await, modified("a"));

    away.store(true, Ordering::SeqCst);
    tokio::time::sleep(grace + grace / 2).await;
    away.store(false, Ordering::SeqCst);
    let back = Instant::now();
    let removed = deleted("a", DeleteCause::Expired);
    assert_eq!(watcher.event().await, removed);
    assert!(back.elapsed() > grace * 9 / 10, "{:?}", back.elapsed());
    server.stop().await;
}
