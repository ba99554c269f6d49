//! How latches go: deleted, or with their time.

use stanchion::store::{KeyRange, RangeRequest};
use tonic::Code;

use super::*;
use crate::{
    full_store::{Brim, Room},
    support::server::{Backend, assert_status, eventually, on_both_stores},
};

on_both_stores! {
    who_waits_for_a_latch_that_is_deleted_is_told,
    a_latch_that_is_created_anew_is_another_one,
    a_latch_goes_with_its_lifetime_and_leaves_nothing,
    a_latch_is_deleted_in_a_full_store,
}

/// Everything that the store has of latches.
async fn keys(server: &Server) -> usize {
    let core = &server.app().core;
    let state = core.keys.state();
    let latches = [&state[..], b"latch/"].concat();
    let found = core
        .store
        .range(RangeRequest::new(KeyRange::prefix(latches)));
    found.await.unwrap().kvs.len()
}

async fn who_waits_for_a_latch_that_is_deleted_is_told(backend: Backend) {
    let (server, other) = (backend.server().await, backend.server().await);
    create(&server, latch("ready", 2)).await.unwrap();
    count(&server, "ready", "a").await.unwrap();
    let waiting = spawn(&other, wanted("ready"));
    wait(&other, timed("ready", Duration::from_millis(50)))
        .await
        .unwrap_err();
    assert!(delete(&server, "ready").await.unwrap());
    let told = waiting.await.unwrap().unwrap_err();
    assert_status(&told, Code::FailedPrecondition, "LATCH_GONE");
    assert_eq!(keys(&server).await, 0);
    // What is gone stays so.
    assert!(!delete(&server, "ready").await.unwrap());
    assert!(!delete(&other, "never").await.unwrap());
    let gone = get(&other, "ready").await.unwrap_err();
    assert_status(&gone, Code::NotFound, "LATCH_NOT_FOUND");
}

async fn a_latch_that_is_created_anew_is_another_one(backend: Backend) {
    let (server, other) = (backend.server().await, backend.server().await);
    let first = create(&server, latch("ready", 1)).await.unwrap();
    let waiting = spawn(&other, wanted("ready"));
    wait(&other, timed("ready", Duration::from_millis(50)))
        .await
        .unwrap_err();
    assert!(delete(&server, "ready").await.unwrap());
    let second = create(&server, latch("ready", 2)).await.unwrap();
    let revision = |created: CreateLatchResponse| created.latch.unwrap().create_revision;
    assert!(revision(second) > revision(first));
    let told = waiting.await.unwrap().unwrap_err();
    assert_status(&told, Code::FailedPrecondition, "LATCH_GONE");
    let counted = count(&other, "ready", "a").await.unwrap();
    assert_eq!((counted.counted, counted.remaining), (true, 1));
}

async fn a_latch_goes_with_its_lifetime_and_leaves_nothing(backend: Backend) {
    let mut settings = backend.settings();
    settings.domain.min_latch_lifetime = Duration::from_secs(1);
    let server = backend.server_with(settings).await;
    let short = CreateLatchRequest {
        lifetime: Some(Duration::from_secs(2).try_into().unwrap()),
        ..latch("ready", 2)
    };
    create(&server, short).await.unwrap();
    create(&server, latch("long", 2)).await.unwrap();
    count(&server, "ready", "a").await.unwrap();
    assert_eq!(keys(&server).await, 3);
    let told = wait(&server, wanted("ready")).await.unwrap_err();
    assert_status(&told, Code::FailedPrecondition, "LATCH_GONE");
    eventually("its keys to be gone", async || {
        (keys(&server).await == 1).then_some(())
    })
    .await;
    let late = count(&server, "ready", "b").await.unwrap_err();
    assert_status(&late, Code::NotFound, "LATCH_NOT_FOUND");
    assert!(create(&server, latch("ready", 2)).await.unwrap().created);
}

async fn a_latch_is_deleted_in_a_full_store(backend: Backend) {
    let (brim, server) = Brim::server(&backend).await;
    create(&server, latch("ready", 2)).await.unwrap();
    count(&server, "ready", "a").await.unwrap();
    brim.has(Room::Nothing);
    let refused = count(&server, "ready", "b").await.unwrap_err();
    assert_status(&refused, Code::ResourceExhausted, "STORE_FULL");
    let refused = create(&server, latch("other", 2)).await.unwrap_err();
    assert_status(&refused, Code::ResourceExhausted, "STORE_FULL");
    assert!(delete(&server, "ready").await.unwrap());
    assert_eq!(keys(&server).await, 0);
    server.stop().await;
}
