//! Opening, looking, closing.

use std::{collections::BTreeSet, time::Duration};

use stanchion_client::proto::{
    CloseSessionRequest, Consistency, GetSessionRequest, ListSessionsRequest, OpenSessionRequest,
    SessionLostReason, keep_alive_response::Message,
};

use super::{
    KeepAlive, duration, gone, is_there, open, open_session, put_instance, put_waiter, request,
};
use crate::support::server::{Backend, Server, on_both_stores};

on_both_stores! {
    a_session_is_opened_with_what_was_asked_for,
    a_repeated_open_finds_the_first_session_on_any_replica,
    a_silent_session_ends_and_its_streams_are_told,
    closing_removes_everything_the_session_had,
    closing_leaves_what_others_took_over,
    sessions_are_listed_in_pages_without_their_ids,
}

async fn a_session_is_opened_with_what_was_asked_for(backend: Backend) {
    let server = backend.server().await;
    let opened = open(
        &server,
        OpenSessionRequest {
            client_id: "worker-1".to_owned(),
            metadata: [("host".to_owned(), "a".to_owned())].into(),
            ..request(7)
        },
    )
    .await;
    assert_eq!(opened.session_id.len(), 32);
    let session = opened.session.unwrap();
    assert_eq!(session.client_id, "worker-1");
    assert_eq!(session.principal, "anonymous");
    assert_eq!(session.metadata["host"], "a");
    assert_eq!(duration(session.ttl), Duration::from_secs(7));
    assert!(duration(opened.valid_for) > Duration::from_secs(5));

    let read = GetSessionRequest {
        session_id: opened.session_id.clone(),
        consistency: Consistency::Linearizable.into(),
        min_revision: 0,
    };
    let read = server.sessions().get_session(read).await.unwrap();
    assert_eq!(read.into_inner().session, Some(session));

    let defaulted = open(&server, OpenSessionRequest::default()).await;
    let ttl = duration(defaulted.session.unwrap().ttl);
    assert_eq!(ttl, Duration::from_secs(15));
    server.stop().await;
}

async fn a_repeated_open_finds_the_first_session_on_any_replica(backend: Backend) {
    let server = backend.server().await;
    let other = backend.server().await;
    let request = OpenSessionRequest {
        request_id: "7c1e2f0a-once".to_owned(),
        ..request(5)
    };
    let first = open(&server, request.clone()).await;
    for replica in [&server, &other] {
        let again = open(replica, request.clone()).await;
        assert_eq!(again.session_id, first.session_id);
        assert_eq!(
            again.header.unwrap().revision,
            first.header.clone().unwrap().revision
        );
        assert!(!duration(again.valid_for).is_zero());
    }
    let unnamed = open_session(&server, 5).await;
    assert_ne!(unnamed.session_id, first.session_id);
    server.stop().await;
    other.stop().await;
}

async fn a_silent_session_ends_and_its_streams_are_told(backend: Backend) {
    let server = backend.server().await;
    let session = open_session(&server, 1).await.session_id;
    let mut stream = KeepAlive::open(&server).await;
    stream.beat(&session, 1).await;
    let Message::SessionLost(lost) = stream.notice().await else {
        panic!("not told of the loss of a session");
    };
    assert_eq!(lost.session_id, session);
    assert_eq!(lost.reason(), SessionLostReason::Expired);
    assert!(!is_there(&server, &session).await);
    let key = server.app().core.keys.session(&super::id(&session));
    let range = stanchion::store::RangeRequest::new(stanchion::store::KeyRange::key(key));
    let found = server.app().core.store.range(range).await.unwrap();
    assert!(found.kvs.is_empty());
    server.stop().await;
}

async fn closing_removes_everything_the_session_had(backend: Backend) {
    let server = backend.server().await;
    let other = backend.server().await;
    let session = open_session(&server, 30).await.session_id;
    // More than one transaction holds.
    for n in 0..230 {
        put_instance(&server, &format!("i{n}"), Some(&session), "").await;
    }
    for n in 0..20 {
        put_waiter(&server, &format!("lock{n}"), &session, "r").await;
    }
    let mut stream = KeepAlive::open(&server).await;
    let mut elsewhere = KeepAlive::open(&other).await;
    stream.beat(&session, 1).await;
    elsewhere.beat(&session, 1).await;

    assert!(close(&server, &session).await);
    let state = server.app().core.cache.view().unwrap().state;
    assert!(state.instances.is_empty() && state.locks.is_empty() && state.owned.is_empty());
    assert!(!is_there(&server, &session).await);
    assert!(!close(&server, &session).await);

    // The closing replica knows that nothing of it was a loss; the other sees it from outside.
    let Message::SessionLost(lost) = stream.next().await.unwrap() else {
        panic!("told of something else than the session");
    };
    assert_eq!(lost.reason(), SessionLostReason::Closed);
    loop {
        match elsewhere.notice().await {
            Message::SessionLost(lost) => {
                assert_eq!(lost.reason(), SessionLostReason::Closed);
                break;
            }
            Message::InstanceLost(_) | Message::LockLost(_) => {}
            notice => panic!("told {notice:?}"),
        }
    }
    server.stop().await;
    other.stop().await;
}

async fn closing_leaves_what_others_took_over(backend: Backend) {
    let server = backend.server().await;
    let old = open_session(&server, 30).await.session_id;
    let new = open_session(&server, 30).await.session_id;
    put_instance(&server, "kept", Some(&old), "").await;
    put_instance(&server, "kept", Some(&new), "").await;
    put_instance(&server, "gone", Some(&old), "").await;
    assert!(close(&server, &old).await);
    let state = server.app().core.cache.view().unwrap().state;
    assert!(state.instances.contains_key(b"default/web/kept".as_slice()));
    assert!(!state.instances.contains_key(b"default/web/gone".as_slice()));
    gone(&server, &old).await;
    assert!(is_there(&server, &new).await);
    server.stop().await;
}

async fn sessions_are_listed_in_pages_without_their_ids(backend: Backend) {
    let server = backend.server().await;
    let mut ids = BTreeSet::new();
    for n in 0..7 {
        let request = OpenSessionRequest {
            client_id: if n % 2 == 0 { "even" } else { "odd" }.to_owned(),
            ..request(30)
        };
        ids.insert(open(&server, request).await.session_id);
    }
    let (all, tokens) = list(&server, "", 3).await;
    assert_eq!(all.len(), 7);
    let revisions: BTreeSet<_> = all.iter().map(|session| session.revision).collect();
    assert_eq!(revisions.len(), 7, "a session was listed twice");
    let (even, _) = list(&server, "even", 2).await;
    assert_eq!(even.len(), 4);
    assert!(even.iter().all(|session| session.client_id == "even"));
    assert!(list(&server, "nobody", 2).await.0.is_empty());

    let shown = format!("{all:?} {tokens:?}");
    assert!(ids.iter().all(|id| !shown.contains(id.as_str())));
    assert!(
        ids.iter()
            .all(|id| !shown.contains(&super::id(id).lease().to_string()))
    );
    server.stop().await;
}

async fn list(
    server: &Server,
    client_id: &str,
    page_size: i32,
) -> (Vec<stanchion_client::proto::Session>, Vec<String>) {
    let mut request = ListSessionsRequest {
        client_id: client_id.to_owned(),
        page_size,
        ..ListSessionsRequest::default()
    };
    let (mut sessions, mut tokens) = (Vec::new(), Vec::new());
    loop {
        let page = server.sessions().list_sessions(request.clone()).await;
        let page = page.unwrap().into_inner();
        assert!(page.sessions.len() <= usize::try_from(page_size).unwrap());
        sessions.extend(page.sessions);
        if page.next_page_token.is_empty() {
            return (sessions, tokens);
        }
        tokens.push(page.next_page_token.clone());
        request.page_token = page.next_page_token;
    }
}

async fn close(server: &Server, session: &str) -> bool {
    let close = CloseSessionRequest {
        session_id: session.to_owned(),
        guard: None,
    };
    let closed = server.sessions().close_session(close).await;
    closed.unwrap().into_inner().closed
}
