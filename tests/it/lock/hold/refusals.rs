//! Streams that are not opened, or wait in vain.

use super::*;
use crate::support::server::assert_invalid;
use hold_lock_request::Wait as HoldWait;
use stanchion_client::proto::{Guard, LockMode, LockPermits};
use tonic::Code;

on_both_stores! {
    whoever_does_not_wait_is_refused_and_leaves_nothing_behind,
    whoever_waits_so_long_is_told_its_place_and_then_refused,
    a_lock_that_came_in_time_is_held_for_longer_than_it_was_waited_for,
    a_stream_without_a_session_or_behind_its_guard_is_refused,
}

fn tries(lock: &str, session: &str, wait: HoldWait) -> HoldLockRequest {
    HoldLockRequest {
        wait: Some(wait),
        ..held(lock, session, "r")
    }
}

async fn refused(server: &Server, request: HoldLockRequest) -> Status {
    let opened = Holding::over(server.channel(), request).await;
    opened.err().expect("it is not refused")
}

async fn whoever_does_not_wait_is_refused_and_leaves_nothing_behind(backend: Backend) {
    let server = patient_server(&backend).await;
    let session = open(&server).await;
    take(&server, "l", &session, "r").await;
    let second = open(&server).await;
    let shared = HoldLockRequest {
        mode: LockMode::Shared.into(),
        ..tries("l", &second, HoldWait::NoWait(true))
    };
    for request in [tries("l", &second, HoldWait::NoWait(true)), shared] {
        let told = refused(&server, request).await;
        assert_status(&told, Code::FailedPrecondition, "LOCK_HELD");
        assert!(lock(&server, "l").await.waiters.is_empty());
    }
}

async fn whoever_waits_so_long_is_told_its_place_and_then_refused(backend: Backend) {
    let server = patient_server(&backend).await;
    let session = open(&server).await;
    take(&server, "l", &session, "r").await;
    let wait = HoldWait::WaitTimeout(Duration::from_millis(500).try_into().unwrap());
    let begun = Instant::now();
    let mut waiter = Holding::open(&server, tries("l", &open(&server).await, wait)).await;
    waiter.queued_at(1, 1).await;
    let told = waiter.failed().await;
    assert_status(&told, Code::FailedPrecondition, "LOCK_HELD");
    assert!(begun.elapsed() >= Duration::from_millis(500));
    assert!(lock(&server, "l").await.waiters.is_empty());
}

async fn a_lock_that_came_in_time_is_held_for_longer_than_it_was_waited_for(backend: Backend) {
    let server = patient_server(&backend).await;
    let wait = Duration::from_millis(200);
    let request = HoldWait::WaitTimeout(wait.try_into().unwrap());
    let mut holder = Holding::open(&server, tries("l", &open(&server).await, request)).await;
    let token = holder.acquired().await.fencing_token;
    tokio::time::sleep(wait * 2).await;
    let seen = lock(&server, "l").await.holder.unwrap();
    assert_eq!(seen.fencing_token, token);
}

async fn a_stream_without_a_session_or_behind_its_guard_is_refused(backend: Backend) {
    let server = patient_server(&backend).await;
    let session = open(&server).await;
    close(&server, &session).await;
    for gone in [&*session, "nonsense"] {
        let told = refused(&server, held("l", gone, "r")).await;
        assert_status(&told, Code::FailedPrecondition, "LEASE_EXPIRED");
    }
    let request = HoldLockRequest {
        guard: Some(Guard {
            lock: "other".into(),
            fencing_token: 1,
            ..Default::default()
        }),
        ..held("l", &open(&server).await, "r")
    };
    let told = refused(&server, request).await;
    assert_status(&told, Code::FailedPrecondition, "GUARD_FAILED");
}

#[tokio::test]
async fn requests_that_break_rules_are_told_which_field() {
    let server = Backend::embedded().await.server().await;
    let good = || held("l", "s", "r");
    let long = "x".repeat(254);
    let bad = [
        (
            "lock",
            HoldLockRequest {
                lock: "a/b".into(),
                ..good()
            },
        ),
        (
            "namespace",
            HoldLockRequest {
                namespace: "..".into(),
                ..good()
            },
        ),
        (
            "session_id",
            HoldLockRequest {
                session_id: String::new(),
                ..good()
            },
        ),
        (
            "request_id",
            HoldLockRequest {
                request_id: long.clone(),
                ..good()
            },
        ),
        (
            "owner",
            HoldLockRequest {
                owner: long,
                ..good()
            },
        ),
        ("mode", HoldLockRequest { mode: 99, ..good() }),
        (
            "permits.count",
            HoldLockRequest {
                mode: LockMode::Permits.into(),
                permits: Some(LockPermits { count: 2, total: 1 }),
                ..good()
            },
        ),
        (
            "permits",
            HoldLockRequest {
                permits: Some(LockPermits { count: 1, total: 1 }),
                ..good()
            },
        ),
        (
            "wait_timeout",
            tries(
                "l",
                "s",
                HoldWait::WaitTimeout(prost_types::Duration {
                    seconds: -1,
                    nanos: 0,
                }),
            ),
        ),
        (
            "request_id",
            HoldLockRequest {
                reentrant_owner: "job".into(),
                request_id: String::new(),
                ..good()
            },
        ),
        (
            "guard.fencing_token",
            HoldLockRequest {
                guard: Some(Guard {
                    lock: "g".into(),
                    ..Default::default()
                }),
                ..good()
            },
        ),
    ];
    for (field, request) in bad {
        assert_invalid(&refused(&server, request).await, field);
    }
}
