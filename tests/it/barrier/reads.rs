//! Looking at barriers.

use stanchion_client::proto::{
    DeleteNamespaceRequest, GetNamespaceRequest, GetSessionRequest, ListBarriersRequest,
    NamespaceSettings, PutNamespaceRequest,
};
use tonic::Code;

use super::*;
use crate::support::server::{Backend, assert_invalid, assert_status, on_both_stores};

on_both_stores! {
    who_waits_is_shown_without_what_is_secret,
    barriers_are_listed_by_name_in_pages_as_long_as_somebody_waits,
    those_who_wait_are_counted_with_their_session_and_namespace,
}

async fn who_waits_is_shown_without_what_is_secret(backend: Backend) {
    let server = backend.server().await;
    let none = barrier(&server, "b").await;
    assert_eq!((&*none.namespace, &*none.barrier), ("default", "b"));
    assert!(none.participants.is_empty() && none.last_release.is_none());
    assert_eq!(
        (none.parties, none.participant_count, none.revision),
        (0, 0, 0)
    );
    let session = open_for(&server, 60, "worker").await;
    let _first = spawn(&server, wanted("b", 3, &session, "r"));
    let one = until_waiting(&server, "b", 1).await;
    let _second = spawn(&server, wanted("b", 3, &open(&server).await, "r"));
    let two = until_waiting(&server, "b", 2).await;
    assert_eq!((two.parties, two.participant_count), (3, 2));
    assert_eq!(two.participants[0], one.participants[0]);
    assert!(two.participants[0].revision < two.participants[1].revision);
    assert_eq!(two.revision, two.participants[1].revision);
    let shown = &two.participants[0];
    assert_eq!((&*shown.client_id, shown.parties), ("worker", 3));
    assert!(shown.create_time.is_some() && shown.address.starts_with("127.0.0.1:"));
    assert!(!format!("{two:?}").contains(&session));
}

async fn barriers_are_listed_by_name_in_pages_as_long_as_somebody_waits(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server).await;
    let mut waiting = Vec::new();
    for name in ["job-2", "job-1", "job-1.b", "other"] {
        waiting.push(spawn(&server, wanted(name, 2, &session, "r")));
        until_waiting(&server, name, 1).await;
    }
    let list = async |request: ListBarriersRequest| {
        let page = server.barriers().list_barriers(request).await;
        page.map(Response::into_inner)
    };
    let mut request = ListBarriersRequest {
        prefix: "job-".into(),
        page_size: 2,
        ..ListBarriersRequest::default()
    };
    let mut names = Vec::new();
    loop {
        let page = list(request.clone()).await.unwrap();
        assert!(page.header.is_some() && page.barriers.len() <= 2);
        for barrier in page.barriers {
            assert!(barrier.participants.is_empty());
            assert_eq!((barrier.parties, barrier.participant_count), (2, 1));
            names.push(barrier.barrier);
        }
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(names, ["job-1", "job-1.b", "job-2"]);
    request.prefix = "other".into();
    let foreign = list(request.clone()).await.unwrap_err();
    assert_status(&foreign, Code::InvalidArgument, "INVALID_PAGE_TOKEN");
    // Released, it is remembered and not listed.
    let last = enter(&server, wanted("other", 2, &open(&server).await, "r")).await;
    last.unwrap();
    request.page_token = String::new();
    assert!(list(request.clone()).await.unwrap().barriers.is_empty());
    assert!(barrier(&server, "other").await.last_release.is_some());
    request.page_size = -1;
    assert_invalid(&list(request).await.unwrap_err(), "page_size");
}

async fn those_who_wait_are_counted_with_their_session_and_namespace(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server).await;
    let within = |barrier: &str, request: &str| EnterBarrierRequest {
        namespace: "shop".into(),
        ..wanted(barrier, 3, &session, request)
    };
    let first = spawn(&server, within("b", "1"));
    let second = spawn(&server, within("b", "2"));
    let counted = async || {
        let request = GetSessionRequest {
            session_id: session.clone(),
            consistency: Consistency::Linearizable.into(),
            ..GetSessionRequest::default()
        };
        let answer = server.sessions().get_session(request).await.unwrap();
        answer.into_inner().session.unwrap().barrier_count
    };
    eventually("both to wait", async || {
        (counted().await == 2).then_some(())
    })
    .await;
    let put = PutNamespaceRequest {
        namespace: "shop".into(),
        settings: Some(NamespaceSettings::default()),
        ..PutNamespaceRequest::default()
    };
    server.operators().put_namespace(put).await.unwrap();
    let get = GetNamespaceRequest {
        namespace: "shop".into(),
        ..GetNamespaceRequest::default()
    };
    let seen = server.operators().get_namespace(get).await.unwrap();
    let seen = seen.into_inner().namespace.unwrap();
    assert_eq!((seen.barrier_count, seen.session_count), (1, 1));
    let give_up = DeleteNamespaceRequest {
        namespace: "shop".into(),
        ..DeleteNamespaceRequest::default()
    };
    let refused = server.operators().delete_namespace(give_up.clone()).await;
    let refused = refused.unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "NAMESPACE_NOT_EMPTY");
    assert!(refused.message().contains("1 barriers"), "{refused:?}");
    enter(&server, within("b", "3")).await.unwrap();
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    assert_eq!(counted().await, 0);
    // That the barrier is remembered is no reason to keep the namespace.
    let deleted = server.operators().delete_namespace(give_up).await;
    assert!(deleted.unwrap().into_inner().deleted);
}
