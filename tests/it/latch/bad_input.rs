//! Requests that break rules.

use tonic::Code;

use super::*;
use crate::support::server::{Backend, assert_invalid, assert_status};

#[tokio::test]
async fn requests_that_break_rules_are_told_which_field() {
    let server = Backend::embedded().await.server().await;
    let good = latch("ready", 2);
    let lasting = |seconds: i64| Some(prost_types::Duration { seconds, nanos: 0 });
    let bad = [
        (
            "latch",
            CreateLatchRequest {
                latch: "a/b".into(),
                ..good.clone()
            },
        ),
        (
            "latch",
            CreateLatchRequest {
                latch: String::new(),
                ..good.clone()
            },
        ),
        (
            "namespace",
            CreateLatchRequest {
                namespace: "..".into(),
                ..good.clone()
            },
        ),
        (
            "count",
            CreateLatchRequest {
                count: 0,
                ..good.clone()
            },
        ),
        (
            "count",
            CreateLatchRequest {
                count: -1,
                ..good.clone()
            },
        ),
        (
            "count",
            CreateLatchRequest {
                count: 1001,
                ..good.clone()
            },
        ),
        (
            "lifetime",
            CreateLatchRequest {
                lifetime: lasting(59),
                ..good.clone()
            },
        ),
        (
            "lifetime",
            CreateLatchRequest {
                lifetime: lasting(-1),
                ..good.clone()
            },
        ),
        (
            "lifetime",
            CreateLatchRequest {
                lifetime: lasting(30 * 86_400 + 1),
                ..good.clone()
            },
        ),
        (
            "request_id",
            CreateLatchRequest {
                request_id: "r".repeat(129),
                ..good.clone()
            },
        ),
        (
            "actor",
            CreateLatchRequest {
                actor: "a".repeat(254),
                ..good.clone()
            },
        ),
    ];
    for (field, request) in bad {
        let refused = create(&server, request).await.unwrap_err();
        assert_invalid(&refused, field);
        assert_status(&refused, Code::InvalidArgument, "INVALID_ARGUMENT");
    }
    // Nothing of it left a trace.
    let none = get(&server, "ready").await.unwrap_err();
    assert_status(&none, Code::NotFound, "LATCH_NOT_FOUND");
    create(&server, good).await.unwrap();
    for party in ["", "a/b", ".."] {
        let refused = count(&server, "ready", party).await.unwrap_err();
        assert_invalid(&refused, "party");
    }
    let negative = AwaitLatchRequest {
        wait: Some(Wait::WaitTimeout(prost_types::Duration {
            seconds: -1,
            nanos: 0,
        })),
        min_revision: -1,
        ..wanted("ready")
    };
    let refused = wait(&server, negative).await.unwrap_err();
    assert_invalid(&refused, "wait_timeout");
    assert_invalid(&refused, "min_revision");
    let refused = delete(&server, "").await.unwrap_err();
    assert_invalid(&refused, "latch");
}
