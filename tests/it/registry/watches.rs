//! Lists and watches.

use std::time::Duration;

use stanchion_client::proto::{
    Consistency, DeleteCause, EventType, Instance, ListInstancesRequest, ListServicesRequest,
    RegisterInstanceRequest, WatchInstancesRequest, WatchServicesRequest, WatchStart,
    watch_instances_response::Message, watch_services_response, watch_start::Position,
};
use tokio::time::timeout;
use tonic::Code;

use crate::support::{
    server::{Backend, assert_invalid, assert_status, eventually, on_both_stores},
    store::PATIENCE,
};

use super::{
    ALL, SERVING, Watcher, added, deleted, deregister, ids, instance, list, open, register,
    register_on, registration, seconds, told, watching,
};

on_both_stores! {
    a_watch_goes_on_from_a_list_and_on_another_replica,
    a_watch_merges_what_happens_within_its_interval,
    a_quiet_watch_sends_bookmarks,
    pages_show_everything_once_and_resume_from_the_first,
    services_are_listed_and_watched,
    a_subscriber_behind_the_log_learns_of_its_suspects,
}

async fn a_watch_goes_on_from_a_list_and_on_another_replica(backend: Backend) {
    let (one, two) = (backend.server().await, backend.server().await);
    let session = open(&one, "").await;
    register_on(&one, &session, "a").await;
    let listed = list(&one, SERVING).await;
    register_on(&one, &session, "b").await;

    // From a list: no snapshot, and nothing between is missing.
    let token = Some(listed.resume_token.clone());
    let mut first = Watcher::open(&one, watching(SERVING, token)).await;
    let (delta, token) = first.delta().await;
    assert_eq!(told(&delta), [added("b")]);
    assert!(!delta.conflated);
    drop(first);

    // On another replica: nothing twice.
    register_on(&one, &session, "c").await;
    let mut second = Watcher::open(&two, watching(SERVING, Some(token))).await;
    assert_eq!(second.event().await, added("c"));
    assert!(deregister(&one, &session, "a").await);
    let gone = deleted("a", DeleteCause::Deregistered);
    assert_eq!(second.event().await, gone);

    // From a revision.
    let after = WatchInstancesRequest {
        start: Some(WatchStart {
            position: Some(Position::AfterRevision(listed.header.unwrap().revision)),
            ..WatchStart::default()
        }),
        ..watching(SERVING, None)
    };
    let mut third = Watcher::open(&two, after).await;
    assert_eq!(third.event().await, added("b"));

    // A token is bound to what was watched.
    for (request, field) in [
        (
            watching(ALL, Some(listed.resume_token.clone())),
            "resume_token",
        ),
        (
            watching(SERVING, Some("nonsense".into())),
            "start.resume_token",
        ),
    ] {
        let refused = one.registry().watch_instances(request).await;
        let refused = refused.unwrap_err();
        assert_invalid(&refused, field);
        assert_status(&refused, Code::InvalidArgument, "INVALID_RESUME_TOKEN");
    }
    // One of another history starts over.
    let mut foreign = listed.resume_token.to_vec();
    foreign[1] ^= 0xff;
    let request = watching(SERVING, Some(foreign.into()));
    let mut fourth = Watcher::open(&one, request).await;
    let reset = fourth.next().await;
    assert!(matches!(reset.message, Some(Message::Reset(_))));
    assert_eq!(fourth.snapshot().await.0, ["b", "c"]);
    one.stop().await;
    two.stop().await;
}

async fn a_watch_merges_what_happens_within_its_interval(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server, "").await;
    let request = WatchInstancesRequest {
        min_interval: Some(seconds(2)),
        ..watching(SERVING, None)
    };
    let mut watcher = Watcher::open(&server, request).await;
    watcher.snapshot().await;
    for id in ["a", "b", "c"] {
        register_on(&server, &session, id).await;
    }
    assert!(deregister(&server, &session, "b").await);
    // However the first delta falls, the rest comes merged, and `b` is gone at the end.
    let mut alive = std::collections::BTreeSet::new();
    let mut deltas = 0;
    while alive != ["a".to_owned(), "c".to_owned()].into() {
        let (delta, _) = watcher.delta().await;
        deltas += 1;
        for (kind, id, _) in told(&delta) {
            match kind {
                EventType::Deleted => alive.remove(&id),
                _ => alive.insert(id),
            };
        }
    }
    assert!(deltas <= 3, "{deltas} deltas");
    let request = WatchInstancesRequest {
        min_interval: Some(seconds(61)),
        ..watching(SERVING, None)
    };
    let refused = server.registry().watch_instances(request).await;
    assert_invalid(&refused.unwrap_err(), "min_interval");
    server.stop().await;
}

async fn a_quiet_watch_sends_bookmarks(backend: Backend) {
    let mut settings = backend.settings();
    settings.rpc.watch.bookmark_interval = Duration::from_millis(100);
    let server = backend.server_with(settings).await;
    let mut watcher = Watcher::open(&server, watching(SERVING, None)).await;
    watcher.snapshot().await;
    // Something else moves the revision on.
    let session = open(&server, "").await;
    let request = RegisterInstanceRequest {
        instance: Some(Instance {
            service: "other".into(),
            ..instance("a")
        }),
        ..registration(&session, "a")
    };
    let moved = register(&server, request).await.unwrap().header.unwrap();
    let token = loop {
        let response = watcher.next().await;
        let Some(Message::Bookmark(bookmark)) = response.message else {
            panic!("{response:?}");
        };
        if bookmark.revision >= moved.revision {
            break response.resume_token;
        }
    };
    register_on(&server, &session, "a").await;
    let mut resumed = Watcher::open(&server, watching(SERVING, Some(token))).await;
    assert_eq!(resumed.event().await, added("a"));
    server.stop().await;
}

async fn pages_show_everything_once_and_resume_from_the_first(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server, "").await;
    for id in ["a", "b", "c", "d", "e"] {
        register_on(&server, &session, id).await;
    }
    let mut request = ListInstancesRequest {
        service: "web".into(),
        page_size: 2,
        ..ListInstancesRequest::default()
    };
    let mut registry = server.registry();
    let first = registry.list_instances(request.clone()).await.unwrap();
    let first = first.into_inner();
    assert_eq!(first.instances.len(), 2);
    assert!(first.resume_token.is_empty());
    // Behind the first page, and before the second.
    assert!(deregister(&server, &session, "a").await);
    assert!(deregister(&server, &session, "c").await);
    request.page_token = first.next_page_token;
    let second = registry.list_instances(request.clone()).await.unwrap();
    let second = second.into_inner();
    request.page_token = second.next_page_token.clone();
    let page: Vec<_> = second.instances.iter().map(|i| &i.instance_id).collect();
    assert_eq!(page, ["d", "e"]);
    assert!(second.next_page_token.is_empty());
    let token = Some(second.resume_token);
    let mut watcher = Watcher::open(&server, watching(SERVING, token)).await;
    let cause = DeleteCause::Deregistered;
    assert_eq!(watcher.event().await, deleted("a", cause));
    assert_eq!(watcher.event().await, deleted("c", cause));

    request.page_size = -1;
    let refused = registry.list_instances(request.clone()).await;
    assert_invalid(&refused.unwrap_err(), "page_size");
    request.page_size = 1;
    request.page_token = String::new();
    let page = registry.list_instances(request.clone()).await.unwrap();
    let mine = page.into_inner().next_page_token;
    for (view, token) in [
        (ALL, mine.clone()),
        (SERVING, format!("{mine}0")),
        (SERVING, "~".into()),
    ] {
        let foreign = ListInstancesRequest {
            view: view.into(),
            page_token: token,
            ..request.clone()
        };
        let refused = registry.list_instances(foreign).await.unwrap_err();
        assert_invalid(&refused, "page_token");
        assert_status(&refused, Code::InvalidArgument, "INVALID_PAGE_TOKEN");
    }
    server.stop().await;
}

async fn services_are_listed_and_watched(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server, "").await;
    let mut registry = server.registry();
    let watch = WatchServicesRequest {
        prefix: "w".into(),
        ..WatchServicesRequest::default()
    };
    let watch = registry.watch_services(watch).await.unwrap();
    let mut watch = watch.into_inner();
    let mut next = async || {
        let next = timeout(PATIENCE, watch.message()).await;
        let response = next.expect("a message in time").unwrap().unwrap();
        response.message.unwrap()
    };
    assert!(matches!(
        next().await,
        watch_services_response::Message::SnapshotEnd(_)
    ));
    let mut event = async || match next().await {
        watch_services_response::Message::Delta(delta) => {
            assert_eq!(delta.events.len(), 1);
            let event = &delta.events[0];
            let service = event.service.clone().unwrap();
            let counts = (service.instance_count, service.serving_count);
            (event.r#type(), service.service, counts, event.cause())
        }
        other => panic!("{other:?}"),
    };
    for (service, id) in [("web", "a"), ("api", "a"), ("web", "b")] {
        let request = RegisterInstanceRequest {
            instance: Some(Instance {
                service: service.into(),
                ..instance(id)
            }),
            ..registration(&session, id)
        };
        register(&server, request).await.unwrap();
    }
    let none = DeleteCause::Unspecified;
    assert_eq!(
        event().await,
        (EventType::Added, "web".into(), (1, 1), none)
    );
    assert_eq!(
        event().await,
        (EventType::Modified, "web".into(), (2, 2), none)
    );

    let list = async |prefix: &str| {
        let request = ListServicesRequest {
            prefix: prefix.into(),
            consistency: Consistency::Linearizable.into(),
            ..ListServicesRequest::default()
        };
        let list = server.registry().list_services(request).await.unwrap();
        let services = list.into_inner().services.into_iter();
        services
            .map(|s| (s.service, s.instance_count))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        list("").await,
        [("api".to_owned(), 1), ("web".to_owned(), 2)]
    );
    assert_eq!(list("a").await, [("api".to_owned(), 1)]);
    assert!(list("x").await.is_empty());

    assert!(deregister(&server, "", "a").await);
    assert_eq!(
        event().await,
        (EventType::Modified, "web".into(), (1, 1), none)
    );
    assert!(deregister(&server, "", "b").await);
    let (kind, name, _, cause) = event().await;
    assert_eq!((kind, name.as_str()), (EventType::Deleted, "web"));
    assert_eq!(cause, DeleteCause::Empty);
    server.stop().await;
}

async fn a_subscriber_behind_the_log_learns_of_its_suspects(backend: Backend) {
    let mut settings = backend.settings();
    settings.domain.suspect_grace = Duration::from_secs(600);
    settings.cache.log_revisions = 4;
    let server = backend.server_with(settings).await;
    let (dying, living) = (open(&server, "").await, open(&server, "").await);
    register_on(&server, &dying, "dying").await;
    register_on(&server, &dying, "dead").await;
    register_on(&server, &living, "living").await;
    let mut watcher = Watcher::open(&server, watching(SERVING, None)).await;
    let (mut known, token) = watcher.snapshot().await;
    assert_eq!(known, ["dead", "dying", "living"]);
    drop(watcher);

    server.expire(&dying).await;
    eventually("the session to be gone", async || {
        ids(&server, SERVING).await.eq(&["living"]).then_some(())
    })
    .await;
    assert!(deregister(&server, "", "dead").await);
    for _ in 0..10 {
        register_on(&server, &living, "churn").await;
        assert!(deregister(&server, &living, "churn").await);
    }

    // Whether it is caught up by a difference or starts over: in the end it knows.
    let mut watcher = Watcher::open(&server, watching(SERVING, Some(token))).await;
    loop {
        let response = watcher.next().await;
        match response.message.unwrap() {
            Message::Delta(delta) => {
                assert!(delta.conflated);
                for (kind, id, _) in told(&delta) {
                    known.retain(|known| *known != id);
                    if kind != EventType::Deleted {
                        known.push(id);
                    }
                }
                break;
            }
            Message::Reset(_) => known.clear(),
            Message::Snapshot(part) => {
                known.extend(part.instances.into_iter().map(|i| i.instance_id));
            }
            Message::SnapshotEnd(_) => break,
            Message::Bookmark(_) => {}
        }
    }
    assert_eq!(known, ["living"]);
    server.stop().await;
}
