//! Watching who holds a lock and who waits.

use stanchion_client::proto::{
    DeleteCause, EventType, LockDelta, WatchLockRequest, WatchLockResponse, WatchStart,
    watch_lock_response::Message, watch_start::Position,
};
use tokio::time::timeout;
use tonic::Streaming;

use super::*;
use crate::support::{
    server::{Backend, on_both_stores},
    store::PATIENCE,
};

on_both_stores! {
    a_watch_tells_every_claim_and_every_change,
    a_watch_resumes_on_another_replica_from_what_get_showed,
    a_watch_tells_why_a_claim_is_gone,
    taking_a_call_up_again_is_not_told,
}

struct Watching {
    stream: Streaming<WatchLockResponse>,
    last: Bytes,
}

impl Watching {
    async fn open(server: &Server, lock: &str, token: Option<Bytes>) -> Self {
        let request = WatchLockRequest {
            lock: lock.into(),
            start: token.map(|token| WatchStart {
                position: Some(Position::ResumeToken(token)),
                ..Default::default()
            }),
            ..Default::default()
        };
        let stream = server.locks().watch_lock(request).await.unwrap();
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

    /// The next delta; bookmarks may come before it.
    async fn delta(&mut self) -> LockDelta {
        loop {
            match self.next().await {
                Message::Delta(delta) => {
                    assert!(delta.last_part && !delta.conflated);
                    assert!(delta.prev_revision < delta.revision);
                    return delta;
                }
                Message::Bookmark(_) => {}
                other => panic!("{other:?} instead of a delta"),
            }
        }
    }
}

/// What happened, whose claim, and whether it holds the lock.
fn told(delta: &LockDelta) -> Vec<(EventType, &str, bool)> {
    let event = |event: &stanchion_client::proto::LockEvent| event.r#type();
    delta
        .events
        .iter()
        .map(|e| {
            let claim = e.claim.as_ref().unwrap();
            assert_eq!(claim.position, 0);
            (event(e), claim.owner.as_str(), claim.held)
        })
        .collect()
}

fn named(request: AcquireLockRequest, owner: &str) -> AcquireLockRequest {
    AcquireLockRequest {
        owner: owner.into(),
        ..request
    }
}

async fn a_watch_tells_every_claim_and_every_change(backend: Backend) {
    let server = backend.server().await;
    let (first, second) = (open(&server).await, open(&server).await);
    let request = named(tried("l", &first, "r"), "first");
    let token = acquire(&server, request).await.unwrap().fencing_token;
    let mut watching = Watching::open(&server, "l", None).await;
    match watching.next().await {
        Message::Snapshot(snapshot) => {
            assert_eq!(snapshot.claims.len(), 1);
            assert_eq!(snapshot.claims[0].owner, "first");
            assert!(snapshot.claims[0].held);
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(watching.next().await, Message::SnapshotEnd(end) if end.revision > 0));

    // Another lock is not told.
    take(&server, "m", &first, "r").await;
    let waiting = spawn(&server, named(wanted("l", &second, "r"), "second"));
    let delta = watching.delta().await;
    assert_eq!(told(&delta), [(EventType::Added, "second", false)]);
    assert!(release_token(&server, "l", &first, token).await);
    let delta = watching.delta().await;
    assert_eq!(
        told(&delta),
        [
            (EventType::Deleted, "first", true),
            (EventType::Modified, "second", true)
        ]
    );
    assert_eq!(delta.events[0].cause(), DeleteCause::Released);
    let granted = waiting.await.unwrap().unwrap();
    assert!(release_token(&server, "l", &second, granted.fencing_token).await);
    let delta = watching.delta().await;
    assert_eq!(told(&delta), [(EventType::Deleted, "second", true)]);
}

async fn a_watch_resumes_on_another_replica_from_what_get_showed(backend: Backend) {
    let server = backend.server().await;
    let other = backend.server().await;
    let (first, second) = (open(&server).await, open(&server).await);
    let request = GetLockRequest {
        lock: "l".into(),
        consistency: Consistency::Linearizable.into(),
        ..Default::default()
    };
    let shown = server.locks().get_lock(request).await.unwrap().into_inner();
    let token = take(&server, "l", &first, "r").await;
    let mut watching = Watching::open(&other, "l", Some(shown.resume_token)).await;
    let delta = watching.delta().await;
    assert_eq!(told(&delta), [(EventType::Added, "", true)]);
    let last = watching.last.clone();
    drop(watching);
    assert!(release_token(&server, "l", &first, token).await);
    let later = take(&server, "l", &second, "r").await;
    let mut watching = Watching::open(&server, "l", Some(last)).await;
    let delta = watching.delta().await;
    assert_eq!(told(&delta), [(EventType::Deleted, "", true)]);
    let delta = watching.delta().await;
    assert_eq!(told(&delta), [(EventType::Added, "", true)]);
    assert_eq!(delta.events[0].claim.as_ref().unwrap().fencing_token, later);
}

async fn a_watch_tells_why_a_claim_is_gone(backend: Backend) {
    let server = backend.server().await;
    let (closed, expired) = (open(&server).await, open_for(&server, 2, "").await);
    let mut watching = Watching::open(&server, "l", None).await;
    assert!(matches!(watching.next().await, Message::SnapshotEnd(_)));
    take(&server, "l", &closed, "r").await;
    watching.delta().await;
    let _waiting = spawn(&server, wanted("l", &expired, "r"));
    watching.delta().await;
    close(&server, &closed).await;
    let delta = watching.delta().await;
    assert_eq!(delta.events[0].cause(), DeleteCause::SessionClosed);
    assert_eq!(delta.events[1].r#type(), EventType::Modified);
    let delta = watching.delta().await;
    assert_eq!(delta.events[0].cause(), DeleteCause::Expired);
}

async fn taking_a_call_up_again_is_not_told(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server).await;
    let token = take(&server, "l", &session, "r").await;
    let before = lock(&server, "l").await;
    let mut watching = Watching::open(&server, "l", None).await;
    assert!(matches!(watching.next().await, Message::Snapshot(_)));
    assert!(matches!(watching.next().await, Message::SnapshotEnd(_)));
    assert_eq!(take(&server, "l", &session, "r").await, token);
    assert_eq!(lock(&server, "l").await, before);
    assert!(release_token(&server, "l", &session, token).await);
    let delta = watching.delta().await;
    assert_eq!(told(&delta), [(EventType::Deleted, "", true)]);
}
