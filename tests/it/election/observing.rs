//! Watching who leads.

use bytes::Bytes;
use stanchion_client::proto::{
    DeleteCause, EventType, LeaderDelta, ObserveLeaderRequest, ObserveLeaderResponse, WatchStart,
    observe_leader_response::Message, watch_start::Position,
};
use tokio::time::timeout;
use tonic::Streaming;

use super::*;
use crate::support::{
    server::{Backend, on_both_stores},
    store::PATIENCE,
};

on_both_stores! {
    a_watch_tells_each_leader_and_what_it_proclaims,
    a_watch_tells_why_nobody_leads,
    a_watch_resumes_on_another_replica_from_what_get_showed,
    a_watcher_who_was_away_for_long_is_told_the_last_leader,
    a_first_message_can_be_asked_to_show_what_was_acknowledged_anywhere,
}

pub(super) struct Observing {
    stream: Streaming<ObserveLeaderResponse>,
    last: Bytes,
}

impl Observing {
    pub(super) async fn open(server: &Server, election: &str, token: Option<Bytes>) -> Self {
        let request = ObserveLeaderRequest {
            election: election.into(),
            start: token.map(|token| WatchStart {
                position: Some(Position::ResumeToken(token)),
                ..Default::default()
            }),
            consistency: Consistency::Linearizable.into(),
            ..Default::default()
        };
        let stream = server.elections().observe_leader(request).await.unwrap();
        Self {
            stream: stream.into_inner(),
            last: Bytes::new(),
        }
    }

    async fn next(&mut self) -> Message {
        let next = timeout(PATIENCE, self.stream.message()).await;
        let message = next.expect("nothing more is told").unwrap().unwrap();
        assert!(message.header.is_some());
        if !message.resume_token.is_empty() {
            self.last = message.resume_token;
        }
        message.message.unwrap()
    }

    /// Who leads at the beginning.
    pub(super) async fn snapshot(&mut self) -> Option<Candidate> {
        let mut leader = None;
        loop {
            match self.next().await {
                Message::Snapshot(mut snapshot) => {
                    assert_eq!(snapshot.leaders.len(), 1);
                    leader = snapshot.leaders.pop();
                }
                Message::SnapshotEnd(_) => return leader,
                other => panic!("{other:?} instead of a snapshot"),
            }
        }
    }

    /// The next delta; bookmarks may come before it.
    pub(super) async fn delta(&mut self) -> LeaderDelta {
        let delta = async {
            loop {
                match self.next().await {
                    Message::Delta(delta) => return delta,
                    Message::Bookmark(_) => {}
                    other => panic!("{other:?} instead of a delta"),
                }
            }
        };
        let delta = timeout(PATIENCE, delta).await.expect("nothing changes");
        assert!(delta.last_part && delta.prev_revision < delta.revision);
        assert_eq!(delta.events.len(), 1);
        delta
    }

    /// What happened, and in which term.
    async fn told(&mut self) -> (EventType, i64) {
        let delta = self.delta().await;
        let event = &delta.events[0];
        assert!(!delta.conflated);
        (event.r#type(), event.leader.as_ref().unwrap().term)
    }
}

async fn a_watch_tells_each_leader_and_what_it_proclaims(backend: Backend) {
    let server = backend.server().await;
    let mut observing = Observing::open(&server, "e", None).await;
    assert_eq!(observing.snapshot().await, None);
    let (first, second) = (open(&server).await, open(&server).await);
    let one = lead(&server, "e", &first, "r").await;
    assert_eq!(observing.told().await, (EventType::Added, one));
    // Another election, and one who waits, are not told.
    lead(&server, "e2", &first, "r").await;
    let waiting = spawn(&server, standing("e", &second, "r"));
    let two = until_standing(&server, "e", 1).await.candidates[0].term;
    let said = proclaim(&server, "e", &first, one, "here").await.unwrap();
    let delta = observing.delta().await;
    assert_eq!(delta.events[0].r#type(), EventType::Modified);
    assert_eq!(delta.events[0].leader.as_ref(), Some(&said));
    assert_eq!(delta.revision, said.revision);
    // To proclaim the same is not told, and one leader follows the other at one revision.
    proclaim(&server, "e", &first, one, "here").await.unwrap();
    assert!(
        resign(&server, "e", &first, Claim::Term(one))
            .await
            .unwrap()
    );
    assert_eq!(observing.told().await, (EventType::Modified, two));
    waiting.await.unwrap().unwrap();
    let mut later = Observing::open(&server, "e", None).await;
    let leader = later.snapshot().await.unwrap();
    assert!(leader.leads && leader.term == two);
    assert!(
        resign(&server, "e", &second, Claim::Term(two))
            .await
            .unwrap()
    );
    assert_eq!(later.told().await, (EventType::Deleted, two));
    assert_eq!(observing.told().await, (EventType::Deleted, two));
}

async fn a_watch_tells_why_nobody_leads(backend: Backend) {
    let server = backend.server().await;
    let mut observing = Observing::open(&server, "e", None).await;
    observing.snapshot().await;
    for expected in [
        DeleteCause::Released,
        DeleteCause::Expired,
        DeleteCause::SessionClosed,
    ] {
        let session = open(&server).await;
        let term = lead(&server, "e", &session, "r").await;
        assert_eq!(observing.told().await, (EventType::Added, term));
        match expected {
            DeleteCause::Released => {
                resign(&server, "e", &session, Claim::Term(term))
                    .await
                    .unwrap();
            }
            DeleteCause::Expired => server.expire(&session).await,
            _ => {
                let request = stanchion_client::proto::CloseSessionRequest {
                    session_id: session,
                    ..Default::default()
                };
                server.sessions().close_session(request).await.unwrap();
            }
        }
        let delta = observing.delta().await;
        assert_eq!(delta.events[0].r#type(), EventType::Deleted);
        assert_eq!(delta.events[0].cause(), expected);
    }
}

async fn a_watch_resumes_on_another_replica_from_what_get_showed(backend: Backend) {
    let (server, other) = (backend.server().await, backend.server().await);
    let (first, second) = (open(&server).await, open(&server).await);
    let request = GetLeaderRequest {
        election: "e".into(),
        consistency: Consistency::Linearizable.into(),
        ..Default::default()
    };
    let shown = server.elections().get_leader(request).await.unwrap();
    let shown = shown.into_inner();
    assert!(shown.election.unwrap().leader.is_none());
    let one = lead(&server, "e", &first, "r").await;
    let mut observing = Observing::open(&other, "e", Some(shown.resume_token)).await;
    assert_eq!(observing.told().await, (EventType::Added, one));
    let last = observing.last.clone();
    drop(observing);
    assert!(resign(&other, "e", &first, Claim::Term(one)).await.unwrap());
    let two = lead(&other, "e", &second, "r").await;
    let mut observing = Observing::open(&server, "e", Some(last)).await;
    assert_eq!(observing.told().await, (EventType::Deleted, one));
    assert_eq!(observing.told().await, (EventType::Added, two));
}

async fn a_watcher_who_was_away_for_long_is_told_the_last_leader(backend: Backend) {
    let mut settings = backend.settings();
    settings.cache.log_revisions = 4;
    let server = backend.server_with(settings).await;
    let session = open(&server).await;
    let term = lead(&server, "e", &session, "r").await;
    let mut observing = Observing::open(&server, "e", None).await;
    assert_eq!(observing.snapshot().await.unwrap().term, term);
    let away = observing.last.clone();
    drop(observing);
    // More than the log holds, and less than the deletions that are remembered.
    let mut last = term;
    for round in 0..6 {
        assert!(
            resign(&server, "e", &session, Claim::Term(last))
                .await
                .unwrap()
        );
        last = lead(&server, "e", &session, &format!("r-{round}")).await;
    }
    let mut observing = Observing::open(&server, "e", Some(away.clone())).await;
    let delta = observing.delta().await;
    assert!(delta.conflated);
    assert_eq!(delta.events[0].r#type(), EventType::Modified);
    assert_eq!(delta.events[0].leader.as_ref().unwrap().term, last);
    drop(observing);
    assert!(
        resign(&server, "e", &session, Claim::Term(last))
            .await
            .unwrap()
    );
    let mut observing = Observing::open(&server, "e", Some(away)).await;
    let delta = observing.delta().await;
    assert_eq!(delta.events[0].r#type(), EventType::Deleted);
}

async fn a_first_message_can_be_asked_to_show_what_was_acknowledged_anywhere(backend: Backend) {
    let (server, other) = (backend.server().await, backend.server().await);
    let session = open(&server).await;
    for round in 0..20 {
        let name = format!("e-{round}");
        let term = lead(&server, &name, &session, "r").await;
        let mut observing = Observing::open(&other, &name, None).await;
        assert_eq!(observing.snapshot().await.map(|it| it.term), Some(term));
    }
}
