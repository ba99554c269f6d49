//! Asking a holder to give its lock up.

use std::time::Duration;

use stanchion_client::proto::{
    AcquireLockRequest, LockMode, RequestYieldRequest, RequestYieldResponse,
};
use tonic::Code;

use super::*;
use crate::support::server::{Backend, assert_status, on_both_stores};

on_both_stores! {
    a_holder_is_asked_once_and_told_on_whichever_replica_it_is,
    who_comes_to_another_replica_later_is_told_what_is_asked,
    nobody_is_asked_for_a_lock_that_is_free_or_by_another_token,
    of_several_holders_each_is_asked_in_turn,
    a_place_is_given_up_although_its_owner_was_asked_meanwhile,
}

async fn ask(server: &Server, lock: &str, comment: &str) -> RequestYieldResponse {
    let request = RequestYieldRequest {
        lock: lock.into(),
        actor: "ops".into(),
        comment: comment.into(),
        ..Default::default()
    };
    let answer = server.locks().request_yield(request).await.unwrap();
    answer.into_inner()
}

async fn a_holder_is_asked_once_and_told_on_whichever_replica_it_is(backend: Backend) {
    let server = backend.server().await;
    let other = backend.server().await;
    let (first, second) = (open(&server).await, open(&server).await);
    let mut here = Beats::open(&server, &first).await;
    let mut there = Beats::open(&other, &first).await;
    let token = take(&server, "l", &first, "r").await;
    let waiting = spawn(&server, wanted("l", &second, "r"));
    until_waiting(&other, "l", 1).await;

    let asked = ask(&other, "l", "please").await;
    assert!(asked.requested);
    assert_eq!(asked.fencing_token, token);
    let request = asked.yield_request.unwrap();
    assert_eq!((&*request.actor, &*request.comment), ("ops", "please"));
    for beats in [&mut here, &mut there] {
        let Message::YieldRequested(told) = beats.told().await else {
            panic!("something else is told");
        };
        assert_eq!((&*told.lock, told.fencing_token), ("l", token));
        assert_eq!(told.yield_request.unwrap().comment, "please");
    }
    // Others who ask change nothing.
    let again = ask(&server, "l", "now!").await;
    assert!(!again.requested);
    assert_eq!(again.yield_request.unwrap().comment, "please");
    let shown = lock(&server, "l").await;
    let holder = shown.holder.unwrap();
    assert_eq!(holder.yield_request.unwrap().comment, "please");
    assert_eq!(shown.waiters[0].yield_request, None);

    // What is asked goes with the claim.
    assert!(release_token(&server, "l", &first, token).await);
    waiting.await.unwrap().unwrap();
    let holder = lock(&server, "l").await.holder.unwrap();
    assert_eq!(holder.yield_request, None);
}

async fn who_comes_to_another_replica_later_is_told_what_is_asked(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server).await;
    let token = take(&server, "l", &session, "r").await;
    ask(&server, "l", "please").await;
    // It was not there at that time.
    let later = backend.server().await;
    for server in [&server, &later] {
        let mut beats = Beats::open(server, &session).await;
        let Message::YieldRequested(told) = beats.told().await else {
            panic!("something else is told");
        };
        assert_eq!(told.fencing_token, token);
    }
    // Not once the lock is given up.
    release_token(&server, "l", &session, token).await;
    later.current().await;
    take(&later, "other", &session, "s").await;
    let mut beats = Beats::open(&later, &session).await;
    let taken = lock(&later, "other").await.holder.unwrap().fencing_token;
    assert!(force(&server, "other", taken).await.released);
    assert!(matches!(beats.told().await, Message::LockLost(_)));
}

async fn nobody_is_asked_for_a_lock_that_is_free_or_by_another_token(backend: Backend) {
    let server = backend.server().await;
    let free = ask(&server, "l", "please").await;
    assert!(!free.requested);
    assert_eq!((free.fencing_token, free.yield_request), (0, None));
    let (first, second) = (open(&server).await, open(&server).await);
    let token = take(&server, "l", &first, "r").await;
    let _waiting = spawn(&server, wanted("l", &second, "r"));
    let waiter = until_waiting(&server, "l", 1).await.waiters[0].fencing_token;
    for fencing_token in [waiter, token + 1, 1] {
        let request = RequestYieldRequest {
            lock: "l".into(),
            fencing_token,
            ..Default::default()
        };
        let refused = server.locks().request_yield(request).await.unwrap_err();
        assert_status(&refused, Code::FailedPrecondition, "LOCK_NOT_HELD");
    }
    assert_eq!(lock(&server, "l").await.holder.unwrap().yield_request, None);
}

/// What is written into the record must not hide from its call that the place is its own.
async fn of_several_holders_each_is_asked_in_turn(backend: Backend) {
    let server = backend.server().await;
    let mut tokens = Vec::new();
    for _ in 0..3 {
        let session = open(&server).await;
        let request = AcquireLockRequest {
            mode: LockMode::Shared.into(),
            ..wanted("l", &session, "r")
        };
        let held = server.locks().acquire_lock(request).await.unwrap();
        tokens.push(held.into_inner().fencing_token);
    }
    for token in &tokens {
        let asked = ask(&server, "l", "please").await;
        assert_eq!((asked.requested, asked.fencing_token), (true, *token));
    }
    let again = ask(&server, "l", "please").await;
    assert_eq!((again.requested, again.fencing_token), (false, tokens[0]));
}

async fn a_place_is_given_up_although_its_owner_was_asked_meanwhile(backend: Backend) {
    let mut settings = backend.settings();
    settings.domain.waiter_keep = Duration::from_secs(5);
    let server = backend.server_with(settings).await;
    let (first, second) = (open(&server).await, open(&server).await);
    let token = take(&server, "l", &first, "r").await;
    let cut = spawn(&server, wanted("l", &second, "r"));
    until_waiting(&server, "l", 1).await;
    // It comes to hold the lock after its call broke off.
    cut.abort();
    assert!(cut.await.unwrap_err().is_cancelled());
    // The server has noticed.
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert!(release_token(&server, "l", &first, token).await);
    assert!(ask(&server, "l", "please").await.requested);
    eventually("the place to be given up", || async {
        lock(&server, "l").await.holder.is_none().then_some(())
    })
    .await;
}
