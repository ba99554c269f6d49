//! What is shown when many instances fail at once: a list is never emptied by that.

use stanchion_client::proto::{Health, ListServicesRequest, Service};

use crate::support::server::{Backend, Server, on_both_stores};

use super::{
    ALL, SERVING, Watcher, added, deleted, ids, list, modified, open, patient_server, register_on,
    told, watching,
};

use stanchion_client::proto::DeleteCause;

on_both_stores! {
    a_service_of_which_little_works_shows_all_with_their_true_health,
    a_protected_service_shows_nothing_that_an_operator_took_out,
    most_sessions_of_a_service_ending_brakes_it,
    a_resumed_watch_is_told_when_protection_begins,
}

async fn register_each(server: &Server, ids: &[&str]) -> Vec<String> {
    let mut sessions = Vec::new();
    for id in ids {
        let session = open(server, "").await;
        register_on(server, &session, id).await;
        sessions.push(session);
    }
    sessions
}

async fn service(server: &Server) -> Service {
    let request = ListServicesRequest::default();
    let listed = server.registry().list_services(request).await.unwrap();
    listed.into_inner().services.remove(0)
}

async fn a_service_of_which_little_works_shows_all_with_their_true_health(backend: Backend) {
    let server = patient_server(&backend).await;
    let sessions = register_each(&server, &["a", "b", "c", "d"]).await;
    let mut serving = Watcher::open(&server, watching(SERVING, None)).await;
    serving.snapshot().await;
    for (session, id) in sessions.iter().zip(["a", "b"]) {
        server.expire(session).await;
        let gone = deleted(id, DeleteCause::NoLongerMatching);
        assert_eq!(serving.event().await, gone);
    }
    assert!(!list(&server, SERVING).await.protected);

    // One of four: strictly less than 30 %.
    server.expire(&sessions[2]).await;
    let (delta, _) = serving.delta().await;
    assert_eq!(told(&delta), [added("a"), added("b"), modified("c")]);
    let shown = list(&server, SERVING).await;
    assert!(shown.protected);
    let health: Vec<_> = shown.instances.iter().map(|i| i.health()).collect();
    let suspect = Health::Suspect;
    assert_eq!(health, [suspect, suspect, suspect, Health::Healthy]);
    assert!(shown.instances.iter().all(|instance| instance.serving));
    let counted = service(&server).await;
    assert!(counted.protected);
    assert_eq!((counted.serving_count, counted.suspect_count), (4, 3));

    // Two of four again.
    register_on(&server, &sessions[3], "e").await;
    let (delta, _) = serving.delta().await;
    let gone = |id| deleted(id, DeleteCause::NoLongerMatching);
    assert_eq!(told(&delta), [gone("a"), gone("b"), gone("c"), added("e")]);
    assert!(!list(&server, SERVING).await.protected);
    assert_eq!(ids(&server, ALL).await.len(), 5);
    server.stop().await;
}

async fn a_protected_service_shows_nothing_that_an_operator_took_out(backend: Backend) {
    let server = patient_server(&backend).await;
    let sessions = register_each(&server, &["a", "b"]).await;
    super::isolate(&server, "b").await;
    server.expire(&sessions[0]).await;
    let shown = list(&server, SERVING).await;
    assert!(shown.protected, "none of one");
    assert_eq!(ids(&server, SERVING).await, ["a"]);
    server.stop().await;
}

async fn most_sessions_of_a_service_ending_brakes_it(backend: Backend) {
    let server = patient_server(&backend).await;
    let sessions = register_each(&server, &["a", "b", "c", "d", "e"]).await;
    for session in &sessions[..2] {
        server.expire(session).await;
    }
    assert!(!list(&server, ALL).await.braked, "two of five");
    server.expire(&sessions[2]).await;
    assert!(list(&server, ALL).await.braked, "three of five");
    assert!(service(&server).await.braked);
    server.stop().await;
}

async fn a_resumed_watch_is_told_when_protection_begins(backend: Backend) {
    let server = patient_server(&backend).await;
    let sessions = register_each(&server, &["a", "b", "c", "d"]).await;
    let mut serving = Watcher::open(&server, watching(SERVING, None)).await;
    let (_, token) = serving.snapshot().await;
    for session in &sessions[..3] {
        server.expire(session).await;
    }
    assert!(list(&server, SERVING).await.protected);
    let mut resumed = Watcher::open(&server, watching(SERVING, Some(token))).await;
    let message = resumed.next().await;
    assert!(message.protected);
    // On another replica, which was not there when it happened.
    let other = patient_server(&backend).await;
    let (here, there) = (list(&server, SERVING).await, list(&other, SERVING).await);
    assert!(there.protected);
    assert_eq!(there.instances, here.instances);
    other.stop().await;
    server.stop().await;
}
