//! Registering: who gets an id, on which session, and how often a request counts.

use std::{collections::BTreeMap, sync::Arc};

use stanchion_client::proto::{
    BatchRegisterInstancesRequest, Consistency, DeleteCause, Health, Instance,
    ListInstancesRequest, ListSessionsRequest, OperatorState, RegisterInstanceRequest,
    batch_register_instances_request, register_instance_request::Liveness, register_outcome,
    registry_service_client::RegistryServiceClient,
};
use tokio::sync::Barrier;
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::server::{Backend, assert_invalid, assert_status, connect, on_both_stores};

use super::{
    ALL, SERVING, Watcher, added, deleted, deregister, get, ids, instance, open, register,
    register_on, registration, seconds, told, watching,
};

on_both_stores! {
    an_instance_is_registered_listed_watched_and_deregistered,
    an_id_of_a_live_session_goes_to_the_same_client_or_by_takeover_alone,
    of_many_who_want_an_id_at_once_one_gets_it,
    a_plain_ttl_is_enough_to_register,
    a_session_opened_for_a_registration_that_fails_is_closed_again,
    a_batch_tells_what_became_of_each,
    a_persistent_instance_needs_no_session,
    a_repeated_request_gets_its_first_answer,
}

async fn an_instance_is_registered_listed_watched_and_deregistered(backend: Backend) {
    let server = backend.server().await;
    let mut watcher = Watcher::open(&server, watching(SERVING, None)).await;
    assert!(watcher.snapshot().await.0.is_empty());
    assert!(ids(&server, ALL).await.is_empty());

    let session = open(&server, "pod-1").await;
    let wanted = Instance {
        weight: Some(0),
        version: "1.2".into(),
        region: "eu".into(),
        zone: "eu-1".into(),
        metadata: BTreeMap::from([("team".into(), "blue".into())]),
        // Output only, so without effect.
        revision: 99,
        health: Health::Suspect.into(),
        persistent: true,
        ..instance("a")
    };
    let request = RegisterInstanceRequest {
        instance: Some(wanted.clone()),
        ..registration(&session, "a")
    };
    let response = register(&server, request).await.unwrap();
    let registered = response.instance.unwrap();
    let header = response.header.unwrap();
    assert_eq!(header.revision, registered.revision);
    assert_eq!(response.session_id, session);
    assert_eq!(response.ttl.unwrap(), seconds(120));
    assert!(response.valid_for.is_none());
    let expected = Instance {
        namespace: "default".into(),
        client_id: "pod-1".into(),
        health: Health::Healthy.into(),
        operator_state: OperatorState::Active.into(),
        serving: true,
        persistent: false,
        revision: registered.revision,
        register_time: registered.register_time,
        ..wanted
    };
    assert_eq!(registered, expected);

    // What was acknowledged can be read at once, on the same replica, from the cache.
    let cached = ListInstancesRequest {
        service: "web".into(),
        ..ListInstancesRequest::default()
    };
    let listed = server.registry().list_instances(cached).await.unwrap();
    assert_eq!(
        listed.into_inner().instances,
        std::slice::from_ref(&expected)
    );
    assert_eq!(get(&server, "a").await.unwrap(), expected);
    let (delta, _) = watcher.delta().await;
    assert_eq!(delta.revision, header.revision);
    assert_eq!(told(&delta), [added("a")]);
    assert_eq!(delta.events[0].instance, Some(expected));

    assert!(deregister(&server, &session, "a").await);
    let gone = deleted("a", DeleteCause::Deregistered);
    assert_eq!(watcher.event().await, gone);
    assert!(ids(&server, ALL).await.is_empty());
    let missing = get(&server, "a").await.unwrap_err();
    assert_status(&missing, Code::NotFound, "INSTANCE_NOT_FOUND");
    assert!(!deregister(&server, &session, "a").await);
    server.stop().await;
}

async fn an_id_of_a_live_session_goes_to_the_same_client_or_by_takeover_alone(backend: Backend) {
    let server = backend.server().await;
    let first = open(&server, "pod-1").await;
    let stranger = open(&server, "pod-2").await;
    let nameless = open(&server, "").await;
    let original = register_on(&server, &first, "a").await;

    for session in [&stranger, &nameless] {
        let refused = register(&server, registration(session, "a")).await;
        let refused = refused.unwrap_err();
        assert_status(&refused, Code::AlreadyExists, "INSTANCE_ALREADY_EXISTS");
        let info = refused.get_details_error_info().unwrap();
        assert_eq!(info.metadata["holder"], "pod-1");
        assert!(!format!("{refused:?}").contains(&first));
    }
    assert_eq!(get(&server, "a").await.unwrap(), original);

    // The same client after a restart.
    let again = open(&server, "pod-1").await;
    let returned = register_on(&server, &again, "a").await;
    assert!(returned.revision > original.revision);

    let request = RegisterInstanceRequest {
        takeover: true,
        ..registration(&nameless, "a")
    };
    let taken = register(&server, request).await.unwrap();
    assert_eq!(taken.instance.unwrap().client_id, "");

    // A nameless holder is told by a fingerprint, and nameless clients are not the same client.
    let other = open(&server, "").await;
    let refused = register(&server, registration(&other, "a")).await;
    let refused = refused.unwrap_err();
    assert_status(&refused, Code::AlreadyExists, "INSTANCE_ALREADY_EXISTS");
    assert!(!format!("{refused:?}").contains(&nameless));
    server.stop().await;
}

async fn of_many_who_want_an_id_at_once_one_gets_it(backend: Backend) {
    let (one, two) = (backend.server().await, backend.server().await);
    let mut wanting = Vec::new();
    for n in 0..16 {
        let server = if n % 2 == 0 { &one } else { &two };
        // A connection of its own, so that the calls do not queue behind each other.
        let channel = connect(server.address).await;
        let session = open(server, "").await;
        wanting.push((RegistryServiceClient::new(channel), session));
    }
    let together = Arc::new(Barrier::new(wanting.len()));
    let calls: Vec<_> = wanting
        .into_iter()
        .map(|(mut registry, session)| {
            let together = together.clone();
            tokio::spawn(async move {
                together.wait().await;
                let answer = registry.register_instance(registration(&session, "a"));
                answer.await.map(|_| session)
            })
        })
        .collect();
    let mut winners = Vec::new();
    for call in calls {
        match call.await.unwrap() {
            Ok(session) => winners.push(session),
            Err(refused) => {
                assert_status(&refused, Code::AlreadyExists, "INSTANCE_ALREADY_EXISTS");
            }
        }
    }
    assert_eq!(winners.len(), 1);
    assert!(deregister(&two, &winners[0], "a").await);
    one.stop().await;
    two.stop().await;
}

async fn a_plain_ttl_is_enough_to_register(backend: Backend) {
    let server = backend.server().await;
    let request = RegisterInstanceRequest {
        instance: Some(Instance {
            instance_id: String::new(),
            ..instance("")
        }),
        liveness: Some(Liveness::Ttl(seconds(20))),
        client_id: "shell".into(),
        ..RegisterInstanceRequest::default()
    };
    let response = register(&server, request).await.unwrap();
    let registered = response.instance.unwrap();
    assert!(!registered.instance_id.is_empty());
    assert_eq!(registered.client_id, "shell");
    assert_eq!(response.ttl, Some(seconds(20)));
    let valid_for = response.valid_for.unwrap();
    assert!(valid_for.seconds >= 10 && valid_for.seconds <= 20);
    // The session is the caller's now.
    let id = registered.instance_id;
    assert!(deregister(&server, &response.session_id, &id).await);

    let unsaid = RegisterInstanceRequest {
        instance: Some(instance("b")),
        ..RegisterInstanceRequest::default()
    };
    let response = register(&server, unsaid).await.unwrap();
    assert_eq!(response.ttl, Some(seconds(15)));
    server.stop().await;
}

async fn a_session_opened_for_a_registration_that_fails_is_closed_again(backend: Backend) {
    let server = backend.server().await;
    let owner = open(&server, "owner").await;
    register_on(&server, &owner, "a").await;
    let request = RegisterInstanceRequest {
        instance: Some(instance("a")),
        client_id: "late".into(),
        ..RegisterInstanceRequest::default()
    };
    let refused = register(&server, request).await.unwrap_err();
    assert_status(&refused, Code::AlreadyExists, "INSTANCE_ALREADY_EXISTS");
    let request = ListSessionsRequest {
        consistency: Consistency::Linearizable.into(),
        ..ListSessionsRequest::default()
    };
    let sessions = server.sessions().list_sessions(request).await.unwrap();
    let clients = sessions.into_inner().sessions.into_iter();
    let clients: Vec<_> = clients.map(|session| session.client_id).collect();
    assert_eq!(clients, ["owner"]);
    server.stop().await;
}

async fn a_batch_tells_what_became_of_each(backend: Backend) {
    let server = backend.server().await;
    let owner = open(&server, "owner").await;
    register_on(&server, &owner, "b").await;
    let mut watcher = Watcher::open(&server, watching(SERVING, None)).await;
    watcher.snapshot().await;

    let request = BatchRegisterInstancesRequest {
        instances: ["a", "b", "c", ""].map(instance).into(),
        liveness: Some(batch_register_instances_request::Liveness::Ttl(seconds(20))),
        client_id: "batch".into(),
        request_id: "r1".into(),
        ..BatchRegisterInstancesRequest::default()
    };
    let mut registry = server.registry();
    let response = registry.batch_register_instances(request.clone()).await;
    let response = response.unwrap().into_inner();
    let outcomes: Vec<_> = response
        .outcomes
        .iter()
        .map(|outcome| outcome.outcome.clone().unwrap())
        .collect();
    let [
        register_outcome::Outcome::Instance(a),
        register_outcome::Outcome::Error(b),
        register_outcome::Outcome::Instance(c),
        register_outcome::Outcome::Instance(assigned),
    ] = outcomes.as_slice()
    else {
        panic!("{outcomes:?}");
    };
    assert_eq!((a.instance_id.as_str(), c.instance_id.as_str()), ("a", "c"));
    assert!(!assigned.instance_id.is_empty());
    assert_eq!(b.code, i32::from(Code::AlreadyExists));
    assert_eq!(
        b.reason().as_str_name(),
        "ERROR_REASON_INSTANCE_ALREADY_EXISTS"
    );
    assert_eq!(b.metadata["holder"], "owner");
    // All of it at one revision.
    let (delta, _) = watcher.delta().await;
    assert_eq!(delta.events.len(), 3);
    assert_eq!(a.revision, c.revision);

    // Repeated, it answers the same and changes nothing.
    let repeated = registry.batch_register_instances(request).await;
    let repeated = repeated.unwrap().into_inner();
    assert_eq!(repeated.outcomes, response.outcomes);
    assert_eq!(repeated.session_id, response.session_id);

    let doubled = BatchRegisterInstancesRequest {
        instances: ["x", "y", "x"].map(instance).into(),
        ..BatchRegisterInstancesRequest::default()
    };
    let refused = registry.batch_register_instances(doubled).await;
    assert_invalid(&refused.unwrap_err(), "instances[2].instance_id");
    let empty = BatchRegisterInstancesRequest::default();
    let refused = registry.batch_register_instances(empty).await;
    assert_invalid(&refused.unwrap_err(), "instances");
    server.stop().await;
}

async fn a_persistent_instance_needs_no_session(backend: Backend) {
    let server = backend.server().await;
    let persistent = RegisterInstanceRequest {
        instance: Some(instance("a")),
        liveness: Some(Liveness::Persistent(true)),
        ..RegisterInstanceRequest::default()
    };
    let response = register(&server, persistent.clone()).await.unwrap();
    assert_eq!((response.session_id.as_str(), response.ttl), ("", None));
    let registered = response.instance.unwrap();
    assert!(registered.persistent);
    assert_eq!(registered.health(), Health::Unknown);
    assert_eq!(ids(&server, SERVING).await, ["a"]);

    let session = open(&server, "pod-1").await;
    let refused = register(&server, registration(&session, "a")).await;
    assert_status(
        &refused.unwrap_err(),
        Code::AlreadyExists,
        "INSTANCE_ALREADY_EXISTS",
    );
    let moved = RegisterInstanceRequest {
        instance: Some(Instance {
            address: "10.0.0.2".into(),
            ..instance("a")
        }),
        ..persistent
    };
    let moved = register(&server, moved).await.unwrap().instance.unwrap();
    assert_eq!(moved.address, "10.0.0.2");
    assert!(deregister(&server, "", "a").await);
    server.stop().await;
}

async fn a_repeated_request_gets_its_first_answer(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server, "").await;
    let request = RegisterInstanceRequest {
        request_id: "r1".into(),
        expected_revision: Some(0),
        ..registration(&session, "a")
    };
    let first = register(&server, request.clone()).await.unwrap();
    let again = register(&server, request.clone()).await.unwrap();
    assert_eq!(again.instance, first.instance);
    let other = RegisterInstanceRequest {
        request_id: "r2".into(),
        ..request.clone()
    };
    let refused = register(&server, other).await.unwrap_err();
    assert_status(&refused, Code::Aborted, "REVISION_MISMATCH");
    // The same content under another name is no change either.
    let same = RegisterInstanceRequest {
        request_id: "r3".into(),
        expected_revision: None,
        ..request
    };
    let again = register(&server, same).await.unwrap();
    assert_eq!(again.instance, first.instance);

    // With a session and an id that the call makes itself, the repeat finds both.
    let whole = RegisterInstanceRequest {
        instance: Some(instance("")),
        liveness: Some(Liveness::Ttl(seconds(60))),
        request_id: "r4".into(),
        ..RegisterInstanceRequest::default()
    };
    let first = register(&server, whole.clone()).await.unwrap();
    let again = register(&server, whole).await.unwrap();
    assert_eq!(again.instance, first.instance);
    assert_eq!(again.session_id, first.session_id);
    assert!(again.valid_for.is_some());
    server.stop().await;
}
