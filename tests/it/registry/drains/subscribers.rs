//! Who watches, from where, and how far each is; those whose streams break.

use stanchion_client::proto::{
    DrainOutcome, KeepAliveRequest, ListSubscribersRequest, Subscriber, SubscriberState, WatchAck,
    WatchInstancesRequest, keep_alive_response, registry_service_client::RegistryServiceClient,
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    registry::{ALL, SERVING, Watcher, open, register_on, watching},
    support::{
        door::Door,
        server::{Backend, Server, connect, eventually, on_both_stores},
        store::PATIENCE,
    },
};

use super::{
    Drained, acknowledge, acknowledge_next, acknowledging, draining, list_on, subscribers,
};

on_both_stores! {
    a_broken_stream_is_a_laggard_until_it_is_resumed,
    subscribers_are_listed_with_how_far_they_are,
    acknowledgements_ride_on_heartbeats,
}

async fn a_broken_stream_is_a_laggard_until_it_is_resumed(backend: Backend) {
    let (one, two) = (backend.server().await, backend.server().await);
    let session = open(&one, "").await;
    register_on(&one, &session, "a").await;
    // Over a connection of its own, which breaks without a word.
    let door = Door::to(one.address).await;
    let mut outside = RegistryServiceClient::new(connect(door.address).await);
    let stream = outside.watch_instances(acknowledging("w")).await.unwrap();
    let mut watcher = Watcher(stream.into_inner());
    let (_, token) = watcher.snapshot().await;
    door.shut();
    eventually("the connection is lost", async || {
        let found = subscribers(&one).await;
        (found[0].state() == SubscriberState::Broken).then_some(())
    })
    .await;
    let mut drain = Drained::begin(&one, draining("a", 60)).await.unwrap();
    let waits = drain.until(|progress| !progress.laggards.is_empty()).await;
    assert!(waits.laggards[0].broken);
    assert_eq!(waits.laggards[0].client_id, "client-w");

    // It goes on at another replica, where it acknowledges.
    let resumed = WatchInstancesRequest {
        start: watching(SERVING, Some(token)).start,
        ..acknowledging("w")
    };
    let mut watcher = Watcher::open(&two, resumed).await;
    acknowledge_next(&two, "w", &mut watcher).await;
    let last = drain.end().await;
    assert_eq!(last.outcome(), DrainOutcome::Acknowledged);
    one.stop().await;
    two.stop().await;
}

async fn subscribers_are_listed_with_how_far_they_are(backend: Backend) {
    let (one, two) = (backend.server().await, backend.server().await);
    let session = open(&one, "").await;
    let mut here = Watcher::open(&one, acknowledging("here")).await;
    here.snapshot().await;
    let there = Watcher::open(
        &two,
        WatchInstancesRequest {
            filter: "zone != z9".into(),
            ..watching(ALL, None)
        },
    );
    let there = there.await;
    register_on(&one, &session, "a").await;
    let (delta, _) = here.delta().await;
    acknowledge(&one, "here", delta.revision).await;
    let both = eventually("both are told", async || {
        let found = subscribers(&one).await;
        let told = found.iter().all(|one| one.told_revision >= delta.revision);
        (found.len() == 2 && told).then_some(found)
    });
    let both = both.await;
    let of = |server: &Server| server.app().core.replica.to_string();
    let here_listed = both.iter().find(|found| found.replica == of(&one)).unwrap();
    assert_eq!(here_listed.client_id, "client-here");
    assert_eq!(here_listed.acknowledged_revision, delta.revision);
    assert!(here_listed.acknowledges && here_listed.fingerprint.len() == 16);
    assert_eq!(here_listed.state(), SubscriberState::Open);
    let there_listed = both.iter().find(|found| found.replica == of(&two)).unwrap();
    assert_eq!(
        (there_listed.view(), there_listed.acknowledges),
        (ALL, false)
    );
    assert_eq!(there_listed.fingerprint, "");
    assert_eq!(there_listed.filter, "zone != z9");

    // Page by page, and by one replica alone.
    let mut request = ListSubscribersRequest {
        service: "web".into(),
        page_size: 1,
        ..ListSubscribersRequest::default()
    };
    let mut paged = Vec::new();
    loop {
        let page = list_on(two.channel(), request.clone()).await;
        assert!(page.silent_replicas.is_empty());
        paged.extend(page.subscribers);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    let names = |list: &[Subscriber]| -> Vec<_> {
        list.iter().map(|found| found.address.clone()).collect()
    };
    assert_eq!(names(&paged), names(&both));
    request.local = true;
    request.page_size = 0;
    let local = list_on(two.channel(), request).await;
    assert_eq!(
        names(&local.subscribers),
        std::slice::from_ref(&there_listed.address)
    );

    // Who ends its watch is no longer there.
    drop(there);
    eventually("one has left", async || {
        (subscribers(&one).await.len() == 1).then_some(())
    })
    .await;
    let replica = of(&two);
    two.stop().await;
    eventually("the other replica is gone", async || {
        let known = &one.app().core.cache.view().unwrap().state.replicas;
        (!known.keys().any(|id| id.as_str() == replica)).then_some(())
    })
    .await;
    assert_eq!(subscribers(&one).await.len(), 1);
    one.stop().await;
}

async fn acknowledgements_ride_on_heartbeats(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server, "").await;
    register_on(&server, &session, "a").await;
    let mut watcher = Watcher::open(&server, acknowledging("w")).await;
    watcher.snapshot().await;
    let drain = Drained::begin(&server, draining("a", 60)).await.unwrap();
    let (delta, _) = watcher.delta().await;
    let (requests, queue) = mpsc::channel(4);
    let heartbeat = |subscriber: &str| KeepAliveRequest {
        session_id: session.clone(),
        seq: 1,
        acks: vec![WatchAck {
            subscriber_id: subscriber.into(),
            revision: delta.revision,
        }],
    };
    requests.send(heartbeat("nobody")).await.unwrap();
    let answers = server
        .sessions()
        .keep_alive(ReceiverStream::new(queue))
        .await;
    let mut answers = answers.unwrap().into_inner();
    let unknown = loop {
        let answer = timeout(PATIENCE, answers.message()).await.unwrap();
        if let Some(keep_alive_response::Message::AcksUnknown(unknown)) =
            answer.unwrap().unwrap().message
        {
            break unknown;
        }
    };
    assert_eq!(unknown.subscriber_ids, ["nobody"]);
    requests.send(heartbeat("w")).await.unwrap();
    let last = drain.end().await;
    assert_eq!(last.outcome(), DrainOutcome::Acknowledged);
    assert_eq!((last.done_count, last.subscriber_count), (1, 1));
    server.stop().await;
}
