//! The brake: when most sessions of a service end, nobody is removed for a while.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use stanchion::{domain::registry::RemovalCause, settings::Settings};
use stanchion_client::proto::{DeleteCause, Health, ReleaseBrakeRequest, ReleaseBrakeResponse};
use tokio::time::sleep;

use crate::support::{
    scrape,
    server::{Backend, Server, assert_invalid, eventually, on_both_stores},
};

use super::{
    ALL, SERVING, Watcher, deleted, deregister, ids, list, open, register_on, told,
    unsteady::unsteady_server, watching,
};

on_both_stores! {
    most_sessions_ending_holds_removals_until_the_limit,
    a_released_brake_lets_removals_go_on,
    a_replica_that_starts_holds_removals_too,
    who_does_not_come_back_with_the_others_has_its_grace_anew,
    deregistering_most_instances_is_not_braked,
    three_replicas_that_decide_at_once_remove_each_instance_once,
}

/// A grace short enough to wait for several of them.
const GRACE: Duration = Duration::from_millis(300);

fn quick(backend: &Backend, brake_limit: Duration) -> Settings {
    let mut settings = backend.settings();
    settings.domain.suspect_grace = GRACE;
    settings.domain.expiry_hold = GRACE;
    settings.domain.brake_limit = brake_limit;
    settings
}

const LONG: Duration = Duration::from_secs(600);

/// Five instances, a session each, of which `lost` end.
async fn five(server: &Server, lost: usize) -> Vec<String> {
    let mut sessions = Vec::new();
    for id in ["a", "b", "c", "d", "e"] {
        let session = open(server, "").await;
        register_on(server, &session, id).await;
        sessions.push(session);
    }
    // At once: whoever is lost long before the others is removed before there is a brake.
    join_all(
        sessions[..lost]
            .iter()
            .map(|session| server.expire(session)),
    )
    .await;
    sessions
}

async fn release(server: &Server, service: &str) -> ReleaseBrakeResponse {
    let request = ReleaseBrakeRequest {
        service: service.into(),
        actor: "somebody".into(),
        comment: "they are gone for good".into(),
        ..ReleaseBrakeRequest::default()
    };
    let response = server.operators().release_brake(request).await.unwrap();
    response.into_inner()
}

async fn removed(server: &Server, left: &[&str]) {
    eventually("the removals", async || {
        (ids(server, ALL).await == left).then_some(())
    })
    .await;
}

fn count(server: &Server) -> u64 {
    let removals = &server.app().core.removals;
    let expired = removals.count().find(|(c, _)| *c == RemovalCause::Expired);
    expired.unwrap().1
}

async fn most_sessions_ending_holds_removals_until_the_limit(backend: Backend) {
    let limit = Duration::from_secs(3);
    let server = backend.server_with(quick(&backend, limit)).await;
    let mut watcher = Watcher::open(&server, watching(ALL, None)).await;
    watcher.snapshot().await;
    five(&server, 3).await;
    let braked = Instant::now();
    eventually("the brake", async || {
        list(&server, ALL).await.braked.then_some(())
    })
    .await;
    let address = server.app().operations_address;
    let page = scrape::get(address, "/metrics").unwrap();
    let metric = |name| scrape::metric(&page, name, "");
    assert_eq!(metric("stanchion_registry_braked_services"), 1.0);
    assert_eq!(metric("stanchion_registry_removals_held"), 3.0);

    // Five registered, three lost their session, and then nothing until the limit.
    let mut events = 0;
    while events < 8 {
        events += watcher.delta().await.0.events.len();
    }
    let (delta, _) = watcher.delta().await;
    assert!(braked.elapsed() > limit * 9 / 10, "{:?}", braked.elapsed());
    let gone = |id| deleted(id, DeleteCause::Expired);
    let all = [gone("a"), gone("b"), gone("c")];
    assert!(told(&delta).iter().all(|event| all.contains(event)));
    removed(&server, &["d", "e"]).await;
    assert!(!list(&server, ALL).await.braked);
    server.stop().await;
}

async fn a_released_brake_lets_removals_go_on(backend: Backend) {
    let server = backend.server_with(quick(&backend, LONG)).await;
    assert!(!release(&server, "web").await.released, "there is none");
    five(&server, 4).await;
    sleep(4 * GRACE).await;
    assert_eq!(ids(&server, ALL).await.len(), 5);
    assert!(!release(&server, "pay").await.released, "another service");

    let released = release(&server, "web").await;
    assert!(released.released && released.released_until.is_some());
    assert!(!list(&server, ALL).await.braked);
    let again = release(&server, "web").await;
    assert!(!again.released);
    assert_eq!(again.released_until, released.released_until);
    removed(&server, &["e"]).await;

    let request = ReleaseBrakeRequest {
        service: "a/b".into(),
        comment: "x".repeat(1025),
        ..ReleaseBrakeRequest::default()
    };
    let refused = server.operators().release_brake(request).await.unwrap_err();
    assert_invalid(&refused, "service");
    assert_invalid(&refused, "comment");
    server.stop().await;
}

async fn a_replica_that_starts_holds_removals_too(backend: Backend) {
    let one = backend.server_with(quick(&backend, LONG)).await;
    five(&one, 3).await;
    assert!(list(&one, ALL).await.braked);
    let two = backend.server_with(quick(&backend, LONG)).await;
    let three = backend.server_with(quick(&backend, LONG)).await;
    one.stop().await;
    sleep(4 * GRACE + 3 * backend.settings().domain.rank_delay).await;
    for server in [two, three] {
        let listed = list(&server, ALL).await;
        assert!(listed.braked);
        assert_eq!(listed.instances.len(), 5);
        server.stop().await;
    }
}

async fn who_does_not_come_back_with_the_others_has_its_grace_anew(backend: Backend) {
    let mut settings = quick(&backend, LONG);
    settings.domain.suspect_grace = 4 * GRACE;
    let server = backend.server_with(settings).await;
    let sessions = five(&server, 4).await;
    sleep(6 * GRACE).await;
    assert_eq!(ids(&server, ALL).await.len(), 5);
    let mut watcher = Watcher::open(&server, watching(ALL, None)).await;
    watcher.snapshot().await;
    // Two are back: with the one that stayed, most of the sessions live.
    for id in ["a", "b"] {
        register_on(&server, &sessions[4], id).await;
    }
    let back = Instant::now();
    assert!(!list(&server, ALL).await.braked);
    for _ in 0..2 {
        watcher.delta().await;
    }
    let (delta, _) = watcher.delta().await;
    assert_eq!(told(&delta)[0].0, deleted("c", DeleteCause::Expired).0);
    assert!(back.elapsed() > 3 * GRACE, "{:?}", back.elapsed());
    removed(&server, &["a", "b", "e"]).await;
    server.stop().await;
}

async fn deregistering_most_instances_is_not_braked(backend: Backend) {
    let server = backend.server_with(quick(&backend, LONG)).await;
    let sessions = five(&server, 0).await;
    for (session, id) in sessions.iter().zip(["a", "b", "c", "d"]) {
        assert!(deregister(&server, session, id).await);
        assert!(!list(&server, ALL).await.braked);
    }
    assert_eq!(ids(&server, SERVING).await, ["e"]);
    server.stop().await;
}

async fn three_replicas_that_decide_at_once_remove_each_instance_once(backend: Backend) {
    let mut settings = quick(&backend, LONG);
    settings.domain.rank_delay = Duration::ZERO;
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(backend.server_with(settings.clone()).await);
    }
    let mut watcher = Watcher::open(&servers[1], watching(ALL, None)).await;
    watcher.snapshot().await;
    five(&servers[0], 2).await;
    let mut gone = Vec::new();
    while gone.len() < 2 {
        let (delta, _) = watcher.delta().await;
        let told = told(&delta).into_iter();
        gone.extend(told.filter(|event| event.2 == DeleteCause::Expired));
    }
    gone.sort_by(|one, other| one.1.cmp(&other.1));
    let cause = DeleteCause::Expired;
    assert_eq!(gone, [deleted("a", cause), deleted("b", cause)]);
    let counted = || servers.iter().map(count).sum::<u64>();
    eventually("who removed them", async || (counted() >= 2).then_some(())).await;
    // The other replicas are told that they came late.
    sleep(2 * GRACE).await;
    assert_eq!(counted(), 2);
    for server in servers {
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_of_the_store_gives_suspects_their_grace_anew() {
    let backend = Backend::embedded().await;
    let mut settings = quick(&backend, LONG);
    settings.domain.suspect_grace = Duration::from_secs(2);
    settings.domain.expiry_hold = Duration::from_secs(3);
    settings.domain.removal_hold = Duration::from_secs(1);
    let hold = settings.domain.expiry_hold;
    let (server, trouble) = unsteady_server(&backend, settings).await;
    five(&server, 2).await;
    sleep(Duration::from_secs(1)).await;
    trouble.elect();
    let elected = Instant::now();
    while ids(&server, ALL).await.len() == 5 {
        sleep(Duration::from_millis(20)).await;
    }
    assert!(elected.elapsed() > hold * 9 / 10, "{:?}", elected.elapsed());
    let listed = list(&server, ALL).await.instances;
    let lost = |i: &&stanchion_client::proto::Instance| i.health() == Health::Suspect;
    assert!(listed.iter().filter(lost).count() < 2);
    server.stop().await;
}
