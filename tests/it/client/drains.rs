//! Draining from the Rust client, over replicas that die.

use std::time::Duration;

use rustix::process::Signal;
use stanchion_client::{
    Client, RegistrationState, Watch,
    proto::{
        Consistency, DrainInstanceResponse, DrainOutcome, InstanceView, ListInstancesRequest,
        WatchInstancesRequest,
    },
    watch::{Change, UpdateKind},
};

use super::{LONG, client, connect, soon};
use crate::support::{
    etcd::Etcd,
    process::Process,
    server::{Backend, eventually, on_both_stores},
};

on_both_stores! {
    a_registration_that_is_drained_ends_and_is_not_lost,
    who_discovers_acknowledges_by_itself,
}

/// Far longer than any of these drains takes.
const DEADLINE: Option<Duration> = Some(Duration::from_secs(120));

async fn a_registration_that_is_drained_ends_and_is_not_lost(backend: Backend) {
    let (one, two) = (backend.server().await, backend.server().await);
    // It hears of its session from one, and drains at the other.
    let client = client(&[&one, &two]);
    let registration = client.register("shop", "10.0.0.1").start().await.unwrap();
    let state = registration.watch();
    let mut told = 0;
    let draining = registration.drain(DEADLINE, |_| told += 1);
    let last = soon("the end of the drain", draining).await.unwrap();
    assert_eq!(last.outcome(), DrainOutcome::Acknowledged);
    assert!(told > 0);
    let ended = state.borrow().clone();
    assert!(matches!(ended, RegistrationState::Ended), "{ended:?}");
    // Of either replica.
    let left = client.list_instances(ListInstancesRequest {
        service: "shop".into(),
        view: InstanceView::All.into(),
        consistency: Consistency::Linearizable.into(),
        ..ListInstancesRequest::default()
    });
    assert!(left.await.unwrap().instances.is_empty());
    one.stop().await;
    two.stop().await;
}

async fn who_discovers_acknowledges_by_itself(backend: Backend) {
    let (one, two) = (backend.server().await, backend.server().await);
    let registration = client(&[&one]).register("shop", "10.0.0.1").start();
    let registration = registration.await.unwrap();
    let caller = client(&[&two]);
    let mut shops = caller.discover("shop");
    soon("the first snapshot", shops.ready()).await.unwrap();
    while shops.instances().is_empty() {
        soon("the registration", shops.changed()).await;
    }
    let draining = registration.drain(DEADLINE, |_| {});
    let last = soon("the end of the drain", draining).await.unwrap();
    assert_eq!(last.outcome(), DrainOutcome::Acknowledged);
    assert_eq!((last.done_count, last.subscriber_count), (1, 1));
    assert!(shops.instances().is_empty(), "it was acknowledged");
    one.stop().await;
    two.stop().await;
}

/// Two replicas as processes of their own, on one etcd.
async fn two_replicas() -> (Process, Process) {
    let etcd = Etcd::shared().await;
    let endpoints = etcd.endpoints().join(",");
    let root = format!("test-{:016x}", rand::random::<u64>());
    let store = format!("--store=etcd://{endpoints}/{root}");
    let arguments = [store.as_str(), "--replica-ttl=2s"];
    tokio::join!(Process::serve(&arguments), Process::serve(&arguments))
}

fn client_of(processes: &[&Process]) -> Client {
    let endpoints = processes.iter().map(|process| process.address.to_string());
    connect(endpoints, "", LONG)
}

/// A watch that knows the instance, and acknowledges what it was told when it is asked to go on.
async fn watch(client: &Client) -> Watch<WatchInstancesRequest> {
    let mut watch = client.watch(WatchInstancesRequest {
        service: "shop".into(),
        acknowledges: true,
        client_id: "caller".into(),
        ..WatchInstancesRequest::default()
    });
    loop {
        let update = soon("the instance", watch.next()).await.unwrap();
        match update.kind {
            UpdateKind::Snapshot { items, .. } if items.len() == 1 => return watch,
            // It may have been registered elsewhere a moment ago.
            UpdateKind::Delta { changes, .. } if matches!(changes[..], [Change::Added(_)]) => {
                return watch;
            }
            _ => {}
        }
    }
}

/// Waits until the instance is gone for the watcher, which is in effect when it asks for more.
async fn sees_it_go(watch: &mut Watch<WatchInstancesRequest>) {
    loop {
        let update = soon("the end of the instance", watch.next()).await.unwrap();
        if let UpdateKind::Delta { changes, .. } = update.kind {
            assert!(matches!(changes[..], [Change::Deleted(..)]), "{changes:?}");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_goes_on_when_the_replica_of_its_subscriber_dies() {
    let (mut dies, stays) = two_replicas().await;
    let registrar = client_of(&[&stays]);
    let registration = registrar.register("shop", "10.0.0.1").start();
    let registration = registration.await.unwrap();
    let mut watch = watch(&client_of(&[&dies, &stays])).await;
    let mut drain = registrar.drain("shop", registration.instance_id(), DEADLINE);
    let waits = loop {
        let progress = soon("a laggard", drain.next()).await.unwrap().unwrap();
        if !progress.laggards.is_empty() {
            break progress;
        }
    };
    assert_eq!(waits.laggards[0].client_id, "caller");
    dies.signal(Signal::KILL);
    dies.end().await;
    // Its stream broke, and it goes on with the replica that is left.
    sees_it_go(&mut watch).await;
    let following = tokio::spawn(async move { while watch.next().await.is_ok() {} });
    let last = soon("the end of the drain", drain.end()).await.unwrap();
    assert_eq!(last.outcome(), DrainOutcome::Acknowledged, "{last:?}");
    following.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_is_followed_elsewhere_when_its_replica_dies() {
    let (mut dies, stays) = two_replicas().await;
    let registrar = client_of(&[&stays]);
    let registration = registrar.register("shop", "10.0.0.1").start();
    let registration = registration.await.unwrap();
    let mut watch = watch(&registrar).await;
    let mut drain = client_of(&[&dies, &stays]).drain("shop", registration.instance_id(), DEADLINE);
    let named = |progress: &DrainInstanceResponse| progress.drain.clone();
    let begun = loop {
        let progress = soon("a laggard", drain.next()).await.unwrap().unwrap();
        if !progress.laggards.is_empty() {
            break progress;
        }
    };
    dies.signal(Signal::KILL);
    dies.end().await;
    let joined = soon("the other replica", drain.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(named(&joined), named(&begun));
    sees_it_go(&mut watch).await;
    let following = tokio::spawn(async move { while watch.next().await.is_ok() {} });
    let last = soon("the end of the drain", drain.end()).await.unwrap();
    assert_eq!(last.outcome(), DrainOutcome::Acknowledged, "{last:?}");
    following.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_name_the_replicas_that_do_not_answer() {
    let (dies, stays) = two_replicas().await;
    let client = client_of(&[&stays]);
    let both = eventually("both are known", async || {
        let found = client.subscribers("shop").await.ok()?;
        found.silent_replicas.is_empty().then_some(())
    });
    both.await;
    dies.signal(Signal::STOP);
    // Until its presence ends.
    eventually("one is silent", async || {
        let found = client.subscribers("shop").await.ok()?;
        (found.silent_replicas.len() == 1).then_some(())
    })
    .await;
    dies.signal(Signal::CONT);
}
