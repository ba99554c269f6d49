//! What sessions refuse.

use stanchion_client::proto::{
    CloseSessionRequest, Guard, ListSessionsRequest, OpenSessionRequest, RenewSessionRequest,
    SessionLostReason, keep_alive_response::Message,
};
use tonic::Code;

use super::{KeepAlive, gone, is_there, open_session, request, seconds};
use crate::support::server::{Backend, assert_invalid, assert_status, on_both_stores};

on_both_stores! {
    a_ttl_out_of_range_is_refused,
    names_and_metadata_out_of_bounds_are_refused,
    a_heartbeat_that_breaks_a_rule_ends_its_stream,
    a_heartbeat_before_one_that_breaks_a_rule_is_answered,
    an_unknown_session_is_told_apart_from_a_bad_request,
    an_expired_session_is_refused_everywhere,
    pages_of_other_lists_are_refused,
    a_guard_that_does_not_hold_opens_and_closes_nothing,
}

async fn a_ttl_out_of_range_is_refused(backend: Backend) {
    let server = backend.server().await;
    let negative = prost_types::Duration {
        seconds: -5,
        nanos: 0,
    };
    for ttl in [
        seconds(0),
        seconds(601),
        seconds(u64::from(u32::MAX)),
        negative,
    ] {
        let request = OpenSessionRequest {
            ttl: Some(ttl),
            ..OpenSessionRequest::default()
        };
        let refused = server.sessions().open_session(request).await.unwrap_err();
        assert_status(&refused, Code::InvalidArgument, "INVALID_ARGUMENT");
        assert_invalid(&refused, "ttl");
    }
    server.stop().await;
}

async fn names_and_metadata_out_of_bounds_are_refused(backend: Backend) {
    let server = backend.server().await;
    let refuse = async |request: OpenSessionRequest, field: &str| {
        let refused = server.sessions().open_session(request).await.unwrap_err();
        assert_status(&refused, Code::InvalidArgument, "INVALID_ARGUMENT");
        assert_invalid(&refused, field);
    };
    for client_id in ["a b", "a/b", "..", &"a".repeat(254)] {
        let request = OpenSessionRequest {
            client_id: client_id.to_owned(),
            ..request(5)
        };
        refuse(request, "client_id").await;
    }
    let entries = |count: u32| (0..count).map(|n| (n.to_string(), String::new()));
    for metadata in [
        entries(10_000).collect(),
        entries(65).collect(),
        [("".to_owned(), "x".to_owned())].into(),
        [("k".to_owned(), "x".repeat(5000))].into(),
    ] {
        let request = OpenSessionRequest {
            metadata,
            ..request(5)
        };
        refuse(request, "metadata").await;
    }
    let request = OpenSessionRequest {
        request_id: "r".repeat(300),
        ..request(5)
    };
    refuse(request, "request_id").await;
    server.stop().await;
}

async fn a_heartbeat_that_breaks_a_rule_ends_its_stream(backend: Backend) {
    let server = backend.server().await;
    let session = open_session(&server, 5).await.session_id;
    for (session, seq, field) in [("", 1, "session_id"), (session.as_str(), -1, "seq")] {
        let mut stream = KeepAlive::open(&server).await;
        stream.send(session, seq).await;
        let refused = stream.answers.message().await.unwrap_err();
        assert_invalid(&refused, field);
    }
    server.stop().await;
}

async fn a_heartbeat_before_one_that_breaks_a_rule_is_answered(backend: Backend) {
    let server = backend.server().await;
    let session = open_session(&server, 5).await.session_id;
    let mut stream = KeepAlive::open(&server).await;
    stream.send(&session, 1).await;
    stream.send(&session, -1).await;
    let Some(Message::Alive(alive)) = stream.next().await else {
        panic!("a good heartbeat has no answer");
    };
    assert_eq!(alive.seq, 1);
    let refused = stream.answers.message().await.unwrap_err();
    assert_invalid(&refused, "seq");
    server.stop().await;
}

async fn an_unknown_session_is_told_apart_from_a_bad_request(backend: Backend) {
    let server = backend.server().await;
    for session in ["0123456789abcdef0123456789abcdef", "no id at all"] {
        assert!(!is_there(&server, session).await);
        refused_everywhere(&server, session).await;
    }
    let refused = server
        .sessions()
        .renew_session(RenewSessionRequest::default())
        .await
        .unwrap_err();
    assert_invalid(&refused, "session_id");
    server.stop().await;
}

async fn an_expired_session_is_refused_everywhere(backend: Backend) {
    let server = backend.server().await;
    let session = open_session(&server, 1).await.session_id;
    gone(&server, &session).await;
    refused_everywhere(&server, &session).await;
    server.stop().await;
}

async fn refused_everywhere(server: &crate::support::server::Server, session: &str) {
    let renew = RenewSessionRequest {
        session_id: session.to_owned(),
    };
    let refused = server.sessions().renew_session(renew).await.unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "LEASE_EXPIRED");

    let mut stream = KeepAlive::open(server).await;
    stream.send(session, 7).await;
    let Message::SessionLost(lost) = stream.next().await.unwrap() else {
        panic!("a lost session was not told");
    };
    assert_eq!(lost.session_id, session);
    assert_eq!(lost.reason(), SessionLostReason::Expired);

    let close = CloseSessionRequest {
        session_id: session.to_owned(),
        guard: None,
    };
    let closed = server.sessions().close_session(close).await.unwrap();
    assert!(!closed.into_inner().closed);
}

async fn pages_of_other_lists_are_refused(backend: Backend) {
    let server = backend.server().await;
    for _ in 0..3 {
        open_session(&server, 5).await;
    }
    let list = async |request: ListSessionsRequest| server.sessions().list_sessions(request).await;
    let page = list(ListSessionsRequest {
        page_size: 1,
        ..ListSessionsRequest::default()
    });
    let token = page.await.unwrap().into_inner().next_page_token;
    let foreign = ListSessionsRequest {
        client_id: "other".to_owned(),
        page_token: token.clone(),
        ..ListSessionsRequest::default()
    };
    let damaged = |page_token: &str| ListSessionsRequest {
        page_token: page_token.to_owned(),
        ..ListSessionsRequest::default()
    };
    for request in [
        foreign,
        damaged("nonsense"),
        damaged("00"),
        damaged(&token[2..]),
        damaged(&format!("{token}00")),
    ] {
        let refused = list(request).await.unwrap_err();
        assert_status(&refused, Code::InvalidArgument, "INVALID_PAGE_TOKEN");
        assert_invalid(&refused, "page_token");
    }
    let negative = ListSessionsRequest {
        page_size: -1,
        ..ListSessionsRequest::default()
    };
    assert_invalid(&list(negative).await.unwrap_err(), "page_size");
    server.stop().await;
}

async fn a_guard_that_does_not_hold_opens_and_closes_nothing(backend: Backend) {
    let server = backend.server().await;
    let guard = Some(Guard {
        lock: "nobody-holds-it".to_owned(),
        fencing_token: 1,
        ..Guard::default()
    });
    let guarded = OpenSessionRequest {
        guard: guard.clone(),
        client_id: "guarded".to_owned(),
        ..request(5)
    };
    let refused = server.sessions().open_session(guarded).await.unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "GUARD_FAILED");
    let list = ListSessionsRequest {
        client_id: "guarded".to_owned(),
        ..ListSessionsRequest::default()
    };
    let listed = server.sessions().list_sessions(list).await.unwrap();
    assert!(listed.into_inner().sessions.is_empty());

    let session = open_session(&server, 5).await.session_id;
    let close = CloseSessionRequest {
        session_id: session.clone(),
        guard,
    };
    let refused = server.sessions().close_session(close).await.unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "GUARD_FAILED");
    assert!(is_there(&server, &session).await);
    server.stop().await;
}
