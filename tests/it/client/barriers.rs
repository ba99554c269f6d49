//! Barriers and latches through the client.

use std::time::Duration;

use stanchion_client::{BarrierPass, Client, proto::ErrorReason};

use super::{client, soon};
use crate::support::server::{Backend, eventually, on_both_stores};

on_both_stores! {
    clients_of_different_replicas_pass_a_barrier_together,
    who_stops_waiting_is_not_counted,
    who_waits_moves_to_another_replica_when_its_own_stops,
    a_wait_at_a_barrier_ends_with_its_session,
    a_latch_opens_for_all_who_wait,
}

/// Waits until so many wait at `step`.
async fn waiting(client: &Client, count: i32) {
    eventually("so many to wait", async || {
        let barrier = client.get_barrier("step").await.unwrap();
        (barrier.participant_count == count).then_some(())
    })
    .await;
}

async fn passed(
    call: tokio::task::JoinHandle<stanchion_client::Result<BarrierPass>>,
) -> BarrierPass {
    soon("the others", call).await.unwrap().unwrap()
}

async fn clients_of_different_replicas_pass_a_barrier_together(backend: Backend) {
    let (server, other) = (backend.server().await, backend.server().await);
    let (one, two) = (client(&[&server]), client(&[&other]));
    let mut last = 0;
    for _ in 0..3 {
        let first = tokio::spawn(one.barrier("step", 3).enter());
        waiting(&two, 1).await;
        let second = tokio::spawn(two.barrier("step", 3).enter());
        waiting(&one, 2).await;
        // Requests of one session count one by one.
        let third = one.barrier("step", 3).try_enter().await.unwrap();
        let all = [passed(first).await, passed(second).await, third];
        assert!(all.iter().all(|pass| pass.generation == third.generation));
        assert!(all.iter().map(|pass| pass.index).eq(0..3));
        assert!(third.generation > last && third.parties == 3);
        last = third.generation;
    }
    assert!(one.barriers("").await.unwrap().is_empty());
    let seen = one.get_barrier("step").await.unwrap();
    assert_eq!(seen.last_release.unwrap().generation, last);
    let refused = one.barrier("step", 101).enter().await.unwrap_err();
    assert_eq!(refused.violations()[0].field, "parties");
}

async fn who_stops_waiting_is_not_counted(backend: Backend) {
    let server = backend.server().await;
    let (one, two) = (client(&[&server]), client(&[&server]));
    let stopped = tokio::spawn(one.barrier("step", 2).enter());
    waiting(&two, 1).await;
    stopped.abort();
    waiting(&two, 0).await;
    let missing = two.barrier("step", 2).try_enter().await.unwrap_err();
    assert_eq!(missing.reason(), ErrorReason::BarrierNotReleased);
    let late = two.barrier("step", 2);
    let late = late.enter_timeout(Duration::from_millis(100)).await;
    assert_eq!(late.unwrap_err().reason(), ErrorReason::BarrierNotReleased);
    waiting(&two, 0).await;
}

async fn who_waits_moves_to_another_replica_when_its_own_stops(backend: Backend) {
    let (server, last) = (backend.server().await, backend.server().await);
    let moving = client(&[&server, &last]);
    let one = client(&[&last]);
    let call = tokio::spawn(moving.barrier("step", 2).enter());
    waiting(&one, 1).await;
    let latch = moving.latch("ready");
    latch.create(1).await.unwrap();
    let open = tokio::spawn({
        let latch = latch.clone();
        async move { latch.wait().await }
    });
    server.stop().await;
    one.latch("ready").count_down("a").await.unwrap();
    soon("the latch", open).await.unwrap().unwrap();
    let other = soon("the other", one.barrier("step", 2).enter()).await;
    assert_eq!(passed(call).await.generation, other.unwrap().generation);
}

async fn a_wait_at_a_barrier_ends_with_its_session(backend: Backend) {
    let server = backend.server().await;
    let one = client(&[&server]);
    let session = one.session().await.unwrap();
    let call = tokio::spawn(one.barrier("step", 2).session(session.clone()).enter());
    waiting(&one, 1).await;
    server.expire(session.id()).await;
    let ended = soon("the end", call).await.unwrap().unwrap_err();
    assert_eq!(ended.reason(), ErrorReason::LeaseExpired);
}

async fn a_latch_opens_for_all_who_wait(backend: Backend) {
    let (server, other) = (backend.server().await, backend.server().await);
    let (one, two) = (client(&[&server]), client(&[&other]));
    let ready = one.latch("ready").lifetime(Duration::from_secs(600));
    let created = ready.create(2).await.unwrap();
    assert!(created.created);
    let differs = two.latch("ready").create(3).await.unwrap_err();
    assert_eq!(differs.reason(), ErrorReason::LatchDiffers);
    assert_eq!(differs.metadata()["count"], "2");
    let closed = ready.wait_timeout(Duration::from_millis(50)).await;
    assert_eq!(closed.unwrap_err().reason(), ErrorReason::LatchNotOpen);
    let waits = two.latch("ready");
    let waiting = tokio::spawn(async move { waits.wait().await });
    assert!(ready.count_down("a").await.unwrap().counted);
    assert!(!ready.count_down("a").await.unwrap().counted);
    assert!(two.latch("ready").count_down("b").await.unwrap().open);
    soon("the latch", waiting).await.unwrap().unwrap();
    let seen = ready.get().await.unwrap();
    assert_eq!(
        (seen.arrivals.len(), seen.lifetime.unwrap().seconds),
        (2, 600)
    );
    assert_eq!(one.latches("re").await.unwrap().len(), 1);
    assert!(ready.delete().await.unwrap() && !ready.delete().await.unwrap());
    let gone = ready.wait().await.unwrap_err();
    assert_eq!(gone.reason(), ErrorReason::LatchNotFound);
}
