//! Mutations that are bound to a lock.

use stanchion_client::proto::{
    BatchRegisterInstancesRequest, DeleteConfigRequest, DeregisterInstanceRequest, ErrorReason,
    ForceReleaseLockRequest, GetConfigRequest, Guard, Health, Instance, ListInstancesRequest,
    PutConfigRequest, RegisterInstanceRequest, ReportHealthRequest, RequestYieldRequest,
    RollbackConfigRequest, UpdateInstanceRequest, batch_register_instances_request,
    register_instance_request, register_outcome::Outcome,
};
use tonic::Code;

use super::*;
use crate::support::server::{Backend, assert_status, on_both_stores};

on_both_stores! {
    a_guarded_mutation_works_while_the_lock_is_held_and_at_no_other_time,
}

fn guard(lock: &str, fencing_token: i64) -> Option<Guard> {
    Some(Guard {
        lock: lock.into(),
        fencing_token,
        ..Default::default()
    })
}

async fn a_guarded_mutation_works_while_the_lock_is_held_and_at_no_other_time(backend: Backend) {
    let server = backend.server().await;
    let other = backend.server().await;
    let (first, second) = (open(&server).await, open(&server).await);
    let held = take(&server, "g", &first, "r").await;
    let waiting = spawn(&server, wanted("g", &second, "r"));
    let queued = until_waiting(&other, "g", 1).await.waiters[0].fencing_token;
    for server in [&server, &other] {
        mutate(server, guard("g", held), Ok(())).await;
        for token in [
            queued,
            held + 1,
            held - 1,
            held & ((1 << 40) - 1),
            1,
            i64::MAX,
        ] {
            mutate(server, guard("g", token), Err(())).await;
        }
        // A token of another lock.
        mutate(server, guard("h", held), Err(())).await;
    }
    assert!(release_token(&server, "g", &first, held).await);
    assert_eq!(waiting.await.unwrap().unwrap().fencing_token, queued);
    for server in [&server, &other] {
        mutate(server, guard("g", held), Err(())).await;
        mutate(server, guard("g", queued), Ok(())).await;
    }
    close(&server, &second).await;
    mutate(&other, guard("g", queued), Err(())).await;
}

/// Makes every kind of mutation under the guard.
async fn mutate(server: &Server, guard: Option<Guard>, expected: Result<(), ()>) {
    let session = open(server).await;
    let name = format!("{:016x}", rand::random::<u64>());
    mutate_sessions(server, &guard, expected).await;
    mutate_locks(server, &guard, expected, &name, &session).await;
    mutate_configs(server, &guard, expected, &name).await;
    mutate_registry(server, &guard, expected, &name, &session).await;
    close(server, &session).await;
}

async fn mutate_sessions(server: &Server, guard: &Option<Guard>, expected: Result<(), ()>) {
    let request = OpenSessionRequest {
        guard: guard.clone(),
        ..Default::default()
    };
    let opened = server.sessions().open_session(request).await;
    let opened = check("open", opened, expected);
    let session_id = match opened {
        Some(opened) => opened.session_id,
        None => open(server).await,
    };
    let request = CloseSessionRequest {
        session_id,
        guard: guard.clone(),
    };
    let closed = server.sessions().close_session(request).await;
    check("close", closed, expected);
}

async fn mutate_locks(
    server: &Server,
    guard: &Option<Guard>,
    expected: Result<(), ()>,
    name: &str,
    session: &str,
) {
    let waited = format!("{name}.waited");
    for request in [tried(name, session, "a"), wanted(&waited, session, "b")] {
        let request = AcquireLockRequest {
            guard: guard.clone(),
            ..request
        };
        let acquired = server.locks().acquire_lock(request).await;
        check("acquire", acquired, expected);
    }
    assert_eq!(lock(server, name).await.holder.is_some(), expected.is_ok());
    assert_eq!(
        lock(server, &waited).await.holder.is_some(),
        expected.is_ok()
    );
    for (index, by_token) in [true, false].into_iter().enumerate() {
        let name = format!("{name}.{index}");
        let token = take(server, &name, session, &name).await;
        let request = ReleaseLockRequest {
            lock: name.clone(),
            session_id: session.into(),
            claim: Some(if by_token {
                Claim::FencingToken(token)
            } else {
                Claim::RequestId(name.clone())
            }),
            guard: guard.clone(),
            ..Default::default()
        };
        let released = server.locks().release_lock(request).await;
        check("release", released, expected);
        let there = lock(server, &name).await.holder.is_some();
        assert_eq!(there, expected.is_err());
    }
    let name = format!("{name}.asked");
    let token = take(server, &name, session, &name).await;
    let request = RequestYieldRequest {
        lock: name.clone(),
        guard: guard.clone(),
        ..Default::default()
    };
    check(
        "yield",
        server.locks().request_yield(request).await,
        expected,
    );
    let holder = lock(server, &name).await.holder.unwrap();
    assert_eq!(holder.yield_request.is_some(), expected.is_ok());
    let request = ForceReleaseLockRequest {
        lock: name.clone(),
        fencing_token: token,
        comment: "test".into(),
        guard: guard.clone(),
        ..Default::default()
    };
    let forced = server.locks().force_release_lock(request).await;
    check("force", forced, expected);
    let there = lock(server, &name).await.holder.is_some();
    assert_eq!(there, expected.is_err());
    // Releasing what is not there asks for the guard, too.
    let request = ReleaseLockRequest {
        lock: name,
        session_id: session.into(),
        claim: Some(Claim::FencingToken(1)),
        guard: guard.clone(),
        ..Default::default()
    };
    let released = server.locks().release_lock(request).await;
    check("release of nothing", released, expected);
}

async fn mutate_configs(
    server: &Server,
    guard: &Option<Guard>,
    expected: Result<(), ()>,
    name: &str,
) {
    let put = |key: &str, content: &str, guard: Option<Guard>| PutConfigRequest {
        key: key.into(),
        content: content.to_owned().into(),
        guard,
        ..Default::default()
    };
    let mut configs = server.configs();
    for content in ["1", "2"] {
        configs.put_config(put(name, content, None)).await.unwrap();
    }
    let fresh = format!("{name}/new");
    let created = configs.put_config(put(&fresh, "1", guard.clone())).await;
    check("create", created, expected);
    let changed = configs.put_config(put(name, "3", guard.clone())).await;
    check("put", changed, expected);
    // One that changes nothing is bound to the lock as well.
    let content = if expected.is_ok() { "3" } else { "2" };
    let same = configs.put_config(put(name, content, guard.clone())).await;
    check("put of the same", same, expected);
    let request = RollbackConfigRequest {
        key: name.into(),
        version: 1,
        guard: guard.clone(),
        ..Default::default()
    };
    check("rollback", configs.rollback_config(request).await, expected);
    let request = DeleteConfigRequest {
        key: name.into(),
        guard: guard.clone(),
        ..Default::default()
    };
    check("delete", configs.delete_config(request).await, expected);
    let request = GetConfigRequest {
        key: name.into(),
        ..Default::default()
    };
    let there = configs.get_config(request).await;
    assert_eq!(there.is_ok(), expected.is_err());
    if let Ok(there) = there {
        assert_eq!(there.into_inner().config.unwrap().version, 2);
    }
}

async fn mutate_registry(
    server: &Server,
    guard: &Option<Guard>,
    expected: Result<(), ()>,
    name: &str,
    session: &str,
) {
    let instance = |id: &str| Instance {
        service: name.into(),
        instance_id: id.into(),
        address: "10.0.0.1".into(),
        ..Default::default()
    };
    let register = |id: &str, guard: Option<Guard>| RegisterInstanceRequest {
        instance: Some(instance(id)),
        liveness: Some(register_instance_request::Liveness::SessionId(
            session.into(),
        )),
        guard,
        ..Default::default()
    };
    let mut registry = server.registry();
    registry
        .register_instance(register("there", None))
        .await
        .unwrap();
    let registered = registry
        .register_instance(register("new", guard.clone()))
        .await;
    check("register", registered, expected);
    let request = BatchRegisterInstancesRequest {
        instances: vec![instance("batch-1"), instance("batch-2")],
        liveness: Some(batch_register_instances_request::Liveness::SessionId(
            session.into(),
        )),
        guard: guard.clone(),
        ..Default::default()
    };
    let registered = registry.batch_register_instances(request).await;
    match registered {
        // Each instance has an outcome of its own.
        Ok(answer) if expected.is_err() => {
            for outcome in answer.into_inner().outcomes {
                match outcome.outcome {
                    Some(Outcome::Error(error)) => {
                        assert_eq!(error.reason(), ErrorReason::GuardFailed);
                    }
                    other => panic!("{other:?} passed"),
                }
            }
        }
        answer => {
            check("batch", answer, expected);
        }
    }
    let request = UpdateInstanceRequest {
        instance: Some(Instance {
            version: "2".into(),
            ..instance("there")
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["version".into()],
        }),
        session_id: session.into(),
        guard: guard.clone(),
        ..Default::default()
    };
    check("update", registry.update_instance(request).await, expected);
    let request = ReportHealthRequest {
        service: name.into(),
        instance_id: "there".into(),
        session_id: session.into(),
        health: Health::Unhealthy.into(),
        guard: guard.clone(),
        ..Default::default()
    };
    check("report", registry.report_health(request).await, expected);
    let request = DeregisterInstanceRequest {
        service: name.into(),
        instance_id: "there".into(),
        session_id: session.into(),
        guard: guard.clone(),
        ..Default::default()
    };
    let deregistered = registry.deregister_instance(request).await;
    check("deregister", deregistered, expected);
    let request = ListInstancesRequest {
        service: name.into(),
        consistency: Consistency::Linearizable.into(),
        ..Default::default()
    };
    let listed = registry.list_instances(request).await.unwrap().into_inner();
    let mut ids: Vec<_> = listed
        .instances
        .iter()
        .map(|instance| (instance.instance_id.as_str(), instance.version.as_str()))
        .collect();
    ids.sort_unstable();
    match expected {
        Ok(()) => assert_eq!(ids, [("batch-1", ""), ("batch-2", ""), ("new", "")]),
        Err(()) => assert_eq!(ids, [("there", "")]),
    }
}

#[track_caller]
fn check<T>(
    what: &str,
    answer: Result<tonic::Response<T>, Status>,
    expected: Result<(), ()>,
) -> Option<T> {
    match (answer, expected) {
        (Ok(answer), Ok(())) => return Some(answer.into_inner()),
        (Err(status), Err(())) => {
            assert_status(&status, Code::FailedPrecondition, "GUARD_FAILED");
        }
        (Ok(_), Err(())) => panic!("{what} passed"),
        (Err(status), Ok(())) => panic!("{what}: {status:?}"),
    }
    None
}

/// What a new method is by its name: it reads, it says why a guard makes no sense, or it has one.
#[test]
fn every_method_that_changes_something_takes_a_guard() {
    // In memory alone, or the renewal of a lease: no transaction decides them.
    const NO_TRANSACTION: [&str; 3] = ["AckWatch", "KeepAlive", "RenewSession"];
    const READS: [&str; 11] = [
        "Get", "BatchGet", "List", "Watch", "Observe", "Await", "Check", "Find", "Verify", "Diff",
        "Blame",
    ];
    let set = stanchion::proto::FILE_DESCRIPTOR_SET;
    let set = <prost_types::FileDescriptorSet as prost::Message>::decode(set).unwrap();
    let takes_guard = |name: &str| {
        let messages = set.file.iter().flat_map(|file| &file.message_type);
        let mut named = messages.filter(|message| name.ends_with(&format!(".{}", message.name())));
        let request = named.next().unwrap();
        request.field.iter().any(|field| field.name() == "guard")
    };
    for service in set.file.iter().flat_map(|file| &file.service) {
        for method in &service.method {
            let name = method.name();
            let reads = READS.iter().any(|read| name.starts_with(read));
            let none = NO_TRANSACTION.contains(&name);
            assert_eq!(takes_guard(method.input_type()), !reads && !none, "{name}");
        }
    }
}
