//! Updating and deregistering, also by those who come late.

use stanchion_client::proto::{
    DeregisterInstanceRequest, Health, Instance, OperatorState, RegisterInstanceRequest,
    UpdateInstanceRequest,
};
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::server::{Backend, assert_invalid, assert_status, on_both_stores};

use super::{
    ALL, SERVING, Watcher, deregister, get, ids, instance, isolate, list, mask, modified, open,
    patient_server, register, register_on, registration, watching,
};

on_both_stores! {
    an_update_changes_the_named_fields_alone,
    a_former_owner_changes_nothing,
    an_undone_registration_does_not_arrive_late,
    what_an_operator_decided_survives_a_new_registration,
}

async fn an_update_changes_the_named_fields_alone(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server, "").await;
    let registered = register_on(&server, &session, "a").await;
    let mut watcher = Watcher::open(&server, watching(SERVING, None)).await;
    watcher.snapshot().await;
    let mut registry = server.registry();

    let update = UpdateInstanceRequest {
        instance: Some(Instance {
            service: "web".into(),
            instance_id: "a".into(),
            weight: Some(7),
            zone: "z2".into(),
            version: "not named".into(),
            ..Instance::default()
        }),
        update_mask: Some(mask(&["weight", "zone"])),
        expected_revision: Some(registered.revision),
        request_id: "u1".into(),
        ..UpdateInstanceRequest::default()
    };
    let updated = registry.update_instance(update.clone()).await.unwrap();
    let updated = updated.into_inner().instance.unwrap();
    let expected = Instance {
        weight: Some(7),
        zone: "z2".into(),
        revision: updated.revision,
        ..registered.clone()
    };
    assert_eq!(updated, expected);
    assert!(updated.revision > registered.revision);
    assert_eq!(watcher.event().await, modified("a"));

    // The same request again, then the same content under another name: nothing happens.
    let again = registry.update_instance(update.clone()).await.unwrap();
    assert_eq!(again.into_inner().instance.unwrap(), updated);
    let same = UpdateInstanceRequest {
        expected_revision: None,
        request_id: String::new(),
        session_id: session.clone(),
        ..update.clone()
    };
    let again = registry.update_instance(same).await.unwrap();
    assert_eq!(again.into_inner().instance.unwrap(), updated);

    let stale = UpdateInstanceRequest {
        request_id: "u2".into(),
        ..update.clone()
    };
    let refused = registry.update_instance(stale).await.unwrap_err();
    assert_status(&refused, Code::Aborted, "REVISION_MISMATCH");
    let info = refused.get_details_error_info().unwrap();
    let current = updated.revision.to_string();
    assert_eq!(info.metadata["current_revision"], current);

    for paths in [&["weight", "health"][..], &["instance.weight"], &["*"], &[]] {
        let unknown = UpdateInstanceRequest {
            update_mask: Some(mask(paths)),
            ..update.clone()
        };
        let refused = registry.update_instance(unknown).await.unwrap_err();
        assert_invalid(&refused, "update_mask");
    }
    let nobody = UpdateInstanceRequest {
        instance: Some(instance("nobody")),
        expected_revision: None,
        ..update
    };
    let refused = registry.update_instance(nobody).await.unwrap_err();
    assert_status(&refused, Code::NotFound, "INSTANCE_NOT_FOUND");
    assert_eq!(get(&server, "a").await.unwrap(), updated);
    server.stop().await;
}

async fn a_former_owner_changes_nothing(backend: Backend) {
    let server = backend.server().await;
    let first = open(&server, "pod-1").await;
    let second = open(&server, "pod-1").await;
    register_on(&server, &first, "a").await;
    let taken = register_on(&server, &second, "a").await;

    assert!(!deregister(&server, &first, "a").await);
    let update = UpdateInstanceRequest {
        instance: Some(Instance {
            weight: Some(1),
            ..instance("a")
        }),
        update_mask: Some(mask(&["weight"])),
        session_id: first.clone(),
        ..UpdateInstanceRequest::default()
    };
    let late = server.registry().update_instance(update.clone()).await;
    let late = late.unwrap_err();
    assert_status(&late, Code::FailedPrecondition, "INSTANCE_NOT_OWNED");
    // Nor does its session's end.
    server.expire(&first).await;
    assert_eq!(get(&server, "a").await.unwrap(), taken);
    assert!(!deregister(&server, &first, "a").await);
    let late = server.registry().update_instance(update).await.unwrap_err();
    assert_status(&late, Code::FailedPrecondition, "INSTANCE_NOT_OWNED");

    // Without a session it is whoever owns it.
    assert!(deregister(&server, "", "a").await);
    server.stop().await;
}

async fn an_undone_registration_does_not_arrive_late(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server, "").await;
    let request = RegisterInstanceRequest {
        request_id: "r1".into(),
        ..registration(&session, "a")
    };
    let undo = DeregisterInstanceRequest {
        service: "web".into(),
        instance_id: "a".into(),
        session_id: session.clone(),
        request_id: "r1".into(),
        ..DeregisterInstanceRequest::default()
    };
    let mut registry = server.registry();
    let undone = registry.deregister_instance(undo.clone()).await.unwrap();
    assert!(!undone.into_inner().deregistered);
    let late = register(&server, request.clone()).await.unwrap_err();
    assert_status(&late, Code::FailedPrecondition, "REQUEST_UNDONE");

    // Another request of the same session is another matter, and is undone with its record.
    let other = RegisterInstanceRequest {
        request_id: "r2".into(),
        ..request
    };
    register(&server, other.clone()).await.unwrap();
    let undo = DeregisterInstanceRequest {
        request_id: "r2".into(),
        ..undo
    };
    let undone = registry.deregister_instance(undo).await.unwrap();
    assert!(undone.into_inner().deregistered);
    let late = register(&server, other).await.unwrap_err();
    assert_status(&late, Code::FailedPrecondition, "REQUEST_UNDONE");
    assert!(ids(&server, ALL).await.is_empty());
    server.stop().await;
}

async fn what_an_operator_decided_survives_a_new_registration(backend: Backend) {
    let server = patient_server(&backend).await;
    isolate(&server, "a").await;

    let session = open(&server, "pod-1").await;
    for session in [session, open(&server, "pod-1").await] {
        register_on(&server, &session, "a").await;
        assert!(ids(&server, SERVING).await.is_empty());
        let listed = list(&server, ALL).await.instances;
        assert_eq!(listed[0].operator_state(), OperatorState::Isolated);
        assert_eq!(listed[0].health(), Health::Healthy);
    }
    server.stop().await;
}
