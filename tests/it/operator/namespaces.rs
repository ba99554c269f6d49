//! Namespaces and their quotas.

use stanchion_client::proto::{
    AcquireLockRequest, BatchRegisterInstancesRequest, Consistency, DeleteConfigRequest,
    DeleteNamespaceRequest, GetNamespaceRequest, Instance, ListNamespacesRequest, Namespace,
    NamespaceSettings, PutConfigRequest, PutNamespaceRequest, PutNamespaceResponse,
    ReleaseLockRequest, batch_register_instances_request::Liveness, register_outcome::Outcome,
    release_lock_request::Claim,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::server::{Backend, Server, assert_invalid, assert_status, on_both_stores};

use super::{deregister, open, register};

on_both_stores! {
    namespaces_are_listed_with_what_is_in_them,
    settings_of_a_namespace_are_taken_back_only_when_it_is_empty,
    the_same_settings_again_change_nothing,
    a_registration_beyond_a_quota_is_refused_and_says_which,
    a_batch_is_let_in_as_far_as_the_quota_goes,
    clients_come_back_at_a_full_session_quota,
    bad_namespaces_are_refused_by_field,
}

async fn put(
    server: &Server,
    request: PutNamespaceRequest,
) -> Result<PutNamespaceResponse, Status> {
    let response = server.operators().put_namespace(request).await?;
    Ok(response.into_inner())
}

fn setting(settings: NamespaceSettings) -> PutNamespaceRequest {
    PutNamespaceRequest {
        namespace: "shop".into(),
        settings: Some(settings),
        actor: "ann".into(),
        ..PutNamespaceRequest::default()
    }
}

async fn get(server: &Server) -> Result<Namespace, Status> {
    let request = GetNamespaceRequest {
        namespace: "shop".into(),
        consistency: Consistency::Linearizable.into(),
        ..GetNamespaceRequest::default()
    };
    let response = server.operators().get_namespace(request).await?;
    Ok(response.into_inner().namespace.unwrap())
}

async fn delete(server: &Server, expected_revision: Option<i64>) -> Result<bool, Status> {
    let request = DeleteNamespaceRequest {
        namespace: "shop".into(),
        expected_revision,
        ..DeleteNamespaceRequest::default()
    };
    let response = server.operators().delete_namespace(request).await?;
    Ok(response.into_inner().deleted)
}

async fn put_config(server: &Server) {
    let request = PutConfigRequest {
        namespace: "shop".into(),
        key: "limit".into(),
        content: "1".into(),
        ..PutConfigRequest::default()
    };
    server.configs().put_config(request).await.unwrap();
}

/// Says which quota, its limit and the number there is.
fn exceeded(refused: &Status) -> (String, String, String) {
    assert_status(refused, Code::ResourceExhausted, "QUOTA_EXCEEDED");
    let info = refused.get_details_error_info().unwrap();
    let of = |key: &str| info.metadata[key].clone();
    (of("quota"), of("limit"), of("current"))
}

fn quota(quota: &str, limit: &str, current: &str) -> (String, String, String) {
    (quota.into(), limit.into(), current.into())
}

async fn namespaces_are_listed_with_what_is_in_them(backend: Backend) {
    let server = backend.server().await;
    let refused = get(&server).await.unwrap_err();
    assert_status(&refused, Code::NotFound, "NAMESPACE_NOT_FOUND");
    let sessions = [open(&server).await, open(&server).await];
    for (session, path) in sessions.iter().zip(["shop/web/a", "shop/web/b"]) {
        register(&server, session, path).await.unwrap();
    }
    register(&server, "", "shop/db/a").await.unwrap();
    register(&server, "", "zoo/db/a").await.unwrap();
    put_config(&server).await;
    let lock = AcquireLockRequest {
        namespace: "shop".into(),
        lock: "nightly".into(),
        session_id: sessions[0].clone(),
        ..AcquireLockRequest::default()
    };
    let lock = server
        .locks()
        .acquire_lock(lock)
        .await
        .unwrap()
        .into_inner();
    for namespace in ["empty", "zoo"] {
        let request = PutNamespaceRequest {
            namespace: namespace.into(),
            ..setting(NamespaceSettings::default())
        };
        put(&server, request).await.unwrap();
    }

    let shop = get(&server).await.unwrap();
    let expected = Namespace {
        namespace: "shop".into(),
        settings: None,
        instance_count: 3,
        service_count: 2,
        config_count: 1,
        lock_count: 1,
        session_count: 2,
        election_count: 0,
        barrier_count: 0,
        latch_count: 0,
    };
    assert_eq!(shop, expected);
    // Page by page.
    let mut listed = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListNamespacesRequest {
            page_size: 1,
            page_token,
            consistency: Consistency::Linearizable.into(),
            ..ListNamespacesRequest::default()
        };
        let page = server.operators().list_namespaces(request).await.unwrap();
        let page = page.into_inner();
        listed.extend(page.namespaces);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let names: Vec<_> = listed.iter().map(|n| n.namespace.as_str()).collect();
    assert_eq!(names, ["empty", "shop", "zoo"]);
    assert_eq!(listed[1], expected);
    assert!(listed[2].settings.is_some() && listed[2].instance_count == 1);

    // A replica that starts now counts the same.
    let other = backend.server().await;
    assert_eq!(get(&other).await.unwrap(), expected);
    other.stop().await;

    server.expire(&sessions[1]).await;
    assert_eq!(get(&server).await.unwrap().session_count, 1);
    for (service, id) in [("web", "a"), ("web", "b"), ("db", "a")] {
        deregister(&server, &format!("shop/{service}/{id}")).await;
    }
    let release = ReleaseLockRequest {
        namespace: "shop".into(),
        lock: "nightly".into(),
        session_id: sessions[0].clone(),
        claim: Some(Claim::FencingToken(lock.fencing_token)),
        ..ReleaseLockRequest::default()
    };
    server.locks().release_lock(release).await.unwrap();
    let config = DeleteConfigRequest {
        namespace: "shop".into(),
        key: "limit".into(),
        ..DeleteConfigRequest::default()
    };
    server.configs().delete_config(config).await.unwrap();
    let refused = get(&server).await.unwrap_err();
    assert_status(&refused, Code::NotFound, "NAMESPACE_NOT_FOUND");
    server.stop().await;
}

async fn settings_of_a_namespace_are_taken_back_only_when_it_is_empty(backend: Backend) {
    let server = backend.server().await;
    let settings = NamespaceSettings {
        description: "sells things".into(),
        labels: [("team".to_owned(), "shop".to_owned())].into(),
        max_instances: Some(5),
        ..NamespaceSettings::default()
    };
    let set = put(&server, setting(settings))
        .await
        .unwrap()
        .settings
        .unwrap();
    assert_eq!((set.author.as_str(), set.max_instances), ("ann", Some(5)));
    register(&server, "", "shop/web/a").await.unwrap();
    put_config(&server).await;
    let refused = delete(&server, None).await.unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "NAMESPACE_NOT_EMPTY");
    let info = refused.get_details_error_info().unwrap();
    assert_eq!(info.metadata["holds"], "1 instances, 1 configs");
    assert_eq!(get(&server).await.unwrap().settings, Some(set.clone()));

    deregister(&server, "shop/web/a").await;
    let config = DeleteConfigRequest {
        namespace: "shop".into(),
        key: "limit".into(),
        ..DeleteConfigRequest::default()
    };
    server.configs().delete_config(config).await.unwrap();
    let refused = delete(&server, Some(set.revision - 1)).await.unwrap_err();
    assert_status(&refused, Code::Aborted, "REVISION_MISMATCH");
    assert!(delete(&server, Some(set.revision)).await.unwrap());
    assert!(!delete(&server, None).await.unwrap());
    server.stop().await;
}

async fn the_same_settings_again_change_nothing(backend: Backend) {
    let server = backend.server().await;
    let named = PutNamespaceRequest {
        request_id: "one".into(),
        expected_revision: Some(0),
        ..setting(NamespaceSettings::default())
    };
    let asked = PutNamespaceRequest {
        validate_only: true,
        ..named.clone()
    };
    assert!(!put(&server, asked).await.unwrap().unchanged);
    assert!(get(&server).await.is_err());
    let first = put(&server, named.clone()).await.unwrap();
    for request in [named, setting(NamespaceSettings::default())] {
        let again = put(&server, request).await.unwrap();
        assert!(again.unchanged);
        assert_eq!(again.settings, first.settings);
    }
    server.stop().await;
}

async fn a_registration_beyond_a_quota_is_refused_and_says_which(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server).await;
    register(&server, &session, "shop/web/a").await.unwrap();
    register(&server, &session, "shop/web/b").await.unwrap();
    // Fewer than there are: those stay.
    let settings = NamespaceSettings {
        max_instances: Some(1),
        ..NamespaceSettings::default()
    };
    put(&server, setting(settings)).await.unwrap();
    assert_eq!(get(&server).await.unwrap().instance_count, 2);
    let refused = register(&server, &session, "shop/web/c").await;
    assert_eq!(
        exceeded(&refused.unwrap_err()),
        quota("instances", "1", "2")
    );
    // One that is there may register again.
    register(&server, &session, "shop/web/a").await.unwrap();
    register(&server, &session, "other/web/c").await.unwrap();

    let settings = NamespaceSettings {
        max_services: Some(1),
        max_sessions: Some(1),
        ..NamespaceSettings::default()
    };
    put(&server, setting(settings)).await.unwrap();
    register(&server, &session, "shop/web/c").await.unwrap();
    let refused = register(&server, &session, "shop/db/a").await;
    assert_eq!(exceeded(&refused.unwrap_err()), quota("services", "1", "1"));
    let other = open(&server).await;
    let refused = register(&server, &other, "shop/web/d").await;
    assert_eq!(exceeded(&refused.unwrap_err()), quota("sessions", "1", "1"));
    deregister(&server, "shop/web/d").await;
    register(&server, "", "shop/web/d").await.unwrap();
    server.stop().await;
}

async fn a_batch_is_let_in_as_far_as_the_quota_goes(backend: Backend) {
    let server = backend.server().await;
    let settings = NamespaceSettings {
        max_instances: Some(2),
        ..NamespaceSettings::default()
    };
    put(&server, setting(settings)).await.unwrap();
    let instance = |id: &str| Instance {
        service: "web".into(),
        instance_id: id.into(),
        address: "10.0.0.1".into(),
        ..Instance::default()
    };
    let request = BatchRegisterInstancesRequest {
        namespace: "shop".into(),
        instances: ["a", "b", "c"].map(instance).into(),
        liveness: Some(Liveness::Persistent(true)),
        ..BatchRegisterInstancesRequest::default()
    };
    let batch = server.registry().batch_register_instances(request).await;
    let outcomes = batch.unwrap().into_inner().outcomes;
    let done = |outcome: &stanchion_client::proto::RegisterOutcome| {
        matches!(outcome.outcome, Some(Outcome::Instance(_)))
    };
    assert_eq!(
        outcomes.iter().map(done).collect::<Vec<_>>(),
        [true, true, false]
    );
    server.stop().await;
}

async fn clients_come_back_at_a_full_session_quota(backend: Backend) {
    let server = backend.server().await;
    let settings = NamespaceSettings {
        max_sessions: Some(2),
        ..NamespaceSettings::default()
    };
    put(&server, setting(settings)).await.unwrap();
    let first = [open(&server).await, open(&server).await];
    register(&server, &first[0], "shop/web/a").await.unwrap();
    register(&server, &first[1], "shop/web/b").await.unwrap();
    // All sessions end, and their clients register again with new ones.
    for session in &first {
        server.expire(session).await;
    }
    let second = [open(&server).await, open(&server).await];
    for (session, path) in second.iter().zip(["shop/web/a", "shop/web/b"]) {
        register(&server, session, path).await.unwrap();
    }
    assert_eq!(get(&server).await.unwrap().session_count, 2);
    let third = open(&server).await;
    let refused = register(&server, &third, "shop/web/c").await;
    assert_eq!(exceeded(&refused.unwrap_err()), quota("sessions", "2", "2"));
    server.stop().await;
}

async fn bad_namespaces_are_refused_by_field(backend: Backend) {
    let server = backend.server().await;
    let with = |change: &dyn Fn(&mut NamespaceSettings)| {
        let mut settings = NamespaceSettings::default();
        change(&mut settings);
        setting(settings)
    };
    let base = setting(NamespaceSettings::default());
    let cases = [
        (
            PutNamespaceRequest {
                namespace: "a/b".into(),
                ..base.clone()
            },
            "namespace",
        ),
        (
            PutNamespaceRequest {
                settings: None,
                ..base
            },
            "settings",
        ),
        (
            with(&|s| s.description = "x".repeat(1025)),
            "settings.description",
        ),
        (
            with(&|s| s.max_instances = Some(-1)),
            "settings.max_instances",
        ),
        (
            with(&|s| s.max_services = Some(-1)),
            "settings.max_services",
        ),
        (
            with(&|s| s.max_sessions = Some(-1)),
            "settings.max_sessions",
        ),
    ];
    for (request, field) in cases {
        assert_invalid(&put(&server, request).await.unwrap_err(), field);
    }
    let request = ListNamespacesRequest {
        page_token: "zz".into(),
        ..ListNamespacesRequest::default()
    };
    let refused = server.operators().list_namespaces(request).await;
    let refused = refused.unwrap_err();
    assert_status(&refused, Code::InvalidArgument, "INVALID_PAGE_TOKEN");
    server.stop().await;
}
