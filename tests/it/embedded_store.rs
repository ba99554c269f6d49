//! What the embedded store promises beyond the contract: time by the injected clock, watches that
//! never queue, and an orderly end.

use std::{sync::Arc, time::Duration};

use stanchion::{
    clock::ManualClock,
    store::{
        Error, Event, KeyRange, Operation, Outcome, RangeRequest, Store, Txn, WatchItem,
        embedded::{Embedded, Location, Settings},
    },
};

use crate::support::store::{next_changes, next_item};

const SECOND: Duration = Duration::from_secs(1);

async fn open(clock: &ManualClock) -> Embedded {
    let settings = Settings {
        min_ttl: 5 * SECOND,
        ..Settings::default()
    };
    Embedded::open(Location::Memory, settings, Arc::new(clock.clone()))
        .await
        .unwrap()
}

async fn put(store: &Embedded, key: &'static str, lease: i64) -> i64 {
    let put = Operation::put_leased(key, "x", lease);
    store.txn(Txn::new().then(put)).await.unwrap().revision
}

async fn count(store: &Embedded) -> usize {
    let request = RangeRequest::new(KeyRange::prefix("k")).count_only();
    store.range(request).await.unwrap().count
}

#[tokio::test]
async fn leases_end_by_the_injected_clock_each_in_a_revision_of_its_own() {
    let clock = ManualClock::default();
    let store = open(&clock).await;
    assert_eq!(store.grant(1, SECOND).await.unwrap(), 5 * SECOND);
    store.grant(2, 10 * SECOND).await.unwrap();
    store.grant(3, 10 * SECOND).await.unwrap();
    for (key, lease) in [("k1", 1), ("k3", 3), ("k2", 2), ("k2b", 2), ("k1b", 1)] {
        put(&store, key, lease).await;
    }
    let mut watch = store.watch("k".into(), 0).await.unwrap();
    let revision = store.status().await.unwrap().revision;

    clock.advance(5 * SECOND);
    let (first, events) = next_changes(&mut watch).await;
    let keys: Vec<_> = events.iter().map(Event::key).collect();
    assert_eq!(first, revision + 1);
    assert_eq!(keys, ["k1", "k1b"]);
    assert_eq!(store.keep_alive(1).await.unwrap_err(), Error::LeaseNotFound);

    clock.advance(4 * SECOND);
    store.keep_alive(3).await.unwrap();
    clock.advance(SECOND);
    let (second, events) = next_changes(&mut watch).await;
    let keys: Vec<_> = events.iter().map(Event::key).collect();
    assert_eq!(second, revision + 2);
    assert_eq!(keys, ["k2", "k2b"]);
    assert_eq!(count(&store).await, 1);
    store.keep_alive(3).await.unwrap();
}

#[tokio::test]
async fn a_lease_whose_time_is_over_is_gone_with_its_keys_once_that_is_said() {
    let clock = ManualClock::default();
    let store = open(&clock).await;
    for _ in 0..50 {
        store.grant(1, 5 * SECOND).await.unwrap();
        put(&store, "k", 1).await;
        clock.advance(5 * SECOND);
        // The one who asks and the clock's own sweep race for it.
        let error = store.keep_alive(1).await.unwrap_err();
        assert_eq!(error, Error::LeaseNotFound);
        assert_eq!(count(&store).await, 0);
    }
}

#[tokio::test]
async fn a_reader_that_is_overtaken_by_compaction_is_told_so() {
    const BUFFERED: usize = 32;
    let store = open(&ManualClock::default()).await;
    let first = put(&store, "k", 0).await;
    let mut watch = store.watch("k".into(), first).await.unwrap();
    let mut last = first;
    for _ in 0..200 {
        last = put(&store, "k", 0).await;
    }
    store.compact(last).await.unwrap();
    let mut next = first;
    let error = loop {
        match next_item(&mut watch).await {
            Ok(WatchItem::Changes { revision, .. }) => {
                assert_eq!(revision, next, "no gap");
                next += 1;
            }
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error, Error::Compacted { oldest: last });
    assert!(next - first < BUFFERED as i64, "little was queued");
    assert_eq!(watch.items.recv().await, None);
}

#[tokio::test]
async fn a_watch_from_the_future_sees_nothing_from_before() {
    let store = open(&ManualClock::default()).await;
    let now = put(&store, "k", 0).await;
    let mut watch = store.watch("k".into(), now + 3).await.unwrap();
    watch.probe.request_progress().await;
    for _ in 0..3 {
        put(&store, "k", 0).await;
    }
    let (revision, _) = next_changes(&mut watch).await;
    assert_eq!(revision, now + 3);
}

#[tokio::test]
async fn a_closed_store_says_so_and_ends_its_watches() {
    let store = open(&ManualClock::default()).await;
    put(&store, "k", 0).await;
    let mut watch = store.watch("k".into(), 0).await.unwrap();
    store.close().await;
    store.close().await;
    let put = Txn::new().then(Operation::put("k", "x"));
    let errors = [
        store.txn(put).await.unwrap_err(),
        store.grant(1, SECOND).await.unwrap_err(),
        store.keep_alive(1).await.unwrap_err(),
        store.status().await.unwrap_err(),
        store.watch("k".into(), 0).await.err().unwrap(),
    ];
    for error in errors {
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        assert_eq!(error.outcome(), Outcome::NotDone);
    }
    assert!(watch.items.recv().await.unwrap().is_err());
    assert_eq!(watch.items.recv().await, None);
}
