//! Draining, with subscribers that acknowledge, that do not, and that are somewhere else.

mod refusals;
mod subscribers;

use std::time::{Duration, Instant};

use stanchion_client::proto::{
    AckWatchRequest, AckWatchResponse, DeleteCause, DrainInstanceRequest, DrainInstanceResponse,
    DrainOutcome, EventType, ListSubscribersRequest, ListSubscribersResponse, OperatorState,
    RegisterInstanceRequest, Subscriber, WatchAck, WatchInstancesRequest,
    operator_service_client::OperatorServiceClient, register_instance_request::Liveness,
};
use tokio::time::timeout;
use tonic::{Status, Streaming, transport::Channel};

use crate::support::{
    server::{Backend, Server, eventually, on_both_stores},
    store::PATIENCE,
};

use super::{
    ALL, SERVING, Watcher, deleted, deregister, get, ids, open, register, register_on,
    registration, seconds, watching,
};

on_both_stores! {
    a_drain_takes_the_instance_out_at_once_and_removes_it_when_everybody_knows,
    who_does_not_acknowledge_is_told_and_not_waited_for,
    at_the_deadline_the_laggards_are_named_and_the_instance_is_removed,
    draining_twice_joins_the_drain_that_runs,
    a_drain_that_nobody_follows_ends_at_its_deadline,
    a_drain_of_what_is_removed_otherwise_is_overtaken,
}

/// A drain that is followed.
struct Drained(Streaming<DrainInstanceResponse>);

impl Drained {
    async fn begin(server: &Server, request: DrainInstanceRequest) -> Result<Self, Status> {
        let answer = server.registry().drain_instance(request).await?;
        Ok(Self(answer.into_inner()))
    }

    async fn next(&mut self) -> DrainInstanceResponse {
        let next = timeout(PATIENCE, self.0.message());
        next.await.expect("a message in time").unwrap().unwrap()
    }

    /// Follows it until `holds`.
    async fn until(
        &mut self,
        holds: impl Fn(&DrainInstanceResponse) -> bool,
    ) -> DrainInstanceResponse {
        loop {
            let progress = self.next().await;
            if holds(&progress) {
                return progress;
            }
            assert_eq!(
                progress.outcome(),
                DrainOutcome::Unspecified,
                "{progress:?}"
            );
        }
    }

    async fn end(mut self) -> DrainInstanceResponse {
        let over =
            |progress: &DrainInstanceResponse| progress.outcome() != DrainOutcome::Unspecified;
        let last = self.until(over).await;
        assert!(
            timeout(PATIENCE, self.0.message())
                .await
                .unwrap()
                .unwrap()
                .is_none()
        );
        last
    }
}

fn draining(id: &str, deadline: i64) -> DrainInstanceRequest {
    DrainInstanceRequest {
        service: "web".into(),
        instance_id: id.into(),
        deadline: Some(seconds(deadline)),
        ..DrainInstanceRequest::default()
    }
}

fn acknowledging(id: &str) -> WatchInstancesRequest {
    WatchInstancesRequest {
        subscriber_id: id.into(),
        acknowledges: true,
        client_id: format!("client-{id}"),
        ..watching(SERVING, None)
    }
}

async fn acknowledge(server: &Server, id: &str, revision: i64) -> AckWatchResponse {
    let ack = WatchAck {
        subscriber_id: id.into(),
        revision,
    };
    let request = AckWatchRequest { acks: vec![ack] };
    server
        .registry()
        .ack_watch(request)
        .await
        .unwrap()
        .into_inner()
}

/// Acknowledges the next delta.
async fn acknowledge_next(server: &Server, id: &str, watcher: &mut Watcher) -> i64 {
    let (delta, _) = watcher.delta().await;
    let unknown = acknowledge(server, id, delta.revision).await;
    assert!(unknown.unknown_subscriber_ids.is_empty());
    delta.revision
}

/// A subscriber that knows all there is and acknowledges.
async fn subscribe(server: &Server, id: &str) -> Watcher {
    // Also what was written elsewhere.
    let revision = server.current().await.revision;
    let mut watcher = Watcher::open(server, acknowledging(id)).await;
    watcher.snapshot().await;
    acknowledge(server, id, revision).await;
    watcher
}

async fn list_on(channel: Channel, request: ListSubscribersRequest) -> ListSubscribersResponse {
    let answer = OperatorServiceClient::new(channel)
        .list_subscribers(request)
        .await;
    answer.unwrap().into_inner()
}

async fn subscribers(server: &Server) -> Vec<Subscriber> {
    let request = ListSubscribersRequest {
        service: "web".into(),
        ..ListSubscribersRequest::default()
    };
    list_on(server.channel(), request).await.subscribers
}

async fn a_drain_takes_the_instance_out_at_once_and_removes_it_when_everybody_knows(
    backend: Backend,
) {
    let (one, two) = (backend.server().await, backend.server().await);
    let session = open(&one, "").await;
    register_on(&one, &session, "a").await;
    register_on(&one, &session, "b").await;
    let mut here = subscribe(&one, "here").await;
    let mut there = subscribe(&two, "there").await;

    let mut drain = Drained::begin(&one, draining("a", 60)).await.unwrap();
    assert_eq!(drain.next().await.outcome(), DrainOutcome::Unspecified);
    assert_eq!(ids(&one, SERVING).await, ["b"]);
    assert_eq!(ids(&one, ALL).await, ["a", "b"]);
    let instance = get(&one, "a").await.unwrap();
    assert_eq!(instance.operator_state(), OperatorState::Draining);

    let waits = drain
        .until(|progress| progress.silent_replicas.is_empty() && progress.subscriber_count == 2);
    assert_eq!(waits.await.done_count, 0);
    let at = acknowledge_next(&one, "here", &mut here).await;
    let waits = drain.until(|progress| progress.done_count == 1).await;
    assert_eq!(waits.laggards.len(), 1);
    assert_eq!(waits.laggards[0].client_id, "client-there");
    assert!(!waits.laggards[0].broken);
    assert_eq!(ids(&one, ALL).await, ["a", "b"]);
    // Only the replica that has the stream takes it.
    let unknown = acknowledge(&one, "there", at).await;
    assert_eq!(unknown.unknown_subscriber_ids, ["there"]);
    assert_eq!(acknowledge_next(&two, "there", &mut there).await, at);

    let last = drain.end().await;
    assert_eq!(last.outcome(), DrainOutcome::Acknowledged);
    assert_eq!((last.done_count, last.subscriber_count), (2, 2));
    assert!(last.laggards.is_empty());
    assert_eq!(ids(&one, ALL).await, ["b"]);
    // Who watched the serving view hears no more of it.
    assert!(deregister(&one, &session, "b").await);
    assert_eq!(here.event().await, deleted("b", DeleteCause::Deregistered));
    // Nothing stays behind.
    let view = one.app().core.cache.view().unwrap();
    assert!(view.state.operators.is_empty() && view.state.drain_acks.is_empty());
    assert_eq!(view.state.tombstones.len(), 1);
    one.stop().await;
    two.stop().await;
}

async fn who_does_not_acknowledge_is_told_and_not_waited_for(backend: Backend) {
    let server = backend.server().await;
    let request = RegisterInstanceRequest {
        liveness: Some(Liveness::Persistent(true)),
        ..registration("", "a")
    };
    register(&server, request).await.unwrap();
    let mut watcher = Watcher::open(&server, watching(ALL, None)).await;
    watcher.snapshot().await;
    let drain = Drained::begin(&server, draining("a", 60)).await.unwrap();
    let last = drain.end().await;
    assert_eq!(last.outcome(), DrainOutcome::Acknowledged);
    assert_eq!((last.done_count, last.subscriber_count), (1, 1));
    let (told, _, _) = watcher.event().await;
    assert_eq!(told, EventType::Modified);
    assert_eq!(watcher.event().await, deleted("a", DeleteCause::Drained));
    assert!(get(&server, "a").await.is_err());
    server.stop().await;
}

async fn at_the_deadline_the_laggards_are_named_and_the_instance_is_removed(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server, "").await;
    register_on(&server, &session, "a").await;
    let _watcher = subscribe(&server, "slow").await;
    let begun = Instant::now();
    let drain = Drained::begin(&server, draining("a", 1)).await.unwrap();
    let last = drain.end().await;
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(last.outcome(), DrainOutcome::Deadline);
    assert_eq!((last.done_count, last.subscriber_count), (0, 1));
    let [laggard] = &last.laggards[..] else {
        panic!("{last:?}");
    };
    assert_eq!(laggard.client_id, "client-slow");
    assert_eq!(laggard.replica, server.app().core.replica.to_string());
    assert!(laggard.address.starts_with("127.0.0.1:"));
    assert!(ids(&server, ALL).await.is_empty());
    server.stop().await;
}

async fn draining_twice_joins_the_drain_that_runs(backend: Backend) {
    let (one, two) = (backend.server().await, backend.server().await);
    let session = open(&one, "").await;
    register_on(&one, &session, "a").await;
    let mut watcher = subscribe(&one, "w").await;
    let mut first = Drained::begin(&one, draining("a", 60)).await.unwrap();
    let begun = first.next().await;
    let mut second = Drained::begin(&two, draining("a", 5)).await.unwrap();
    let joined = second.next().await;
    assert_eq!(joined.drain, begun.drain);
    assert_eq!(joined.deadline, begun.deadline);
    acknowledge_next(&one, "w", &mut watcher).await;
    let (first, second) = tokio::join!(first.end(), second.end());
    for last in [first, second] {
        assert_eq!(last.outcome(), DrainOutcome::Acknowledged);
    }
    assert!(ids(&one, ALL).await.is_empty());
    one.stop().await;
    two.stop().await;
}

async fn a_drain_that_nobody_follows_ends_at_its_deadline(backend: Backend) {
    let mut settings = backend.settings();
    settings.domain.drain_overdue = Duration::from_millis(200);
    let one = backend.server_with(settings.clone()).await;
    let two = backend.server_with(settings).await;
    let session = open(&one, "").await;
    register_on(&one, &session, "a").await;
    let _watcher = subscribe(&two, "slow").await;
    let mut drain = Drained::begin(&one, draining("a", 3)).await.unwrap();
    drain.next().await;
    drop(drain);
    assert_eq!(ids(&two, ALL).await, ["a"]);
    eventually("the instance is removed", async || {
        ids(&two, ALL).await.is_empty().then_some(())
    })
    .await;
    eventually("nothing is left of the drain", async || {
        let view = two.app().core.cache.view().unwrap();
        (view.state.operators.is_empty() && view.state.drain_acks.is_empty()).then_some(())
    })
    .await;
    one.stop().await;
    two.stop().await;
}

async fn a_drain_of_what_is_removed_otherwise_is_overtaken(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server, "").await;
    register_on(&server, &session, "a").await;
    let _watcher = subscribe(&server, "slow").await;
    let mut drain = Drained::begin(&server, draining("a", 60)).await.unwrap();
    drain.until(|progress| !progress.laggards.is_empty()).await;
    assert!(deregister(&server, &session, "a").await);
    assert_eq!(drain.end().await.outcome(), DrainOutcome::Overtaken);
    // What was decided about it goes too, and a new registration is not drained.
    register_on(&server, &session, "a").await;
    assert_eq!(ids(&server, SERVING).await, ["a"]);
    eventually("nothing is left of the drain", async || {
        let view = server.app().core.cache.view().unwrap();
        (view.state.operators.is_empty() && view.state.drain_acks.is_empty()).then_some(())
    })
    .await;
    assert_eq!(ids(&server, SERVING).await, ["a"]);
    server.stop().await;
}
