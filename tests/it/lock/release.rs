//! Giving up what one holds, waits for, or has asked for.

use stanchion::store::Operation;
use tonic::Code;

use super::*;
use crate::support::server::{Backend, assert_status, on_both_stores};

on_both_stores! {
    releasing_twice_changes_nothing_the_second_time,
    nobody_releases_what_another_session_has,
    a_release_by_request_takes_the_holder_or_the_waiter,
    a_release_that_overtakes_its_acquire_undoes_it,
    a_session_without_request_ids_releases_and_acquires_again,
    a_release_puts_nothing_into_the_store,
}

async fn releasing_twice_changes_nothing_the_second_time(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server).await;
    let token = take(&server, "l", &session, "r").await;
    assert!(release_token(&server, "l", &session, token).await);
    assert!(lock(&server, "l").await.holder.is_none());
    assert!(!release_token(&server, "l", &session, token).await);
    // The second time does not touch who came since.
    let other = open(&server).await;
    let later = take(&server, "l", &other, "r").await;
    assert!(later > token);
    assert!(!release_token(&server, "l", &session, token).await);
    assert_eq!(
        lock(&server, "l").await.holder.unwrap().fencing_token,
        later
    );
}

async fn nobody_releases_what_another_session_has(backend: Backend) {
    let server = backend.server().await;
    let (mine, other) = (open(&server).await, open(&server).await);
    let token = take(&server, "l", &mine, "r").await;
    let unknown = "0123456789abcdef0123456789abcdef";
    for session in [other.as_str(), unknown, "nonsense"] {
        let refused = release(&server, "l", session, Some(Claim::FencingToken(token))).await;
        assert_status(
            &refused.unwrap_err(),
            Code::FailedPrecondition,
            "LOCK_NOT_HELD",
        );
        // By its own name for the request it has nothing.
        let claim = Some(Claim::RequestId("r".into()));
        assert!(!release(&server, "l", session, claim).await.unwrap());
    }
    assert_eq!(
        lock(&server, "l").await.holder.unwrap().fencing_token,
        token
    );
}

async fn a_release_by_request_takes_the_holder_or_the_waiter(backend: Backend) {
    let server = backend.server().await;
    let (first, second) = (open(&server).await, open(&server).await);
    take(&server, "l", &first, "r1").await;
    let waiting = spawn(&server, wanted("l", &second, "r2"));
    until_waiting(&server, "l", 1).await;
    assert!(release_request(&server, "l", &second, "r2").await);
    let told = waiting.await.unwrap().unwrap_err();
    assert_status(&told, Code::FailedPrecondition, "REQUEST_UNDONE");
    assert!(lock(&server, "l").await.waiters.is_empty());
    assert!(release_request(&server, "l", &first, "r1").await);
    assert!(!release_request(&server, "l", &first, "r1").await);
    assert!(lock(&server, "l").await.holder.is_none());
}

async fn a_release_that_overtakes_its_acquire_undoes_it(backend: Backend) {
    let server = backend.server().await;
    let other = backend.server().await;
    let session = open(&server).await;
    assert!(!release_request(&server, "l", &session, "r").await);
    for request in [tried("l", &session, "r"), wanted("l", &session, "r")] {
        let late = acquire(&other, request).await.unwrap_err();
        assert_status(&late, Code::FailedPrecondition, "REQUEST_UNDONE");
    }
    // Another request of the session is not meant.
    take(&server, "l", &session, "s").await;
}

async fn a_session_without_request_ids_releases_and_acquires_again(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server).await;
    for _ in 0..3 {
        let token = take(&server, "l", &session, "").await;
        assert!(release(&server, "l", &session, None).await.unwrap());
        assert!(!release(&server, "l", &session, None).await.unwrap());
        assert!(!release_token(&server, "l", &session, token).await);
    }
}

/// A full store accepts nothing else, not even in a branch that is not taken.
async fn a_release_puts_nothing_into_the_store(backend: Backend) {
    let store = Counting::new(backend.store().await);
    let clock = Arc::new(stanchion::clock::SystemClock);
    let server = backend
        .server_on(store.clone(), backend.settings(), clock)
        .await;
    let session = open(&server).await;
    let guard = take(&server, "guard", &session, "g").await;
    let token = take(&server, "l", &session, "r1").await;
    take(&server, "m", &session, "r2").await;
    store.take();
    assert!(release_token(&server, "l", &session, token).await);
    let request = ReleaseLockRequest {
        lock: "m".into(),
        session_id: session,
        claim: Some(Claim::RequestId("r2".into())),
        guard: Some(stanchion_client::proto::Guard {
            lock: "guard".into(),
            fencing_token: guard,
            ..Default::default()
        }),
        ..Default::default()
    };
    let released = server.locks().release_lock(request).await.unwrap();
    assert!(released.into_inner().released);
    let txns = store.take();
    assert_eq!(txns.len(), 2, "{txns:?}");
    assert!(txns.iter().all(|txn| has(txn, &is_delete)), "{txns:?}");
    assert!(!txns.iter().any(|txn| has(txn, &is_put)), "{txns:?}");
}

fn has(txn: &Txn, what: &impl Fn(&Operation) -> bool) -> bool {
    txn.success.iter().chain(&txn.failure).any(|operation| {
        what(operation) || matches!(operation, Operation::Txn(inner) if has(inner, what))
    })
}

fn is_delete(operation: &Operation) -> bool {
    matches!(operation, Operation::Delete(_))
}

fn is_put(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::Put { .. } | Operation::Overwrite { .. }
    )
}
