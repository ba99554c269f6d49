//! Calls that break off while they wait.

use std::time::{Duration, Instant};

use tonic::Code;

use super::*;
use crate::support::server::{Backend, assert_status, eventually, on_both_stores};

on_both_stores! {
    a_call_cut_off_and_repeated_elsewhere_keeps_one_place,
    a_call_cut_off_and_not_repeated_gives_its_place_up_after_a_while,
    a_place_that_became_the_holders_meanwhile_is_given_up_too,
    a_draining_replica_sends_its_waiters_elsewhere_with_their_places,
    a_call_waits_as_long_as_it_says_and_no_longer,
}

/// How long the place of a broken call is kept in these tests.
const KEEP: Duration = Duration::from_secs(1);

async fn a_call_cut_off_and_repeated_elsewhere_keeps_one_place(backend: Backend) {
    let server = backend.server().await;
    let other = backend.server().await;
    let (first, second, third) = (
        open(&server).await,
        open(&server).await,
        open(&server).await,
    );
    let token = take(&server, "l", &first, "r").await;
    let cut = spawn(&server, wanted("l", &second, "r"));
    let place = until_waiting(&server, "l", 1).await.waiters[0].fencing_token;
    let behind = spawn(&server, wanted("l", &third, "r"));
    until_waiting(&server, "l", 2).await;
    cut.abort();
    assert!(cut.await.unwrap_err().is_cancelled());
    let repeated = spawn(&other, wanted("l", &second, "r"));

    // Long after the first call's place would have been given up, it is where it was.
    let begun = Instant::now();
    while begun.elapsed() < KEEP * 2 {
        let waiters = lock(&other, "l").await.waiters;
        assert_eq!(waiters.len(), 2);
        assert_eq!(waiters[0].fencing_token, place);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(release_token(&other, "l", &first, token).await);
    assert_eq!(repeated.await.unwrap().unwrap().fencing_token, place);
    assert!(!behind.is_finished());
}

async fn a_call_cut_off_and_not_repeated_gives_its_place_up_after_a_while(backend: Backend) {
    let server = backend.server().await;
    let (first, second, third) = (
        open(&server).await,
        open(&server).await,
        open(&server).await,
    );
    let token = take(&server, "l", &first, "r").await;
    let cut = spawn(&server, wanted("l", &second, "r"));
    until_waiting(&server, "l", 1).await;
    let behind = spawn(&server, wanted("l", &third, "r"));
    until_waiting(&server, "l", 2).await;
    let begun = Instant::now();
    cut.abort();
    until_waiting(&server, "l", 1).await;
    assert!(begun.elapsed() >= KEEP, "{:?}", begun.elapsed());
    assert!(release_token(&server, "l", &first, token).await);
    behind.await.unwrap().unwrap();
}

async fn a_place_that_became_the_holders_meanwhile_is_given_up_too(backend: Backend) {
    let server = backend.server().await;
    let (first, second) = (open(&server).await, open(&server).await);
    let token = take(&server, "l", &first, "r").await;
    let cut = spawn(&server, wanted("l", &second, "r"));
    until_waiting(&server, "l", 1).await;
    cut.abort();
    // The client of the second session may not even know that it was granted the lock.
    assert!(cut.await.unwrap_err().is_cancelled());
    tokio::time::sleep(KEEP / 4).await;
    assert!(release_token(&server, "l", &first, token).await);
    assert!(lock(&server, "l").await.holder.is_some());
    eventually("the lock to be free", || async {
        lock(&server, "l").await.holder.is_none().then_some(())
    })
    .await;
}

async fn a_draining_replica_sends_its_waiters_elsewhere_with_their_places(backend: Backend) {
    let server = backend.server().await;
    let other = backend.server().await;
    let (first, second) = (open(&other).await, open(&other).await);
    let token = take(&other, "l", &first, "r").await;
    let waiting = spawn(&server, wanted("l", &second, "r"));
    let place = until_waiting(&other, "l", 1).await.waiters[0].fencing_token;
    let stopping = tokio::spawn(server.stop());
    let told = waiting.await.unwrap().unwrap_err();
    assert_status(&told, Code::Unavailable, "DRAINING");
    let repeated = spawn(&other, wanted("l", &second, "r"));
    stopping.await.unwrap();
    tokio::time::sleep(KEEP).await;
    assert!(release_token(&other, "l", &first, token).await);
    assert_eq!(repeated.await.unwrap().unwrap().fencing_token, place);
}

async fn a_call_waits_as_long_as_it_says_and_no_longer(backend: Backend) {
    let mut settings = backend.settings();
    settings.rpc.default_deadline = Duration::from_millis(100);
    settings.rpc.max_deadline = Duration::from_millis(200);
    let server = backend.server_with(settings).await;
    let (first, second) = (open(&server).await, open(&server).await);
    take(&server, "l", &first, "r").await;
    let mut request = tonic::Request::new(wanted("l", &second, "a"));
    request.set_timeout(Duration::from_millis(400));
    let begun = Instant::now();
    let ended = server.locks().acquire_lock(request).await.unwrap_err();
    // Client and server both count; whoever is first says so.
    let codes = [Code::DeadlineExceeded, Code::Cancelled];
    assert!(codes.contains(&ended.code()), "{ended:?}");
    assert!(begun.elapsed() >= Duration::from_millis(350));
    let forever = spawn(&server, wanted("l", &second, "b"));
    until_waiting(&server, "l", 2).await;
    // The place of the first goes; the second has no deadline and stays.
    until_waiting(&server, "l", 1).await;
    assert!(!forever.is_finished());
}
