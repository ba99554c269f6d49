//! Locks while this replica has yet to hear of what the store did.

use std::pin::pin;

use stanchion::store::{Revision, Watch};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use super::*;
use crate::support::{
    server::{Backend, on_both_stores},
    store::PATIENCE,
};

on_both_stores! {
    a_free_lock_is_taken_and_given_up_by_the_word_of_the_store_alone,
    whoever_reads_a_lock_sees_what_was_acknowledged,
    what_is_there_no_more_is_not_taken_up,
}

/// How long it takes at least until something that waits is believed to.
const WHILE: Duration = Duration::from_millis(200);

/// A store whose watches say nothing while the gate is shut.
struct Mute {
    inner: Arc<dyn Store>,
    open: watch::Receiver<bool>,
}

#[async_trait]
impl Overlay for Mute {
    fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    async fn watch(&self, prefix: Bytes, from: Revision) -> Result<Watch, Error> {
        let mut inner = self.inner.watch(prefix, from).await?;
        let (sender, items) = mpsc::channel(1);
        let mut open = self.open.clone();
        tokio::spawn(async move {
            while let Some(item) = inner.items.recv().await {
                if open.wait_for(|open| *open).await.is_err() || sender.send(item).await.is_err() {
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
async fn mute(backend: &Backend) -> (Server, watch::Sender<bool>) {
    let (gate, open) = watch::channel(true);
    let store = Overlaid(Mute {
        inner: backend.store().await,
        open,
    });
    let mut settings = backend.settings();
    settings.domain.read_your_writes = PATIENCE;
    let clock = Arc::new(stanchion::clock::SystemClock);
    let server = backend.server_on(Arc::new(store), settings, clock);
    (server.await, gate)
}

async fn a_free_lock_is_taken_and_given_up_by_the_word_of_the_store_alone(backend: Backend) {
    let (server, gate) = mute(&backend).await;
    let session = open(&server).await;
    gate.send_replace(false);
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
    gate.send_replace(true);
}

async fn whoever_reads_a_lock_sees_what_was_acknowledged(backend: Backend) {
    let (server, gate) = mute(&backend).await;
    let session = open(&server).await;
    gate.send_replace(false);
    let granted = acquire(&server, wanted("l", &session, "r")).await.unwrap();
    let mut locks = server.locks();
    let mut reading = pin!(locks.get_lock(GetLockRequest {
        lock: "l".into(),
        ..Default::default()
    }));
    assert!(timeout(WHILE, &mut reading).await.is_err());
    gate.send_replace(true);
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
    gate.send_replace(false);
    assert!(release_token(&server, "l", &session, token).await);
    let mut again = pin!(acquire(&server, wanted("l", &session, "r")));
    assert!(timeout(WHILE, &mut again).await.is_err());
    gate.send_replace(true);
    assert!(again.await.unwrap().fencing_token > token);
}
