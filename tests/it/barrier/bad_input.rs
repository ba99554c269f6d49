//! Requests that break rules, and bounds.

use stanchion_client::proto::{Guard, ListBarriersRequest};
use tonic::Code;

use super::*;
use crate::support::server::{Backend, assert_invalid, assert_status};

#[tokio::test]
async fn requests_that_break_rules_are_told_which_field() {
    let server = Backend::embedded().await.server().await;
    let session = open(&server).await;
    let good = wanted("b", 2, &session, "r");
    let late = prost_types::Duration {
        seconds: -1,
        nanos: 0,
    };
    let bad = [
        ("barrier", wanted("", 2, &session, "r")),
        ("barrier", wanted("a/b", 2, &session, "r")),
        ("barrier", wanted(&"a".repeat(254), 2, &session, "r")),
        ("parties", wanted("b", 1, &session, "r")),
        ("parties", wanted("b", 0, &session, "r")),
        ("parties", wanted("b", -2, &session, "r")),
        ("parties", wanted("b", 101, &session, "r")),
        ("session_id", wanted("b", 2, "", "r")),
        ("request_id", wanted("b", 2, &session, &"r".repeat(129))),
        (
            "namespace",
            EnterBarrierRequest {
                namespace: "..".into(),
                ..good.clone()
            },
        ),
        (
            "wait_timeout",
            EnterBarrierRequest {
                wait: Some(Wait::WaitTimeout(late)),
                ..good.clone()
            },
        ),
        (
            "guard.fencing_token",
            EnterBarrierRequest {
                guard: Some(Guard {
                    lock: "g".into(),
                    ..Guard::default()
                }),
                ..good.clone()
            },
        ),
    ];
    for (field, request) in bad {
        let refused = enter(&server, request).await.unwrap_err();
        assert_invalid(&refused, field);
        assert_status(&refused, Code::InvalidArgument, "INVALID_ARGUMENT");
    }
    // Nothing of it left a trace.
    assert!(barrier(&server, "b").await.participants.is_empty());
    for unknown in ["0123456789abcdef0123456789abcdef", "nonsense"] {
        let refused = enter(&server, wanted("b", 2, unknown, "r")).await;
        assert_status(
            &refused.unwrap_err(),
            Code::FailedPrecondition,
            "LEASE_EXPIRED",
        );
    }
    let request = GetBarrierRequest {
        barrier: "b".into(),
        min_revision: -1,
        ..GetBarrierRequest::default()
    };
    let refused = server.barriers().get_barrier(request).await.unwrap_err();
    assert_invalid(&refused, "min_revision");
    let request = ListBarriersRequest {
        prefix: "a".repeat(254),
        ..ListBarriersRequest::default()
    };
    let refused = server.barriers().list_barriers(request).await.unwrap_err();
    assert_invalid(&refused, "prefix");
}

#[tokio::test]
async fn a_barrier_and_a_session_take_only_so_much() {
    let backend = Backend::embedded().await;
    let mut settings = backend.settings();
    settings.domain.max_participants = 2;
    settings.domain.max_session_keys = 3;
    let server = backend.server_with(settings).await;
    let session = open(&server).await;
    let _first = spawn(&server, wanted("b", 9, &session, "1"));
    let _second = spawn(&server, wanted("b", 9, &session, "2"));
    until_waiting(&server, "b", 2).await;
    let refused = enter(&server, wanted("b", 9, &session, "3")).await;
    let refused = refused.unwrap_err();
    assert_status(&refused, Code::ResourceExhausted, "TOO_MANY_PARTICIPANTS");
    // Who is there already is not refused.
    let again = timed(wanted("b", 9, &session, "1"), Duration::from_millis(1));
    let again = enter(&server, again).await.unwrap_err();
    assert_status(&again, Code::FailedPrecondition, "BARRIER_NOT_RELEASED");

    let _third = spawn(&server, wanted("c", 9, &session, "3"));
    let _fourth = spawn(&server, wanted("d", 9, &session, "4"));
    until_waiting(&server, "c", 1).await;
    until_waiting(&server, "d", 1).await;
    let refused = enter(&server, wanted("e", 9, &session, "5")).await;
    let refused = refused.unwrap_err();
    assert_status(&refused, Code::ResourceExhausted, "SESSION_FULL");
}
