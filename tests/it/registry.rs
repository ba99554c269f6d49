//! The registry, through its API, on both stores.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message as _;
use stanchion::{
    clock::SystemClock,
    domain::{
        keyspace::InstanceKey,
        names::{InstanceId, Namespace, ServiceName},
        session_id::SessionId,
    },
    proto::store as stored,
    store::{
        self, LeaseId, Operation, Outcome, Probe, RangeRequest, RangeResponse, Renewal, Revision,
        Store, Txn, TxnResponse, Watch,
    },
};
use stanchion_client::proto::{
    BatchRegisterInstancesRequest, Consistency, DeleteCause, DeregisterInstanceRequest, EventType,
    GetInstanceRequest, Guard, Health, Instance, InstanceDelta, InstanceView, ListInstancesRequest,
    ListInstancesResponse, ListServicesRequest, ListSessionsRequest, OpenSessionRequest,
    OperatorState, Port, RegisterInstanceRequest, RegisterInstanceResponse, UpdateInstanceRequest,
    WatchInstancesRequest, WatchInstancesResponse, WatchServicesRequest, WatchStart,
    batch_register_instances_request, register_instance_request::Liveness, register_outcome,
    watch_instances_response::Message, watch_services_response, watch_start::Position,
};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

use crate::support::{
    server::{Backend, Server, assert_invalid, assert_status, eventually, on_both_stores},
    store::PATIENCE,
};

on_both_stores! {
    an_instance_is_registered_listed_watched_and_deregistered,
    an_id_of_a_live_session_goes_to_the_same_client_or_by_takeover_alone,
    a_former_owner_changes_nothing,
    a_session_that_ends_makes_its_instances_suspect_and_then_they_go,
    a_suspect_that_registers_again_in_time_stays,
    several_replicas_remove_a_suspect_once,
    many_suspects_are_removed_in_chunks,
    of_many_who_want_an_id_at_once_one_gets_it,
    a_plain_ttl_is_enough_to_register,
    a_session_opened_for_a_registration_that_fails_is_closed_again,
    a_batch_tells_what_became_of_each,
    a_persistent_instance_needs_no_session,
    an_update_changes_the_named_fields_alone,
    a_repeated_request_gets_its_first_answer,
    an_undone_registration_does_not_arrive_late,
    what_an_operator_decided_survives_a_new_registration,
    a_watch_goes_on_from_a_list_and_on_another_replica,
    a_watch_merges_what_happens_within_its_interval,
    a_quiet_watch_sends_bookmarks,
    pages_show_everything_once_and_resume_from_the_first,
    services_are_listed_and_watched,
    a_subscriber_behind_the_log_learns_of_its_suspects,
    bad_requests_are_refused_by_field,
    sessions_and_guards_that_do_not_hold_stop_a_registration,
}

// === What the tests say ===

fn instance(id: &str) -> Instance {
    Instance {
        service: "web".into(),
        instance_id: id.into(),
        address: "10.0.0.1".into(),
        ports: vec![Port {
            name: "http".into(),
            port: 8080,
            protocol: "http".into(),
        }],
        ..Instance::default()
    }
}

fn registration(session: &str, id: &str) -> RegisterInstanceRequest {
    RegisterInstanceRequest {
        instance: Some(instance(id)),
        liveness: Some(Liveness::SessionId(session.to_owned())),
        ..RegisterInstanceRequest::default()
    }
}

async fn open(server: &Server, client_id: &str) -> String {
    let request = OpenSessionRequest {
        // Long, so that nothing expires by accident on a slow machine.
        ttl: Some(seconds(120)),
        client_id: client_id.into(),
        ..OpenSessionRequest::default()
    };
    let response = server.sessions().open_session(request).await.unwrap();
    response.into_inner().session_id
}

/// Lets a session expire without waiting for it.
async fn expire(server: &Server, session: &str) {
    let lease = SessionId::parse(session).unwrap().lease();
    server.app().core.store.revoke(lease).await.unwrap();
}

async fn register(
    server: &Server,
    request: RegisterInstanceRequest,
) -> Result<RegisterInstanceResponse, Status> {
    let response = server.registry().register_instance(request).await?;
    Ok(response.into_inner())
}

async fn register_on(server: &Server, session: &str, id: &str) -> Instance {
    let response = register(server, registration(session, id)).await.unwrap();
    response.instance.unwrap()
}

async fn deregister(server: &Server, session: &str, id: &str) -> bool {
    let request = DeregisterInstanceRequest {
        service: "web".into(),
        instance_id: id.into(),
        session_id: session.into(),
        ..DeregisterInstanceRequest::default()
    };
    let response = server.registry().deregister_instance(request).await;
    response.unwrap().into_inner().deregistered
}

async fn list(server: &Server, view: InstanceView) -> ListInstancesResponse {
    let request = ListInstancesRequest {
        service: "web".into(),
        view: view.into(),
        consistency: Consistency::Linearizable.into(),
        ..ListInstancesRequest::default()
    };
    let response = server.registry().list_instances(request).await.unwrap();
    response.into_inner()
}

async fn ids(server: &Server, view: InstanceView) -> Vec<String> {
    let list = list(server, view).await;
    list.instances.into_iter().map(|i| i.instance_id).collect()
}

async fn get(server: &Server, id: &str) -> Result<Instance, Status> {
    let request = GetInstanceRequest {
        service: "web".into(),
        instance_id: id.into(),
        consistency: Consistency::Linearizable.into(),
        ..GetInstanceRequest::default()
    };
    let response = server.registry().get_instance(request).await?;
    Ok(response.into_inner().instance.unwrap())
}

fn watching(view: InstanceView, resume_token: Option<Bytes>) -> WatchInstancesRequest {
    WatchInstancesRequest {
        service: "web".into(),
        view: view.into(),
        start: resume_token.map(|token| WatchStart {
            position: Some(Position::ResumeToken(token)),
            ..WatchStart::default()
        }),
        ..WatchInstancesRequest::default()
    }
}

struct Watcher(Streaming<WatchInstancesResponse>);

impl Watcher {
    async fn open(server: &Server, request: WatchInstancesRequest) -> Self {
        let stream = server.registry().watch_instances(request).await.unwrap();
        Self(stream.into_inner())
    }

    async fn next(&mut self) -> WatchInstancesResponse {
        let next = timeout(PATIENCE, self.0.message());
        next.await.expect("a message in time").unwrap().unwrap()
    }

    /// The ids of the snapshot, and the token after it.
    async fn snapshot(&mut self) -> (Vec<String>, Bytes) {
        let mut ids = Vec::new();
        loop {
            let response = self.next().await;
            match response.message.unwrap() {
                Message::Snapshot(part) => {
                    assert!(response.resume_token.is_empty());
                    ids.extend(part.instances.into_iter().map(|i| i.instance_id));
                }
                Message::SnapshotEnd(end) => {
                    assert!(end.revision > 0);
                    return (ids, response.resume_token);
                }
                other => panic!("not a snapshot: {other:?}"),
            }
        }
    }

    /// The next delta, and the token after it. Bookmarks are passed over.
    async fn delta(&mut self) -> (InstanceDelta, Bytes) {
        loop {
            let response = self.next().await;
            match response.message.unwrap() {
                Message::Delta(delta) => {
                    assert!(delta.prev_revision < delta.revision);
                    assert!(delta.last_part && !response.resume_token.is_empty());
                    return (delta, response.resume_token);
                }
                Message::Bookmark(_) => {}
                other => panic!("not a delta: {other:?}"),
            }
        }
    }

    /// The next event, alone in its delta.
    async fn event(&mut self) -> (EventType, String, DeleteCause) {
        let (delta, _) = self.delta().await;
        assert_eq!(delta.events.len(), 1, "{delta:?}");
        told(&delta).remove(0)
    }
}

/// What a delta tells, in few words.
fn told(delta: &InstanceDelta) -> Vec<(EventType, String, DeleteCause)> {
    let event = |event: &stanchion_client::proto::InstanceEvent| {
        let id = event.instance.as_ref().unwrap().instance_id.clone();
        (event.r#type(), id, event.cause())
    };
    delta.events.iter().map(event).collect()
}

fn added(id: &str) -> (EventType, String, DeleteCause) {
    (EventType::Added, id.into(), DeleteCause::Unspecified)
}

fn modified(id: &str) -> (EventType, String, DeleteCause) {
    (EventType::Modified, id.into(), DeleteCause::Unspecified)
}

fn deleted(id: &str, cause: DeleteCause) -> (EventType, String, DeleteCause) {
    (EventType::Deleted, id.into(), cause)
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

const SERVING: InstanceView = InstanceView::Serving;
const ALL: InstanceView = InstanceView::All;

/// A replica on which suspects stay.
async fn patient_server(backend: &Backend) -> Server {
    let mut settings = backend.settings();
    settings.domain.suspect_grace = Duration::from_secs(600);
    backend.server_with(settings).await
}

// === Registration and removal ===

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
    assert_eq!(listed.into_inner().instances, [expected.clone()]);
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
    expire(&server, &first).await;
    assert_eq!(get(&server, "a").await.unwrap(), taken);
    assert!(!deregister(&server, &first, "a").await);
    let late = server.registry().update_instance(update).await.unwrap_err();
    assert_status(&late, Code::FailedPrecondition, "INSTANCE_NOT_OWNED");

    // Without a session it is whoever owns it.
    assert!(deregister(&server, "", "a").await);
    server.stop().await;
}

async fn a_session_that_ends_makes_its_instances_suspect_and_then_they_go(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server, "").await;
    for id in ["a", "b"] {
        register_on(&server, &session, id).await;
    }
    let other = open(&server, "").await;
    register_on(&server, &other, "c").await;
    let mut serving = Watcher::open(&server, watching(SERVING, None)).await;
    let mut all = Watcher::open(&server, watching(ALL, None)).await;
    assert_eq!(serving.snapshot().await.0, ["a", "b", "c"]);
    assert_eq!(all.snapshot().await.0, ["a", "b", "c"]);

    expire(&server, &session).await;
    // One revision, for both, whoever watches.
    let (left, _) = serving.delta().await;
    let cause = DeleteCause::NoLongerMatching;
    assert_eq!(told(&left), [deleted("a", cause), deleted("b", cause)]);
    let (changed, _) = all.delta().await;
    assert_eq!(told(&changed), [modified("a"), modified("b")]);
    assert_eq!(changed.revision, left.revision);
    let suspect = changed.events[0].instance.clone().unwrap();
    assert_eq!(suspect.health(), Health::Suspect);

    // Removed, both, by one transaction; those who watch what serves have nothing to learn.
    let (removed, _) = all.delta().await;
    let cause = DeleteCause::Expired;
    assert_eq!(told(&removed), [deleted("a", cause), deleted("b", cause)]);
    assert_eq!(ids(&server, ALL).await, ["c"]);
    register_on(&server, &other, "d").await;
    assert_eq!(serving.event().await, added("d"));
    server.stop().await;
}

async fn a_suspect_that_registers_again_in_time_stays(backend: Backend) {
    let server = patient_server(&backend).await;
    let session = open(&server, "").await;
    register_on(&server, &session, "a").await;
    expire(&server, &session).await;
    assert!(ids(&server, SERVING).await.is_empty());
    let listed = list(&server, ALL).await.instances;
    assert_eq!(listed[0].health(), Health::Suspect);

    let next = open(&server, "").await;
    let returned = register_on(&server, &next, "a").await;
    assert_eq!(returned.health(), Health::Healthy);
    assert_eq!(ids(&server, SERVING).await, ["a"]);
    server.stop().await;
}

async fn several_replicas_remove_a_suspect_once(backend: Backend) {
    let (one, two) = (backend.server().await, backend.server().await);
    let session = open(&one, "").await;
    register_on(&one, &session, "a").await;
    let mut watcher = Watcher::open(&two, watching(ALL, None)).await;
    if watcher.snapshot().await.0.is_empty() {
        assert_eq!(watcher.event().await, added("a"));
    }
    expire(&one, &session).await;
    assert_eq!(watcher.event().await, modified("a"));
    let removed = deleted("a", DeleteCause::Expired);
    assert_eq!(watcher.event().await, removed);
    // Whoever was second found nothing to do: the next thing that happens is this.
    let next = open(&one, "").await;
    register_on(&one, &next, "b").await;
    assert_eq!(watcher.event().await, added("b"));
    one.stop().await;
    two.stop().await;
}

async fn many_suspects_are_removed_in_chunks(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server, "").await;
    for batch in 0..2 {
        let ids = (0..50).map(|n| instance(&format!("{batch}-{n}")));
        let request = BatchRegisterInstancesRequest {
            instances: ids.collect(),
            liveness: Some(batch_register_instances_request::Liveness::SessionId(
                session.clone(),
            )),
            ..BatchRegisterInstancesRequest::default()
        };
        let response = server.registry().batch_register_instances(request).await;
        assert_eq!(response.unwrap().into_inner().outcomes.len(), 50);
    }
    let mut watcher = Watcher::open(&server, watching(ALL, None)).await;
    assert_eq!(watcher.snapshot().await.0.len(), 100);
    expire(&server, &session).await;
    let (suspects, _) = watcher.delta().await;
    assert_eq!(suspects.events.len(), 100);
    let mut left = 100;
    while left > 0 {
        let (removed, _) = watcher.delta().await;
        assert!(removed.events.len() <= 32);
        left -= removed.events.len();
    }
    server.stop().await;
}

async fn of_many_who_want_an_id_at_once_one_gets_it(backend: Backend) {
    let (one, two) = (backend.server().await, backend.server().await);
    let mut calls = Vec::new();
    for n in 0..16 {
        let server = if n % 2 == 0 { &one } else { &two };
        let session = open(server, "").await;
        let mut registry = server.registry();
        calls.push(tokio::spawn(async move {
            let answer = registry.register_instance(registration(&session, "a"));
            answer.await.map(|_| session)
        }));
    }
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

/// A store that can be out of reach for a while.
struct Distant {
    store: Arc<dyn Store>,
    away: Arc<AtomicBool>,
}

struct DistantProbe {
    probe: Arc<dyn Probe>,
    away: Arc<AtomicBool>,
}

impl Distant {
    fn reach(&self) -> Result<&dyn Store, store::Error> {
        reach(&self.away)?;
        Ok(self.store.as_ref())
    }
}

fn reach(away: &AtomicBool) -> Result<(), store::Error> {
    match away.load(Ordering::SeqCst) {
        false => Ok(()),
        true => Err(store::Error::Unavailable {
            message: "away".into(),
            outcome: Outcome::NotDone,
        }),
    }
}

#[async_trait]
impl Store for Distant {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, store::Error> {
        self.reach()?.range(request).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, store::Error> {
        self.reach()?.txn(txn).await
    }

    async fn grant(&self, id: LeaseId, ttl: Duration) -> Result<Duration, store::Error> {
        self.reach()?.grant(id, ttl).await
    }

    async fn keep_alive(&self, id: LeaseId) -> Result<Renewal, store::Error> {
        self.reach()?.keep_alive(id).await
    }

    async fn revoke(&self, id: LeaseId) -> Result<(), store::Error> {
        self.reach()?.revoke(id).await
    }

    async fn watch(&self, prefix: Bytes, from: Revision) -> Result<Watch, store::Error> {
        let watch = self.reach()?.watch(prefix, from).await?;
        let probe = DistantProbe {
            probe: watch.probe.clone(),
            away: self.away.clone(),
        };
        Ok(Watch {
            probe: Arc::new(probe),
            ..watch
        })
    }

    async fn compact(&self, revision: Revision) -> Result<(), store::Error> {
        self.reach()?.compact(revision).await
    }

    async fn status(&self) -> Result<store::Status, store::Error> {
        self.reach()?.status().await
    }
}

#[async_trait]
impl Probe for DistantProbe {
    async fn current_revision(&self) -> Result<Revision, store::Error> {
        reach(&self.away)?;
        self.probe.current_revision().await
    }

    async fn request_progress(&self) {
        if reach(&self.away).is_ok() {
            self.probe.request_progress().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_store_is_away_nothing_expires_and_then_the_grace_begins_anew() {
    let backend = Backend::embedded().await;
    let mut settings = backend.settings();
    let grace = Duration::from_secs(2);
    settings.domain.suspect_grace = grace;
    settings.domain.removal_hold = Duration::from_millis(600);
    settings.cache.idle_probe = Duration::from_millis(100);
    let away = Arc::new(AtomicBool::new(false));
    let store = Distant {
        store: backend.store().await,
        away: away.clone(),
    };
    let clock = Arc::new(SystemClock);
    let server = backend.server_on(Arc::new(store), settings, clock).await;
    let session = open(&server, "").await;
    register_on(&server, &session, "a").await;
    let mut watcher = Watcher::open(&server, watching(ALL, None)).await;
    assert_eq!(watcher.snapshot().await.0, ["a"]);
    expire(&server, &session).await;
    assert_eq!(watcher.event().await, modified("a"));

    away.store(true, Ordering::SeqCst);
    tokio::time::sleep(grace + grace / 2).await;
    away.store(false, Ordering::SeqCst);
    let back = Instant::now();
    let removed = deleted("a", DeleteCause::Expired);
    assert_eq!(watcher.event().await, removed);
    assert!(back.elapsed() > grace * 9 / 10, "{:?}", back.elapsed());
    server.stop().await;
}

// === Updates, repetitions, undoing ===

fn mask(paths: &[&str]) -> prost_types::FieldMask {
    prost_types::FieldMask {
        paths: paths.iter().map(|&path| path.to_owned()).collect(),
    }
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
    let core = &server.app().core;
    let key = InstanceKey {
        namespace: Namespace::parse("default").unwrap(),
        service: ServiceName::parse("web").unwrap(),
        id: InstanceId::parse("a").unwrap(),
    };
    let isolated = stored::Operator {
        format: 1,
        state: stored::OperatorState::Isolated.into(),
        ..stored::Operator::default()
    };
    let put = Operation::put(core.keys.operator(&key), isolated.encode_to_vec());
    core.store.txn(Txn::new().then(put)).await.unwrap();

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

// === Lists and watches ===

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

    expire(&server, &dying).await;
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

// === What is refused ===

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

    expire(&server, &session).await;
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
