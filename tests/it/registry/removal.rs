//! What becomes of instances whose session is gone.

use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message as _;
use stanchion::{
    domain::keyspace::InstanceKey,
    proto::store as stored,
    store::{KeyRange, Operation, RangeRequest, Txn},
};
use stanchion_client::{
    Client, Options, SessionOptions,
    proto::{BatchRegisterInstancesRequest, DeleteCause, Health, batch_register_instances_request},
};

use crate::support::server::{Backend, Server, eventually, on_both_stores};

use super::{
    ALL, SERVING, Watcher, added, deleted, get, ids, instance, list, modified, open,
    patient_server, register_on, told, unsteady::unsteady_server, watching,
};

on_both_stores! {
    a_session_that_ends_makes_its_instances_suspect_and_then_they_go,
    a_suspect_that_registers_again_in_time_stays,
    several_replicas_remove_a_suspect_once,
    many_suspects_are_removed_in_chunks,
    a_removed_instance_leaves_a_tombstone_for_a_while,
    a_full_store_still_removes,
    nobody_who_lives_is_removed_after_the_store_was_away,
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

    server.expire(&session).await;
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
    server.expire(&session).await;
    assert!(list(&server, SERVING).await.protected);
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
    one.expire(&session).await;
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
    let mut settings = backend.settings();
    // So many at once are held first.
    settings.domain.brake_limit = Duration::from_millis(100);
    let server = backend.server_with(settings).await;
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
    server.expire(&session).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_store_is_away_nothing_expires_and_then_the_grace_begins_anew() {
    let backend = Backend::embedded().await;
    let mut settings = backend.settings();
    let grace = Duration::from_secs(2);
    settings.domain.suspect_grace = grace;
    settings.domain.removal_hold = Duration::from_millis(600);
    settings.cache.idle_probe = Duration::from_millis(100);
    let (server, trouble) = unsteady_server(&backend, settings).await;
    let session = open(&server, "").await;
    register_on(&server, &session, "a").await;
    let mut watcher = Watcher::open(&server, watching(ALL, None)).await;
    assert_eq!(watcher.snapshot().await.0, ["a"]);
    server.expire(&session).await;
    assert_eq!(watcher.event().await, modified("a"));

    trouble.away(true);
    tokio::time::sleep(grace + grace / 2).await;
    trouble.away(false);
    let back = Instant::now();
    let removed = deleted("a", DeleteCause::Expired);
    assert_eq!(watcher.event().await, removed);
    assert!(back.elapsed() > grace * 9 / 10, "{:?}", back.elapsed());
    server.stop().await;
}

fn key(id: &str) -> InstanceKey {
    InstanceKey::parse(&format!("default/web/{id}")).unwrap()
}

async fn value(server: &Server, key: &Bytes) -> Option<Bytes> {
    let request = RangeRequest::new(KeyRange::key(key.clone()));
    let found = server.app().core.store.range(request).await.unwrap();
    found.kvs.first().map(|kv| kv.value.clone())
}

/// Writes that something was found of an instance.
async fn find(server: &Server, session: &str, id: &str) -> Bytes {
    let core = &server.app().core;
    let registration = stored::Registration {
        create_revision: get(server, id).await.unwrap().revision,
        session_id: session.into(),
    };
    let health = stored::Health {
        format: 1,
        registration: Some(registration),
        findings: vec![stored::Finding {
            source: stored::FindingSource::Report.into(),
            state: stored::HealthState::Healthy.into(),
            since: Some(prost_types::Timestamp::default()),
            ..stored::Finding::default()
        }],
        ..stored::Health::default()
    };
    let key = core.keys.health(&key(id));
    let put = Operation::put(key.clone(), health.encode_to_vec());
    server.write(Txn::new().then(put)).await;
    key
}

async fn a_removed_instance_leaves_a_tombstone_for_a_while(backend: Backend) {
    let mut settings = backend.settings();
    settings.domain.tombstone_ttl = Duration::from_secs(3);
    let server = backend.server_with(settings).await;
    let session = open(&server, "one").await;
    let registered = register_on(&server, &session, "a").await;
    let mut watcher = Watcher::open(&server, watching(ALL, None)).await;
    watcher.snapshot().await;
    server.expire(&session).await;
    assert_eq!(watcher.event().await, modified("a"));
    let removed = deleted("a", DeleteCause::Expired);
    assert_eq!(watcher.event().await, removed);

    let tombstone = server.app().core.keys.tombstone(&key("a"));
    let left = value(&server, &tombstone).await.expect("a tombstone");
    let left = stored::Tombstone::decode(left).unwrap();
    assert_eq!(left.cause(), stored::RemovalCause::Expired);
    assert_eq!(left.revision, registered.revision);
    assert_eq!(left.instance.unwrap().client_id, "one");
    let view = server.app().core.cache.view().unwrap();
    assert!(
        view.state
            .tombstones
            .contains_key("default/web/a".as_bytes())
    );
    eventually("the end of the tombstone", async || {
        value(&server, &tombstone).await.is_none().then_some(())
    })
    .await;
    server.stop().await;
}

async fn a_full_store_still_removes(backend: Backend) {
    let (server, trouble) = unsteady_server(&backend, backend.settings()).await;
    let session = open(&server, "").await;
    register_on(&server, &session, "a").await;
    let found = find(&server, &session, "a").await;
    let mut watcher = Watcher::open(&server, watching(ALL, None)).await;
    watcher.snapshot().await;
    trouble.full(true);
    server.expire(&session).await;
    assert_eq!(watcher.event().await, modified("a"));
    let removed = deleted("a", DeleteCause::Expired);
    assert_eq!(watcher.event().await, removed);
    assert_eq!(value(&server, &found).await, None);
    let tombstone = server.app().core.keys.tombstone(&key("a"));
    assert_eq!(value(&server, &tombstone).await, None);
    trouble.full(false);
    server.stop().await;
}

async fn nobody_who_lives_is_removed_after_the_store_was_away(backend: Backend) {
    let mut settings = backend.settings();
    settings.domain.expiry_hold = Duration::from_secs(4);
    settings.domain.removal_hold = Duration::from_millis(600);
    settings.cache.idle_probe = Duration::from_millis(100);
    let hold = settings.domain.expiry_hold;
    let (server, trouble) = unsteady_server(&backend, settings).await;
    let options = Options {
        session: SessionOptions {
            ttl: Some(Duration::from_secs(2)),
            ..SessionOptions::default()
        },
        max_backoff: Duration::from_millis(500),
        ..Options::default()
    };
    let client = Client::connect([server.address.to_string()], options).unwrap();
    let request = client.register("web", "10.0.0.1").id("a");
    let registration = request.start().await.unwrap();
    let mut watcher = Watcher::open(&server, watching(ALL, None)).await;
    assert_eq!(watcher.snapshot().await.0, ["a"]);

    // For longer than a time to live, and then than the grace.
    trouble.away(true);
    assert_eq!(watcher.event().await, modified("a"));
    tokio::time::sleep(hold).await;
    trouble.away(false);
    assert_eq!(watcher.event().await, modified("a"));
    tokio::time::sleep(hold + hold / 2).await;
    assert_eq!(
        list(&server, ALL).await.instances[0].health(),
        Health::Healthy
    );
    assert!(registration.state().is_registered());
    server.stop().await;
}
