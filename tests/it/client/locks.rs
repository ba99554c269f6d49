//! Locks held through the client.

use std::time::{Duration, Instant};

use stanchion::{
    domain::{lock::Closed, records},
    store::{Operation, Txn},
};
use stanchion_client::{
    ChangeOptions, Client, LockGuard, LockLoss,
    proto::{CloseSessionRequest, ErrorReason, LockLostCause},
};

use super::{client, client_with, soon};
use crate::support::{
    server::{Backend, Server, eventually, on_both_stores},
    store::lease_id,
};

on_both_stores! {
    a_held_lock_excludes_others_until_it_is_released,
    readers_and_permits_are_held_together,
    whoever_waits_is_told_its_place_and_then_holds_the_lock_without_the_stream,
    a_reentrant_owner_holds_a_lock_until_its_last_guard_goes,
    a_wait_with_a_timeout_ends_with_it,
    a_dropped_guard_frees_the_lock,
    who_stops_waiting_leaves_the_queue,
    a_waiter_keeps_its_place_when_its_replica_stops,
    a_guard_learns_that_its_session_is_gone,
    a_guard_counts_as_lost_when_no_server_answers_any_more,
    a_guarded_write_fails_once_the_lock_is_released,
    while_locks_are_closed_a_client_waits,
    a_guard_learns_that_its_lock_is_wanted_and_that_it_is_taken,
    work_under_a_lock_is_dropped_when_the_lock_is_lost,
    several_locks_are_held_together_until_one_is_lost,
}

/// Waits until so many claims wait for `job`.
async fn waiters(client: &Client, count: i32) {
    eventually("the waiters", async || {
        let lock = client.get_lock("job").await.unwrap();
        (lock.waiter_count == count).then_some(())
    })
    .await;
}

async fn taken(waiting: tokio::task::JoinHandle<stanchion_client::Result<LockGuard>>) -> LockGuard {
    soon("the lock", waiting).await.unwrap().unwrap()
}

async fn a_held_lock_excludes_others_until_it_is_released(backend: Backend) {
    let server = backend.server().await;
    let (one, other) = (client(&[&server]), client(&[&server]));
    let guard = one.lock("job").acquire().await.unwrap();
    assert!(guard.is_held());
    let error = other.lock("job").try_acquire().await.unwrap_err();
    assert_eq!(error.reason(), ErrorReason::LockHeld);
    // Requests of one session exclude each other too.
    let error = one.lock("job").try_acquire().await.unwrap_err();
    assert_eq!(error.reason(), ErrorReason::LockHeld);

    let token = guard.fencing_token();
    assert!(guard.release().await.unwrap());
    let next = other.lock("job").try_acquire().await.unwrap();
    assert!(next.fencing_token() > token);
}

async fn whoever_waits_is_told_its_place_and_then_holds_the_lock_without_the_stream(
    backend: Backend,
) {
    let (server, last) = (backend.server().await, backend.server().await);
    let one = client(&[&last]);
    let moving = client(&[&server, &last]);
    let first = one.lock("job").acquire().await.unwrap();
    let second = tokio::spawn(one.lock("job").acquire());
    waiters(&one, 1).await;
    let (tell, mut told) = tokio::sync::mpsc::channel(64);
    let request = moving.lock("job").on_place(move |place| {
        // The test may be over by then.
        let _ = tell.try_send((place.position, place.waiters));
    });
    let waiting = tokio::spawn(request.acquire());
    assert_eq!(soon("its place", told.recv()).await, Some((2, 2)));
    // Told the same elsewhere, where it waits on.
    server.stop().await;
    assert_eq!(soon("its place", told.recv()).await, Some((2, 2)));
    assert!(first.release().await.unwrap());
    let second = taken(second).await;
    assert_eq!(soon("its place", told.recv()).await, Some((1, 1)));
    assert!(second.release().await.unwrap());
    let guard = taken(waiting).await;
    assert!(guard.is_held());
    // Longer than what a stream leaves behind is kept.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let seen = one.get_lock("job").await.unwrap().holder.unwrap();
    assert_eq!(seen.fencing_token, guard.fencing_token());
    assert!(guard.is_held() && guard.release().await.unwrap());
    // Nobody is told of a lock that is free.
    assert_eq!(told.recv().await, None);
}

async fn readers_and_permits_are_held_together(backend: Backend) {
    let server = backend.server().await;
    let (one, other) = (client(&[&server]), client(&[&server]));
    let first = one.lock("job").shared().acquire().await.unwrap();
    let second = other.lock("job").shared().try_acquire().await.unwrap();
    let writer = tokio::spawn(one.lock("job").acquire());
    waiters(&one, 1).await;
    let late = other.lock("job").shared().try_acquire().await;
    assert_eq!(late.unwrap_err().reason(), ErrorReason::LockHeld);
    assert!(first.release().await.unwrap() && second.is_held());
    assert!(second.release().await.unwrap());
    taken(writer).await;

    let two = one.lock("pool").permits(2, 3).acquire().await.unwrap();
    let last = other.lock("pool").permits(1, 3).try_acquire().await;
    assert!(last.unwrap().is_held() && two.is_held());
    let error = other.lock("pool").permits(1, 4).try_acquire().await;
    assert_eq!(error.unwrap_err().reason(), ErrorReason::PermitsDiffer);
}

async fn a_reentrant_owner_holds_a_lock_until_its_last_guard_goes(backend: Backend) {
    let server = backend.server().await;
    let (one, other) = (client(&[&server]), client(&[&server]));
    let outer = one.lock("job").reentrant("me").acquire().await.unwrap();
    let inner = one.lock("job").reentrant("me").acquire().await.unwrap();
    assert_eq!(outer.fencing_token(), inner.fencing_token());
    assert!(outer.release().await.unwrap());
    let error = other.lock("job").try_acquire().await.unwrap_err();
    assert_eq!(error.reason(), ErrorReason::LockHeld);
    drop(inner);
    soon("the lock", other.lock("job").acquire()).await.unwrap();
}

async fn a_wait_with_a_timeout_ends_with_it(backend: Backend) {
    let server = backend.server().await;
    let (one, other) = (client(&[&server]), client(&[&server]));
    let _guard = one.lock("job").acquire().await.unwrap();
    let waiting = other
        .lock("job")
        .acquire_timeout(Duration::from_millis(100));
    let error = soon("the end of the wait", waiting).await.unwrap_err();
    assert_eq!(error.reason(), ErrorReason::LockHeld);
    waiters(&one, 0).await;
}

async fn a_dropped_guard_frees_the_lock(backend: Backend) {
    let server = backend.server().await;
    let (one, other) = (client(&[&server]), client(&[&server]));
    drop(one.lock("job").acquire().await.unwrap());
    soon("the lock", other.lock("job").acquire()).await.unwrap();
}

async fn who_stops_waiting_leaves_the_queue(backend: Backend) {
    let server = backend.server().await;
    let (one, other) = (client(&[&server]), client(&[&server]));
    let _guard = one.lock("job").acquire().await.unwrap();
    let waiting = tokio::spawn(other.lock("job").acquire());
    waiters(&one, 1).await;
    waiting.abort();
    waiters(&one, 0).await;
}

async fn a_waiter_keeps_its_place_when_its_replica_stops(backend: Backend) {
    let (first, second) = (backend.server().await, backend.server().await);
    let holder = client(&[&second]);
    let moving = client(&[&first, &second]);
    let late = client(&[&second]);
    let guard = holder.lock("job").acquire().await.unwrap();
    let moved = tokio::spawn(moving.lock("job").owner("moving").acquire());
    waiters(&holder, 1).await;
    let later = tokio::spawn(late.lock("job").owner("late").acquire());
    waiters(&holder, 2).await;

    first.stop().await;
    guard.release().await.unwrap();
    let moved = taken(moved).await;
    let lock = holder.get_lock("job").await.unwrap();
    assert_eq!(lock.holder.unwrap().owner, "moving");
    let token = moved.fencing_token();
    moved.release().await.unwrap();
    assert!(taken(later).await.fencing_token() > token);
}

async fn a_guard_learns_that_its_session_is_gone(backend: Backend) {
    let server = backend.server().await;
    let client = client(&[&server]);
    // Longer than a clock counts is for ever.
    let guard = client.lock("job").acquire_timeout(Duration::MAX);
    let guard = guard.await.unwrap();
    let request = CloseSessionRequest {
        session_id: client.session().await.unwrap().id().to_owned(),
        guard: None,
    };
    server.sessions().close_session(request).await.unwrap();

    let loss = soon("the loss", guard.lost()).await;
    assert!(
        matches!(loss, LockLoss::Session(_) | LockLoss::Removed(_)),
        "{loss:?}"
    );
    assert!(!guard.is_held());
}

async fn a_guard_counts_as_lost_when_no_server_answers_any_more(backend: Backend) {
    let server = backend.server().await;
    let client = client_with(&[&server], "", Duration::from_secs(2));
    let guard = client.lock("job").acquire().await.unwrap();
    server.stop().await;

    assert_eq!(
        soon("the loss", guard.lost()).await,
        LockLoss::NotSurelyHeld
    );
    assert!(!guard.is_held());
    assert_eq!(guard.held_for(), Duration::ZERO);
}

async fn a_guarded_write_fails_once_the_lock_is_released(backend: Backend) {
    let server = backend.server().await;
    let client = client(&[&server]);
    let guard = client.lock("job").acquire().await.unwrap();
    let options = ChangeOptions {
        guard: Some(guard.guard()),
        ..ChangeOptions::default()
    };
    let configs = client.config();
    let put = configs.put("a", "1").options(options.clone());
    put.send().await.unwrap();

    guard.release().await.unwrap();
    let put = configs.put("a", "2").options(options);
    let error = put.send().await.unwrap_err();
    assert_eq!(error.reason(), ErrorReason::GuardFailed);
    assert_eq!(configs.get("a").await.unwrap().content, "1");
}

/// Closes locks for so long, as a replica does that finds that data was lost.
async fn close_locks(server: &Server, ttl: Duration) {
    let core = &server.app().core;
    let lease = lease_id();
    let ttl = core.store.grant(lease, ttl).await.unwrap();
    let mark = records::encode_closed(&Closed { ttl });
    let close = Txn::new().then(Operation::put_leased(core.keys.closed(), mark, lease));
    core.commit(None, close).await.unwrap();
}

async fn while_locks_are_closed_a_client_waits(backend: Backend) {
    let server = backend.server().await;
    let client = client(&[&server]);
    client.session().await.unwrap();
    let begun = Instant::now();
    close_locks(&server, Duration::from_secs(2)).await;
    let impatient = client
        .lock("other")
        .acquire_timeout(Duration::from_millis(100));
    let (waited, repeated) = tokio::join!(client.lock("job").acquire(), impatient);
    assert!(waited.unwrap().is_held() && repeated.unwrap().is_held());
    assert!(begun.elapsed() > Duration::from_secs(1));
    // Longer than a client repeats a call that does not wait.
    close_locks(&server, Duration::from_secs(60)).await;
    let refused = client.lock("third").try_acquire().await.unwrap_err();
    assert_eq!(refused.reason(), ErrorReason::LocksClosed);
}

async fn a_guard_learns_that_its_lock_is_wanted_and_that_it_is_taken(backend: Backend) {
    let server = backend.server().await;
    let (one, other) = (client(&[&server]), client(&[&server]));
    let guard = one.lock("job").acquire().await.unwrap();
    let token = guard.fencing_token();
    assert!(other.check_fencing_token("job", token).await.unwrap());
    assert!(
        other
            .request_yield("job", "please")
            .await
            .unwrap()
            .requested
    );
    let asked = soon("the question", guard.yield_requested()).await;
    assert_eq!(asked.comment, "please");
    assert!(guard.is_held());
    // It was asked already.
    soon("the question", guard.yield_requested()).await;

    let taken = other.force_release_lock("job", token, "stuck").await;
    assert!(taken.unwrap().released);
    let loss = soon("the loss", guard.lost()).await;
    assert_eq!(loss, LockLoss::Removed(LockLostCause::Forced));
    assert!(!guard.is_held());
    assert!(!other.check_fencing_token("job", token).await.unwrap());
    assert!(other.find_deadlocks().await.unwrap().deadlocks.is_empty());
}

async fn work_under_a_lock_is_dropped_when_the_lock_is_lost(backend: Backend) {
    let server = backend.server().await;
    let (one, other) = (client(&[&server]), client(&[&server]));
    let done = one.with_lock("job", async |token| token).await.unwrap();
    // It was released.
    let next = other.lock("job").try_acquire().await.unwrap();
    assert!(next.fencing_token() > done);
    next.release().await.unwrap();

    let (begun, begins) = tokio::sync::oneshot::channel();
    // Dropped with the work.
    let (work, dropped) = tokio::sync::oneshot::channel::<()>();
    let working = tokio::spawn(async move {
        let work = async move |token| {
            let _work = work;
            begun.send(token).unwrap();
            std::future::pending::<()>().await
        };
        one.with_lock("job", work).await
    });
    let token = soon("the work", begins).await.unwrap();
    let taken = other.force_release_lock("job", token, "stuck").await;
    assert!(taken.unwrap().released);
    let error = soon("the end", working).await.unwrap().unwrap_err();
    assert_eq!(error.reason(), ErrorReason::LockNotHeld);
    assert!(soon("the drop", dropped).await.is_err());
}

async fn several_locks_are_held_together_until_one_is_lost(backend: Backend) {
    let server = backend.server().await;
    let (one, other) = (client(&[&server]), client(&[&server]));
    let request = one.lock_all(["job", "db"]).shared("index");
    let request = request.owner("worker").lock_delay(Duration::from_secs(60));
    // One that is shared cannot be delayed: nothing is left behind of what is refused.
    let refused = request.clone().acquire().await.unwrap_err();
    assert_eq!(refused.reason(), ErrorReason::InvalidArgument);
    let refused = one.lock_all([""; 0]).acquire().await.unwrap_err();
    assert_eq!(refused.reason(), ErrorReason::InvalidArgument);
    let request = one.lock_all(["job", "db"]).shared("index").owner("worker");
    let held = request.acquire().await.unwrap();
    assert!(held.is_held() && held.locks().len() == 3);
    let db = held.get("db").unwrap().fencing_token();
    let lock = other.get_lock("db").await.unwrap();
    let holder = lock.holder.unwrap();
    assert_eq!((holder.fencing_token, &*holder.owner), (db, "worker"));
    let busy = other.lock_all(["free", "job"]).try_acquire().await;
    assert_eq!(busy.unwrap_err().reason(), ErrorReason::LockHeld);
    let reader = other.lock("index").shared().try_acquire().await.unwrap();
    assert!(reader.release().await.unwrap());

    let waiting = tokio::spawn(other.lock_all(["free", "job"]).acquire());
    waiters(&one, 1).await;
    let work = held.run(std::future::pending::<()>());
    let taking = other.force_release_lock("db", db, "needed");
    let (work, taken) = tokio::join!(soon("the loss", work), taking);
    assert!(taken.unwrap().released);
    assert_eq!(work, Err(LockLoss::Removed(LockLostCause::Forced)));
    assert!(!held.is_held());
    assert!(!held.release().await.unwrap(), "one was not held any more");
    let next = soon("the locks", waiting).await.unwrap().unwrap();
    assert_eq!(next.locks().len(), 2);
    drop(next);
    eventually("what is dropped to be free", async || {
        let lock = one.get_lock("free").await.unwrap();
        lock.holder.is_none().then_some(())
    })
    .await;
}
