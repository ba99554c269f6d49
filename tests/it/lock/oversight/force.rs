//! Taking a lock by force.

use stanchion::store::Outcome;
use stanchion_client::proto::{
    DeleteCause, LockLostCause, WatchLockRequest, watch_lock_response::Message as Watched,
};
use tonic::Code;

use super::*;
use crate::support::server::{Backend, assert_status, on_both_stores};

on_both_stores! {
    a_lock_taken_by_force_goes_to_the_next_and_its_holder_is_told_everywhere,
    a_waiter_is_taken_out_of_the_queue_and_told,
    what_is_gone_or_another_claim_is_not_touched,
    a_store_without_room_for_a_note_frees_all_the_same,
    a_taking_whose_answer_was_lost_is_told_as_done,
}

/// What becomes of transactions that write a note.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    Full,
    AnswerLost,
}

struct Faulty {
    inner: Arc<dyn Store>,
    fault: Mutex<Option<Fault>>,
}

#[async_trait]
impl Overlay for Faulty {
    fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, Error> {
        if !format!("{txn:?}").contains("/state/forced/") {
            return self.inner.txn(txn).await;
        }
        let fault = self.fault.lock().unwrap().take();
        match fault {
            None => self.inner.txn(txn).await,
            Some(Fault::Full) => Err(Error::Full {
                message: "no room".into(),
                outcome: Outcome::NotDone,
            }),
            Some(Fault::AnswerLost) => {
                self.inner.txn(txn).await?;
                Err(Error::Timeout {
                    outcome: Outcome::Unknown,
                })
            }
        }
    }
}

async fn faulty(backend: &Backend, fault: Fault) -> Server {
    let store = Arc::new(Overlaid(Faulty {
        inner: backend.store().await,
        fault: Mutex::new(Some(fault)),
    }));
    let clock = Arc::new(stanchion::clock::SystemClock);
    backend.server_on(store, backend.settings(), clock).await
}

async fn a_lock_taken_by_force_goes_to_the_next_and_its_holder_is_told_everywhere(
    backend: Backend,
) {
    let server = backend.server().await;
    let other = backend.server().await;
    let (first, second) = (open(&server).await, open(&server).await);
    let mut here = Beats::open(&server, &first).await;
    let mut there = Beats::open(&other, &first).await;
    let token = take(&server, "l", &first, "r").await;
    let waiting = spawn(&server, wanted("l", &second, "r"));
    let next = until_waiting(&other, "l", 1).await.waiters[0].fencing_token;
    let request = WatchLockRequest {
        lock: "l".into(),
        ..Default::default()
    };
    let mut watch = server
        .locks()
        .watch_lock(request)
        .await
        .unwrap()
        .into_inner();

    let taken = force(&other, "l", token).await;
    assert!(taken.released && taken.noted);
    assert_eq!(waiting.await.unwrap().unwrap().fencing_token, next);
    for beats in [&mut here, &mut there] {
        let Message::LockLost(lost) = beats.told().await else {
            panic!("something else is told");
        };
        assert_eq!((&*lost.lock, lost.fencing_token), ("l", token));
        assert_eq!(lost.cause(), LockLostCause::Forced);
        assert_eq!((&*lost.actor, &*lost.comment), ("ops", "stuck"));
    }
    let cause = loop {
        if let Watched::Delta(delta) = watch.message().await.unwrap().unwrap().message.unwrap() {
            let gone = delta.events.iter().find(|event| {
                let claim = event.claim.as_ref().unwrap();
                claim.fencing_token == token
            });
            break gone.unwrap().cause();
        }
    };
    assert_eq!(cause, DeleteCause::Forced);
    // The former holder's token counts no more, and releasing is no error.
    assert!(!release_token(&server, "l", &first, token).await);
    let again = force(&server, "l", token).await;
    assert!(!again.released && !again.noted);
    assert_eq!(lock(&server, "l").await.holder.unwrap().fencing_token, next);
}

async fn a_waiter_is_taken_out_of_the_queue_and_told(backend: Backend) {
    let server = backend.server().await;
    let (first, second) = (open(&server).await, open(&server).await);
    let token = take(&server, "l", &first, "r").await;
    let waiting = spawn(&server, wanted("l", &second, "r"));
    let waiter = until_waiting(&server, "l", 1).await.waiters[0].fencing_token;
    assert!(force(&server, "l", waiter).await.released);
    let told = waiting.await.unwrap().unwrap_err();
    assert_status(&told, Code::FailedPrecondition, "REQUEST_UNDONE");
    let left = lock(&server, "l").await;
    assert_eq!(left.holder.unwrap().fencing_token, token);
    assert_eq!(left.waiter_count, 0);
}

async fn what_is_gone_or_another_claim_is_not_touched(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server).await;
    assert!(!force(&server, "l", 17).await.released);
    let first = take(&server, "l", &session, "r").await;
    release_token(&server, "l", &session, first).await;
    // The same request, and so the same key.
    let second = take(&server, "l", &session, "r").await;
    assert!(!force(&server, "l", first).await.released);
    let there = lock(&server, "l").await.holder.unwrap();
    assert_eq!(there.fencing_token, second);
}

async fn a_store_without_room_for_a_note_frees_all_the_same(backend: Backend) {
    let server = faulty(&backend, Fault::Full).await;
    let session = open(&server).await;
    let mut beats = Beats::open(&server, &session).await;
    let token = take(&server, "l", &session, "r").await;
    let taken = force(&server, "l", token).await;
    assert!(taken.released && !taken.noted);
    let Message::LockLost(lost) = beats.told().await else {
        panic!("something else is told");
    };
    assert_eq!(lost.cause(), LockLostCause::Removed);
    assert!(lock(&server, "l").await.holder.is_none());
}

async fn a_taking_whose_answer_was_lost_is_told_as_done(backend: Backend) {
    let server = faulty(&backend, Fault::AnswerLost).await;
    let session = open(&server).await;
    let token = take(&server, "l", &session, "r").await;
    let taken = force(&server, "l", token).await;
    assert!(taken.released && taken.noted);
}
