//! The store loses data: what was held is void, and nobody is granted a lock while anybody may still
//! believe in one.

use std::time::Instant;

use stanchion::{
    settings::Settings,
    store::{
        KeyRange, RangeRequest, Status as StoreStatus,
        embedded::{self, Embedded, Location},
    },
};
use stanchion_client::proto::{
    Guard, KeepAliveRequest, LockLostCause, PutConfigRequest, keep_alive_response::Message,
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::*;
use crate::support::{
    etcd::Etcd,
    server::{Backend, assert_status},
    store::PATIENCE,
};

/// How long the sessions live that hold locks when data is lost.
const TTL: Duration = Duration::from_secs(2);

/// A client that never stops its heartbeats, over connections and losses.
pub(super) struct Holder {
    pub(super) session: String,
    lost: mpsc::Receiver<Message>,
    beating: JoinHandle<()>,
}

// === impl Holder ===

impl Holder {
    pub(super) async fn open(server: &Server) -> Self {
        let session = open_for(server, TTL.as_secs().cast_signed(), "").await;
        let (heartbeats, receiver) = mpsc::channel(64);
        let answers = server
            .sessions()
            .keep_alive(ReceiverStream::new(receiver))
            .await;
        let mut answers = answers.unwrap().into_inner();
        let (losses, lost) = mpsc::channel(64);
        let session_id = session.clone();
        let beating = tokio::spawn(async move {
            let mut pause = tokio::time::interval(Duration::from_millis(100));
            for seq in 1.. {
                tokio::select! {
                    _ = pause.tick() => {
                        let session_id = session_id.clone();
                        let heartbeat = KeepAliveRequest {
                            session_id,
                            seq,
                            ..KeepAliveRequest::default()
                        };
                        heartbeats.send(heartbeat).await.unwrap();
                    }
                    answer = answers.message() => match answer.unwrap().unwrap().message.unwrap() {
                        Message::Alive(_) => {}
                        loss => losses.send(loss).await.unwrap(),
                    },
                }
            }
        });
        Self {
            session,
            lost,
            beating,
        }
    }

    pub(super) async fn loss(&mut self) -> Message {
        let loss = tokio::time::timeout(PATIENCE, self.lost.recv()).await;
        loss.expect("nothing was lost").unwrap()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.beating.abort();
    }
}

/// Settings under which locks are not closed for long.
fn settings(backend: &Backend) -> Settings {
    let mut settings = backend.settings();
    settings.domain.default_ttl = Duration::from_secs(1);
    settings
}

async fn start(backend: &Backend) -> Server {
    backend.server_with(settings(backend)).await
}

fn is_closed(server: &Server) -> bool {
    let view = server.app().core.cache.view().unwrap();
    view.state.closed.is_some()
}

async fn until_closed(server: &Server) {
    eventually("locks to be closed", || async {
        is_closed(server).then_some(())
    })
    .await;
}

async fn guarded(server: &Server, fencing_token: i64) -> Result<(), Status> {
    let request = PutConfigRequest {
        key: "guarded".into(),
        content: format!("{fencing_token}").into(),
        guard: Some(Guard {
            lock: "l".into(),
            fencing_token,
            ..Guard::default()
        }),
        ..PutConfigRequest::default()
    };
    server.configs().put_config(request).await.map(|_| ())
}

/// Tries to take a lock until it is granted, and returns its token. Until then it is refused
/// because locks are closed.
async fn take_once_open(server: &Server, lock: &str, session: &str) -> i64 {
    let refused = acquire(server, tried(lock, session, "t")).await;
    let refused = refused.unwrap_err();
    assert_status(&refused, Code::Unavailable, "LOCKS_CLOSED");
    eventually("locks to be granted again", || async {
        match acquire(server, tried(lock, session, "t")).await {
            Ok(granted) => Some(granted.fencing_token),
            Err(refused) => {
                assert_status(&refused, Code::Unavailable, "LOCKS_CLOSED");
                None
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_total_loss_no_lock_is_granted_while_its_holder_may_believe_in_it() {
    let mut etcd = Etcd::start().await;
    let backend = Backend::on(etcd.endpoints(), ());
    let (first, second) = (start(&backend).await, start(&backend).await);
    let mut holder = Holder::open(&first).await;
    let waiter = Holder::open(&second).await;
    let old = take(&first, "l", &holder.session, "r").await;
    let waiting = spawn(&second, wanted("l", &waiter.session, "r"));
    until_waiting(&first, "l", 1).await;

    etcd.kill(0);
    etcd.wipe(0);
    let lost = Instant::now();
    etcd.restart(0).await;
    // Not by this replica before it knows, and not by the other one.
    until_closed(&first).await;
    until_closed(&second).await;
    assert!(matches!(holder.loss().await, Message::SessionLost(_)));
    let ended = waiting.await.unwrap().unwrap_err();
    assert_status(&ended, Code::FailedPrecondition, "LEASE_EXPIRED");

    let session = open(&first).await;
    let waiting = spawn(&second, wanted("l", &session, "w"));
    let queue = until_waiting(&second, "l", 1).await;
    assert_eq!((queue.holder, queue.waiters[0].position), (None, 1));
    let gone = guarded(&first, old).await.unwrap_err();
    assert_status(&gone, Code::FailedPrecondition, "GUARD_FAILED");
    let not_yet = guarded(&first, queue.waiters[0].fencing_token).await;
    assert_status(
        &not_yet.unwrap_err(),
        Code::FailedPrecondition,
        "GUARD_FAILED",
    );
    let timed_out = timed("m", &session, "x", Duration::from_millis(300));
    let refused = acquire(&second, timed_out).await.unwrap_err();
    assert_status(&refused, Code::Unavailable, "LOCKS_CLOSED");

    let another = take_once_open(&second, "m", &session).await;
    assert!(lost.elapsed() > TTL, "opened after {:?}", lost.elapsed());
    let granted = waiting.await.unwrap().unwrap();
    assert!(granted.fencing_token > old && another > old);
    assert!(!is_closed(&second));
    guarded(&first, granted.fencing_token).await.unwrap();
    let gone = guarded(&second, old).await.unwrap_err();
    assert_status(&gone, Code::FailedPrecondition, "GUARD_FAILED");
    let era = |token: i64| token >> 40;
    assert_eq!(
        era(granted.fencing_token),
        era(old) + 1,
        "one loss is one era, however many notice it"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_that_an_older_copy_brings_back_are_void() {
    let mut etcd = Etcd::start().await;
    let backend = Backend::on(etcd.endpoints(), ());
    let (first, second) = (start(&backend).await, start(&backend).await);
    let former = Holder::open(&first).await;
    let mut holder = Holder::open(&second).await;
    let old = take(&first, "l", &former.session, "r").await;
    let forgotten = take(&first, "n", &former.session, "r").await;
    etcd.kill(0);
    let copy = etcd.copy_data(0);
    etcd.restart(0).await;
    for (lock, token) in [("l", old), ("n", forgotten)] {
        eventually("the lock to be given up", || async {
            let claim = Some(Claim::FencingToken(token));
            release(&first, lock, &former.session, claim).await.ok()
        })
        .await;
    }
    let held = take(&second, "l", &holder.session, "r").await;
    let waiting = spawn(&first, wanted("l", &former.session, "r"));
    until_waiting(&first, "l", 1).await;

    etcd.kill(0);
    etcd.put_back(0, &copy);
    let lost = Instant::now();
    etcd.restart(0).await;
    until_closed(&first).await;
    until_closed(&second).await;
    let Message::LockLost(told) = holder.loss().await else {
        panic!("not told of the loss of a lock");
    };
    assert_eq!((told.lock.as_str(), told.fencing_token), ("l", held));
    assert_eq!(told.cause(), LockLostCause::EpochChanged);
    for token in [old, held] {
        let gone = guarded(&first, token).await.unwrap_err();
        assert_status(&gone, Code::FailedPrecondition, "GUARD_FAILED");
    }

    // Who waited goes on waiting, although the copy says that it held the lock.
    let another = take_once_open(&second, "m", &holder.session).await;
    assert!(lost.elapsed() > TTL, "opened after {:?}", lost.elapsed());
    let granted = waiting.await.unwrap().unwrap();
    assert!(granted.fencing_token > held && another > held);
    guarded(&second, granted.fencing_token).await.unwrap();
    eventually("the other claim of the copy to be deleted", || async {
        let core = &first.app().core;
        let keys = KeyRange::prefix(core.keys.state());
        let found = core.store.range(RangeRequest::new(keys)).await.ok()?;
        let mut keys = found.kvs.iter().map(|kv| String::from_utf8_lossy(&kv.key));
        let there = keys.any(|key| key.contains("/lock/default/n/"));
        (!there).then_some(())
    })
    .await;
}

/// A store that does not tell its status while the gate is shut.
struct Gated {
    inner: Arc<dyn Store>,
    open: watch::Receiver<bool>,
}

#[async_trait]
impl Overlay for Gated {
    fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    async fn status(&self) -> Result<StoreStatus, Error> {
        self.open.clone().wait_for(|open| *open).await.unwrap();
        self.inner.status().await
    }
}

impl Gated {
    /// A replica over such a store, and its gate, which is open.
    async fn server(backend: &Backend) -> (Server, watch::Sender<bool>) {
        let (gate, open) = watch::channel(true);
        let gated = Overlaid(Self {
            inner: backend.store().await,
            open,
        });
        let clock = Arc::new(stanchion::clock::SystemClock);
        let mut settings = settings(backend);
        settings.domain.commit_timeout = Duration::from_millis(500);
        let server = backend.server_on(Arc::new(gated), settings, clock);
        (server.await, gate)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_has_yet_to_notice_a_loss_grants_nothing() {
    let mut etcd = Etcd::start().await;
    let backend = Backend::on(etcd.endpoints(), ());
    let (server, gate) = Gated::server(&backend).await;
    let (former, holder) = (Holder::open(&server).await, Holder::open(&server).await);
    etcd.kill(0);
    let copy = etcd.copy_data(0);
    etcd.restart(0).await;
    let held = eventually("the lock to be granted", || async {
        let granted = acquire(&server, tried("l", &holder.session, "r")).await;
        granted.ok().map(|granted| granted.fencing_token)
    })
    .await;
    // The replica has seen what is lost.
    assert!(lock(&server, "l").await.holder.is_some());

    gate.send_replace(false);
    etcd.kill(0);
    etcd.put_back(0, &copy);
    etcd.restart(0).await;
    // In the copy the lock is free.
    for number in 0..5 {
        let request = format!("r-{number}");
        let answer = acquire(&server, tried("l", &former.session, &request)).await;
        assert_eq!(answer.unwrap_err().code(), Code::Unavailable);
    }
    gate.send_replace(true);
    until_closed(&server).await;
    assert!(take_once_open(&server, "l", &former.session).await > held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_takes_an_emptied_store_for_a_new_one_is_put_right() {
    let mut etcd = Etcd::start().await;
    let backend = Backend::on(etcd.endpoints(), ());
    let (knowing, gate) = Gated::server(&backend).await;
    let before = Holder::open(&knowing).await;
    let old = take(&knowing, "l", &before.session, "r").await;

    gate.send_replace(false);
    etcd.kill(0);
    etcd.wipe(0);
    etcd.restart(0).await;
    let fresh = start(&backend).await;
    assert!(!is_closed(&fresh), "to it the store is new");
    let mut holder = Holder::open(&fresh).await;
    let mistaken = take(&fresh, "l", &holder.session, "r").await;
    gate.send_replace(true);
    until_closed(&fresh).await;
    until_closed(&knowing).await;
    assert!(matches!(holder.loss().await, Message::LockLost(_)));
    let gone = guarded(&fresh, mistaken).await.unwrap_err();
    assert_status(&gone, Code::FailedPrecondition, "GUARD_FAILED");
    let token = take_once_open(&fresh, "l", &holder.session).await;
    assert!(token > old && token > mistaken);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_a_first_start_nor_a_restart_of_etcd_closes_locks() {
    let mut etcd = Etcd::start().await;
    let backend = Backend::on(etcd.endpoints(), ());
    let server = start(&backend).await;
    assert!(!is_closed(&server));
    let session = open(&server).await;
    let token = take(&server, "l", &session, "r").await;
    etcd.kill(0);
    etcd.restart(0).await;
    let other = start(&backend).await;
    eventually("the store to be followed again", || async {
        guarded(&server, token).await.ok()
    })
    .await;
    guarded(&other, token).await.unwrap();
    take(&other, "m", &session, "r").await;
    assert!(!is_closed(&server) && !is_closed(&other));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_on_the_embedded_store_keeps_locks_held() {
    let directory = tempfile::tempdir().unwrap();
    let backend = Backend::embedded().await;
    let start = async || {
        let location = Location::File(directory.path().to_owned());
        let clock = Arc::new(stanchion::clock::SystemClock);
        let store = Embedded::open(location, embedded::Settings::default(), clock.clone());
        let store = Arc::new(store.await.unwrap());
        let server = backend.server_on(store.clone(), backend.settings(), clock);
        (server.await, store)
    };
    let (server, store) = start().await;
    let session = open(&server).await;
    let token = take(&server, "l", &session, "r").await;
    let epoch = server.app().core.cache.view().unwrap().state.epoch;
    server.stop().await;
    store.close().await;

    let (server, _store) = start().await;
    let view = server.app().core.cache.view().unwrap();
    assert!(view.state.epoch.era > epoch.era && view.state.closed.is_none());
    assert_eq!(
        lock(&server, "l").await.holder.unwrap().fencing_token,
        token
    );
    guarded(&server, token).await.unwrap();
    let next = take(&server, "m", &session, "r").await;
    assert!(next > token);
}
