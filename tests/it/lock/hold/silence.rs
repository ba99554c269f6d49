//! Clients of which nothing is heard, and who may hear nothing of that.

use super::{super::oversight::Beats, *};
use crate::support::{door::Door, server::connect};
use stanchion_client::proto::RenewSessionRequest;

on_both_stores! {
    who_falls_silent_holds_the_lock_for_as_long_as_it_was_told,
    who_falls_silent_and_lives_on_elsewhere_loses_the_lock_after_a_while,
    who_falls_silent_while_it_waits_leaves_the_queue_soon,
}

const TTL: Duration = Duration::from_secs(4);

/// A server that finds soon that a client is silent, though not one that is held up for a moment.
async fn attentive(backend: &Backend) -> Server {
    let mut settings = backend.settings();
    settings.rpc.ping_interval = Duration::from_millis(200);
    settings.rpc.ping_timeout = Duration::from_millis(1500);
    settings.domain.waiter_keep = Duration::from_millis(200);
    backend.server_with(settings).await
}

async fn who_falls_silent_holds_the_lock_for_as_long_as_it_was_told(backend: Backend) {
    let server = attentive(&backend).await;
    let session = open_for(&server, TTL.as_secs().cast_signed(), "").await;
    let mut beats = Beats::open(&server, &session).await;
    beats.alive().await;
    let door = Door::to(server.address).await;
    let sent = Instant::now();
    let request = held("l", &session, "r");
    let holder = Holding::over(connect(door.address).await, request);
    let mut holder = holder.await.unwrap();
    let valid_for = holder.acquired().await.valid_for.unwrap();
    let mut next = hold(&server, "l", &open(&server).await, "r").await;
    next.queued().await;
    door.fall_silent();
    next.acquired().await;
    let held_for = sent.elapsed();
    let promised = Duration::try_from(valid_for).unwrap();
    assert!(promised > TTL / 2, "{promised:?}");
    assert!(held_for >= promised, "{held_for:?} of {promised:?}");
}

async fn who_falls_silent_and_lives_on_elsewhere_loses_the_lock_after_a_while(backend: Backend) {
    let server = attentive(&backend).await;
    let session = open_for(&server, TTL.as_secs().cast_signed(), "").await;
    let renew = RenewSessionRequest {
        session_id: session.clone(),
    };
    let mut sessions = server.sessions();
    let living = tokio::spawn(async move {
        loop {
            sessions.renew_session(renew.clone()).await.unwrap();
            tokio::time::sleep(TTL / 8).await;
        }
    });
    let door = Door::to(server.address).await;
    let request = held("l", &session, "r");
    let holder = Holding::over(connect(door.address).await, request);
    let mut holder = holder.await.unwrap();
    holder.acquired().await;
    let mut next = hold(&server, "l", &open(&server).await, "r").await;
    next.queued().await;
    let begun = Instant::now();
    door.fall_silent();
    next.acquired().await;
    assert!(begun.elapsed() >= TTL, "{:?}", begun.elapsed());
    assert!(!living.is_finished());
    living.abort();
}

async fn who_falls_silent_while_it_waits_leaves_the_queue_soon(backend: Backend) {
    let server = attentive(&backend).await;
    take(&server, "l", &open(&server).await, "r").await;
    let door = Door::to(server.address).await;
    let request = held("l", &open(&server).await, "r");
    let waiter = Holding::over(connect(door.address).await, request);
    let mut waiter = waiter.await.unwrap();
    waiter.queued().await;
    door.fall_silent();
    // Its session lives for a minute.
    until_waiting(&server, "l", 0).await;
}
