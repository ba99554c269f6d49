//! Requests that break a rule.

use stanchion_client::proto::{
    ListElectionsRequest, ObserveLeaderRequest, WatchStart, watch_start,
};
use tonic::Code;

use super::*;
use crate::support::server::{Backend, assert_invalid, assert_status, on_both_stores};

on_both_stores! {
    malformed_requests_are_refused_with_the_field,
    a_session_that_is_gone_neither_stands_nor_leads,
}

async fn malformed_requests_are_refused_with_the_field(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server).await;
    let good = trying("e", &session, "r");
    for (request, field) in [
        (
            CampaignRequest {
                election: String::new(),
                ..good.clone()
            },
            "election",
        ),
        (
            CampaignRequest {
                election: "a/b".into(),
                ..good.clone()
            },
            "election",
        ),
        (
            CampaignRequest {
                namespace: "..".into(),
                ..good.clone()
            },
            "namespace",
        ),
        (
            CampaignRequest {
                request_id: "x".repeat(129),
                ..good.clone()
            },
            "request_id",
        ),
        (
            CampaignRequest {
                candidate: "a\nb".into(),
                ..good.clone()
            },
            "candidate",
        ),
        (
            CampaignRequest {
                proclamation: vec![0; 4097].into(),
                ..good.clone()
            },
            "proclamation",
        ),
        (
            CampaignRequest {
                metadata: [("k".to_owned(), "v".repeat(4096))].into(),
                ..good.clone()
            },
            "metadata",
        ),
        (
            CampaignRequest {
                wait: Some(Wait::WaitTimeout(prost_types::Duration {
                    seconds: -1,
                    nanos: 0,
                })),
                ..good.clone()
            },
            "wait_timeout",
        ),
    ] {
        assert_invalid(&campaign(&server, request).await.unwrap_err(), field);
    }
    assert!(election(&server, "e").await.leader.is_none());
    let whole = CampaignRequest {
        proclamation: vec![0; 4096].into(),
        ..good
    };
    let term = campaign(&server, whole).await.unwrap().term;
    let refused = proclaim(&server, "e", &session, term, &"x".repeat(4097)).await;
    assert_invalid(&refused.unwrap_err(), "proclamation");
    for term in [0, -1] {
        let refused = proclaim(&server, "e", &session, term, "x").await;
        assert_invalid(&refused.unwrap_err(), "term");
        let refused = resign(&server, "e", &session, Claim::Term(term)).await;
        assert_invalid(&refused.unwrap_err(), "term");
    }
    let refused = resign(&server, "", &session, Claim::Term(1)).await;
    assert_invalid(&refused.unwrap_err(), "election");

    let request = ListElectionsRequest {
        page_size: -1,
        ..Default::default()
    };
    let refused = server.elections().list_elections(request).await;
    assert_invalid(&refused.unwrap_err(), "page_size");
    let request = ListElectionsRequest {
        page_token: "zz".into(),
        ..Default::default()
    };
    let refused = server.elections().list_elections(request).await;
    assert_status(
        &refused.unwrap_err(),
        Code::InvalidArgument,
        "INVALID_PAGE_TOKEN",
    );
    let request = GetLeaderRequest {
        election: "e".into(),
        consistency: 99,
        ..Default::default()
    };
    let refused = server.elections().get_leader(request).await;
    assert_invalid(&refused.unwrap_err(), "consistency");
    let request = ObserveLeaderRequest {
        election: "e".into(),
        start: Some(WatchStart {
            position: Some(watch_start::Position::ResumeToken("foreign".into())),
            ..Default::default()
        }),
        ..Default::default()
    };
    let refused = server.elections().observe_leader(request).await;
    assert_status(
        &refused.unwrap_err(),
        Code::InvalidArgument,
        "INVALID_RESUME_TOKEN",
    );
    let request = ObserveLeaderRequest {
        election: "a b".into(),
        ..Default::default()
    };
    let refused = server.elections().observe_leader(request).await;
    assert_invalid(&refused.unwrap_err(), "election");
}

async fn a_session_that_is_gone_neither_stands_nor_leads(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server).await;
    let term = lead(&server, "e", &session, "r").await;
    server.expire(&session).await;
    for session in [session.as_str(), "0123", "nonsense"] {
        let refused = campaign(&server, trying("e", session, "s")).await;
        assert_status(
            &refused.unwrap_err(),
            Code::FailedPrecondition,
            "LEASE_EXPIRED",
        );
        let refused = proclaim(&server, "e", session, term, "x").await;
        assert_status(
            &refused.unwrap_err(),
            Code::FailedPrecondition,
            "NOT_LEADER",
        );
        assert!(
            !resign(&server, "e", session, Claim::Term(term))
                .await
                .unwrap()
        );
    }
}
