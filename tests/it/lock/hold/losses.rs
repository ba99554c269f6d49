//! Locks that are lost under their streams.

use super::{super::oversight::forced, *};
use crate::support::etcd::Etcd;
use stanchion_client::proto::LockLostCause;
use tonic::Code;

on_both_stores! {
    a_session_that_ends_takes_what_its_streams_hold_and_wait_for_along,
    a_session_that_expires_is_lost_too,
    a_lock_taken_by_force_is_lost_and_it_is_told_who_took_it,
    a_lock_that_is_released_by_a_call_is_lost_to_its_stream,
}

async fn a_session_that_ends_takes_what_its_streams_hold_and_wait_for_along(backend: Backend) {
    let (server, other) = (
        patient_server(&backend).await,
        patient_server(&backend).await,
    );
    let (first, second) = (open(&server).await, open(&server).await);
    let mut holder = hold(&other, "l", &first, "r").await;
    let token = holder.acquired().await.fencing_token;
    let mut waiter = hold(&other, "l", &second, "r").await;
    waiter.queued().await;
    close(&server, &second).await;
    let told = waiter.failed().await;
    assert_status(&told, Code::FailedPrecondition, "LEASE_EXPIRED");
    close(&server, &first).await;
    let lost = holder.lost().await;
    assert_eq!(lost.fencing_token, token);
    assert_eq!(lost.cause(), LockLostCause::SessionLost);
    until_free(&server, "l").await;
}

/// A stream is no heartbeat.
async fn a_session_that_expires_is_lost_too(backend: Backend) {
    let server = patient_server(&backend).await;
    let session = open_for(&server, 2, "").await;
    let mut holder = hold(&server, "l", &session, "r").await;
    holder.acquired().await;
    let mut next = hold(&server, "l", &open(&server).await, "r").await;
    next.queued().await;
    assert_eq!(holder.lost().await.cause(), LockLostCause::SessionLost);
    next.acquired().await;
}

async fn a_lock_taken_by_force_is_lost_and_it_is_told_who_took_it(backend: Backend) {
    let (server, other) = (
        patient_server(&backend).await,
        patient_server(&backend).await,
    );
    let (first, second) = (open(&server).await, open(&server).await);
    let mut holder = hold(&server, "l", &first, "r").await;
    let token = holder.acquired().await.fencing_token;
    let mut waiter = hold(&server, "l", &second, "r").await;
    let place = waiter.queued().await.fencing_token;
    let taken = other.locks().force_release_lock(forced("l", place)).await;
    assert!(taken.unwrap().into_inner().released);
    let told = waiter.failed().await;
    assert_status(&told, Code::FailedPrecondition, "REQUEST_UNDONE");
    let taken = other.locks().force_release_lock(forced("l", token)).await;
    assert!(taken.unwrap().into_inner().noted);
    let lost = holder.lost().await;
    assert_eq!(
        (lost.fencing_token, lost.cause()),
        (token, LockLostCause::Forced)
    );
    assert_eq!((&*lost.actor, &*lost.comment), ("ops", "stuck"));
    // It may come again, and gets another token.
    let mut again = hold(&server, "l", &first, "r").await;
    assert!(again.acquired().await.fencing_token > place);
}

async fn a_lock_that_is_released_by_a_call_is_lost_to_its_stream(backend: Backend) {
    let (server, other) = (
        patient_server(&backend).await,
        patient_server(&backend).await,
    );
    let (first, second) = (open(&server).await, open(&server).await);
    let mut holder = hold(&server, "l", &first, "r").await;
    let token = holder.acquired().await.fencing_token;
    let mut waiter = hold(&server, "l", &second, "r").await;
    waiter.queued().await;
    assert!(release_request(&other, "l", &second, "r").await);
    let told = waiter.failed().await;
    assert_status(&told, Code::FailedPrecondition, "REQUEST_UNDONE");
    assert!(release_token(&other, "l", &first, token).await);
    let lost = holder.lost().await;
    assert_eq!(
        (lost.fencing_token, lost.cause()),
        (token, LockLostCause::Removed)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_loss_of_data_a_lock_is_lost_and_who_waits_holds_it_once_locks_open() {
    let mut etcd = Etcd::start().await;
    let backend = Backend::on(etcd.endpoints(), ());
    let mut settings = patient(&backend);
    settings.domain.default_ttl = Duration::from_secs(1);
    let server = backend.server_with(settings).await;
    let mut holder = hold(&server, "l", &open_for(&server, 2, "").await, "r").await;
    let token = holder.acquired().await.fencing_token;
    etcd.kill(0);
    etcd.wipe(0);
    etcd.restart(0).await;
    let lost = holder.lost().await;
    assert_eq!(
        (lost.fencing_token, lost.cause()),
        (token, LockLostCause::EpochChanged)
    );
    let mut next = hold(&server, "l", &open(&server).await, "r").await;
    next.queued_at(1, 1).await;
    assert!(next.acquired().await.fencing_token > token);
}
