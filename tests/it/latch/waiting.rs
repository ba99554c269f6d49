//! Waiting for a latch, wherever it is counted down.

use std::time::Instant;

use tonic::Code;

use super::*;
use crate::support::server::{Backend, assert_status, on_both_stores};

on_both_stores! {
    a_latch_awaited_at_one_replica_opens_when_it_is_counted_down_at_the_other,
    a_wait_ends_after_its_time_and_a_look_does_not_wait,
    who_waits_for_an_open_latch_is_answered_though_it_is_deleted_in_the_same_moment,
    a_draining_replica_sends_those_who_wait_elsewhere,
}

async fn a_latch_awaited_at_one_replica_opens_when_it_is_counted_down_at_the_other(
    backend: Backend,
) {
    let (server, other) = (backend.server().await, backend.server().await);
    create(&server, latch("ready", 2)).await.unwrap();
    let waiting: Vec<_> = [&server, &other, &other]
        .map(|server| spawn(server, wanted("ready")))
        .into();
    count(&server, "ready", "a").await.unwrap();
    // One that asks afterwards finds it closed, so that the others have not missed it either.
    let look = timed("ready", Duration::from_millis(200));
    let closed = wait(&other, look).await.unwrap_err();
    assert_status(&closed, Code::FailedPrecondition, "LATCH_NOT_OPEN");
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
    let opened = count(&server, "ready", "b").await.unwrap();
    let revision = opened.header.unwrap().revision;
    for waiting in waiting {
        let told = waiting.await.unwrap().unwrap();
        assert!(told.header.unwrap().revision >= revision);
    }
    // It stays open.
    let no_wait = AwaitLatchRequest {
        wait: Some(Wait::NoWait(true)),
        consistency: Consistency::Cached.into(),
        min_revision: revision,
        ..wanted("ready")
    };
    wait(&other, no_wait).await.unwrap();
}

async fn a_wait_ends_after_its_time_and_a_look_does_not_wait(backend: Backend) {
    let server = backend.server().await;
    create(&server, latch("ready", 3)).await.unwrap();
    count(&server, "ready", "a").await.unwrap();
    let begun = Instant::now();
    let time = Duration::from_millis(300);
    let closed = wait(&server, timed("ready", time)).await.unwrap_err();
    assert_status(&closed, Code::FailedPrecondition, "LATCH_NOT_OPEN");
    assert!(closed.message().contains("2 parties"), "{closed:?}");
    assert!(begun.elapsed() >= time);
    for look in [
        Wait::NoWait(true),
        Wait::WaitTimeout(prost_types::Duration::default()),
    ] {
        let look = AwaitLatchRequest {
            wait: Some(look),
            ..wanted("ready")
        };
        let closed = wait(&server, look).await.unwrap_err();
        assert_status(&closed, Code::FailedPrecondition, "LATCH_NOT_OPEN");
    }
    let unknown = wait(&server, wanted("other")).await.unwrap_err();
    assert_status(&unknown, Code::NotFound, "LATCH_NOT_FOUND");
}

async fn who_waits_for_an_open_latch_is_answered_though_it_is_deleted_in_the_same_moment(
    backend: Backend,
) {
    let (server, other) = (backend.server().await, backend.server().await);
    for round in 0..20 {
        let name = format!("ready-{round}");
        create(&server, latch(&name, 1)).await.unwrap();
        let waiting: Vec<_> = [&server, &other, &other]
            .map(|server| spawn(server, wanted(&name)))
            .into();
        // Whoever comes before that finds the latch, and whoever comes later is told that there is
        // none: so that all have come, the latch is looked at by each replica once more.
        for server in [&server, &other] {
            wait(server, timed(&name, Duration::from_millis(50)))
                .await
                .unwrap_err();
        }
        count(&server, &name, "a").await.unwrap();
        assert!(delete(&server, &name).await.unwrap());
        for waiting in waiting {
            waiting.await.unwrap().unwrap();
        }
    }
}

async fn a_draining_replica_sends_those_who_wait_elsewhere(backend: Backend) {
    let (server, other) = (backend.server().await, backend.server().await);
    create(&other, latch("ready", 1)).await.unwrap();
    let waiting = spawn(&server, wanted("ready"));
    wait(&server, timed("ready", Duration::from_millis(50)))
        .await
        .unwrap_err();
    let stopping = tokio::spawn(server.stop());
    let told = waiting.await.unwrap().unwrap_err();
    assert_status(&told, Code::Unavailable, "DRAINING");
    stopping.await.unwrap();
    let waiting = spawn(&other, wanted("ready"));
    count(&other, "ready", "a").await.unwrap();
    waiting.await.unwrap().unwrap();
}
