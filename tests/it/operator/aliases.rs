//! Services that show the instances of others.

use bytes::Bytes;
use stanchion_client::proto::{
    Consistency, DeleteServiceRequest, EventType, ListInstancesRequest, ListInstancesResponse,
    ListSubscribersRequest, PutServiceRequest, ResetReason, ServiceName, ServiceSettings,
    WatchInstancesRequest, WatchInstancesResponse, WatchStart, watch_instances_response::Message,
    watch_start::Position,
};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

use crate::support::{
    server::{Backend, Server, assert_invalid, assert_status, on_both_stores},
    store::PATIENCE,
};

use super::{deregister, register};

on_both_stores! {
    an_alias_is_listed_with_the_instances_of_its_target_and_says_so,
    a_watch_starts_over_when_its_alias_leads_elsewhere,
    a_watch_starts_over_when_its_service_becomes_an_alias_and_when_it_ends,
    a_token_from_before_the_alias_changed_starts_over,
    who_watches_an_alias_is_a_subscriber_of_where_it_leads,
    an_alias_into_another_namespace_needs_an_export,
    chains_and_cycles_of_aliases_are_refused,
    two_replicas_that_put_at_once_make_no_chain,
    many_aliases_can_be_put_at_once,
    nothing_registers_under_an_alias,
    bad_aliases_are_refused_by_field,
}

async fn put(server: &Server, path: &str, settings: ServiceSettings) -> Result<(), Status> {
    let (namespace, service) = path.split_once('/').unwrap();
    let request = PutServiceRequest {
        namespace: namespace.into(),
        service: service.into(),
        settings: Some(settings),
        ..PutServiceRequest::default()
    };
    server.operators().put_service(request).await.map(drop)
}

fn name(path: &str) -> ServiceName {
    let (namespace, service) = path.split_once('/').unwrap();
    ServiceName {
        namespace: namespace.into(),
        service: service.into(),
    }
}

fn alias_of(path: &str) -> ServiceSettings {
    ServiceSettings {
        alias_of: Some(name(path)),
        ..ServiceSettings::default()
    }
}

fn exported_to(namespaces: &[&str]) -> ServiceSettings {
    ServiceSettings {
        exported_to: namespaces.iter().map(|&n| n.to_owned()).collect(),
        ..ServiceSettings::default()
    }
}

async fn delete(server: &Server, service: &str) {
    let request = DeleteServiceRequest {
        service: service.into(),
        ..DeleteServiceRequest::default()
    };
    let deleted = server.operators().delete_service(request).await.unwrap();
    assert!(deleted.into_inner().deleted);
}

async fn list(server: &Server) -> ListInstancesResponse {
    let request = ListInstancesRequest {
        service: "web".into(),
        consistency: Consistency::Linearizable.into(),
        ..ListInstancesRequest::default()
    };
    let list = server.registry().list_instances(request).await.unwrap();
    list.into_inner()
}

fn ids(list: &ListInstancesResponse) -> Vec<&str> {
    list.instances
        .iter()
        .map(|i| i.instance_id.as_str())
        .collect()
}

struct Watcher(Streaming<WatchInstancesResponse>);

impl Watcher {
    async fn open(server: &Server, position: Option<Position>) -> Self {
        let request = WatchInstancesRequest {
            service: "web".into(),
            start: position.map(|position| WatchStart {
                position: Some(position),
                ..WatchStart::default()
            }),
            ..WatchInstancesRequest::default()
        };
        let watch = server.registry().watch_instances(request).await.unwrap();
        Self(watch.into_inner())
    }

    /// The next message but for bookmarks.
    async fn next(&mut self) -> WatchInstancesResponse {
        loop {
            let next = timeout(PATIENCE, self.0.message());
            let message = next.await.expect("a message in time").unwrap().unwrap();
            if !matches!(message.message, Some(Message::Bookmark(_))) {
                return message;
            }
        }
    }

    /// The ids of a snapshot and its last message.
    async fn snapshot(&mut self) -> (Vec<String>, WatchInstancesResponse) {
        let mut ids = Vec::new();
        loop {
            let response = self.next().await;
            match response.message.as_ref().unwrap() {
                Message::Snapshot(part) => {
                    ids.extend(part.instances.iter().map(|i| i.instance_id.clone()));
                }
                Message::SnapshotEnd(_) => return (ids, response),
                other => panic!("not a snapshot: {other:?}"),
            }
        }
    }

    async fn reset(&mut self) {
        match self.next().await.message.unwrap() {
            Message::Reset(reset) => assert_eq!(reset.reason(), ResetReason::AliasChanged),
            other => panic!("not a reset: {other:?}"),
        }
    }

    /// The next change, and the token after it.
    async fn event(&mut self) -> (EventType, String, Bytes) {
        let response = self.next().await;
        match response.message.unwrap() {
            Message::Delta(mut delta) => {
                let event = delta.events.remove(0);
                let id = event.instance.as_ref().unwrap().instance_id.clone();
                (event.r#type(), id, response.resume_token)
            }
            other => panic!("not a delta: {other:?}"),
        }
    }
}

async fn an_alias_is_listed_with_the_instances_of_its_target_and_says_so(backend: Backend) {
    let server = backend.server().await;
    register(&server, "", "default/web/own").await.unwrap();
    register(&server, "", "default/blue/b1").await.unwrap();
    assert_eq!(list(&server).await.answered_by, None);
    put(&server, "default/web", alias_of("default/blue"))
        .await
        .unwrap();
    let listed = list(&server).await;
    assert_eq!(ids(&listed), ["b1"]);
    assert_eq!(listed.answered_by, Some(name("default/blue")));
    assert!(!listed.alias_broken);
    assert_eq!(listed.instances[0].service, "blue");

    // No gap between the list and a watch.
    let token = Position::ResumeToken(listed.resume_token);
    let mut watch = Watcher::open(&server, Some(token)).await;
    register(&server, "", "default/blue/b2").await.unwrap();
    let (kind, id, _) = watch.event().await;
    assert_eq!((kind, id.as_str()), (EventType::Added, "b2"));

    delete(&server, "web").await;
    let listed = list(&server).await;
    assert_eq!(
        (ids(&listed), listed.answered_by.clone()),
        (vec!["own"], None)
    );
    server.stop().await;
}

async fn a_watch_starts_over_when_its_alias_leads_elsewhere(backend: Backend) {
    let server = backend.server().await;
    register(&server, "", "default/blue/b1").await.unwrap();
    register(&server, "", "default/green/g1").await.unwrap();
    put(&server, "default/web", alias_of("default/blue"))
        .await
        .unwrap();
    let mut watch = Watcher::open(&server, None).await;
    let (ids, end) = watch.snapshot().await;
    assert_eq!(ids, ["b1"]);
    assert_eq!(end.answered_by, Some(name("default/blue")));

    put(&server, "default/web", alias_of("default/green"))
        .await
        .unwrap();
    watch.reset().await;
    let (ids, end) = watch.snapshot().await;
    assert_eq!(ids, ["g1"]);
    assert_eq!(end.answered_by, Some(name("default/green")));
    // What happens to the former one is no longer told.
    register(&server, "", "default/blue/b2").await.unwrap();
    register(&server, "", "default/green/g2").await.unwrap();
    let (kind, id, token) = watch.event().await;
    assert_eq!((kind, id.as_str()), (EventType::Added, "g2"));
    // On another replica too.
    let other = backend.server().await;
    register(&server, "", "default/green/g3").await.unwrap();
    let mut resumed = Watcher::open(&other, Some(Position::ResumeToken(token))).await;
    assert_eq!(resumed.event().await.1, "g3");
    put(&server, "default/web", alias_of("default/blue"))
        .await
        .unwrap();
    resumed.reset().await;
    assert_eq!(resumed.snapshot().await.0, ["b1", "b2"]);
    other.stop().await;
    server.stop().await;
}

async fn a_watch_starts_over_when_its_service_becomes_an_alias_and_when_it_ends(backend: Backend) {
    let server = backend.server().await;
    register(&server, "", "default/web/own").await.unwrap();
    register(&server, "", "default/blue/b1").await.unwrap();
    let mut watch = Watcher::open(&server, None).await;
    assert_eq!(watch.snapshot().await.0, ["own"]);
    put(&server, "default/web", alias_of("default/blue"))
        .await
        .unwrap();
    watch.reset().await;
    assert_eq!(watch.snapshot().await.0, ["b1"]);
    delete(&server, "web").await;
    watch.reset().await;
    let (ids, end) = watch.snapshot().await;
    assert_eq!((ids, end.answered_by), (vec!["own".to_owned()], None));
    server.stop().await;
}

async fn a_token_from_before_the_alias_changed_starts_over(backend: Backend) {
    let server = backend.server().await;
    register(&server, "", "default/web/own").await.unwrap();
    register(&server, "", "default/blue/b1").await.unwrap();
    let before = list(&server).await;
    put(&server, "default/web", alias_of("default/blue"))
        .await
        .unwrap();
    let revision = before.header.unwrap().revision;
    for position in [
        Position::ResumeToken(before.resume_token),
        Position::AfterRevision(revision),
    ] {
        let mut watch = Watcher::open(&server, Some(position)).await;
        watch.reset().await;
        assert_eq!(watch.snapshot().await.0, ["b1"]);
        register(&server, "", "default/blue/b2").await.unwrap();
        assert_eq!(watch.event().await.1, "b2");
        deregister(&server, "default/blue/b2").await;
    }
    server.stop().await;
}

async fn who_watches_an_alias_is_a_subscriber_of_where_it_leads(backend: Backend) {
    let server = backend.server().await;
    register(&server, "", "default/green/g1").await.unwrap();
    put(&server, "default/web", alias_of("default/blue"))
        .await
        .unwrap();
    let mut watch = Watcher::open(&server, None).await;
    watch.snapshot().await;
    let subscribers = async |service: &str| {
        let request = ListSubscribersRequest {
            service: service.into(),
            ..ListSubscribersRequest::default()
        };
        let listed = server.operators().list_subscribers(request).await.unwrap();
        listed.into_inner().subscribers.len()
    };
    assert_eq!(
        (subscribers("blue").await, subscribers("web").await),
        (1, 0)
    );
    put(&server, "default/web", alias_of("default/green"))
        .await
        .unwrap();
    watch.reset().await;
    watch.snapshot().await;
    assert_eq!(
        (subscribers("blue").await, subscribers("green").await),
        (0, 1)
    );
    delete(&server, "web").await;
    watch.reset().await;
    watch.snapshot().await;
    assert_eq!(
        (subscribers("green").await, subscribers("web").await),
        (0, 1)
    );
    server.stop().await;
}

async fn an_alias_into_another_namespace_needs_an_export(backend: Backend) {
    let server = backend.server().await;
    register(&server, "", "shop/web/s1").await.unwrap();
    let refused = put(&server, "default/web", alias_of("shop/web")).await;
    assert_status(
        &refused.unwrap_err(),
        Code::FailedPrecondition,
        "NOT_EXPORTED",
    );
    put(&server, "shop/web", exported_to(&["other"]))
        .await
        .unwrap();
    let refused = put(&server, "default/web", alias_of("shop/web")).await;
    assert_status(
        &refused.unwrap_err(),
        Code::FailedPrecondition,
        "NOT_EXPORTED",
    );
    put(&server, "shop/web", exported_to(&["*"])).await.unwrap();
    put(&server, "default/web", alias_of("shop/web"))
        .await
        .unwrap();
    let listed = list(&server).await;
    assert_eq!(ids(&listed), ["s1"]);
    assert_eq!(listed.answered_by, Some(name("shop/web")));

    // The export ends: nothing is shown, and no watch breaks.
    let mut watch = Watcher::open(&server, None).await;
    assert_eq!(watch.snapshot().await.0, ["s1"]);
    put(&server, "shop/web", exported_to(&[])).await.unwrap();
    watch.reset().await;
    let (shown, end) = watch.snapshot().await;
    assert!(shown.is_empty() && end.alias_broken && end.answered_by.is_none());
    let listed = list(&server).await;
    assert!(listed.instances.is_empty() && listed.alias_broken);
    put(&server, "shop/web", exported_to(&["default"]))
        .await
        .unwrap();
    watch.reset().await;
    assert_eq!(watch.snapshot().await.0, ["s1"]);
    server.stop().await;
}

async fn many_aliases_can_be_put_at_once(backend: Backend) {
    let server = backend.server().await;
    let puts = (0..30).map(async |number| {
        let path = format!("default/alias-{number}");
        put(
            &server,
            &path,
            alias_of(&format!("default/target-{number}")),
        )
        .await
    });
    for done in futures_util::future::join_all(puts).await {
        done.unwrap();
    }
    server.stop().await;
}

async fn two_replicas_that_put_at_once_make_no_chain(backend: Backend) {
    let (one, other) = (backend.server().await, backend.server().await);
    for turn in 0..20 {
        let [a, b, c] = ["a", "b", "c"].map(|name| format!("default/{name}{turn}"));
        let (first, second) =
            tokio::join!(put(&one, &a, alias_of(&b)), put(&other, &b, alias_of(&c)),);
        let refused = match (first, second) {
            (Ok(()), Err(refused)) | (Err(refused), Ok(())) => refused,
            both => panic!("{both:?}"),
        };
        assert_status(&refused, Code::FailedPrecondition, "ALIAS_CHAIN");
    }
    one.stop().await;
    other.stop().await;
}

async fn chains_and_cycles_of_aliases_are_refused(backend: Backend) {
    let server = backend.server().await;
    put(&server, "default/a", alias_of("default/b"))
        .await
        .unwrap();
    for (path, target) in [
        ("default/b", "default/c"),
        ("default/b", "default/a"),
        ("default/x", "default/a"),
    ] {
        let refused = put(&server, path, alias_of(target)).await;
        assert_status(
            &refused.unwrap_err(),
            Code::FailedPrecondition,
            "ALIAS_CHAIN",
        );
    }
    let itself = put(&server, "default/c", alias_of("default/c")).await;
    assert_invalid(&itself.unwrap_err(), "settings.alias_of");
    server.stop().await;
}

async fn nothing_registers_under_an_alias(backend: Backend) {
    let server = backend.server().await;
    put(&server, "default/web", alias_of("default/blue"))
        .await
        .unwrap();
    let refused = register(&server, "", "default/web/a").await;
    assert_status(
        &refused.unwrap_err(),
        Code::FailedPrecondition,
        "SERVICE_IS_ALIAS",
    );
    register(&server, "", "default/blue/a").await.unwrap();
    delete(&server, "web").await;
    register(&server, "", "default/web/a").await.unwrap();
    server.stop().await;
}

async fn bad_aliases_are_refused_by_field(backend: Backend) {
    let server = backend.server().await;
    let cases = [
        (alias_of("default/"), "settings.alias_of.service"),
        (alias_of("a b/web"), "settings.alias_of.namespace"),
        (exported_to(&["a", "b c"]), "settings.exported_to[1]"),
        (exported_to(&["a"; 65]), "settings.exported_to"),
    ];
    for (settings, field) in cases {
        let refused = put(&server, "default/web", settings).await;
        assert_invalid(&refused.unwrap_err(), field);
    }
    server.stop().await;
}
