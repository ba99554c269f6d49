//! Several locks at once: all or none.

use std::sync::atomic::{AtomicUsize, Ordering};

use stanchion_client::proto::{
    AcquireLocksRequest, AcquireLocksResponse, LockMode, LockWanted, acquire_locks_request,
};
use tonic::Code;

use super::{oversight, *};
use crate::support::server::{Backend, assert_invalid, assert_status, on_both_stores};

on_both_stores! {
    all_locks_are_held_with_a_token_each_or_none_is,
    a_wait_that_ends_in_vain_leaves_nothing_behind,
    calls_that_name_the_same_locks_in_any_order_never_wait_for_ever,
    the_same_request_gets_the_same_tokens_on_any_replica,
    a_call_that_breaks_off_gives_up_all_it_had,
    who_is_robbed_of_one_while_waiting_gives_up_the_others,
    a_session_that_ends_while_waiting_leaves_nothing_behind,
    readers_hold_some_together,
    locks_that_make_no_sense_are_refused,
}

fn all(locks: &[&str], session: &str, request: &str) -> AcquireLocksRequest {
    let wanted = |lock: &&str| LockWanted {
        lock: (*lock).into(),
        mode: LockMode::Unspecified.into(),
    };
    AcquireLocksRequest {
        locks: locks.iter().map(wanted).collect(),
        session_id: session.into(),
        request_id: request.into(),
        ..Default::default()
    }
}

fn at_once(request: AcquireLocksRequest) -> AcquireLocksRequest {
    AcquireLocksRequest {
        wait: Some(acquire_locks_request::Wait::NoWait(true)),
        ..request
    }
}

async fn acquire_all(
    server: &Server,
    request: AcquireLocksRequest,
) -> Result<AcquireLocksResponse, Status> {
    let answer = server.locks().acquire_locks(request).await;
    answer.map(tonic::Response::into_inner)
}

fn spawn_all(
    server: &Server,
    request: AcquireLocksRequest,
) -> JoinHandle<Result<AcquireLocksResponse, Status>> {
    let mut locks = server.locks();
    tokio::spawn(async move {
        let answer = locks.acquire_locks(request).await;
        answer.map(tonic::Response::into_inner)
    })
}

fn tokens(answer: &AcquireLocksResponse) -> Vec<(&str, i64)> {
    let locks = answer.locks.iter();
    locks
        .map(|held| (&*held.lock, held.fencing_token))
        .collect()
}

async fn until_held(server: &Server, name: &str) -> i64 {
    eventually("the lock to be held", || async {
        let holder = lock(server, name).await.holder;
        holder.map(|holder| holder.fencing_token)
    })
    .await
}

async fn all_locks_are_held_with_a_token_each_or_none_is(backend: Backend) {
    let server = backend.server().await;
    let (first, second) = (open(&server).await, open(&server).await);
    let held = acquire_all(&server, all(&["c", "a", "b"], &first, "r")).await;
    let held = held.unwrap();
    let names: Vec<_> = tokens(&held).iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["c", "a", "b"], "as they were asked for");
    for (name, token) in tokens(&held) {
        let there = lock(&server, name).await.holder.unwrap();
        assert_eq!(there.fencing_token, token);
    }
    // Of one that is taken and one that is free none is had.
    let refused = acquire_all(&server, at_once(all(&["0", "b", "d"], &second, "r"))).await;
    let refused = refused.unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "LOCK_HELD");
    assert!(refused.message().contains("default/b"), "{refused}");
    for free in ["0", "d"] {
        assert!(lock(&server, free).await.holder.is_none(), "{free}");
    }
    // Each is released by itself.
    for (name, token) in tokens(&held) {
        assert!(release_token(&server, name, &first, token).await);
    }
    let held = acquire_all(&server, at_once(all(&["0", "b", "d"], &second, "r"))).await;
    assert_eq!(held.unwrap().locks.len(), 3);
    server.stop().await;
}

async fn a_wait_that_ends_in_vain_leaves_nothing_behind(backend: Backend) {
    let server = backend.server().await;
    let (first, second) = (open(&server).await, open(&server).await);
    let token = take(&server, "c", &first, "r").await;
    let short = Duration::from_millis(200).try_into().unwrap();
    let timed = AcquireLocksRequest {
        wait: Some(acquire_locks_request::Wait::WaitTimeout(short)),
        lock_delay: Some(prost_types::Duration {
            seconds: 60,
            nanos: 0,
        }),
        ..all(&["a", "b", "c", "d"], &second, "r")
    };
    let refused = acquire_all(&server, timed).await.unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "LOCK_HELD");
    for name in ["a", "b", "d"] {
        let left = lock(&server, name).await;
        assert!(left.holder.is_none() && left.delay.is_none(), "{left:?}");
    }
    let left = lock(&server, "c").await;
    assert_eq!(left.holder.unwrap().fencing_token, token);
    assert_eq!(left.waiter_count, 0);
    server.stop().await;
}

/// Dining philosophers, over three replicas: each wants some of the forks, named in an order of its
/// own.
async fn calls_that_name_the_same_locks_in_any_order_never_wait_for_ever(backend: Backend) {
    const FORKS: [&str; 4] = ["a", "b", "c", "d"];
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(backend.server().await);
    }
    let in_use: Arc<[AtomicUsize; 4]> = Arc::default();
    let philosophers = (0..6).map(|number| {
        let server = &servers[number % 3];
        let in_use = in_use.clone();
        async move {
            let session = open(server).await;
            for meal in 0..10 {
                let first = rand::random_range(0..4);
                let step = [1, 3][rand::random_range(0..2)];
                let count = rand::random_range(2..=4);
                let forks: Vec<usize> = (0..count).map(|at| (first + at * step) % 4).collect();
                let names: Vec<_> = forks.iter().map(|fork| FORKS[*fork]).collect();
                let request = format!("{number}-{meal}");
                let held = acquire_all(server, all(&names, &session, &request)).await;
                let held = held.unwrap();
                for fork in &forks {
                    assert_eq!(in_use[*fork].fetch_add(1, Ordering::SeqCst), 0);
                }
                tokio::task::yield_now().await;
                for (fork, (name, token)) in forks.iter().zip(tokens(&held)) {
                    in_use[*fork].fetch_sub(1, Ordering::SeqCst);
                    assert!(release_token(server, name, &session, token).await);
                }
            }
        }
    });
    let all = futures_util::future::join_all(philosophers);
    let patience = 3 * crate::support::store::PATIENCE;
    tokio::time::timeout(patience, all)
        .await
        .expect("somebody starves");
    for server in servers {
        server.stop().await;
    }
}

async fn the_same_request_gets_the_same_tokens_on_any_replica(backend: Backend) {
    let (one, other) = (backend.server().await, backend.server().await);
    let session = open(&one).await;
    let first = acquire_all(&one, all(&["a", "b"], &session, "r")).await;
    let again = acquire_all(&other, all(&["b", "a"], &session, "r")).await;
    let (first, again) = (first.unwrap(), again.unwrap());
    assert_eq!(first.locks[0], again.locks[1]);
    assert_eq!(first.locks[1], again.locks[0]);
    // A call that waits is taken up on another replica when its own goes.
    let second = open(&one).await;
    let waiting = spawn_all(&one, all(&["0", "a"], &second, "r"));
    until_waiting(&other, "a", 1).await;
    let fork = lock(&other, "0").await.holder.unwrap().fencing_token;
    // It keeps the places of the call for a moment, and stops when that is over.
    let stopping = tokio::spawn(one.stop());
    let told = waiting.await.unwrap().unwrap_err();
    assert_status(&told, Code::Unavailable, "DRAINING");
    let waiting = spawn_all(&other, all(&["0", "a"], &second, "r"));
    eventually("the call to be taken up", || async {
        let view = other.app().core.cache.view().unwrap();
        let queue = view.state.locks.get(&b"default/a"[..])?;
        let waiter = &queue.claims.values().nth(1)?.waiter;
        (waiter.attempt == 2).then_some(())
    })
    .await;
    stopping.await.unwrap();
    for held in &first.locks {
        release_token(&other, &held.lock, &session, held.fencing_token).await;
    }
    let held = waiting.await.unwrap().unwrap();
    assert_eq!(held.locks[0].fencing_token, fork, "it was kept");
    other.stop().await;
}

async fn a_call_that_breaks_off_gives_up_all_it_had(backend: Backend) {
    let server = backend.server().await;
    let (first, second) = (open(&server).await, open(&server).await);
    take(&server, "c", &first, "r").await;
    let delayed = AcquireLocksRequest {
        lock_delay: Some(prost_types::Duration {
            seconds: 60,
            nanos: 0,
        }),
        ..all(&["a", "b", "c"], &second, "r")
    };
    let waiting = spawn_all(&server, delayed);
    until_waiting(&server, "c", 1).await;
    waiting.abort();
    for name in ["a", "b"] {
        until_free(&server, name).await;
    }
    until_waiting(&server, "c", 0).await;
    // Its session lives, so that nobody is delayed.
    let next = at_once(all(&["a", "b"], &first, "next"));
    acquire_all(&server, next).await.unwrap();
    server.stop().await;
}

async fn who_is_robbed_of_one_while_waiting_gives_up_the_others(backend: Backend) {
    let server = backend.server().await;
    let (first, second) = (open(&server).await, open(&server).await);
    let token = take(&server, "c", &first, "r").await;
    let waiting = spawn_all(&server, all(&["a", "b", "c"], &second, "r"));
    until_waiting(&server, "c", 1).await;
    let held = until_held(&server, "a").await;
    assert!(oversight::force(&server, "a", held).await.released);
    let lost = waiting.await.unwrap().unwrap_err();
    assert_status(&lost, Code::FailedPrecondition, "REQUEST_UNDONE");
    for name in ["a", "b"] {
        until_free(&server, name).await;
    }
    let left = until_waiting(&server, "c", 0).await;
    assert_eq!(left.holder.unwrap().fencing_token, token);
    // Its owner can end the wait in the same way: by any of the locks.
    let waiting = spawn_all(&server, all(&["a", "c"], &second, "s"));
    until_waiting(&server, "c", 1).await;
    assert!(release_request(&server, "c", &second, "s").await);
    let undone = waiting.await.unwrap().unwrap_err();
    assert_status(&undone, Code::FailedPrecondition, "REQUEST_UNDONE");
    until_free(&server, "a").await;
    server.stop().await;
}

async fn a_session_that_ends_while_waiting_leaves_nothing_behind(backend: Backend) {
    let server = backend.server().await;
    let (first, second) = (open(&server).await, open(&server).await);
    take(&server, "c", &first, "r").await;
    let waiting = spawn_all(&server, all(&["a", "c", "d"], &second, "r"));
    until_waiting(&server, "c", 1).await;
    close(&server, &second).await;
    let lost = waiting.await.unwrap().unwrap_err();
    assert_status(&lost, Code::FailedPrecondition, "LEASE_EXPIRED");
    for name in ["a", "d"] {
        until_free(&server, name).await;
    }
    until_waiting(&server, "c", 0).await;
    server.stop().await;
}

async fn readers_hold_some_together(backend: Backend) {
    let server = backend.server().await;
    let (first, second) = (open(&server).await, open(&server).await);
    let reading = |session: &str, own: &str| {
        let mut request = at_once(all(&["shared", own], session, "r"));
        request.locks[0].mode = LockMode::Shared.into();
        request
    };
    acquire_all(&server, reading(&first, "a")).await.unwrap();
    acquire_all(&server, reading(&second, "b")).await.unwrap();
    assert_eq!(lock(&server, "shared").await.holder_count, 2);
    let third = open(&server).await;
    let writing = at_once(all(&["shared", "c"], &third, "r"));
    let refused = acquire_all(&server, writing).await.unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "LOCK_HELD");
    assert!(lock(&server, "c").await.holder.is_none());
    server.stop().await;
}

async fn locks_that_make_no_sense_are_refused(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server).await;
    let names: Vec<String> = (0..17).map(|number| format!("l{number}")).collect();
    let many: Vec<&str> = names.iter().map(String::as_str).collect();
    let with_mode = |mode: i32| {
        let mut request = all(&["a", "b"], &session, "r");
        request.locks[1].mode = mode;
        request
    };
    let delayed = AcquireLocksRequest {
        lock_delay: Some(prost_types::Duration {
            seconds: 1,
            nanos: 0,
        }),
        ..with_mode(LockMode::Shared.into())
    };
    for (request, field) in [
        (all(&[], &session, "r"), "locks"),
        (all(&many, &session, "r"), "locks"),
        (all(&["a", "b/c"], &session, "r"), "locks[1].lock"),
        (all(&["a", "b", "a"], &session, "r"), "locks[2].lock"),
        (with_mode(LockMode::Permits.into()), "locks[1].mode"),
        (with_mode(77), "locks[1].mode"),
        (delayed, "lock_delay"),
        (all(&["a"], "", "r"), "session_id"),
        (all(&["a"], &session, ""), "request_id"),
    ] {
        let refused = acquire_all(&server, request).await.unwrap_err();
        assert_invalid(&refused, field);
    }
    let gone = acquire_all(&server, all(&["a"], "no-session", "r")).await;
    assert_status(
        &gone.unwrap_err(),
        Code::FailedPrecondition,
        "LEASE_EXPIRED",
    );
    assert!(
        acquire_all(&server, all(&many[..16], &session, "r"))
            .await
            .is_ok()
    );
    server.stop().await;
}
