//! What operators do has an entry like what changes a config.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use stanchion::{
    clock::SystemClock,
    store::{Error, Outcome, Store, Txn, TxnResponse},
};
use stanchion_client::proto::{
    AcquireLockRequest, AuditEntry, AuditOperation, AuditSubjectKind, ConfigSchemaSelector,
    DeleteConfigSchemaRequest, DeleteNamespaceRequest, DeleteServiceRequest, DrainInstanceRequest,
    ForceReleaseLockRequest, Instance, InstanceOverlay, ListAuditEntriesRequest, NamespaceSettings,
    OpenSessionRequest, OperatorState, PutConfigSchemaRequest, PutNamespaceRequest,
    PutServiceRequest, RegisterInstanceRequest, RequestYieldRequest, RequestYieldResponse,
    ServiceSettings, SetInstanceOverlayRequest, SetInstanceStateRequest,
    config_schema_selector::Selector, register_instance_request::Liveness,
};

use tonic::{Code, Status};

use super::{NEVER, SOON};
use crate::support::{
    overlay::{Overlaid, Overlay},
    server::{Backend, Server, assert_invalid, assert_status, on_both_stores},
};

on_both_stores! {
    every_deed_of_an_operator_has_an_entry_that_says_who_what_and_why,
    deeds_are_sealed_and_verified_among_changes_of_configs,
    a_deed_that_changes_nothing_has_no_entry,
    entries_are_found_by_the_kind_and_the_name_of_what_was_changed,
    a_holder_that_was_asked_to_yield_before_is_no_deed,
    a_yield_request_whose_answer_was_lost_has_one_entry,
    a_store_without_room_for_the_entry_allows_what_frees,
}

fn settings(description: &str) -> PutServiceRequest {
    PutServiceRequest {
        service: "web".into(),
        settings: Some(ServiceSettings {
            description: description.into(),
            panic_threshold: Some(10),
            ..Default::default()
        }),
        actor: "ann".into(),
        request_id: "r1".into(),
        ..Default::default()
    }
}

fn state(state: OperatorState) -> SetInstanceStateRequest {
    SetInstanceStateRequest {
        service: "web".into(),
        instance_id: "a".into(),
        state: state.into(),
        comment: "disk fails".into(),
        actor: "ann".into(),
        ..Default::default()
    }
}

fn overlay(weight: Option<i32>) -> SetInstanceOverlayRequest {
    SetInstanceOverlayRequest {
        service: "web".into(),
        instance_id: "a".into(),
        overlay: Some(InstanceOverlay {
            weight,
            ..Default::default()
        }),
        actor: "ann".into(),
        ..Default::default()
    }
}

/// Takes a lock; returns the token.
async fn hold(server: &Server, lock: &str) -> i64 {
    let open = OpenSessionRequest {
        client_id: "worker".into(),
        ..Default::default()
    };
    let opened = server.sessions().open_session(open).await.unwrap();
    let acquire = AcquireLockRequest {
        lock: lock.into(),
        session_id: opened.into_inner().session_id,
        owner: "job 7".into(),
        ..Default::default()
    };
    let held = server.locks().acquire_lock(acquire).await.unwrap();
    held.into_inner().fencing_token
}

/// Asks the holder of a lock to give it up.
async fn ask(server: &Server, lock: &str) -> Result<RequestYieldResponse, Status> {
    let ask = RequestYieldRequest {
        lock: lock.into(),
        actor: "ann".into(),
        comment: "deploying".into(),
        ..Default::default()
    };
    Ok(server.locks().request_yield(ask).await?.into_inner())
}

/// Takes a lock away.
async fn force(server: &Server, lock: &str, fencing_token: i64) -> bool {
    let force = ForceReleaseLockRequest {
        lock: lock.into(),
        fencing_token,
        actor: "ann".into(),
        comment: "stuck".into(),
        ..Default::default()
    };
    let forced = server.locks().force_release_lock(force).await.unwrap();
    let forced = forced.into_inner();
    assert!(forced.released);
    forced.noted
}

async fn register(server: &Server) {
    let register = RegisterInstanceRequest {
        instance: Some(Instance {
            service: "web".into(),
            instance_id: "a".into(),
            address: "10.0.0.1".into(),
            ..Default::default()
        }),
        liveness: Some(Liveness::Persistent(true)),
        ..Default::default()
    };
    server.registry().register_instance(register).await.unwrap();
}

async fn drain(server: &Server) {
    let drain = DrainInstanceRequest {
        service: "web".into(),
        instance_id: "a".into(),
        actor: "ann".into(),
        ..Default::default()
    };
    let drained = server.registry().drain_instance(drain).await.unwrap();
    let mut drained = drained.into_inner();
    while drained.message().await.unwrap().is_some() {}
}

/// One of each deed in the default namespace but its end.
async fn all_deeds(server: &Server) {
    let mut operators = server.operators();
    operators.put_service(settings("one")).await.unwrap();
    for to in [OperatorState::Isolated, OperatorState::Active] {
        operators.set_instance_state(state(to)).await.unwrap();
    }
    for weight in [Some(3), None] {
        let overlay = overlay(weight);
        operators.set_instance_overlay(overlay).await.unwrap();
    }
    let token = hold(server, "nightly").await;
    assert!(ask(server, "nightly").await.unwrap().requested);
    force(server, "nightly", token).await;
    register(server).await;
    drain(server).await;
    let delete = DeleteServiceRequest {
        service: "web".into(),
        actor: "ann".into(),
        ..Default::default()
    };
    operators.delete_service(delete).await.unwrap();
    let put = PutNamespaceRequest {
        settings: Some(NamespaceSettings {
            description: "ours".into(),
            ..Default::default()
        }),
        actor: "ann".into(),
        ..Default::default()
    };
    operators.put_namespace(put).await.unwrap();
}

async fn put_and_delete_schema(server: &Server) {
    let selector = || {
        Some(ConfigSchemaSelector {
            selector: Some(Selector::Key("db/host".into())),
        })
    };
    let put = PutConfigSchemaRequest {
        selector: selector(),
        schema: r#"{"type": "object"}"#.into(),
        actor: "ann".into(),
        ..Default::default()
    };
    server.configs().put_config_schema(put).await.unwrap();
    let delete = DeleteConfigSchemaRequest {
        selector: selector(),
        actor: "ann".into(),
        ..Default::default()
    };
    server.configs().delete_config_schema(delete).await.unwrap();
}

async fn every_deed_of_an_operator_has_an_entry_that_says_who_what_and_why(backend: Backend) {
    let server = backend.sealing(NEVER).await;
    all_deeds(&server).await;
    let delete = DeleteNamespaceRequest {
        actor: "ann".into(),
        ..Default::default()
    };
    server.operators().delete_namespace(delete).await.unwrap();
    put_and_delete_schema(&server).await;
    let mut entries = server.entries().await;
    entries.reverse();
    use AuditOperation as Did;
    use AuditSubjectKind as Kind;
    let found: Vec<_> = entries
        .iter()
        .map(|entry| (entry.operation(), entry.subject_kind(), &*entry.subject))
        .collect();
    assert_eq!(
        found,
        [
            (Did::PutService, Kind::Service, "web"),
            (Did::IsolateInstance, Kind::Instance, "web/a"),
            (Did::RestoreInstance, Kind::Instance, "web/a"),
            (Did::OverlayInstance, Kind::Instance, "web/a"),
            (Did::OverlayInstance, Kind::Instance, "web/a"),
            (Did::RequestYield, Kind::Lock, "nightly"),
            (Did::ForceReleaseLock, Kind::Lock, "nightly"),
            (Did::DrainInstance, Kind::Instance, "web/a"),
            (Did::DeleteService, Kind::Service, "web"),
            (Did::PutNamespace, Kind::Namespace, "default"),
            (Did::DeleteNamespace, Kind::Namespace, "default"),
            (Did::PutConfigSchema, Kind::ConfigSchema, "db/host"),
            (Did::DeleteConfigSchema, Kind::ConfigSchema, "db/host"),
        ]
    );
    let details: Vec<_> = entries.iter().map(|entry| &*entry.detail).collect();
    assert_eq!(details[0], "panic_threshold, description");
    assert_eq!(details[3..5], ["weight 3", "as registered"]);
    assert!(details[5].starts_with("held by job 7 (worker), token "));
    assert_eq!(details[6], details[5]);
    assert_eq!(entries[0].request_id, "r1");
    assert_eq!(entries[1].comment, "disk fails");
    assert_eq!(entries[5].comment, "deploying");
    assert_eq!(entries[6].comment, "stuck");
    for entry in &entries {
        assert_eq!(entry.actor, "ann", "{entry:?}");
        assert_eq!(entry.principal, "anonymous");
        assert!(entry.address.starts_with("127.0.0.1:"), "{entry:?}");
        assert_eq!((&*entry.key, entry.version), ("", 0));
        assert_eq!((&*entry.old_sha256, &*entry.new_sha256), ("", ""));
        assert!(entry.revision > 0 && entry.create_time.is_some());
    }
    server.stop().await;
}

async fn deeds_are_sealed_and_verified_among_changes_of_configs(backend: Backend) {
    let server = backend.sealing(SOON).await;
    // A config of the name of a service: the versions of the one have nothing to do with the other.
    server.put_config("web", "1").await;
    all_deeds(&server).await;
    server.put_config("web", "2").await;
    server.delete_config("web").await;
    server.sealed().await;
    let verified = server.is_whole().await;
    assert_eq!(verified.tip.unwrap().number, 13);
    let entries = server.entries().await;
    let numbers: Vec<_> = entries.iter().map(|entry| entry.number).collect();
    assert!(numbers.iter().copied().eq((1..=13).rev()), "{numbers:?}");
    server.stop().await;
}

async fn a_deed_that_changes_nothing_has_no_entry(backend: Backend) {
    let server = backend.sealing(NEVER).await;
    let mut operators = server.operators();
    let only_asked = PutServiceRequest {
        validate_only: true,
        ..settings("one")
    };
    operators.put_service(only_asked).await.unwrap();
    operators
        .set_instance_state(state(OperatorState::Active))
        .await
        .unwrap();
    operators
        .delete_service(DeleteServiceRequest {
            service: "web".into(),
            ..Default::default()
        })
        .await
        .unwrap();
    let gone = ForceReleaseLockRequest {
        lock: "l".into(),
        fencing_token: 17,
        comment: "stuck".into(),
        ..Default::default()
    };
    server.locks().force_release_lock(gone).await.unwrap();
    assert_eq!(server.entries().await, []);
    for _ in 0..3 {
        operators.put_service(settings("one")).await.unwrap();
    }
    assert_eq!(server.entries().await.len(), 1);
    server.stop().await;
}

async fn entries_are_found_by_the_kind_and_the_name_of_what_was_changed(backend: Backend) {
    let server = backend.sealing(NEVER).await;
    server.put_config("web", "1").await;
    all_deeds(&server).await;
    let all = ListAuditEntriesRequest::default;
    let found = async |filter: ListAuditEntriesRequest| -> Vec<AuditEntry> {
        server.entries_by(&filter, 2).await
    };
    let kinds = |kinds: &[AuditSubjectKind]| kinds.iter().map(|kind| (*kind).into()).collect();
    let locks = ListAuditEntriesRequest {
        subject_kinds: kinds(&[AuditSubjectKind::Lock]),
        ..all()
    };
    assert_eq!(found(locks).await[0].subject, "nightly");
    let of_two = ListAuditEntriesRequest {
        subject_kinds: kinds(&[AuditSubjectKind::Lock, AuditSubjectKind::Config]),
        ..all()
    };
    assert_eq!(found(of_two).await.len(), 3);
    let named = |subject: &str| ListAuditEntriesRequest {
        subject: subject.into(),
        ..all()
    };
    assert_eq!(found(named("web/a")).await.len(), 5);
    // The config and the service.
    assert_eq!(found(named("web")).await.len(), 3);
    let key = |key: &str| ListAuditEntriesRequest {
        key: key.into(),
        ..all()
    };
    let config = found(key("web")).await;
    assert_eq!((config.len(), &*config[0].key), (1, "web"));
    let forced = ListAuditEntriesRequest {
        operations: vec![AuditOperation::ForceReleaseLock.into()],
        ..all()
    };
    assert_eq!(found(forced).await.len(), 1);

    let no_kind = ListAuditEntriesRequest {
        subject_kinds: vec![77],
        ..all()
    };
    let refused = server.try_list(no_kind).await.unwrap_err();
    assert_invalid(&refused, "subject_kinds[0]");
    let both = ListAuditEntriesRequest {
        subject: "web".into(),
        ..key("web")
    };
    assert_invalid(&server.try_list(both).await.unwrap_err(), "subject");
    let never = ListAuditEntriesRequest {
        subject_kinds: kinds(&[AuditSubjectKind::Lock]),
        ..key("web")
    };
    assert_invalid(&server.try_list(never).await.unwrap_err(), "subject_kinds");
    server.stop().await;
}

async fn a_holder_that_was_asked_to_yield_before_is_no_deed(backend: Backend) {
    let server = backend.sealing(NEVER).await;
    let other = backend.sealing(NEVER).await;
    assert!(!ask(&server, "free").await.unwrap().requested);
    hold(&server, "nightly").await;
    let first = ask(&other, "nightly").await.unwrap();
    assert!(first.requested);
    for server in [&server, &other] {
        assert!(!ask(server, "nightly").await.unwrap().requested);
    }
    // What asks and what tells of it are one transaction.
    let entries = server.entries().await;
    assert_eq!(entries.len(), 1, "{entries:?}");
    let header = first.header.unwrap();
    assert_eq!(
        (entries[0].revision, &entries[0].replica),
        (header.revision, &header.replica)
    );
    for server in [server, other] {
        server.stop().await;
    }
}

/// Loses answers, or has no room, for what puts an entry of the audit.
struct Narrow {
    inner: Arc<dyn Store>,
    full: AtomicBool,
    silent: AtomicBool,
}

#[async_trait]
impl Overlay for Narrow {
    fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, Error> {
        let puts = format!("{txn:?}").contains("/history/audit/");
        if puts && self.silent.swap(false, Ordering::SeqCst) {
            self.inner.txn(txn).await?;
            return Err(Error::Timeout {
                outcome: Outcome::Unknown,
            });
        }
        if puts && self.full.load(Ordering::SeqCst) {
            return Err(Error::Full {
                message: "no room".into(),
                outcome: Outcome::NotDone,
            });
        }
        self.inner.txn(txn).await
    }
}

async fn narrow(backend: &Backend) -> (Arc<Overlaid<Narrow>>, Server) {
    let store = Arc::new(Overlaid(Narrow {
        inner: backend.store().await,
        full: AtomicBool::new(false),
        silent: AtomicBool::new(false),
    }));
    let mut settings = backend.settings();
    settings.domain.audit_seal_interval = NEVER;
    let clock = Arc::new(SystemClock);
    let server = backend.server_on(store.clone(), settings, clock).await;
    (store, server)
}

async fn a_yield_request_whose_answer_was_lost_has_one_entry(backend: Backend) {
    let (store, server) = narrow(&backend).await;
    hold(&server, "nightly").await;
    store.0.silent.store(true, Ordering::SeqCst);
    assert!(ask(&server, "nightly").await.unwrap().requested);
    assert!(!store.0.silent.load(Ordering::SeqCst));
    assert!(!ask(&server, "nightly").await.unwrap().requested);
    assert_eq!(server.entries().await.len(), 1);
    server.stop().await;
}

async fn a_store_without_room_for_the_entry_allows_what_frees(backend: Backend) {
    let (store, server) = narrow(&backend).await;
    let mut operators = server.operators();
    operators.put_service(settings("one")).await.unwrap();
    let isolate = state(OperatorState::Isolated);
    operators.set_instance_state(isolate).await.unwrap();
    let before = server.entries().await.len();
    let token = hold(&server, "nightly").await;
    hold(&server, "weekly").await;

    store.0.full.store(true, Ordering::SeqCst);
    let restored = operators
        .set_instance_state(state(OperatorState::Active))
        .await
        .unwrap();
    let restored = restored.into_inner();
    assert!(!restored.unchanged && restored.decision.is_none());
    let delete = DeleteServiceRequest {
        service: "web".into(),
        ..Default::default()
    };
    let deleted = operators.delete_service(delete).await.unwrap();
    assert!(deleted.into_inner().deleted);
    assert!(!force(&server, "nightly", token).await);
    // What takes room is refused.
    let refused = ask(&server, "weekly").await.unwrap_err();
    assert_status(&refused, Code::ResourceExhausted, "STORE_FULL");
    operators.put_service(settings("two")).await.unwrap_err();
    store.0.full.store(false, Ordering::SeqCst);
    assert_eq!(server.entries().await.len(), before);
    server.is_whole().await;
    server.stop().await;
}
