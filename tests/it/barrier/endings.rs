//! How waiting ends without a release.

use std::time::Instant;

use stanchion::settings::Settings;
use stanchion_client::proto::{Guard, barrier_service_client::BarrierServiceClient};
use tonic::Code;

use super::*;
use crate::{
    lock::take,
    support::{
        door::Door,
        server::{Backend, assert_status, connect, on_both_stores},
    },
};

on_both_stores! {
    a_wait_ends_after_its_time_and_leaves_the_barrier,
    who_does_not_wait_passes_only_as_the_last_one,
    a_cancelled_call_leaves_at_once,
    the_place_of_a_lost_connection_is_kept_for_the_same_request_and_then_given_up,
    a_draining_replica_sends_those_who_wait_elsewhere_with_their_places,
    who_dies_before_the_release_is_not_counted,
    who_waits_is_told_that_its_session_is_closed_or_ends,
    who_means_another_number_is_refused_and_leaves_nothing,
    of_two_who_differ_at_once_the_one_who_came_first_decides,
    a_guard_decides_whether_somebody_enters,
}

/// How long the places of lost connections are kept in most of these tests: longer than they wait.
const LONG_KEEP: Duration = Duration::from_secs(20);

fn patient(backend: &Backend) -> Settings {
    let mut settings = backend.settings();
    settings.domain.waiter_keep = LONG_KEEP;
    settings
}

async fn a_wait_ends_after_its_time_and_leaves_the_barrier(backend: Backend) {
    let server = backend.server_with(patient(&backend)).await;
    let (first, second) = (open(&server).await, open(&server).await);
    let begun = Instant::now();
    let time = Duration::from_millis(300);
    let request = timed(wanted("b", 2, &first, "r"), time);
    let ended = enter(&server, request).await.unwrap_err();
    assert_status(&ended, Code::FailedPrecondition, "BARRIER_NOT_RELEASED");
    assert!(begun.elapsed() >= time);
    assert!(barrier(&server, "b").await.participants.is_empty());
    // One that is in time is released.
    let request = timed(wanted("b", 2, &first, "r2"), LONG_KEEP);
    let waiting = spawn(&server, request);
    until_waiting(&server, "b", 1).await;
    let last = enter(&server, wanted("b", 2, &second, "r")).await.unwrap();
    together(&[waiting.await.unwrap().unwrap(), last]);
}

async fn who_does_not_wait_passes_only_as_the_last_one(backend: Backend) {
    let (server, other) = (backend.server().await, backend.server().await);
    let (first, second) = (open(&server).await, open(&other).await);
    let tried = |wait| EnterBarrierRequest {
        wait: Some(wait),
        ..wanted("b", 2, &first, "try")
    };
    for wait in [
        Wait::NoWait(true),
        Wait::WaitTimeout(prost_types::Duration::default()),
    ] {
        let refused = enter(&server, tried(wait)).await.unwrap_err();
        assert_status(&refused, Code::FailedPrecondition, "BARRIER_NOT_RELEASED");
        assert!(barrier(&other, "b").await.participants.is_empty());
    }
    let waiting = spawn(&other, wanted("b", 2, &second, "r"));
    until_waiting(&server, "b", 1).await;
    let last = enter(&server, tried(Wait::NoWait(true))).await.unwrap();
    together(&[waiting.await.unwrap().unwrap(), last]);
}

async fn a_cancelled_call_leaves_at_once(backend: Backend) {
    let server = backend.server_with(patient(&backend)).await;
    let session = open(&server).await;
    let cancelled = spawn(&server, wanted("b", 2, &session, "r"));
    until_waiting(&server, "b", 1).await;
    let begun = Instant::now();
    cancelled.abort();
    until_waiting(&server, "b", 0).await;
    assert!(begun.elapsed() < LONG_KEEP / 2, "{:?}", begun.elapsed());
    // So does one whose deadline passes.
    let mut request = tonic::Request::new(wanted("b", 2, &session, "r"));
    request.set_timeout(Duration::from_millis(300));
    server.barriers().enter_barrier(request).await.unwrap_err();
    until_waiting(&server, "b", 0).await;
    assert!(begun.elapsed() < LONG_KEEP / 2, "{:?}", begun.elapsed());
}

async fn the_place_of_a_lost_connection_is_kept_for_the_same_request_and_then_given_up(
    backend: Backend,
) {
    let (server, other) = (backend.server().await, backend.server().await);
    let keep = backend.settings().domain.waiter_keep;
    let session = open(&server).await;
    let door = Door::to(server.address).await;
    let over_door = |channel, request: EnterBarrierRequest| {
        let mut barriers = BarrierServiceClient::new(channel);
        tokio::spawn(async move { barriers.enter_barrier(request).await })
    };
    let channel = connect(door.address).await;
    let cut = over_door(channel, wanted("b", 2, &session, "r"));
    let place = until_waiting(&other, "b", 1).await.participants[0].revision;
    door.shut();
    cut.await.unwrap().unwrap_err();
    let repeated = spawn(&other, wanted("b", 2, &session, "r"));
    // Long after the first call's place would have been given up, it is where it was.
    let begun = Instant::now();
    while begun.elapsed() < keep * 2 {
        let waiting = barrier(&other, "b").await.participants;
        assert_eq!(waiting.len(), 1);
        assert_eq!(waiting[0].revision, place);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let last = enter(&other, wanted("b", 2, &open(&other).await, "r")).await;
    let answers = [repeated.await.unwrap().unwrap(), last.unwrap()];
    together(&answers);
    assert_eq!(answers[0].index, 0);

    door.open(server.address);
    let channel = connect(door.address).await;
    let cut = over_door(channel, wanted("b", 2, &session, "r2"));
    until_waiting(&other, "b", 1).await;
    let begun = Instant::now();
    door.shut();
    cut.await.unwrap().unwrap_err();
    until_waiting(&other, "b", 0).await;
    assert!(begun.elapsed() >= keep, "{:?}", begun.elapsed());
}

async fn a_draining_replica_sends_those_who_wait_elsewhere_with_their_places(backend: Backend) {
    let (server, other) = (backend.server().await, backend.server().await);
    let session = open(&other).await;
    let waiting = spawn(&server, wanted("b", 2, &session, "r"));
    let place = until_waiting(&other, "b", 1).await.participants[0].revision;
    let stopping = tokio::spawn(server.stop());
    let told = waiting.await.unwrap().unwrap_err();
    assert_status(&told, Code::Unavailable, "DRAINING");
    let repeated = spawn(&other, wanted("b", 2, &session, "r"));
    stopping.await.unwrap();
    tokio::time::sleep(backend.settings().domain.waiter_keep).await;
    assert_eq!(barrier(&other, "b").await.participants[0].revision, place);
    let last = enter(&other, wanted("b", 2, &open(&other).await, "r")).await;
    together(&[repeated.await.unwrap().unwrap(), last.unwrap()]);
}

async fn who_dies_before_the_release_is_not_counted(backend: Backend) {
    let (server, other) = (backend.server().await, backend.server().await);
    let dying = open(&server).await;
    let dead = spawn(&server, wanted("b", 3, &dying, "r"));
    until_waiting(&other, "b", 1).await;
    let second = spawn(&other, wanted("b", 3, &open(&other).await, "r"));
    until_waiting(&other, "b", 2).await;
    server.expire(&dying).await;
    let told = dead.await.unwrap().unwrap_err();
    assert_status(&told, Code::FailedPrecondition, "LEASE_EXPIRED");
    let third = spawn(&server, wanted("b", 3, &open(&server).await, "r"));
    until_waiting(&other, "b", 2).await;
    assert!(!second.is_finished() && !third.is_finished());
    let replacement = enter(&other, wanted("b", 3, &open(&other).await, "r")).await;
    together(&[
        second.await.unwrap().unwrap(),
        third.await.unwrap().unwrap(),
        replacement.unwrap(),
    ]);
}

async fn who_waits_is_told_that_its_session_is_closed_or_ends(backend: Backend) {
    let server = backend.server().await;
    let closed = open(&server).await;
    let waiting = spawn(&server, wanted("b", 2, &closed, "r"));
    until_waiting(&server, "b", 1).await;
    close(&server, &closed).await;
    let told = waiting.await.unwrap().unwrap_err();
    assert_status(&told, Code::FailedPrecondition, "LEASE_EXPIRED");
    assert!(barrier(&server, "b").await.participants.is_empty());
    let short = open_for(&server, 2, "").await;
    let told = enter(&server, wanted("b", 2, &short, "r")).await;
    assert_status(
        &told.unwrap_err(),
        Code::FailedPrecondition,
        "LEASE_EXPIRED",
    );
}

async fn who_means_another_number_is_refused_and_leaves_nothing(backend: Backend) {
    let (server, other) = (backend.server().await, backend.server().await);
    let (first, second) = (open(&server).await, open(&other).await);
    let waiting = spawn(&server, wanted("b", 2, &first, "r"));
    until_waiting(&other, "b", 1).await;
    for server in [&server, &other] {
        let refused = enter(server, wanted("b", 3, &second, "r")).await;
        let refused = refused.unwrap_err();
        assert_status(&refused, Code::FailedPrecondition, "BARRIER_PARTIES_DIFFER");
        assert!(refused.message().contains("want to be 2"), "{refused:?}");
    }
    // The same request is for what it was for.
    let refused = enter(&other, wanted("b", 3, &first, "r")).await;
    let refused = refused.unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "BARRIER_PARTIES_DIFFER");
    assert_eq!(barrier(&server, "b").await.participants.len(), 1);
    let last = enter(&other, wanted("b", 2, &second, "r")).await.unwrap();
    together(&[waiting.await.unwrap().unwrap(), last]);
    // Nobody waits any more: another number is as good.
    let (one, two, three) = tokio::join!(
        enter(&server, wanted("b", 3, &first, "1")),
        enter(&other, wanted("b", 3, &second, "2")),
        enter(&other, wanted("b", 3, &second, "3")),
    );
    together(&[one.unwrap(), two.unwrap(), three.unwrap()]);
}

async fn of_two_who_differ_at_once_the_one_who_came_first_decides(backend: Backend) {
    let (server, other) = (backend.server().await, backend.server().await);
    let (first, second) = (open(&server).await, open(&other).await);
    for round in 0..10 {
        let name = format!("b{round}");
        let time = Duration::from_secs(20);
        let mut two = spawn(&server, timed(wanted(&name, 2, &first, "r"), time));
        let mut three = spawn(&other, timed(wanted(&name, 3, &second, "r"), time));
        let (refused, stays) = tokio::select! {
            refused = &mut two => (refused, three),
            refused = &mut three => (refused, two),
        };
        let refused = refused.unwrap().unwrap_err();
        assert_status(&refused, Code::FailedPrecondition, "BARRIER_PARTIES_DIFFER");
        let left = until_waiting(&server, &name, 1).await;
        assert!(!stays.is_finished());
        let others = (1..left.parties).map(|at| {
            let request = wanted(&name, left.parties, &first, &at.to_string());
            spawn(&server, request)
        });
        let mut answers = vec![];
        for other in others.collect::<Vec<_>>() {
            answers.push(other.await.unwrap().unwrap());
        }
        answers.push(stays.await.unwrap().unwrap());
        together(&answers);
    }
}

async fn a_guard_decides_whether_somebody_enters(backend: Backend) {
    let server = backend.server().await;
    let (first, second) = (open(&server).await, open(&server).await);
    let token = take(&server, "g", &first, "r").await;
    let guarded = |fencing_token| EnterBarrierRequest {
        guard: Some(Guard {
            lock: "g".into(),
            fencing_token,
            ..Guard::default()
        }),
        ..wanted("b", 2, &first, "r")
    };
    let refused = enter(&server, guarded(token + 1)).await.unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "GUARD_FAILED");
    assert!(barrier(&server, "b").await.participants.is_empty());
    let waiting = spawn(&server, guarded(token));
    until_waiting(&server, "b", 1).await;
    let last = enter(&server, wanted("b", 2, &second, "r")).await.unwrap();
    together(&[waiting.await.unwrap().unwrap(), last]);
}
