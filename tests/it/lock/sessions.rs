//! What becomes of locks and queues when sessions end.

use tonic::Code;

use super::*;
use crate::support::server::{Backend, assert_status, on_both_stores};

on_both_stores! {
    the_next_one_gets_the_lock_when_the_holders_session_is_closed,
    the_next_one_gets_the_lock_when_the_holders_session_expires,
    a_waiter_whose_session_is_closed_leaves_the_queue_and_is_told,
    a_waiter_whose_session_expires_leaves_the_queue_and_is_told,
}

async fn the_next_one_gets_the_lock_when_the_holders_session_is_closed(backend: Backend) {
    let server = backend.server().await;
    let (first, second) = (open(&server).await, open(&server).await);
    let token = take(&server, "l", &first, "r").await;
    let waiting = spawn(&server, wanted("l", &second, "r"));
    until_waiting(&server, "l", 1).await;
    close(&server, &first).await;
    assert!(waiting.await.unwrap().unwrap().fencing_token > token);
}

async fn the_next_one_gets_the_lock_when_the_holders_session_expires(backend: Backend) {
    let server = backend.server().await;
    let (first, second) = (open_for(&server, 2, "").await, open(&server).await);
    let token = take(&server, "l", &first, "r").await;
    let granted = acquire(&server, wanted("l", &second, "r")).await.unwrap();
    assert!(granted.fencing_token > token);
    // What the former holder had is gone, and so is the session.
    assert!(!release_token(&server, "l", &first, token).await);
    let late = acquire(&server, tried("l", &first, "r")).await.unwrap_err();
    assert_status(&late, Code::FailedPrecondition, "LEASE_EXPIRED");
}

async fn a_waiter_whose_session_is_closed_leaves_the_queue_and_is_told(backend: Backend) {
    let server = backend.server().await;
    let (first, second) = (open(&server).await, open(&server).await);
    take(&server, "l", &first, "r").await;
    let waiting = spawn(&server, wanted("l", &second, "r"));
    until_waiting(&server, "l", 1).await;
    close(&server, &second).await;
    let told = waiting.await.unwrap().unwrap_err();
    assert_status(&told, Code::FailedPrecondition, "LEASE_EXPIRED");
    assert!(lock(&server, "l").await.waiters.is_empty());
}

async fn a_waiter_whose_session_expires_leaves_the_queue_and_is_told(backend: Backend) {
    let server = backend.server().await;
    let (first, second) = (open(&server).await, open_for(&server, 2, "").await);
    let token = take(&server, "l", &first, "r").await;
    let told = acquire(&server, wanted("l", &second, "r"))
        .await
        .unwrap_err();
    assert_status(&told, Code::FailedPrecondition, "LEASE_EXPIRED");
    let seen = lock(&server, "l").await;
    assert_eq!(seen.holder.unwrap().fencing_token, token);
    assert!(seen.waiters.is_empty());
}
