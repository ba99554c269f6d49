//! What can be seen of a lock, and whether a token counts.

use stanchion_client::proto::CheckFencingTokenRequest;

use super::*;
use crate::support::server::{Backend, on_both_stores};

on_both_stores! {
    a_lock_shows_who_holds_it_since_when_and_from_where,
    a_replica_that_did_not_see_it_does_not_say_since_when,
    a_token_counts_while_its_claim_holds_the_lock_and_at_no_other_time,
}

async fn a_lock_shows_who_holds_it_since_when_and_from_where(backend: Backend) {
    let server = backend.server().await;
    let first = open_for(&server, 60, "one").await;
    let second = open_for(&server, 60, "two").await;
    let token = take(&server, "l", &first, "r").await;
    let holder = lock(&server, "l").await.holder.unwrap();
    assert_eq!(holder.hold_time, holder.create_time);
    assert_eq!(holder.client_id, "one");
    assert!(holder.address.starts_with("127.0.0.1:"), "{holder:?}");

    let waiting = spawn(&server, wanted("l", &second, "r"));
    let waiter = until_waiting(&server, "l", 1).await.waiters[0].clone();
    assert_eq!((waiter.position, waiter.hold_time), (1, None));
    assert!(release_token(&server, "l", &first, token).await);
    waiting.await.unwrap().unwrap();
    let shown = eventually("the change of hands to be counted", || async {
        let lock = lock(&server, "l").await;
        let contention = lock.contention.as_ref()?;
        (contention.acquisition_count == 2).then_some(lock)
    })
    .await;
    assert_eq!(shown.contention.unwrap().contended_count, 1);
    let holder = shown.holder.unwrap();
    let nanos = |time: Option<prost_types::Timestamp>| {
        let time = time.unwrap();
        (time.seconds, time.nanos)
    };
    assert!(nanos(holder.hold_time) > nanos(holder.create_time));
    // It is free: nothing is remembered.
    release_token(&server, "l", &second, holder.fencing_token).await;
    eventually("the lock to be forgotten", || async {
        lock(&server, "l").await.contention.is_none().then_some(())
    })
    .await;
}

async fn a_replica_that_did_not_see_it_does_not_say_since_when(backend: Backend) {
    let server = backend.server().await;
    let (first, second) = (open(&server).await, open(&server).await);
    let token = take(&server, "l", &first, "r").await;
    let waiting = spawn(&server, wanted("l", &second, "r"));
    until_waiting(&server, "l", 1).await;
    release_token(&server, "l", &first, token).await;
    waiting.await.unwrap().unwrap();
    for other in ["m", "n"] {
        take(&server, other, &first, other).await;
    }
    let mut settings = backend.settings();
    // It begins with what there is now.
    settings.cache.log_revisions = 1;
    let later = backend.server_with(settings).await;
    let shown = lock(&later, "l").await;
    assert_eq!(shown.holder.unwrap().hold_time, None);
}

async fn counts(server: &Server, lock: &str, fencing_token: i64) -> bool {
    let request = CheckFencingTokenRequest {
        lock: lock.into(),
        fencing_token,
        ..Default::default()
    };
    let answer = server.locks().check_fencing_token(request).await;
    answer.unwrap().into_inner().held
}

async fn a_token_counts_while_its_claim_holds_the_lock_and_at_no_other_time(backend: Backend) {
    let server = backend.server().await;
    let other = backend.server().await;
    let (first, second) = (open(&server).await, open(&server).await);
    let token = take(&server, "l", &first, "r").await;
    let waiting = spawn(&server, wanted("l", &second, "r"));
    let next = until_waiting(&other, "l", 1).await.waiters[0].fencing_token;
    for server in [&server, &other] {
        assert!(counts(server, "l", token).await);
        for (lock, token) in [("l", next), ("l", token + 1), ("m", token)] {
            assert!(!counts(server, lock, token).await);
        }
    }
    release_token(&server, "l", &first, token).await;
    for server in [&other, &server] {
        assert!(!counts(server, "l", token).await);
        assert!(counts(server, "l", next).await);
    }
    waiting.await.unwrap().unwrap();
    close(&server, &second).await;
    assert!(!counts(&other, "l", next).await);
}
