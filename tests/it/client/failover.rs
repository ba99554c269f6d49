//! A client moves to another replica and carries on where it was.

use stanchion_client::{Client, Code, Options, SessionEvent, session::Ended};

use super::{client, client_at, soon};
use crate::support::{
    door::Door,
    server::{Backend, on_both_stores},
};

on_both_stores! {
    calls_go_on_at_another_replica_when_the_first_is_gone,
    a_session_lives_on_at_another_replica_with_the_same_id,
    a_session_outlives_a_restart_of_its_only_replica,
    a_closed_session_is_told_to_its_client,
    watches_resume_at_another_replica_without_gap_or_repetition,
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_at_once() {
    // A port that was free a moment ago.
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let client = Client::connect([address.to_string()], Options::default()).unwrap();
    let error = soon("the refusal", client.server_info()).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.is_unreachable());
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

async fn calls_go_on_at_another_replica_when_the_first_is_gone(backend: Backend) {
    let (first, second) = (backend.server().await, backend.server().await);
    let client = client(&[&first, &second]);
    let of_first = client.server_info().await.unwrap().replica;
    first.stop().await;

    client.config().put("a", "1").send().await.unwrap();
    assert_ne!(client.server_info().await.unwrap().replica, of_first);
}

async fn a_session_lives_on_at_another_replica_with_the_same_id(backend: Backend) {
    let (first, second) = (backend.server().await, backend.server().await);
    let client = client(&[&first, &second]);
    let session = client.session().await.unwrap();
    let mut events = session.events();
    first.stop().await;

    let resumed = soon("the heartbeats to go on", events.next()).await;
    assert_eq!(resumed, Some(SessionEvent::Resumed));
    assert!(session.is_valid());
    assert_eq!(client.session().await.unwrap().id(), session.id());
}

async fn a_session_outlives_a_restart_of_its_only_replica(backend: Backend) {
    let server = backend.server().await;
    let door = Door::to(server.address).await;
    let client = client_at(&door);
    let session = client.session().await.unwrap();
    let mut events = session.events();
    door.shut();
    server.stop().await;
    let server = backend.server().await;
    door.open(server.address);

    let resumed = soon("the heartbeats to go on", events.next()).await;
    assert_eq!(resumed, Some(SessionEvent::Resumed));
    assert_eq!(session.ended(), None);
}

async fn a_closed_session_is_told_to_its_client(backend: Backend) {
    let server = backend.server().await;
    let client = client(&[&server]);
    let session = client.session().await.unwrap();
    let request = stanchion_client::proto::CloseSessionRequest {
        session_id: session.id().to_owned(),
        guard: None,
    };
    server.sessions().close_session(request).await.unwrap();

    let ended = soon("the notice", session.lost()).await;
    assert!(matches!(ended, Ended::Lost(_)), "{ended:?}");
    assert!(!session.is_valid());
    // Who needs a session gets another one.
    assert_ne!(client.session().await.unwrap().id(), session.id());
}

async fn watches_resume_at_another_replica_without_gap_or_repetition(backend: Backend) {
    use stanchion_client::watch::{Change, UpdateKind};

    let (first, second) = (backend.server().await, backend.server().await);
    let client = client(&[&first, &second]);
    let configs = client.config();
    let mut changes = configs.changes("");
    let snapshot = soon("the snapshot", changes.next()).await.unwrap();
    assert!(matches!(snapshot.kind, UpdateKind::Snapshot { .. }));

    for version in 1..=3 {
        configs.put("a", version.to_string()).send().await.unwrap();
    }
    first.stop().await;
    for version in 4..=6 {
        configs.put("a", version.to_string()).send().await.unwrap();
    }
    let mut seen = Vec::new();
    while seen.len() < 6 {
        match soon("a change", changes.next()).await.unwrap().kind {
            UpdateKind::Delta { changes, .. } => {
                seen.extend(changes.into_iter().map(|change| match change {
                    Change::Added(config) | Change::Modified(config) => config.version,
                    Change::Deleted(..) => panic!("nothing was deleted"),
                }));
            }
            UpdateKind::Current => {}
            UpdateKind::Snapshot { .. } => panic!("the watch began anew"),
        }
    }
    assert_eq!(seen, [1, 2, 3, 4, 5, 6]);
}
