//! Locks that their owner acquires again.

use std::time::Duration;

use tonic::Code;

use super::*;
use crate::support::server::{Backend, assert_invalid, assert_status, eventually, on_both_stores};

on_both_stores! {
    an_owner_that_holds_a_lock_holds_it_again_until_each_is_released,
    a_repeated_request_counts_once,
    another_owner_of_the_same_session_waits,
    a_request_undone_before_it_arrives_does_not_count,
    requests_that_wait_together_are_granted_together_and_leave_apart,
    a_call_that_breaks_off_takes_along_what_it_had_alone,
    a_token_releases_all_at_once,
    an_owner_holds_a_lock_only_so_often,
}

fn by(owner: &str, request: AcquireLockRequest) -> AcquireLockRequest {
    AcquireLockRequest {
        reentrant_owner: owner.into(),
        ..request
    }
}

async fn enter(server: &Server, session: &str, owner: &str, request: &str) -> i64 {
    let granted = acquire(server, by(owner, tried("l", session, request))).await;
    granted.unwrap().fencing_token
}

async fn leave(server: &Server, session: &str, owner: &str, request: &str) -> bool {
    let request = ReleaseLockRequest {
        lock: "l".into(),
        session_id: session.into(),
        claim: Some(Claim::RequestId(request.into())),
        reentrant_owner: owner.into(),
        ..Default::default()
    };
    let released = server.locks().release_lock(request).await.unwrap();
    released.into_inner().released
}

async fn holds(server: &Server) -> i32 {
    lock(server, "l")
        .await
        .holder
        .map_or(0, |claim| claim.holds)
}

async fn an_owner_that_holds_a_lock_holds_it_again_until_each_is_released(backend: Backend) {
    let server = backend.server().await;
    let other = backend.server().await;
    let (session, second) = (open(&server).await, open(&server).await);
    let token = enter(&server, &session, "job", "r1").await;
    let waiting = spawn(&server, wanted("l", &second, "w"));
    until_waiting(&server, "l", 1).await;
    // Past the one who waits, because it holds the lock already.
    assert_eq!(enter(&other, &session, "job", "r2").await, token);
    assert_eq!(holds(&server).await, 2);
    assert!(leave(&other, &session, "job", "r1").await);
    assert_eq!(holds(&server).await, 1);
    assert_eq!(
        lock(&server, "l").await.holder.unwrap().fencing_token,
        token
    );
    // Once, however often it is said.
    assert!(!leave(&server, &session, "job", "r1").await);
    assert_eq!(holds(&server).await, 1);
    assert!(!waiting.is_finished());
    assert!(leave(&server, &session, "job", "r2").await);
    assert!(waiting.await.unwrap().unwrap().fencing_token > token);
}

async fn a_repeated_request_counts_once(backend: Backend) {
    let server = backend.server().await;
    let other = backend.server().await;
    let session = open(&server).await;
    let token = enter(&server, &session, "job", "r1").await;
    for server in [&server, &other, &server] {
        assert_eq!(enter(server, &session, "job", "r1").await, token);
        assert_eq!(enter(server, &session, "job", "r2").await, token);
    }
    assert_eq!(holds(&server).await, 2);
    assert!(leave(&server, &session, "job", "r1").await);
    assert!(leave(&server, &session, "job", "r2").await);
    assert!(lock(&server, "l").await.holder.is_none());
}

async fn another_owner_of_the_same_session_waits(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server).await;
    enter(&server, &session, "job", "r1").await;
    for request in [
        by("other", tried("l", &session, "r2")),
        tried("l", &session, "job"),
    ] {
        let refused = acquire(&server, request).await.unwrap_err();
        assert_status(&refused, Code::FailedPrecondition, "LOCK_HELD");
    }
    let nameless = acquire(&server, by("job", tried("l", &session, ""))).await;
    assert_invalid(&nameless.unwrap_err(), "request_id");
    let shared = AcquireLockRequest {
        mode: stanchion_client::proto::LockMode::Shared.into(),
        ..by("job", tried("l", &session, "r3"))
    };
    let refused = acquire(&server, shared).await.unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "CLAIM_DIFFERS");
}

async fn a_request_undone_before_it_arrives_does_not_count(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server).await;
    enter(&server, &session, "job", "r1").await;
    assert!(!leave(&server, &session, "job", "late").await);
    let late = acquire(&server, by("job", wanted("l", &session, "late"))).await;
    assert_status(
        &late.unwrap_err(),
        Code::FailedPrecondition,
        "REQUEST_UNDONE",
    );
    assert_eq!(holds(&server).await, 1);
}

async fn requests_that_wait_together_are_granted_together_and_leave_apart(backend: Backend) {
    let server = backend.server().await;
    let (first, session) = (open(&server).await, open(&server).await);
    let token = take(&server, "l", &first, "r").await;
    let one = spawn(&server, by("job", wanted("l", &session, "r1")));
    until_waiting(&server, "l", 1).await;
    let other = spawn(&server, by("job", wanted("l", &session, "r2")));
    let short = timed("l", &session, "r3", Duration::from_millis(50));
    let refused = acquire(&server, by("job", short)).await.unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "LOCK_HELD");
    eventually("two to wait together", || async {
        let waiters = lock(&server, "l").await.waiters;
        (waiters.len() == 1 && waiters[0].holds == 2).then_some(())
    })
    .await;
    assert!(release_token(&server, "l", &first, token).await);
    let granted = one.await.unwrap().unwrap().fencing_token;
    assert_eq!(other.await.unwrap().unwrap().fencing_token, granted);
}

async fn a_call_that_breaks_off_takes_along_what_it_had_alone(backend: Backend) {
    let server = backend.server().await;
    let (first, session) = (open(&server).await, open(&server).await);
    let token = take(&server, "l", &first, "r").await;
    let stays = spawn(&server, by("job", wanted("l", &session, "r1")));
    until_waiting(&server, "l", 1).await;
    let cut = spawn(&server, by("job", wanted("l", &session, "r2")));
    let counted = async |count| {
        eventually("the requests to be counted", || async {
            let waiters = lock(&server, "l").await.waiters;
            (waiters.len() == 1 && waiters[0].holds == count).then_some(())
        })
        .await;
    };
    counted(2).await;
    cut.abort();
    counted(1).await;
    assert!(release_token(&server, "l", &first, token).await);
    stays.await.unwrap().unwrap();
    assert_eq!(holds(&server).await, 1);
}

async fn a_token_releases_all_at_once(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server).await;
    let token = enter(&server, &session, "job", "r1").await;
    enter(&server, &session, "job", "r2").await;
    assert!(release_token(&server, "l", &session, token).await);
    assert!(lock(&server, "l").await.holder.is_none());
    assert!(!leave(&server, &session, "job", "r2").await);
}

async fn an_owner_holds_a_lock_only_so_often(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server).await;
    for index in 0..64 {
        enter(&server, &session, "job", &index.to_string()).await;
    }
    let refused = acquire(&server, by("job", tried("l", &session, "one more"))).await;
    let refused = refused.unwrap_err();
    assert_status(&refused, Code::ResourceExhausted, "TOO_MANY_HOLDS");
    enter(&server, &session, "job", "7").await;
    assert!(leave(&server, &session, "job", "8").await);
    enter(&server, &session, "job", "one more").await;
    assert_eq!(holds(&server).await, 64);
}
