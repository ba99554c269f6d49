//! Lock-delay: a lock whose holder died is granted to nobody for a while.

use std::time::Instant;

use stanchion::store::RangeRequest;
use stanchion_client::proto::{
    AuditOperation, CheckFencingTokenRequest, ListAuditEntriesRequest, ListLocksRequest, LockMode,
    LockPermits,
};
use tokio::{task::JoinHandle, time::timeout};
use tonic::Code;

use super::{oversight, *};
use crate::support::{
    server::{Backend, assert_invalid, assert_status, on_both_stores},
    store::PATIENCE,
};

on_both_stores! {
    a_lock_whose_holder_died_is_granted_after_its_delay,
    a_delayed_lock_is_granted_to_nobody,
    a_delayed_lock_that_nobody_claims_is_listed,
    who_gives_a_lock_up_delays_nobody,
    an_operator_ends_a_delay,
    a_waiter_that_dies_delays_nobody_for_long,
    what_is_given_up_leaves_nothing_in_the_store,
    the_same_request_cannot_ask_for_another_delay,
    delays_that_make_no_sense_are_refused,
    a_delay_is_the_same_on_all_replicas,
    a_delay_ends_whichever_replica_stops,
}

const TTL: Duration = Duration::from_secs(1);
const DELAY: Duration = Duration::from_millis(1500);
const LONG: Duration = Duration::from_secs(60);

fn delaying(request: AcquireLockRequest, delay: Duration) -> AcquireLockRequest {
    AcquireLockRequest {
        lock_delay: Some(delay.try_into().unwrap()),
        owner: "job 7".into(),
        ..request
    }
}

/// A session that dies soon.
async fn mortal(server: &Server) -> String {
    open_for(server, TTL.as_secs().cast_signed(), "worker").await
}

/// What comes of a call that ends long before a long delay does.
async fn soon<T>(call: JoinHandle<T>) -> T {
    let ended = timeout(PATIENCE, call).await;
    ended.expect("the call still waits").unwrap()
}

async fn until_delayed(server: &Server, name: &str) -> Lock {
    eventually("the lock to be delayed", || async {
        let lock = lock(server, name).await;
        lock.delay.is_some().then_some(lock)
    })
    .await
}

async fn keys_of(server: &Server, name: &str) -> usize {
    let core = &server.app().core;
    let lock = stanchion::domain::keyspace::QueuePath::parse(
        stanchion::domain::keyspace::QueueKind::Lock,
        &format!("default/{name}"),
    );
    let keys = core.keys.queue(&lock.unwrap());
    let found = core.store.range(RangeRequest::new(keys)).await.unwrap();
    found.kvs.len()
}

async fn a_lock_whose_holder_died_is_granted_after_its_delay(backend: Backend) {
    let server = backend.server().await;
    let begin = Instant::now();
    let first = mortal(&server).await;
    let held = acquire(&server, delaying(tried("l", &first, "r"), DELAY)).await;
    held.unwrap();
    let second = open(&server).await;
    let waiting = spawn(&server, wanted("l", &second, "r"));
    let next = waiting.await.unwrap().unwrap().fencing_token;
    assert!(begin.elapsed() >= TTL + DELAY, "{:?}", begin.elapsed());
    let granted = lock(&server, "l").await;
    assert_eq!(granted.delay, None);
    assert_eq!(granted.holder.unwrap().fencing_token, next);
    server.stop().await;
}

async fn a_delayed_lock_is_granted_to_nobody(backend: Backend) {
    let server = backend.server().await;
    let first = mortal(&server).await;
    let held = acquire(&server, delaying(tried("l", &first, "r"), LONG)).await;
    let token = held.unwrap().fencing_token;
    let second = open(&server).await;
    let waiting = spawn(&server, wanted("l", &second, "r"));
    until_waiting(&server, "l", 1).await;
    let delayed = until_delayed(&server, "l").await;
    assert!(delayed.holder.is_none());
    assert_eq!(delayed.waiter_count, 1);
    let delay = delayed.delay.unwrap();
    assert_eq!(delay.fencing_token, token);
    assert_eq!((&*delay.owner, &*delay.client_id), ("job 7", "worker"));
    assert_eq!(delay.delay, Some(LONG.try_into().unwrap()));
    let next = delayed.waiters[0].fencing_token;
    let check = CheckFencingTokenRequest {
        lock: "l".into(),
        fencing_token: next,
        ..Default::default()
    };
    let checked = server.locks().check_fencing_token(check).await.unwrap();
    assert!(!checked.into_inner().held);
    let third = open(&server).await;
    let refused = acquire(&server, tried("l", &third, "r")).await.unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "LOCK_DELAYED");
    let short = Duration::from_millis(50);
    let refused = acquire(&server, timed("l", &third, "s", short)).await;
    assert_status(
        &refused.unwrap_err(),
        Code::FailedPrecondition,
        "LOCK_DELAYED",
    );
    let shared = AcquireLockRequest {
        mode: LockMode::Shared.into(),
        ..tried("l", &third, "t")
    };
    let refused = acquire(&server, shared).await.unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "LOCK_DELAYED");

    assert!(oversight::force(&server, "l", token).await.released);
    assert_eq!(soon(waiting).await.unwrap().fencing_token, next);
    let granted = lock(&server, "l").await;
    assert_eq!(granted.delay, None);
    assert_eq!(granted.holder.unwrap().fencing_token, next);
    server.stop().await;
}

async fn a_delayed_lock_that_nobody_claims_is_listed(backend: Backend) {
    let server = backend.server().await;
    let first = mortal(&server).await;
    let held = acquire(&server, delaying(tried("l", &first, "r"), LONG)).await;
    let token = held.unwrap().fencing_token;
    until_delayed(&server, "l").await;
    let list = ListLocksRequest::default();
    let listed = server.locks().list_locks(list).await.unwrap().into_inner();
    let [delayed] = &listed.locks[..] else {
        panic!("{:?}", listed.locks);
    };
    assert!(delayed.holder.is_none() && delayed.waiter_count == 0);
    assert_eq!(delayed.delay.as_ref().unwrap().fencing_token, token);
    server.stop().await;
}

async fn who_gives_a_lock_up_delays_nobody(backend: Backend) {
    let server = backend.server().await;
    let other = open(&server).await;
    for way in ["token", "request", "close", "force"] {
        let session = open(&server).await;
        let held = acquire(&server, delaying(tried(way, &session, "r"), LONG)).await;
        let held = held.unwrap();
        let token = held.fencing_token;
        assert_eq!(
            held.claim.unwrap().lock_delay,
            Some(LONG.try_into().unwrap())
        );
        let waiting = spawn(&server, wanted(way, &other, "r"));
        until_waiting(&server, way, 1).await;
        match way {
            "token" => assert!(release_token(&server, way, &session, token).await),
            "request" => assert!(release_request(&server, way, &session, "r").await),
            "close" => close(&server, &session).await,
            _ => assert!(oversight::force(&server, way, token).await.released),
        }
        soon(waiting).await.unwrap();
        assert_eq!(keys_of(&server, way).await, 1, "{way}");
    }
    server.stop().await;
}

async fn an_operator_ends_a_delay(backend: Backend) {
    let server = backend.server().await;
    let first = mortal(&server).await;
    let held = acquire(&server, delaying(tried("l", &first, "r"), LONG)).await;
    let token = held.unwrap().fencing_token;
    let second = open(&server).await;
    let waiting = spawn(&server, wanted("l", &second, "r"));
    until_delayed(&server, "l").await;
    let forced = oversight::force(&server, "l", token).await;
    assert!(forced.released && forced.noted);
    soon(waiting).await.unwrap();
    let list = ListAuditEntriesRequest {
        operations: vec![AuditOperation::ForceReleaseLock.into()],
        ..Default::default()
    };
    let listed = server.audits().list_audit_entries(list).await.unwrap();
    let entries = listed.into_inner().entries;
    assert_eq!(entries.len(), 1);
    assert!(entries[0].detail.starts_with("delayed by job 7 (worker)"));
    server.stop().await;
}

async fn a_waiter_that_dies_delays_nobody_for_long(backend: Backend) {
    let server = backend.server().await;
    let (first, last) = (open(&server).await, open(&server).await);
    let token = take(&server, "l", &first, "r").await;
    let dying = mortal(&server).await;
    let waiter = spawn(&server, delaying(wanted("l", &dying, "r"), LONG));
    until_waiting(&server, "l", 1).await;
    let behind = spawn(&server, wanted("l", &last, "r"));
    let lost = soon(waiter).await.unwrap_err();
    assert_status(&lost, Code::FailedPrecondition, "LEASE_EXPIRED");
    assert!(release_token(&server, "l", &first, token).await);
    soon(behind).await.unwrap();
    server.stop().await;
}

async fn what_is_given_up_leaves_nothing_in_the_store(backend: Backend) {
    let server = backend.server().await;
    let (first, second) = (open(&server).await, open(&server).await);
    let token = take(&server, "l", &first, "r").await;
    let short = Duration::from_millis(50);
    let late = delaying(timed("l", &second, "late", short), LONG);
    acquire(&server, late).await.unwrap_err();
    assert_eq!(keys_of(&server, "l").await, 1, "a wait that timed out");
    let undone = spawn(&server, delaying(wanted("l", &second, "undone"), LONG));
    until_waiting(&server, "l", 1).await;
    assert!(release_request(&server, "l", &second, "undone").await);
    undone.await.unwrap().unwrap_err();
    assert_eq!(keys_of(&server, "l").await, 1, "a wait that was undone");
    let broken = spawn(&server, delaying(wanted("l", &second, "broken"), LONG));
    until_waiting(&server, "l", 1).await;
    assert_eq!(keys_of(&server, "l").await, 3);
    broken.abort();
    eventually("the place of a broken call to go", || async {
        (keys_of(&server, "l").await == 1).then_some(())
    })
    .await;
    assert!(release_token(&server, "l", &first, token).await);
    assert_eq!(keys_of(&server, "l").await, 0);
    server.stop().await;
}

async fn the_same_request_cannot_ask_for_another_delay(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server).await;
    let request = delaying(tried("l", &session, "r"), LONG);
    let token = acquire(&server, request.clone())
        .await
        .unwrap()
        .fencing_token;
    let again = acquire(&server, request).await.unwrap();
    assert_eq!(again.fencing_token, token);
    let other = acquire(&server, tried("l", &session, "r")).await;
    assert_status(
        &other.unwrap_err(),
        Code::FailedPrecondition,
        "CLAIM_DIFFERS",
    );
    server.stop().await;
}

async fn delays_that_make_no_sense_are_refused(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server).await;
    let base = || delaying(tried("l", &session, "r"), LONG);
    let over = Duration::from_secs(61).try_into().unwrap();
    let negative = prost_types::Duration {
        seconds: -1,
        nanos: 0,
    };
    for bad in [
        AcquireLockRequest {
            lock_delay: Some(over),
            ..base()
        },
        AcquireLockRequest {
            lock_delay: Some(negative),
            ..base()
        },
        AcquireLockRequest {
            mode: LockMode::Shared.into(),
            ..base()
        },
        AcquireLockRequest {
            mode: LockMode::Permits.into(),
            permits: Some(LockPermits { count: 1, total: 2 }),
            ..base()
        },
        AcquireLockRequest {
            reentrant_owner: "o".into(),
            ..base()
        },
    ] {
        let refused = acquire(&server, bad).await.unwrap_err();
        assert_invalid(&refused, "lock_delay");
    }
    // None at all is one of no length.
    let none = AcquireLockRequest {
        mode: LockMode::Shared.into(),
        lock_delay: Some(prost_types::Duration::default()),
        ..tried("l", &session, "r")
    };
    acquire(&server, none).await.unwrap();
    server.stop().await;
}

async fn a_delay_is_the_same_on_all_replicas(backend: Backend) {
    let servers = [backend.server().await, backend.server().await];
    let first = mortal(&servers[0]).await;
    let held = acquire(&servers[0], delaying(tried("l", &first, "r"), LONG)).await;
    let token = held.unwrap().fencing_token;
    let second = open(&servers[1]).await;
    let waiting = spawn(&servers[1], wanted("l", &second, "r"));
    for server in &servers {
        let delayed = until_delayed(server, "l").await;
        assert_eq!(delayed.delay.unwrap().fencing_token, token);
        assert!(delayed.holder.is_none());
    }
    // One that comes now has not seen the holder die, and believes what is left of it.
    let late = backend.server().await;
    let other = open(&late).await;
    let refused = acquire(&late, tried("l", &other, "r")).await.unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "LOCK_DELAYED");
    assert!(oversight::force(&late, "l", token).await.released);
    soon(waiting).await.unwrap();
    assert_eq!(lock(&late, "l").await.delay, None);
}

async fn a_delay_ends_whichever_replica_stops(backend: Backend) {
    let mut settings = backend.settings();
    settings.domain.replica_ttl = Duration::from_secs(1);
    settings.domain.rank_delay = Duration::from_millis(200);
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(backend.server_with(settings.clone()).await);
    }
    let last = servers.pop().unwrap();
    let begin = Instant::now();
    let first = mortal(&last).await;
    let delay = Duration::from_secs(3);
    let held = acquire(&last, delaying(tried("l", &first, "r"), delay)).await;
    let token = held.unwrap().fencing_token;
    let second = open(&last).await;
    let waiting = spawn(&last, wanted("l", &second, "r"));
    eventually("the holder to die", || async {
        let holder = lock(&last, "l").await.holder;
        holder
            .is_none_or(|holder| holder.fencing_token != token)
            .then_some(())
    })
    .await;
    for server in servers {
        server.stop().await;
    }
    waiting.await.unwrap().unwrap();
    assert!(begin.elapsed() >= TTL + delay, "{:?}", begin.elapsed());
    assert_eq!(lock(&last, "l").await.delay, None);
    last.stop().await;
}
