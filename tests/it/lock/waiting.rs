//! Trying, waiting, and who comes next.

use std::time::{Duration, Instant};

use tonic::Code;

use super::*;
use crate::support::server::{Backend, assert_status, on_both_stores};

on_both_stores! {
    a_held_lock_is_refused_in_words_to_who_does_not_wait,
    a_wait_ends_after_its_time_and_leaves_the_queue,
    waiters_are_served_in_the_order_in_which_they_came,
    two_requests_of_one_session_exclude_each_other,
    a_repeated_request_returns_the_same_token,
    a_repeated_try_of_who_waits_leaves_the_queue,
    a_lock_and_a_session_take_only_so_much,
}

async fn a_held_lock_is_refused_in_words_to_who_does_not_wait(backend: Backend) {
    let server = backend.server().await;
    let (first, second) = (open_for(&server, 60, "billing").await, open(&server).await);
    let request = AcquireLockRequest {
        owner: "nightly run".into(),
        ..tried("l", &first, "r1")
    };
    let granted = acquire(&server, request).await.unwrap();
    let claim = granted.claim.unwrap();
    assert!(granted.fencing_token > 0);
    assert_eq!(claim.fencing_token, granted.fencing_token);
    assert!(claim.held);
    assert_eq!(
        (claim.owner.as_str(), claim.client_id.as_str()),
        ("nightly run", "billing")
    );
    assert!(granted.header.unwrap().revision > 0);

    for request in [
        tried("l", &second, "r2"),
        timed("l", &second, "r2", Duration::ZERO),
    ] {
        let refused = acquire(&server, request).await.unwrap_err();
        assert_status(&refused, Code::FailedPrecondition, "LOCK_HELD");
        assert!(refused.message().contains("nightly run"), "{refused:?}");
        assert!(!refused.message().contains(&first), "{refused:?}");
    }
    let seen = lock(&server, "l").await;
    assert_eq!(seen.holder.unwrap().fencing_token, granted.fencing_token);
    assert!(seen.waiters.is_empty());
}

async fn a_wait_ends_after_its_time_and_leaves_the_queue(backend: Backend) {
    let server = backend.server().await;
    let (first, second) = (open(&server).await, open(&server).await);
    let token = take(&server, "l", &first, "r1").await;
    let begun = Instant::now();
    let time = Duration::from_millis(300);
    let refused = acquire(&server, timed("l", &second, "r2", time)).await;
    assert_status(&refused.unwrap_err(), Code::FailedPrecondition, "LOCK_HELD");
    assert!(begun.elapsed() >= time);
    assert!(lock(&server, "l").await.waiters.is_empty());

    // One that is released in time is granted.
    let waiting = spawn(&server, timed("l", &second, "r2", Duration::from_secs(20)));
    until_waiting(&server, "l", 1).await;
    assert!(release_token(&server, "l", &first, token).await);
    assert!(waiting.await.unwrap().unwrap().fencing_token > token);
}

async fn waiters_are_served_in_the_order_in_which_they_came(backend: Backend) {
    let server = backend.server().await;
    let mut sessions = Vec::new();
    for _ in 0..5 {
        sessions.push(open(&server).await);
    }
    let mut token = take(&server, "l", &sessions[0], "r").await;
    let mut calls = Vec::new();
    for (index, session) in sessions.iter().enumerate().skip(1) {
        let request = AcquireLockRequest {
            owner: format!("owner {index}"),
            ..wanted("l", session, "r")
        };
        calls.push(spawn(&server, request));
        until_waiting(&server, "l", index).await;
    }
    let seen = lock(&server, "l").await;
    let order: Vec<_> = seen
        .waiters
        .iter()
        .map(|waiter| (waiter.position, waiter.owner.clone(), waiter.held))
        .collect();
    let expected: Vec<_> = (1..5).map(|i| (i, format!("owner {i}"), false)).collect();
    assert_eq!(order, expected);
    assert_eq!(seen.waiter_count, 4);

    for (index, call) in calls.into_iter().enumerate() {
        assert!(!call.is_finished());
        assert!(release_token(&server, "l", &sessions[index], token).await);
        let next = call.await.unwrap().unwrap();
        assert_eq!(next.claim.unwrap().owner, format!("owner {}", index + 1));
        assert!(next.fencing_token > token);
        token = next.fencing_token;
    }
}

async fn two_requests_of_one_session_exclude_each_other(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server).await;
    let token = take(&server, "l", &session, "thread 1").await;
    let refused = acquire(&server, tried("l", &session, "thread 2")).await;
    assert_status(&refused.unwrap_err(), Code::FailedPrecondition, "LOCK_HELD");
    let second = spawn(&server, wanted("l", &session, "thread 2"));
    until_waiting(&server, "l", 1).await;
    assert!(release_token(&server, "l", &session, token).await);
    assert!(second.await.unwrap().unwrap().fencing_token > token);
}

async fn a_repeated_request_returns_the_same_token(backend: Backend) {
    let server = backend.server().await;
    let other = backend.server().await;
    let session = open(&server).await;
    let token = take(&server, "l", &session, "r").await;
    assert_eq!(take(&server, "l", &session, "r").await, token);
    assert_eq!(take(&other, "l", &session, "r").await, token);
    let waiting = acquire(&other, wanted("l", &session, "r")).await.unwrap();
    assert_eq!(waiting.fencing_token, token);
    assert!(lock(&server, "l").await.waiters.is_empty());
    // Without a request id the session as such is the owner.
    let token = take(&server, "m", &session, "").await;
    assert_eq!(take(&other, "m", &session, "").await, token);
}

async fn a_repeated_try_of_who_waits_leaves_the_queue(backend: Backend) {
    let server = backend.server().await;
    let (first, second) = (open(&server).await, open(&server).await);
    take(&server, "l", &first, "r1").await;
    let waiting = spawn(&server, wanted("l", &second, "r2"));
    until_waiting(&server, "l", 1).await;
    waiting.abort();
    let refused = acquire(&server, tried("l", &second, "r2")).await;
    assert_status(&refused.unwrap_err(), Code::FailedPrecondition, "LOCK_HELD");
    assert!(lock(&server, "l").await.waiters.is_empty());
}

async fn a_lock_and_a_session_take_only_so_much(backend: Backend) {
    let mut settings = backend.settings();
    settings.domain.max_waiters = 2;
    settings.domain.max_session_keys = 4;
    let server = backend.server_with(settings).await;
    let session = open(&server).await;
    take(&server, "l", &session, "r0").await;
    let _first = spawn(&server, wanted("l", &session, "r1"));
    let _second = spawn(&server, wanted("l", &session, "r2"));
    until_waiting(&server, "l", 2).await;
    let refused = acquire(&server, wanted("l", &session, "r3"))
        .await
        .unwrap_err();
    assert_status(&refused, Code::ResourceExhausted, "TOO_MANY_WAITERS");
    // Who is in the queue already is not refused.
    let again = acquire(
        &server,
        timed("l", &session, "r1", Duration::from_millis(1)),
    )
    .await;
    assert_status(&again.unwrap_err(), Code::FailedPrecondition, "LOCK_HELD");

    take(&server, "m", &session, "r4").await;
    take(&server, "n", &session, "r5").await;
    let refused = acquire(&server, tried("o", &session, "r6"))
        .await
        .unwrap_err();
    assert_status(&refused, Code::ResourceExhausted, "SESSION_FULL");
}
