//! Calls, whichever member dies, and what the cluster says of itself.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use stanchion::{
    clock::SystemClock,
    store::{
        Error, KeyRange, Operation, RangeRequest, Store as _, Txn,
        etcd::{EtcdStore, Settings},
    },
};

use super::{PATIENCE, connect, connect_with, next_change, put, refusing};
use crate::support::etcd::{Etcd, unique_prefix};

#[tokio::test(flavor = "multi_thread")]
async fn dead_endpoints_among_living_ones_disturb_no_call() {
    let etcd = Etcd::shared().await;
    let prefix = unique_prefix("dead");
    let settings = Settings {
        // They stay on the list for good.
        sync_interval: None,
        ..Settings::new([refusing(), etcd.endpoint(), refusing()])
    };
    let store = connect_with(settings).await;
    let mut watch = store.watch(prefix.clone().into(), 0).await.unwrap();
    for number in 0..50 {
        put(&store, &format!("{prefix}{number}"), "1").await;
        let keys = RangeRequest::new(KeyRange::prefix(prefix.clone())).count_only();
        assert_eq!(store.range(keys).await.unwrap().count, number + 1);
        next_change(&mut watch).await;
    }
    let status = store.status().await.unwrap();
    let broken = status.members.iter().map(|member| member.error.is_some());
    assert_eq!(broken.collect::<Vec<_>>(), [true, false, true]);
}

#[tokio::test]
async fn connecting_to_nothing_fails_fast_and_says_what_it_tried() {
    let endpoint = refusing();
    let started = Instant::now();
    let settings = Settings::new([endpoint.clone()]);
    let Err(error) = EtcdStore::connect(settings, Arc::new(SystemClock)).await else {
        panic!("connected to nothing");
    };
    assert!(started.elapsed() < Duration::from_secs(2));
    assert!(error.is_transient());
    assert!(error.to_string().contains(&endpoint), "{error}");
}

#[tokio::test]
async fn an_endpoint_that_is_no_address_is_refused() {
    for endpoint in ["https://127.0.0.1:2379", "http://", "a b:1"] {
        let settings = Settings::new([endpoint]);
        let Err(error) = EtcdStore::connect(settings, Arc::new(SystemClock)).await else {
            panic!("connected to {endpoint}");
        };
        assert!(matches!(error, Error::Invalid(_)), "{endpoint}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_was_not_sent_says_so() {
    let mut etcd = Etcd::start().await;
    let store = connect(etcd.endpoints()).await;
    put(&store, "/k", "1").await;
    etcd.kill(0);
    // The first may have been on its way when the connection broke.
    let _ = store.txn(Txn::new().then(Operation::put("/k", "2"))).await;
    let error = store
        .txn(Txn::new().then(Operation::put("/k", "2")))
        .await
        .unwrap_err();
    assert_eq!(error.outcome(), stanchion::store::Outcome::NotDone);
    assert!(error.is_transient(), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_survive_the_loss_of_the_leader() {
    let mut etcd = Etcd::start_cluster(3).await;
    let store = connect(etcd.endpoints()).await;
    put(&store, "/k", "0").await;
    let leader = etcd.leader().await;
    etcd.kill(leader);
    let started = Instant::now();
    let mut last = 0;
    for number in 1..=20 {
        last = put(&store, "/k", &number.to_string()).await;
    }
    assert!(started.elapsed() < PATIENCE);
    let found = store.range(RangeRequest::new(KeyRange::key("/k"))).await;
    let found = found.unwrap();
    assert_eq!(found.kvs[0].mod_revision, last);
    assert_eq!(found.kvs[0].value, "20");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_names_version_members_and_a_timeline_that_never_falls() {
    let etcd = Etcd::start_cluster(3).await;
    let store = Arc::new(connect(etcd.endpoints()).await);
    let status = store.status().await.unwrap();
    assert_eq!(
        status.promise,
        format!("etcd {}, 3 members", status.version)
    );
    let leaders = status.members.iter().filter(|member| member.leader);
    assert_eq!(leaders.count(), 1);

    let writer = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for number in 0..2000 {
                put(&store, "/k", &number.to_string()).await;
            }
        }
    });
    let mut last = status;
    while !writer.is_finished() {
        let now = store.status().await.unwrap();
        assert!(now.timeline >= last.timeline);
        assert!(now.timeline_at_most >= last.timeline);
        assert!(now.revision >= last.revision);
        last = now;
    }
    writer.await.unwrap();
}
