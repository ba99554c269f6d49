//! What ends by itself when its time is over.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use stanchion::{
    domain::{keyspace::InstanceKey, registry::RemovalCause},
    proto::store as stored,
    store::{KeyRange, Operation, RangeRequest, Txn},
};
use stanchion_client::proto::{DeleteCause, EventType, Health};

use crate::support::server::{Backend, Server, eventually, on_both_stores};

use super::{
    ALL, Watcher, added, deleted, deregister, get, modified, open, patient_server, register_on,
    watching,
};

on_both_stores! {
    a_report_whose_time_is_over_is_taken_away_by_one_write,
    what_was_found_of_an_instance_goes_with_it,
    an_end_to_the_release_of_a_brake_is_written_by_itself,
    a_drain_that_outlived_its_registration_is_forgotten,
    a_drain_that_nobody_ends_removes_its_instance,
}

fn key(id: &str) -> InstanceKey {
    InstanceKey::parse(&format!("default/web/{id}")).unwrap()
}

async fn put(server: &Server, key: Bytes, value: impl prost::Message) {
    let txn = Txn::new().then(Operation::put(key, value.encode_to_vec()));
    server.write(txn).await;
}

/// Writes that somebody reported an instance until then, and somebody else praised it for good.
async fn report(server: &Server, session: &str, id: &str, until: SystemTime) -> Bytes {
    let core = &server.app().core;
    let revision = get(server, id).await.unwrap().revision;
    let finding = |by: &str, state: stored::HealthState| stored::Finding {
        source: stored::FindingSource::Report.into(),
        name: by.into(),
        state: state.into(),
        since: Some(SystemTime::now().into()),
        ..stored::Finding::default()
    };
    let findings = stored::Health {
        format: 1,
        registration: Some(stored::Registration {
            create_revision: revision,
            session_id: session.into(),
        }),
        findings: vec![
            stored::Finding {
                expire_time: Some(until.into()),
                ..finding("a caller", stored::HealthState::Unhealthy)
            },
            finding("another", stored::HealthState::Healthy),
        ],
        ..stored::Health::default()
    };
    let key = core.keys.health(&key(id));
    put(server, key.clone(), findings).await;
    key
}

/// How often a key was written; 0: it is not there.
async fn writes(server: &Server, key: &Bytes) -> i64 {
    let request = RangeRequest::new(KeyRange::key(key.clone()));
    let found = server.app().core.store.range(request).await.unwrap();
    found.kvs.first().map_or(0, |kv| kv.version)
}

async fn gone(server: &Server, key: &Bytes) {
    eventually("the end of a key", async || {
        (writes(server, key).await == 0).then_some(())
    })
    .await;
}

async fn a_report_whose_time_is_over_is_taken_away_by_one_write(backend: Backend) {
    let (one, two) = (backend.server().await, backend.server().await);
    let session = open(&one, "").await;
    register_on(&one, &session, "a").await;
    let mut watcher = Watcher::open(&two, watching(ALL, None)).await;
    if watcher.snapshot().await.0.is_empty() {
        assert_eq!(watcher.event().await, added("a"));
    }
    let until = SystemTime::now() + Duration::from_millis(1500);
    let key = report(&one, &session, "a", until).await;
    let (reported, _) = watcher.delta().await;
    let seen = reported.events[0].instance.as_ref().unwrap();
    assert_eq!(seen.health(), Health::Unhealthy);

    let (over, _) = watcher.delta().await;
    let seen = over.events[0].instance.as_ref().unwrap();
    assert_eq!(seen.health(), Health::Healthy);
    assert!(SystemTime::now() >= until);
    // Whoever is second finds nothing to do, even if it looks.
    tokio::time::sleep(3 * one.app().core.settings.rank_delay).await;
    assert_eq!(writes(&one, &key).await, 2);
    one.stop().await;
    two.stop().await;
}

async fn what_was_found_of_an_instance_goes_with_it(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server, "").await;
    register_on(&server, &session, "a").await;
    let later = SystemTime::now() + Duration::from_secs(3600);
    let key = report(&server, &session, "a", later).await;
    deregister(&server, &session, "a").await;
    gone(&server, &key).await;
    server.stop().await;
}

async fn an_end_to_the_release_of_a_brake_is_written_by_itself(backend: Backend) {
    let server = patient_server(&backend).await;
    let core = &server.app().core;
    let until = SystemTime::now() + Duration::from_millis(300);
    let released = |panic_threshold| stored::Service {
        format: 1,
        panic_threshold,
        brake_released_until: Some(until.into()),
        update_time: Some(SystemTime::now().into()),
        ..stored::Service::default()
    };
    // What says nothing else goes, what does stays.
    let alone = core.keys.service(&key("a").service_key());
    let other = InstanceKey::parse("default/pay/a").unwrap();
    let settings = core.keys.service(&other.service_key());
    put(&server, alone.clone(), released(None)).await;
    put(&server, settings.clone(), released(Some(50))).await;
    gone(&server, &alone).await;
    eventually("the end of the release", async || {
        (writes(&server, &settings).await == 2).then_some(())
    })
    .await;
    let kept = server.current().await;
    let kept = kept.state.settings.get("default/pay".as_bytes()).unwrap();
    assert_eq!(kept.panic_threshold, Some(50));
    assert_eq!(kept.brake_released_until, None);
    server.stop().await;
}

async fn a_drain_that_outlived_its_registration_is_forgotten(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server, "").await;
    let registered = register_on(&server, &session, "a").await;
    let later = SystemTime::now() + Duration::from_secs(600);
    let mut watcher = Watcher::open(&server, watching(ALL, None)).await;
    watcher.snapshot().await;
    let record = drain(&server, &session, registered.revision, later).await;
    assert_eq!(watcher.event().await, modified("a"));
    deregister(&server, &session, "a").await;
    let gone_with = deleted("a", DeleteCause::Deregistered);
    assert_eq!(watcher.event().await, gone_with);
    gone(&server, &record).await;
    server.stop().await;
}

async fn a_drain_that_nobody_ends_removes_its_instance(backend: Backend) {
    let mut settings = backend.settings();
    settings.domain.drain_overdue = Duration::from_millis(500);
    let server = backend.server_with(settings).await;
    let core = &server.app().core;
    let session = open(&server, "").await;
    let registered = register_on(&server, &session, "a").await;
    let mut watcher = Watcher::open(&server, watching(ALL, None)).await;
    watcher.snapshot().await;
    let deadline = SystemTime::now() + Duration::from_secs(1);
    let record = drain(&server, &session, registered.revision, deadline).await;
    assert_eq!(watcher.event().await, modified("a"));
    let (kind, id, _) = watcher.event().await;
    assert_eq!((kind, id.as_str()), (EventType::Deleted, "a"));
    assert!(SystemTime::now() >= deadline + core.settings.drain_overdue);
    assert_eq!(writes(&server, &record).await, 0);
    let view = core.cache.view().unwrap();
    let left = view.state.tombstones.get("default/web/a".as_bytes());
    assert_eq!(left.unwrap().cause, RemovalCause::Drained);
    server.stop().await;
}

/// Writes that the registration of `a` is being drained.
async fn drain(server: &Server, session: &str, registered: i64, deadline: SystemTime) -> Bytes {
    let drain = stored::Operator {
        format: 1,
        state: stored::OperatorState::Draining.into(),
        update_time: Some(SystemTime::now().into()),
        drain: Some(stored::Drain {
            id: 7,
            deadline: Some(deadline.into()),
            start_time: Some(SystemTime::now().into()),
            registration: Some(stored::Registration {
                create_revision: registered,
                session_id: session.into(),
            }),
        }),
        ..stored::Operator::default()
    };
    let record = server.app().core.keys.operator(&key("a"));
    put(server, record.clone(), drain).await;
    record
}
