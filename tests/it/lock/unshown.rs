//! Locks while this replica has yet to hear of what the store did.

use std::pin::pin;

use stanchion::store::{Revision, Watch};
use stanchion_client::proto::{LockLost, LockLostCause, keep_alive_response::Message};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use super::{hold::hold, loss::Holder, oversight::force, *};
use crate::support::{
    etcd::Etcd,
    server::{Backend, on_both_stores},
    store::PATIENCE,
};

on_both_stores! {
    a_free_lock_is_taken_and_given_up_by_the_word_of_the_store_alone,
    whoever_reads_a_lock_sees_what_was_acknowledged,
    what_is_there_no_more_is_not_taken_up,
    who_loses_what_was_never_shown_is_told_and_who_gave_it_up_is_not,
    a_stream_that_holds_what_was_never_shown_is_told_of_its_loss,
}

/// How long it takes at least until something that waits is believed to.
const WHILE: Duration = Duration::from_millis(200);

/// A store whose watches are let through a gate.
struct Mute {
    inner: Arc<dyn Store>,
    gate: watch::Receiver<Gate>,
}

/// What watches say.
#[derive(Clone, Copy, PartialEq)]
enum Gate {
    /// All that happens.
    Open,
    /// Nothing.
    Shut,
    /// That the store has forgotten what comes next.
    Forgotten,
}

#[async_trait]
impl Overlay for Mute {
    fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    async fn watch(&self, prefix: Bytes, from: Revision) -> Result<Watch, Error> {
        let mut inner = self.inner.watch(prefix, from).await?;
        let (sender, items) = mpsc::channel(1);
        let mut gate = self.gate.clone();
        tokio::spawn(async move {
            while let Some(item) = inner.items.recv().await {
                let gate = gate.wait_for(|gate| *gate != Gate::Shut).await;
                let Ok(gate) = gate.map(|gate| *gate) else {
                    return;
                };
                let item = match gate {
                    Gate::Forgotten => Err(Error::Compacted { oldest: 0 }),
                    _ => item,
                };
                if sender.send(item).await.is_err() || gate == Gate::Forgotten {
                    return;
                }
            }
        });
        Ok(Watch {
            items,
            probe: inner.probe,
        })
    }
}

/// A replica over such a store, where who waits for its cache waits for long, and its gate, which is
/// open.
async fn mute(backend: &Backend) -> (Server, watch::Sender<Gate>) {
    let (sender, gate) = watch::channel(Gate::Open);
    let store = Overlaid(Mute {
        inner: backend.store().await,
        gate,
    });
    let mut settings = backend.settings();
    settings.domain.read_your_writes = PATIENCE;
    let clock = Arc::new(stanchion::clock::SystemClock);
    let server = backend.server_on(Arc::new(store), settings, clock);
    (server.await, sender)
}

async fn a_free_lock_is_taken_and_given_up_by_the_word_of_the_store_alone(backend: Backend) {
    let (server, gate) = mute(&backend).await;
    let session = open(&server).await;
    gate.send_replace(Gate::Shut);
    let at_once = async {
        let first = acquire(&server, wanted("l", &session, "r")).await.unwrap();
        let (token, holder) = (first.fencing_token, first.claim.unwrap());
        assert_eq!(holder.fencing_token, token);
        assert!(release_token(&server, "l", &session, token).await);
        let second = acquire(&server, tried("l", &session, "r")).await.unwrap();
        assert!(second.fencing_token > token);
    };
    let taken = timeout(PATIENCE / 2, at_once).await;
    taken.expect("waited for the cache");
    gate.send_replace(Gate::Open);
}

async fn whoever_reads_a_lock_sees_what_was_acknowledged(backend: Backend) {
    let (server, gate) = mute(&backend).await;
    let session = open(&server).await;
    gate.send_replace(Gate::Shut);
    let granted = acquire(&server, wanted("l", &session, "r")).await.unwrap();
    let mut locks = server.locks();
    let mut reading = pin!(locks.get_lock(GetLockRequest {
        lock: "l".into(),
        ..Default::default()
    }));
    assert!(timeout(WHILE, &mut reading).await.is_err());
    gate.send_replace(Gate::Open);
    let shown = reading.await.unwrap().into_inner().lock.unwrap();
    assert_eq!(
        shown.holder.expect("held").fencing_token,
        granted.fencing_token
    );
}

async fn what_is_there_no_more_is_not_taken_up(backend: Backend) {
    let (server, gate) = mute(&backend).await;
    let session = open(&server).await;
    let token = take(&server, "l", &session, "r").await;
    assert!(lock(&server, "l").await.holder.is_some());
    gate.send_replace(Gate::Shut);
    assert!(release_token(&server, "l", &session, token).await);
    let mut again = pin!(acquire(&server, wanted("l", &session, "r")));
    assert!(timeout(WHILE, &mut again).await.is_err());
    gate.send_replace(Gate::Open);
    assert!(again.await.unwrap().fencing_token > token);
}

async fn who_loses_what_was_never_shown_is_told_and_who_gave_it_up_is_not(backend: Backend) {
    let (server, gate) = mute(&backend).await;
    let other = backend.server().await;
    let mut holder = Holder::open(&server).await;
    gate.send_replace(Gate::Shut);
    let given_up = take(&server, "k", &holder.session, "r").await;
    assert!(release_token(&server, "k", &holder.session, given_up).await);
    let token = take(&server, "l", &holder.session, "r").await;
    assert!(force(&other, "l", token).await.released);
    gate.send_replace(Gate::Forgotten);
    let told = lock_loss(&mut holder).await;
    assert_eq!((told.lock.as_str(), told.fencing_token), ("l", token));
    assert_eq!(told.cause(), LockLostCause::Forced);
}

async fn a_stream_that_holds_what_was_never_shown_is_told_of_its_loss(backend: Backend) {
    let (server, gate) = mute(&backend).await;
    let other = backend.server().await;
    let session = open(&server).await;
    gate.send_replace(Gate::Shut);
    let mut holding = hold(&server, "l", &session, "r").await;
    let token = holding.acquired().await.fencing_token;
    assert!(force(&other, "l", token).await.released);
    gate.send_replace(Gate::Forgotten);
    let lost = holding.lost().await;
    assert_eq!(lost.fencing_token, token);
    assert_eq!(lost.cause(), LockLostCause::Forced);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_loses_with_the_store_what_was_never_shown_is_told() {
    let mut etcd = Etcd::start().await;
    let backend = Backend::on(etcd.endpoints(), ());
    let (server, gate) = mute(&backend).await;
    let (former, mut holder) = (Holder::open(&server).await, Holder::open(&server).await);
    etcd.kill(0);
    let copy = etcd.copy_data(0);
    etcd.restart(0).await;
    eventually("the store to be followed again", || async {
        let granted = acquire(&server, tried("k", &former.session, "r")).await;
        granted.ok()
    })
    .await;
    gate.send_replace(Gate::Shut);
    let token = take(&server, "l", &holder.session, "r").await;
    etcd.kill(0);
    etcd.put_back(0, &copy);
    etcd.restart(0).await;
    let told = lock_loss(&mut holder).await;
    assert_eq!((told.lock.as_str(), told.fencing_token), ("l", token));
    assert_eq!(told.cause(), LockLostCause::EpochChanged);
}

async fn lock_loss(holder: &mut Holder) -> LockLost {
    match holder.loss().await {
        Message::LockLost(told) => told,
        other => panic!("told of {other:?}"),
    }
}
