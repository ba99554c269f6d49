//! Requests that break rules.

use std::collections::BTreeMap;

use stanchion_client::proto::{Guard, WatchLockRequest, WatchStart, watch_start::Position};
use tonic::Code;

use super::*;
use crate::support::server::{Backend, assert_invalid, assert_status};

#[tokio::test]
async fn requests_that_break_rules_are_told_which_field() {
    let server = Backend::embedded().await.server().await;
    let session = open(&server).await;
    let good = tried("l", &session, "r");
    let metadata = |entries: usize| -> BTreeMap<String, String> {
        (0..entries)
            .map(|i| (format!("k{i}"), String::new()))
            .collect()
    };
    let guard = |lock: &str, fencing_token| {
        Some(Guard {
            lock: lock.into(),
            fencing_token,
            ..Default::default()
        })
    };
    let bad = [
        (
            "lock",
            AcquireLockRequest {
                lock: String::new(),
                ..good.clone()
            },
        ),
        (
            "lock",
            AcquireLockRequest {
                lock: "a/b".into(),
                ..good.clone()
            },
        ),
        (
            "lock",
            AcquireLockRequest {
                lock: "a".repeat(254),
                ..good.clone()
            },
        ),
        (
            "namespace",
            AcquireLockRequest {
                namespace: "..".into(),
                ..good.clone()
            },
        ),
        (
            "session_id",
            AcquireLockRequest {
                session_id: String::new(),
                ..good.clone()
            },
        ),
        (
            "request_id",
            AcquireLockRequest {
                request_id: "r".repeat(129),
                ..good.clone()
            },
        ),
        (
            "owner",
            AcquireLockRequest {
                owner: "o".repeat(254),
                ..good.clone()
            },
        ),
        (
            "mode",
            AcquireLockRequest {
                mode: 99,
                ..good.clone()
            },
        ),
        (
            "metadata",
            AcquireLockRequest {
                metadata: metadata(10_000),
                ..good.clone()
            },
        ),
        (
            "metadata",
            AcquireLockRequest {
                metadata: metadata(65),
                ..good.clone()
            },
        ),
        (
            "wait_timeout",
            AcquireLockRequest {
                wait: Some(Wait::WaitTimeout(prost_types::Duration {
                    seconds: -1,
                    nanos: 0,
                })),
                ..good.clone()
            },
        ),
        (
            "guard.lock",
            AcquireLockRequest {
                guard: guard("", 1),
                ..good.clone()
            },
        ),
        (
            "guard.fencing_token",
            AcquireLockRequest {
                guard: guard("g", 0),
                ..good.clone()
            },
        ),
    ];
    for (field, request) in bad {
        let refused = acquire(&server, request).await.unwrap_err();
        assert_invalid(&refused, field);
        assert_status(&refused, Code::InvalidArgument, "INVALID_ARGUMENT");
    }
    let refused = release(&server, "l", &session, Some(Claim::FencingToken(-1))).await;
    assert_invalid(&refused.unwrap_err(), "fencing_token");
    let refused = release(&server, "", &session, None).await;
    assert_invalid(&refused.unwrap_err(), "lock");
    let request = GetLockRequest {
        lock: "l".into(),
        min_revision: -1,
        ..Default::default()
    };
    let refused = server.locks().get_lock(request).await.unwrap_err();
    assert_invalid(&refused, "min_revision");

    // All that is wrong is told at once.
    let request = AcquireLockRequest {
        lock: String::new(),
        mode: 99,
        ..good.clone()
    };
    let refused = acquire(&server, request).await.unwrap_err();
    assert_invalid(&refused, "lock");
    assert_invalid(&refused, "mode");
    // Nothing of it left a trace.
    assert!(lock(&server, "l").await.holder.is_none());
}

#[tokio::test]
async fn an_unknown_session_acquires_nothing() {
    let server = Backend::embedded().await.server().await;
    for session in ["0123456789abcdef0123456789abcdef", "nonsense"] {
        let refused = acquire(&server, tried("l", session, "r"))
            .await
            .unwrap_err();
        assert_status(&refused, Code::FailedPrecondition, "LEASE_EXPIRED");
    }
}

#[tokio::test]
async fn a_foreign_resume_token_is_refused() {
    let server = Backend::embedded().await.server().await;
    let of_l = server
        .locks()
        .get_lock(GetLockRequest {
            lock: "l".into(),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner()
        .resume_token;
    for token in [of_l, Bytes::from_static(b"nonsense")] {
        let request = WatchLockRequest {
            lock: "m".into(),
            start: Some(WatchStart {
                position: Some(Position::ResumeToken(token)),
                ..Default::default()
            }),
            ..Default::default()
        };
        let refused = server.locks().watch_lock(request).await.unwrap_err();
        assert_status(&refused, Code::InvalidArgument, "INVALID_RESUME_TOKEN");
    }
}
