//! Locks that several hold together: readers, and permits.

use std::{collections::BTreeMap, time::Duration};

use stanchion_client::proto::{
    EventType, Guard, LockClaim, LockMode, LockPermits, PutConfigRequest, WatchLockRequest,
    WatchLockResponse, watch_lock_response::Message,
};
use tonic::{Code, Streaming};

use super::*;
use crate::support::{
    server::{Backend, assert_invalid, assert_status, on_both_stores},
    store::PATIENCE,
};

on_both_stores! {
    readers_hold_a_lock_together_and_wait_behind_a_writer,
    permits_are_given_in_order_while_there_are_enough,
    permits_of_another_total_are_refused_while_any_are_claimed,
    a_try_holds_at_once_or_leaves_nothing_behind,
    a_wait_that_is_over_leaves_nothing_behind,
    a_holder_or_waiter_whose_session_ends_makes_room,
    a_guard_holds_for_each_of_several_holders_and_for_no_waiter,
    a_request_is_repeated_in_the_same_mode_or_refused,
    each_claim_costs_one_transaction_however_many_are_woken,
    a_storm_of_readers_and_writers_never_mixes_them,
    a_storm_over_permits_never_gives_too_many,
}

fn shared(request: AcquireLockRequest) -> AcquireLockRequest {
    AcquireLockRequest {
        mode: LockMode::Shared.into(),
        ..request
    }
}

fn permits(count: i32, total: i32, request: AcquireLockRequest) -> AcquireLockRequest {
    AcquireLockRequest {
        mode: LockMode::Permits.into(),
        permits: Some(LockPermits { count, total }),
        ..request
    }
}

async fn sessions<const N: usize>(server: &Server) -> [String; N] {
    let mut sessions = Vec::new();
    for _ in 0..N {
        sessions.push(open(server).await);
    }
    sessions.try_into().unwrap()
}

async fn readers_hold_a_lock_together_and_wait_behind_a_writer(backend: Backend) {
    let server = backend.server().await;
    let other = backend.server().await;
    let [a, b, c, d] = sessions(&server).await;
    let first = acquire(&server, shared(wanted("l", &a, "r")))
        .await
        .unwrap();
    let second = acquire(&other, shared(wanted("l", &b, "r"))).await.unwrap();
    assert!(second.fencing_token > first.fencing_token);
    let claim = second.claim.unwrap();
    assert!(claim.held && claim.mode() == LockMode::Shared && claim.permits.is_none());
    let writer = spawn(&server, wanted("l", &c, "r"));
    until_waiting(&server, "l", 1).await;
    let reader = spawn(&other, shared(wanted("l", &d, "r")));
    let shown = until_waiting(&server, "l", 2).await;
    let tokens = |claims: &[LockClaim]| claims.iter().map(|c| c.fencing_token).collect::<Vec<_>>();
    let holding = [first.fencing_token, second.fencing_token];
    assert_eq!(tokens(&shown.holders), holding);
    assert_eq!(shown.holder_count, 2);
    assert_eq!(shown.holder.unwrap().fencing_token, first.fencing_token);
    let positions: Vec<_> = shown.waiters.iter().map(|waiter| waiter.position).collect();
    assert_eq!((positions, shown.waiter_count), (vec![1, 2], 2));

    assert!(release_token(&server, "l", &a, first.fencing_token).await);
    let shown = lock(&server, "l").await;
    assert_eq!(tokens(&shown.holders), [second.fencing_token]);
    assert!(release_token(&server, "l", &b, second.fencing_token).await);
    let written = writer.await.unwrap().unwrap().fencing_token;
    assert!(!reader.is_finished());
    assert!(release_token(&other, "l", &c, written).await);
    assert!(reader.await.unwrap().unwrap().fencing_token > written);
}

async fn permits_are_given_in_order_while_there_are_enough(backend: Backend) {
    let server = backend.server().await;
    let other = backend.server().await;
    let [a, b, c, d] = sessions(&server).await;
    let two = acquire(&server, permits(2, 3, wanted("l", &a, "r"))).await;
    let two = two.unwrap();
    let held = two.claim.unwrap().permits;
    assert_eq!(held, Some(LockPermits { count: 2, total: 3 }));
    let heavy = spawn(&other, permits(2, 3, wanted("l", &b, "r")));
    until_waiting(&server, "l", 1).await;
    // One is left, but somebody waits who came before.
    let light = spawn(&server, permits(1, 3, wanted("l", &c, "r")));
    until_waiting(&server, "l", 2).await;
    // Whoever wants all of it waits for all.
    let all = spawn(&other, wanted("l", &d, "r"));
    until_waiting(&server, "l", 3).await;
    assert!(release_token(&server, "l", &a, two.fencing_token).await);
    let heavy = heavy.await.unwrap().unwrap().fencing_token;
    let light = light.await.unwrap().unwrap().fencing_token;
    assert_eq!(lock(&server, "l").await.holder_count, 2);
    assert!(release_token(&server, "l", &b, heavy).await);
    assert!(!all.is_finished());
    assert!(release_token(&server, "l", &c, light).await);
    all.await.unwrap().unwrap();
}

async fn permits_of_another_total_are_refused_while_any_are_claimed(backend: Backend) {
    let server = backend.server().await;
    let other = backend.server().await;
    let [a, b] = sessions(&server).await;
    let held = acquire(&server, permits(1, 3, wanted("l", &a, "r"))).await;
    for request in [wanted("l", &b, "r"), tried("l", &b, "r")] {
        let refused = acquire(&other, permits(1, 4, request)).await;
        let refused = refused.unwrap_err();
        assert_status(&refused, Code::FailedPrecondition, "PERMITS_DIFFER");
    }
    assert!(release_token(&server, "l", &a, held.unwrap().fencing_token).await);
    let granted = acquire(&other, permits(4, 4, tried("l", &b, "r"))).await;
    granted.unwrap();

    for (count, total) in [(0, 1), (2, 1), (-1, 1), (1, 1_000_001)] {
        let refused = acquire(&server, permits(count, total, wanted("l", &a, "x"))).await;
        assert_invalid(&refused.unwrap_err(), "permits.count");
    }
    let missing = AcquireLockRequest {
        permits: None,
        ..permits(1, 1, wanted("l", &a, "x"))
    };
    let refused = acquire(&server, missing).await.unwrap_err();
    assert_invalid(&refused, "permits");
    let refused = acquire(&server, shared(permits(1, 1, wanted("l", &a, "x")))).await;
    assert_invalid(&refused.unwrap_err(), "permits");
}

async fn a_try_holds_at_once_or_leaves_nothing_behind(backend: Backend) {
    let server = backend.server().await;
    let other = backend.server().await;
    let [a, b, c] = sessions(&server).await;
    let token = take(&server, "l", &a, "r").await;
    let refused = acquire(&other, shared(tried("l", &b, "r"))).await;
    assert_status(&refused.unwrap_err(), Code::FailedPrecondition, "LOCK_HELD");
    assert!(lock(&other, "l").await.waiters.is_empty());
    // Asked at once of another replica, which may not have heard of it.
    assert!(release_token(&server, "l", &a, token).await);
    let first = acquire(&other, shared(tried("l", &b, "r"))).await.unwrap();
    let second = acquire(&server, shared(tried("l", &c, "r"))).await.unwrap();
    assert_eq!(lock(&server, "l").await.holder_count, 2);
    let refused = acquire(&server, tried("l", &a, "s")).await.unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "LOCK_HELD");
    // Repeated, it is the same claim.
    let again = acquire(&server, shared(tried("l", &b, "r"))).await.unwrap();
    assert_eq!(again.fencing_token, first.fencing_token);

    let writer = spawn(&server, wanted("l", &a, "w"));
    until_waiting(&other, "l", 1).await;
    let refused = acquire(&other, shared(tried("l", &c, "s"))).await;
    assert_status(&refused.unwrap_err(), Code::FailedPrecondition, "LOCK_HELD");
    assert!(release_token(&server, "l", &b, first.fencing_token).await);
    assert!(release_token(&server, "l", &c, second.fencing_token).await);
    writer.await.unwrap().unwrap();
    assert!(lock(&server, "l").await.waiters.is_empty());
}

async fn a_wait_that_is_over_leaves_nothing_behind(backend: Backend) {
    let server = backend.server().await;
    let [a, b] = sessions(&server).await;
    let held = acquire(&server, permits(2, 3, wanted("l", &a, "r"))).await;
    let short = timed("l", &b, "r", Duration::from_millis(50));
    let refused = acquire(&server, permits(2, 3, short)).await.unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "LOCK_HELD");
    let shown = lock(&server, "l").await;
    assert_eq!((shown.holder_count, shown.waiter_count), (1, 0));
    assert!(release_token(&server, "l", &a, held.unwrap().fencing_token).await);
}

async fn a_holder_or_waiter_whose_session_ends_makes_room(backend: Backend) {
    let server = backend.server().await;
    let [a, b, c, d] = sessions(&server).await;
    acquire(&server, shared(wanted("l", &a, "r")))
        .await
        .unwrap();
    let writer = spawn(&server, wanted("l", &b, "r"));
    until_waiting(&server, "l", 1).await;
    let reader = spawn(&server, shared(wanted("l", &c, "r")));
    until_waiting(&server, "l", 2).await;
    let next = spawn(&server, wanted("l", &d, "r"));
    until_waiting(&server, "l", 3).await;
    // The writer that stood between the readers is gone.
    server.expire(&b).await;
    let told = writer.await.unwrap().unwrap_err();
    assert_status(&told, Code::FailedPrecondition, "LEASE_EXPIRED");
    reader.await.unwrap().unwrap();
    server.expire(&a).await;
    assert!(!next.is_finished());
    server.expire(&c).await;
    next.await.unwrap().unwrap();
}

async fn a_guard_holds_for_each_of_several_holders_and_for_no_waiter(backend: Backend) {
    let server = backend.server().await;
    let other = backend.server().await;
    let [a, b, c] = sessions(&server).await;
    let put = async |server: &Server, lock: &str, fencing_token| {
        let request = PutConfigRequest {
            key: "k".into(),
            content: format!("{:x}", rand::random::<u64>()).into(),
            guard: Some(Guard {
                lock: lock.into(),
                fencing_token,
                ..Default::default()
            }),
            ..Default::default()
        };
        server.configs().put_config(request).await
    };
    for (name, mode) in [
        ("l", shared as fn(AcquireLockRequest) -> AcquireLockRequest),
        ("m", |request| permits(1, 2, request)),
    ] {
        let first = acquire(&server, mode(wanted(name, &a, "r"))).await.unwrap();
        let second = acquire(&server, mode(wanted(name, &b, "r"))).await.unwrap();
        let (first, second) = (first.fencing_token, second.fencing_token);
        let writer = spawn(&server, wanted(name, &c, "r"));
        let queued = until_waiting(&other, name, 1).await.waiters[0].fencing_token;
        for server in [&server, &other] {
            put(server, name, first).await.unwrap();
            put(server, name, second).await.unwrap();
            let refused = put(server, name, queued).await.unwrap_err();
            assert_status(&refused, Code::FailedPrecondition, "GUARD_FAILED");
        }
        assert!(release_token(&server, name, &a, first).await);
        // At a replica that may still show it.
        let refused = put(&other, name, first).await.unwrap_err();
        assert_status(&refused, Code::FailedPrecondition, "GUARD_FAILED");
        put(&other, name, second).await.unwrap();
        assert!(release_token(&server, name, &b, second).await);
        writer.await.unwrap().unwrap();
        put(&other, name, queued).await.unwrap();
        let refused = put(&other, name, second).await.unwrap_err();
        assert_status(&refused, Code::FailedPrecondition, "GUARD_FAILED");
        assert!(release_token(&server, name, &c, queued).await);
    }
}

async fn a_request_is_repeated_in_the_same_mode_or_refused(backend: Backend) {
    let server = backend.server().await;
    let other = backend.server().await;
    let session = open(&server).await;
    let held = acquire(&server, shared(wanted("l", &session, "r"))).await;
    let held = held.unwrap().fencing_token;
    let again = acquire(&other, shared(wanted("l", &session, "r"))).await;
    assert_eq!(again.unwrap().fencing_token, held);
    for request in [
        wanted("l", &session, "r"),
        permits(1, 1, wanted("l", &session, "r")),
    ] {
        let refused = acquire(&other, request).await.unwrap_err();
        assert_status(&refused, Code::FailedPrecondition, "CLAIM_DIFFERS");
    }
    assert_eq!(lock(&server, "l").await.holder_count, 1);
}

async fn each_claim_costs_one_transaction_however_many_are_woken(backend: Backend) {
    let store = Counting::new(backend.store().await);
    let clock = Arc::new(stanchion::clock::SystemClock);
    let server = backend
        .server_on(store.clone(), backend.settings(), clock)
        .await;
    let [writer, readers @ ..] = sessions::<9>(&server).await;
    let token = take(&server, "l", &writer, "r").await;
    store.take();
    let calls: Vec<_> = readers
        .iter()
        .map(|session| spawn(&server, shared(wanted("l", session, "r"))))
        .collect();
    until_waiting(&server, "l", readers.len()).await;
    assert!(release_token(&server, "l", &writer, token).await);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(store.take().len(), readers.len() + 1);
    acquire(&server, shared(tried("l", &writer, "try")))
        .await
        .unwrap();
    assert_eq!(store.take().len(), 1);
}

const CLIENTS: usize = 64;
const ROUNDS: usize = 3;

/// Follows every revision of a lock's queue until it is free after `claims` of them, and asserts of
/// each that its holders go together.
async fn follow(
    mut stream: Streaming<WatchLockResponse>,
    claims: usize,
    fits: fn(&[&LockClaim]) -> bool,
) {
    let mut shown = BTreeMap::new();
    let mut seen = 0;
    let mut first = 0;
    while seen < claims || !shown.is_empty() {
        let next = tokio::time::timeout(PATIENCE, stream.message()).await;
        let next = next.expect("nothing more is told").unwrap().unwrap();
        let Message::Delta(delta) = next.message.unwrap() else {
            continue;
        };
        for event in delta.events {
            let claim = event.claim.clone().unwrap();
            match event.r#type() {
                EventType::Deleted => shown.remove(&claim.fencing_token),
                kind => {
                    seen += usize::from(kind == EventType::Added);
                    shown.insert(claim.fencing_token, claim)
                }
            };
        }
        let holders: Vec<_> = shown.values().filter(|claim| claim.held).collect();
        assert!(holders.len() < 2 || fits(&holders), "{holders:?}");
        // In order of arrival, nobody past one who waits.
        assert!(shown.values().is_sorted_by(|a, b| a.held >= b.held));
        if let Some((token, _)) = shown.first_key_value() {
            assert!(*token >= first, "a token fell");
            first = *token;
        }
    }
}

/// Has many clients of three replicas claim a lock at the same time, each as `request` says.
async fn storm(
    backend: Backend,
    request: fn(usize, AcquireLockRequest) -> AcquireLockRequest,
    fits: fn(&[&LockClaim]) -> bool,
) {
    let servers = [
        backend.server().await,
        backend.server().await,
        backend.server().await,
    ];
    // Open before anybody claims the lock, so that all is told as a change.
    let watch = WatchLockRequest {
        lock: "l".into(),
        ..Default::default()
    };
    let stream = servers[0].locks().watch_lock(watch).await.unwrap();
    let follow = follow(stream.into_inner(), CLIENTS * ROUNDS, fits);
    let mut calls = Vec::new();
    for index in 0..CLIENTS {
        let server = &servers[index % servers.len()];
        let session = open(server).await;
        let mut locks = server.locks();
        calls.push(async move {
            for round in 0..ROUNDS {
                let request = request(index, wanted("l", &session, &round.to_string()));
                let granted = locks.acquire_lock(request).await.unwrap().into_inner();
                assert!(granted.claim.unwrap().held);
                tokio::task::yield_now().await;
                let request = ReleaseLockRequest {
                    lock: "l".into(),
                    session_id: session.clone(),
                    claim: Some(Claim::FencingToken(granted.fencing_token)),
                    ..Default::default()
                };
                let released = locks.release_lock(request).await.unwrap();
                assert!(released.into_inner().released);
            }
        });
    }
    tokio::join!(follow, futures_util::future::join_all(calls));
    assert!(lock(&servers[1], "l").await.holder.is_none());
}

async fn a_storm_of_readers_and_writers_never_mixes_them(backend: Backend) {
    let mixed = |index: usize, request| match index % 4 {
        0 => request,
        _ => shared(request),
    };
    let fits = |holders: &[&LockClaim]| holders.iter().all(|c| c.mode() == LockMode::Shared);
    storm(backend, mixed, fits).await;
}

async fn a_storm_over_permits_never_gives_too_many(backend: Backend) {
    let weighted = |index: usize, request| {
        let count = i32::try_from(1 + index % 3).unwrap();
        permits(count, 5, request)
    };
    let fits = |holders: &[&LockClaim]| {
        let taken = holders
            .iter()
            .map(|c| c.permits.unwrap().count)
            .sum::<i32>();
        taken <= 5
    };
    storm(backend, weighted, fits).await;
}
