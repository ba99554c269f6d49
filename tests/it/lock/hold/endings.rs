//! How streams end: by their clients, by accident, by the replica.

use super::{super::oversight::Beats, *};
use crate::support::{door::Door, server::connect};
use stanchion_client::proto::keep_alive_response::Message as Notice;
use tonic::Code;

on_both_stores! {
    a_holder_that_ends_its_stream_frees_the_lock_at_once_and_loses_nothing,
    a_reentrant_owner_that_ends_its_last_stream_loses_nothing,
    a_waiter_that_ends_its_stream_leaves_the_queue_at_once,
    a_stream_ends_with_its_deadline_and_the_claim_with_it,
    the_claim_of_a_lost_connection_is_kept_for_a_while_and_then_given_up,
    a_lock_with_a_delay_is_delayed_when_its_stream_is_lost_and_not_when_it_is_ended,
    who_comes_back_too_late_ends_no_delay_and_queues_after_it,
    a_draining_replica_sends_its_streams_elsewhere_with_their_claims,
    a_lock_that_nobody_takes_up_after_a_drain_is_held_as_long_as_its_session,
    a_place_that_nobody_takes_up_after_a_drain_is_given_up,
    a_reentrant_owner_holds_the_lock_until_its_last_stream_ends,
}

async fn a_holder_that_ends_its_stream_frees_the_lock_at_once_and_loses_nothing(backend: Backend) {
    let server = patient_server(&backend).await;
    let (first, second) = (open(&server).await, open(&server).await);
    let mut beats = Beats::open(&server, &first).await;
    let mut holder = hold(&server, "l", &first, "r").await;
    holder.acquired().await;
    let waiting = spawn(&server, wanted("l", &second, "r"));
    until_waiting(&server, "l", 1).await;
    let begun = Instant::now();
    drop(holder);
    waiting.await.unwrap().unwrap();
    assert!(begun.elapsed() < LONG_KEEP / 2, "{:?}", begun.elapsed());
    // Its session is told of what comes later, and not of this.
    let token = take(&server, "m", &first, "r").await;
    super::super::oversight::force(&server, "m", token).await;
    let Notice::LockLost(lost) = beats.told().await else {
        panic!("something else is told");
    };
    assert_eq!(lost.fencing_token, token);
}

async fn a_reentrant_owner_that_ends_its_last_stream_loses_nothing(backend: Backend) {
    let server = patient_server(&backend).await;
    let session = open(&server).await;
    let mut beats = Beats::open(&server, &session).await;
    let job = |request: &str| HoldLockRequest {
        reentrant_owner: "job".into(),
        ..held("l", &session, request)
    };
    let mut one = Holding::open(&server, job("a")).await;
    one.acquired().await;
    let mut two = Holding::open(&server, job("b")).await;
    two.acquired().await;
    drop((one, two));
    until_free(&server, "l").await;
    // The first that is told is what comes later.
    let token = take(&server, "m", &session, "r").await;
    super::super::oversight::force(&server, "m", token).await;
    let Notice::LockLost(lost) = beats.told().await else {
        panic!("something else is told");
    };
    assert_eq!(lost.fencing_token, token);
}

async fn a_waiter_that_ends_its_stream_leaves_the_queue_at_once(backend: Backend) {
    let server = patient_server(&backend).await;
    let session = open(&server).await;
    take(&server, "l", &session, "r").await;
    let mut waiter = hold(&server, "l", &open(&server).await, "r").await;
    waiter.queued_at(1, 1).await;
    let begun = Instant::now();
    drop(waiter);
    until_waiting(&server, "l", 0).await;
    assert!(begun.elapsed() < LONG_KEEP / 2, "{:?}", begun.elapsed());
}

async fn a_stream_ends_with_its_deadline_and_the_claim_with_it(backend: Backend) {
    let server = patient_server(&backend).await;
    let mut request = tonic::Request::new(held("l", &open(&server).await, "r"));
    request.set_timeout(Duration::from_millis(500));
    let answer = server.locks().hold_lock(request).await.unwrap();
    let mut holder = Holding(answer.into_inner());
    holder.acquired().await;
    let begun = Instant::now();
    let ended = holder.failed().await;
    // Client and server both count; whoever is first says so.
    let codes = [Code::DeadlineExceeded, Code::Cancelled];
    assert!(codes.contains(&ended.code()), "{ended:?}");
    until_free(&server, "l").await;
    assert!(begun.elapsed() < LONG_KEEP / 2, "{:?}", begun.elapsed());
}

async fn the_claim_of_a_lost_connection_is_kept_for_a_while_and_then_given_up(backend: Backend) {
    let server = backend.server().await;
    let door = Door::to(server.address).await;
    let channel = connect(door.address).await;
    let first = held("l", &open(&server).await, "r");
    let mut holder = Holding::over(channel.clone(), first).await.unwrap();
    let token = holder.acquired().await.fencing_token;
    let second = held("l", &open(&server).await, "r");
    let mut waiter = Holding::over(channel, second).await.unwrap();
    waiter.queued().await;
    let begun = Instant::now();
    door.shut();
    holder.failed().await;
    waiter.failed().await;
    // Dropped by a client that knows nothing of it any more, they are kept all the same.
    drop((holder, waiter));
    let seen = lock(&server, "l").await;
    if begun.elapsed() < KEEP {
        assert_eq!(seen.holder.unwrap().fencing_token, token);
        assert_eq!(seen.waiters.len(), 1);
    }
    until_free(&server, "l").await;
    assert!(begun.elapsed() >= KEEP, "{:?}", begun.elapsed());
}

/// Longer than any test waits for a lock.
const LONG_DELAY: Duration = Duration::from_secs(60);

fn delaying(session: &str, delay: Duration) -> HoldLockRequest {
    HoldLockRequest {
        lock_delay: Some(delay.try_into().unwrap()),
        ..held("l", session, "r")
    }
}

async fn a_lock_with_a_delay_is_delayed_when_its_stream_is_lost_and_not_when_it_is_ended(
    backend: Backend,
) {
    const DELAY: Duration = Duration::from_secs(2);
    let server = backend.server().await;
    let door = Door::to(server.address).await;
    let channel = connect(door.address).await;
    let request = delaying(&open(&server).await, DELAY);
    let mut holder = Holding::over(channel, request).await.unwrap();
    holder.acquired().await;
    let request = delaying(&open(&server).await, LONG_DELAY);
    let mut second = Holding::open(&server, request).await;
    second.queued().await;
    let mut third = hold(&server, "l", &open(&server).await, "r").await;
    third.queued().await;
    let begun = Instant::now();
    door.shut();
    second.acquired().await;
    assert!(begun.elapsed() >= KEEP + DELAY, "{:?}", begun.elapsed());
    drop(second);
    third.acquired().await;
}

async fn who_comes_back_too_late_ends_no_delay_and_queues_after_it(backend: Backend) {
    const DELAY: Duration = Duration::from_secs(3);
    let server = backend.server().await;
    let door = Door::to(server.address).await;
    let request = delaying(&open(&server).await, DELAY);
    let channel = connect(door.address).await;
    let mut holder = Holding::over(channel, request.clone()).await.unwrap();
    let token = holder.acquired().await.fencing_token;
    let mut second = hold(&server, "l", &open(&server).await, "r").await;
    second.queued().await;
    let begun = Instant::now();
    door.shut();
    eventually("the lock to be delayed", || async {
        lock(&server, "l").await.delay
    })
    .await;
    let short = Duration::from_millis(50).try_into().unwrap();
    for wait in [
        hold_lock_request::Wait::NoWait(true),
        hold_lock_request::Wait::WaitTimeout(short),
    ] {
        let request = HoldLockRequest {
            wait: Some(wait),
            ..request.clone()
        };
        let refused = Holding::over(server.channel(), request).await;
        let Err(refused) = refused else {
            panic!("it waits for longer than it wants");
        };
        assert_status(&refused, Code::FailedPrecondition, "LOCK_DELAYED");
    }
    let (channel, late) = (server.channel(), request);
    let late = tokio::spawn(async move { Holding::over(channel, late).await.unwrap() });
    second.acquired().await;
    assert!(begun.elapsed() >= KEEP + DELAY, "{:?}", begun.elapsed());
    let mut late = late.await.unwrap();
    assert!(late.queued_at(1, 1).await.fencing_token > token);
    drop(second);
    late.acquired().await;
    drop(late);
    until_free(&server, "l").await;
    assert_eq!(lock(&server, "l").await.delay, None);
}

async fn a_draining_replica_sends_its_streams_elsewhere_with_their_claims(backend: Backend) {
    let server = patient_server(&backend).await;
    let other = patient_server(&backend).await;
    let (first, second) = (open(&other).await, open(&other).await);
    let mut holder = hold(&server, "l", &first, "r").await;
    let token = holder.acquired().await.fencing_token;
    let mut waiter = hold(&server, "l", &second, "r").await;
    let place = waiter.queued().await.fencing_token;
    let stopping = tokio::spawn(server.stop());
    for stream in [&mut holder, &mut waiter] {
        let told = stream.failed().await;
        assert_status(&told, Code::Unavailable, "DRAINING");
    }
    let mut holder = hold(&other, "l", &first, "r").await;
    let mut waiter = hold(&other, "l", &second, "r").await;
    assert_eq!(holder.acquired().await.fencing_token, token);
    assert_eq!(waiter.queued_at(1, 1).await.fencing_token, place);
    stopping.await.unwrap();
    holder.contended(1).await;
    drop(holder);
    assert_eq!(waiter.acquired().await.fencing_token, place);
}

/// Its client may be cut off, and believe in it for as long as its session surely lives.
async fn a_lock_that_nobody_takes_up_after_a_drain_is_held_as_long_as_its_session(
    backend: Backend,
) {
    const TTL: Duration = Duration::from_secs(4);
    let (server, other) = (backend.server().await, backend.server().await);
    let begun = Instant::now();
    let session = open_for(&other, TTL.as_secs().cast_signed(), "").await;
    let request = delaying(&session, LONG_DELAY);
    let mut holder = Holding::open(&server, request).await;
    let token = holder.acquired().await.fencing_token;
    server.stop().await;
    let told = holder.failed().await;
    assert_status(&told, Code::Unavailable, "DRAINING");
    let delay = eventually("the lock to be delayed", || async {
        lock(&other, "l").await.delay
    })
    .await;
    assert!(begun.elapsed() >= TTL, "{:?}", begun.elapsed());
    assert_eq!(delay.fencing_token, token);
    assert!(lock(&other, "l").await.holder.is_none());
}

async fn a_place_that_nobody_takes_up_after_a_drain_is_given_up(backend: Backend) {
    let (server, other) = (backend.server().await, backend.server().await);
    take(&other, "l", &open(&other).await, "r").await;
    let mut waiter = hold(&server, "l", &open(&other).await, "r").await;
    waiter.queued().await;
    let begun = Instant::now();
    server.stop().await;
    let told = waiter.failed().await;
    assert_status(&told, Code::Unavailable, "DRAINING");
    until_waiting(&other, "l", 0).await;
    assert!(begun.elapsed() >= KEEP, "{:?}", begun.elapsed());
}

async fn a_reentrant_owner_holds_the_lock_until_its_last_stream_ends(backend: Backend) {
    let server = patient_server(&backend).await;
    let session = open(&server).await;
    let job = |request: &str| HoldLockRequest {
        reentrant_owner: "job".into(),
        ..held("l", &session, request)
    };
    let mut one = Holding::open(&server, job("a")).await;
    let token = one.acquired().await.fencing_token;
    let mut two = Holding::open(&server, job("b")).await;
    assert_eq!(two.acquired().await.fencing_token, token);
    let mut waiter = hold(&server, "l", &open(&server).await, "r").await;
    waiter.queued_at(1, 1).await;
    two.contended(1).await;
    drop(one);
    eventually("one to be left", || async {
        let holder = lock(&server, "l").await.holder.unwrap();
        (holder.holds == 1 && holder.fencing_token == token).then_some(())
    })
    .await;
    // The other one has its part still.
    let request = ReleaseLockRequest {
        lock: "l".into(),
        session_id: session.clone(),
        claim: Some(Claim::RequestId("b".into())),
        reentrant_owner: "job".into(),
        ..Default::default()
    };
    assert!(
        server
            .locks()
            .release_lock(request)
            .await
            .unwrap()
            .into_inner()
            .released
    );
    assert_eq!(two.lost().await.fencing_token, token);
    waiter.acquired().await;
}
