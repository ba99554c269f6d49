//! What is set for services.

use std::collections::BTreeMap;

use stanchion_client::proto::{
    AcquireLockRequest, Consistency, DeleteServiceRequest, GetServiceRequest, GetServiceResponse,
    Guard, ListInstancesRequest, PutServiceRequest, PutServiceResponse, ServiceSettings,
};
use tonic::{Code, Status};

use crate::support::server::{Backend, Server, assert_invalid, assert_status, on_both_stores};

use super::{open, register, seconds};

on_both_stores! {
    settings_are_replaced_as_a_whole_and_taken_back,
    the_same_settings_again_and_a_repeated_request_change_nothing,
    stale_expectations_and_guards_stop_a_change,
    what_would_be_set_is_told_and_not_set,
    a_threshold_that_is_set_protects_at_once,
    bad_settings_are_refused_by_field,
}

async fn put(server: &Server, request: PutServiceRequest) -> Result<PutServiceResponse, Status> {
    let response = server.operators().put_service(request).await?;
    Ok(response.into_inner())
}

async fn get(server: &Server) -> Result<GetServiceResponse, Status> {
    let request = GetServiceRequest {
        service: "web".into(),
        consistency: Consistency::Linearizable.into(),
        ..GetServiceRequest::default()
    };
    let response = server.operators().get_service(request).await?;
    Ok(response.into_inner())
}

async fn delete(server: &Server, expected_revision: Option<i64>) -> Result<bool, Status> {
    let request = DeleteServiceRequest {
        service: "web".into(),
        expected_revision,
        ..DeleteServiceRequest::default()
    };
    let response = server.operators().delete_service(request).await?;
    Ok(response.into_inner().deleted)
}

fn setting(settings: ServiceSettings) -> PutServiceRequest {
    PutServiceRequest {
        service: "web".into(),
        settings: Some(settings),
        actor: "ann".into(),
        ..PutServiceRequest::default()
    }
}

fn labelled(value: &str) -> ServiceSettings {
    ServiceSettings {
        labels: [("team".to_owned(), value.to_owned())].into(),
        ..ServiceSettings::default()
    }
}

async fn settings_are_replaced_as_a_whole_and_taken_back(backend: Backend) {
    let server = backend.server().await;
    assert_status(
        &get(&server).await.unwrap_err(),
        Code::NotFound,
        "SERVICE_NOT_FOUND",
    );
    let wanted = ServiceSettings {
        panic_threshold: Some(50),
        brake_off: true,
        remove_unhealthy_after: Some(seconds(60)),
        flap_damping: true,
        slow_start: Some(seconds(30)),
        description: "shows pages".into(),
        ..labelled("web")
    };
    let first = put(&server, setting(wanted.clone())).await.unwrap();
    let set = first.settings.unwrap();
    assert!(!first.unchanged && set.revision == first.header.unwrap().revision);
    let expected = ServiceSettings {
        namespace: "default".into(),
        service: "web".into(),
        author: "ann".into(),
        update_time: set.update_time,
        revision: set.revision,
        ..wanted
    };
    assert_eq!(set, expected);
    let got = get(&server).await.unwrap();
    assert_eq!((got.settings.as_ref(), got.service), (Some(&set), None));

    put(&server, setting(labelled("other"))).await.unwrap();
    let got = get(&server).await.unwrap().settings.unwrap();
    assert_eq!((got.panic_threshold, got.brake_off), (None, false));
    assert_eq!(got.labels["team"], "other");

    register(&server, "", "default/web/a").await.unwrap();
    assert!(delete(&server, None).await.unwrap());
    assert!(!delete(&server, None).await.unwrap());
    let got = get(&server).await.unwrap();
    assert_eq!(got.settings, None);
    assert_eq!(got.service.unwrap().instance_count, 1);
    server.stop().await;
}

async fn the_same_settings_again_and_a_repeated_request_change_nothing(backend: Backend) {
    let server = backend.server().await;
    let named = PutServiceRequest {
        request_id: "one".into(),
        expected_revision: Some(0),
        ..setting(labelled("a"))
    };
    let first = put(&server, named.clone()).await.unwrap().settings;
    let other_author = PutServiceRequest {
        actor: "bob".into(),
        ..setting(labelled("a"))
    };
    for request in [named, other_author] {
        let again = put(&server, request).await.unwrap();
        assert!(again.unchanged);
        assert_eq!(again.settings, first);
    }
    server.stop().await;
}

async fn stale_expectations_and_guards_stop_a_change(backend: Backend) {
    let server = backend.server().await;
    let first = put(&server, setting(labelled("a"))).await.unwrap();
    let revision = first.settings.unwrap().revision;
    let expecting = |expected_revision| PutServiceRequest {
        expected_revision: Some(expected_revision),
        ..setting(labelled("b"))
    };
    for stale in [0, revision - 1] {
        let refused = put(&server, expecting(stale)).await.unwrap_err();
        assert_status(&refused, Code::Aborted, "REVISION_MISMATCH");
    }
    let refused = delete(&server, Some(revision - 1)).await.unwrap_err();
    assert_status(&refused, Code::Aborted, "REVISION_MISMATCH");
    let second = put(&server, expecting(revision)).await.unwrap();

    let lock = AcquireLockRequest {
        lock: "ops".into(),
        session_id: open(&server).await,
        ..AcquireLockRequest::default()
    };
    let lock = server.locks().acquire_lock(lock).await.unwrap();
    let token = lock.into_inner().fencing_token;
    let guarded = |fencing_token, settings| PutServiceRequest {
        guard: Some(Guard {
            election: String::new(),
            namespace: String::new(),
            lock: "ops".into(),
            fencing_token,
        }),
        ..setting(settings)
    };
    // Whether there is something to change or not.
    for settings in [labelled("b"), labelled("c")] {
        let refused = put(&server, guarded(token + 1, settings)).await;
        assert_status(
            &refused.unwrap_err(),
            Code::FailedPrecondition,
            "GUARD_FAILED",
        );
    }
    let same = put(&server, guarded(token, labelled("b"))).await.unwrap();
    assert_eq!(same.settings, second.settings);
    let third = put(&server, guarded(token, labelled("c"))).await.unwrap();
    assert!(!third.unchanged);
    server.stop().await;
}

async fn what_would_be_set_is_told_and_not_set(backend: Backend) {
    let server = backend.server().await;
    let asking = PutServiceRequest {
        validate_only: true,
        ..setting(labelled("a"))
    };
    let answer = put(&server, asking).await.unwrap();
    let settings = answer.settings.unwrap();
    assert_eq!((settings.revision, settings.author.as_str()), (0, "ann"));
    assert!(get(&server).await.is_err());
    server.stop().await;
}

async fn a_threshold_that_is_set_protects_at_once(backend: Backend) {
    let server = backend.server().await;
    let sessions = [open(&server).await, open(&server).await];
    for (session, id) in sessions.iter().zip(["a", "b"]) {
        let path = format!("default/web/{id}");
        register(&server, session, &path).await.unwrap();
    }
    server.expire(&sessions[0]).await;
    let list = async || {
        let request = ListInstancesRequest {
            service: "web".into(),
            consistency: Consistency::Linearizable.into(),
            ..ListInstancesRequest::default()
        };
        let list = server.registry().list_instances(request).await.unwrap();
        let list = list.into_inner();
        (list.instances.len(), list.protected)
    };
    assert_eq!(list().await, (1, false));
    let set = ServiceSettings {
        panic_threshold: Some(51),
        ..ServiceSettings::default()
    };
    put(&server, setting(set)).await.unwrap();
    assert_eq!(list().await, (2, true));
    assert!(delete(&server, None).await.unwrap());
    assert_eq!(list().await, (1, false));
    server.stop().await;
}

async fn bad_settings_are_refused_by_field(backend: Backend) {
    let server = backend.server().await;
    let many: BTreeMap<_, _> = (0..65).map(|n| (n.to_string(), String::new())).collect();
    let with = |change: &dyn Fn(&mut ServiceSettings)| {
        let mut settings = ServiceSettings::default();
        change(&mut settings);
        setting(settings)
    };
    let cases = [
        (PutServiceRequest::default(), "service"),
        (
            PutServiceRequest {
                settings: None,
                ..setting(ServiceSettings::default())
            },
            "settings",
        ),
        (
            PutServiceRequest {
                namespace: "a/b".into(),
                ..setting(ServiceSettings::default())
            },
            "namespace",
        ),
        (
            PutServiceRequest {
                expected_revision: Some(-1),
                ..setting(ServiceSettings::default())
            },
            "expected_revision",
        ),
        (
            with(&|s| s.panic_threshold = Some(101)),
            "settings.panic_threshold",
        ),
        (
            with(&|s| s.panic_threshold = Some(-1)),
            "settings.panic_threshold",
        ),
        (
            with(&|s| s.remove_unhealthy_after = Some(seconds(0))),
            "settings.remove_unhealthy_after",
        ),
        (
            with(&|s| s.slow_start = Some(seconds(3601))),
            "settings.slow_start",
        ),
        (with(&|s| s.labels = many.clone()), "settings.labels"),
        (
            with(&|s| s.description = "x".repeat(1025)),
            "settings.description",
        ),
    ];
    for (request, field) in cases {
        assert_invalid(&put(&server, request).await.unwrap_err(), field);
    }
    assert_invalid(
        &delete(&server, Some(0)).await.unwrap_err(),
        "expected_revision",
    );
    server.stop().await;
}
