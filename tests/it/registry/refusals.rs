//! What is refused, and by which field or reason.

use std::{collections::BTreeMap, time::Duration};

use stanchion_client::proto::{
    DeregisterInstanceRequest, GetInstanceRequest, Guard, Instance, ListInstancesRequest,
    ListServicesRequest, Port, RegisterInstanceRequest, UpdateInstanceRequest,
    WatchInstancesRequest, register_instance_request::Liveness,
};
use tonic::Code;

use crate::support::server::{Backend, assert_invalid, assert_status, on_both_stores};

use super::{deregister, instance, mask, open, register, register_on, registration, seconds};

on_both_stores! {
    bad_requests_are_refused_by_field,
    sessions_and_guards_that_do_not_hold_stop_a_registration,
}

async fn bad_requests_are_refused_by_field(backend: Backend) {
    let server = backend.server().await;
    let long = "x".repeat(254);
    let with = |change: &dyn Fn(&mut Instance)| {
        let mut changed = instance("a");
        change(&mut changed);
        changed
    };
    let port = |name: &str, port: i32| Port {
        name: name.into(),
        port,
        protocol: String::new(),
    };
    let many: BTreeMap<_, _> = (0..10_000)
        .map(|n| (n.to_string(), String::new()))
        .collect();
    let large = BTreeMap::from([("k".to_owned(), "v".repeat(17 * 1024))]);
    let cases = [
        (with(&|i| i.service.clear()), "instance.service"),
        (with(&|i| i.service = long.clone()), "instance.service"),
        (with(&|i| i.service = "a/b".into()), "instance.service"),
        (
            with(&|i| i.instance_id = "..".into()),
            "instance.instance_id",
        ),
        (
            with(&|i| i.instance_id = long.clone()),
            "instance.instance_id",
        ),
        (with(&|i| i.address.clear()), "instance.address"),
        (with(&|i| i.address = long.clone()), "instance.address"),
        (
            with(&|i| i.address = "10.0.0.1:80".into()),
            "instance.address",
        ),
        (with(&|i| i.address = "a b".into()), "instance.address"),
        (with(&|i| i.weight = Some(-1)), "instance.weight"),
        (with(&|i| i.weight = Some(10_001)), "instance.weight"),
        (with(&|i| i.version = "v".repeat(129)), "instance.version"),
        (with(&|i| i.zone = "a\nb".into()), "instance.zone"),
        (with(&|i| i.metadata = many.clone()), "instance.metadata"),
        (with(&|i| i.metadata = large.clone()), "instance.metadata"),
        (
            with(&|i| i.ports = vec![port("a", 0)]),
            "instance.ports[0].port",
        ),
        (
            with(&|i| i.ports = vec![port("a", 1), port("b", 65_536)]),
            "instance.ports[1].port",
        ),
        (
            with(&|i| i.ports = vec![port("a", 1), port("a", 2)]),
            "instance.ports[1].name",
        ),
        (
            with(&|i| i.ports = vec![port("a b", 1)]),
            "instance.ports[0].name",
        ),
        (with(&|i| i.ports = vec![port("", 1); 17]), "instance.ports"),
    ];
    for (instance, field) in cases {
        let request = RegisterInstanceRequest {
            instance: Some(instance),
            ..RegisterInstanceRequest::default()
        };
        let refused = register(&server, request).await.unwrap_err();
        assert_invalid(&refused, field);
        assert_status(&refused, Code::InvalidArgument, "INVALID_ARGUMENT");
    }
    let base = RegisterInstanceRequest {
        instance: Some(instance("a")),
        ..RegisterInstanceRequest::default()
    };
    let cases = [
        (RegisterInstanceRequest::default(), "instance"),
        (
            RegisterInstanceRequest {
                namespace: "a/b".into(),
                ..base.clone()
            },
            "namespace",
        ),
        (
            RegisterInstanceRequest {
                liveness: Some(Liveness::Ttl(seconds(3600))),
                ..base.clone()
            },
            "ttl",
        ),
        (
            RegisterInstanceRequest {
                liveness: Some(Liveness::Ttl(seconds(-1))),
                ..base.clone()
            },
            "ttl",
        ),
        (
            RegisterInstanceRequest {
                liveness: Some(Liveness::SessionId(String::new())),
                ..base.clone()
            },
            "session_id",
        ),
        (
            RegisterInstanceRequest {
                expected_revision: Some(-1),
                ..base.clone()
            },
            "expected_revision",
        ),
        (
            RegisterInstanceRequest {
                actor: long.clone(),
                ..base.clone()
            },
            "actor",
        ),
        (
            RegisterInstanceRequest {
                guard: Some(Guard::default()),
                ..base
            },
            "guard.lock",
        ),
    ];
    for (request, field) in cases {
        let refused = register(&server, request).await.unwrap_err();
        assert_invalid(&refused, field);
    }
    for good in ["::1", "fe80::1%eth0", "host_1.example.com"] {
        let request = RegisterInstanceRequest {
            instance: Some(with(&|i| i.address = good.into())),
            liveness: Some(Liveness::Persistent(true)),
            ..RegisterInstanceRequest::default()
        };
        register(&server, request).await.unwrap();
    }
    let mut registry = server.registry();
    let list = registry.list_instances(ListInstancesRequest::default());
    assert_invalid(&list.await.unwrap_err(), "service");
    let list = ListInstancesRequest {
        view: 99,
        min_revision: -1,
        ..ListInstancesRequest::default()
    };
    let refused = registry.list_instances(list).await.unwrap_err();
    for field in ["service", "view", "min_revision"] {
        assert_invalid(&refused, field);
    }
    let get = registry.get_instance(GetInstanceRequest::default());
    assert_invalid(&get.await.unwrap_err(), "instance_id");
    let watch = registry.watch_instances(WatchInstancesRequest::default());
    assert_invalid(&watch.await.unwrap_err(), "service");
    let deregister = registry.deregister_instance(DeregisterInstanceRequest::default());
    assert_invalid(&deregister.await.unwrap_err(), "service");
    let services = registry.list_services(ListServicesRequest {
        page_size: -1,
        ..ListServicesRequest::default()
    });
    assert_invalid(&services.await.unwrap_err(), "page_size");
    server.stop().await;
}

async fn sessions_and_guards_that_do_not_hold_stop_a_registration(backend: Backend) {
    let mut settings = backend.settings();
    settings.domain.max_session_keys = 2;
    settings.domain.suspect_grace = Duration::from_secs(600);
    let server = backend.server_with(settings).await;
    let session = open(&server, "").await;
    let guarded = RegisterInstanceRequest {
        guard: Some(Guard {
            lock: "free".into(),
            fencing_token: 1,
            ..Guard::default()
        }),
        ..registration(&session, "a")
    };
    let refused = register(&server, guarded).await.unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "GUARD_FAILED");

    register_on(&server, &session, "a").await;
    register_on(&server, &session, "b").await;
    let refused = register(&server, registration(&session, "c")).await;
    let refused = refused.unwrap_err();
    assert_status(&refused, Code::ResourceExhausted, "SESSION_FULL");
    // What it has already, it may register again.
    register_on(&server, &session, "b").await;

    server.expire(&session).await;
    for unknown in [session.as_str(), "nonsense", &"0123456789abcdef".repeat(2)] {
        let refused = register(&server, registration(unknown, "a")).await;
        let refused = refused.unwrap_err();
        assert_status(&refused, Code::FailedPrecondition, "LEASE_EXPIRED");
    }
    let update = UpdateInstanceRequest {
        instance: Some(Instance {
            weight: Some(1),
            ..instance("a")
        }),
        update_mask: Some(mask(&["weight"])),
        session_id: session.clone(),
        ..UpdateInstanceRequest::default()
    };
    let late = server.registry().update_instance(update).await.unwrap_err();
    assert_status(&late, Code::FailedPrecondition, "LEASE_EXPIRED");
    // To take it away, nobody has to live.
    assert!(deregister(&server, &session, "a").await);
    server.stop().await;
}
