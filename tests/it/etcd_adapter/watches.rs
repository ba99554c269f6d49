//! Watches on servers that die, hang or forget.

use std::time::{Duration, Instant};

use bytes::Bytes;
use stanchion::store::{Error, Operation, Store as _, Txn, WatchItem, etcd::Settings};
use tokio::time::timeout;

use super::{PATIENCE, connect, connect_with, next, next_change, put, until};
use crate::support::etcd::{Etcd, unique_prefix};

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_survives_the_death_of_its_server_without_gap_or_duplicate() {
    let mut etcd = Etcd::start().await;
    let store = connect(etcd.endpoints()).await;
    let mut watch = store.watch("/w/".into(), 0).await.unwrap();
    let before = put(&store, "/w/a", "1").await;
    assert_eq!(next_change(&mut watch).await, (before, vec!["/w/a".into()]));

    etcd.kill(0);
    etcd.restart(0).await;
    let mut written = Vec::new();
    for number in 0..50 {
        written.push(put(&store, &format!("/w/{number}"), "2").await);
    }
    let mut interrupted = 0;
    let mut seen = Vec::new();
    while seen.len() < written.len() {
        match next(&mut watch).await.unwrap() {
            WatchItem::Changes { revision, .. } => seen.push(revision),
            WatchItem::Interrupted => interrupted += 1,
            WatchItem::Progress(_) | WatchItem::Resumed => {}
        }
    }
    assert_eq!(seen, written);
    assert_eq!(interrupted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn history_that_is_too_large_for_one_message_comes_in_fragments() {
    let etcd = Etcd::start().await;
    let settings = Settings {
        max_message: 2 * 1024 * 1024,
        ..Settings::new(etcd.endpoints())
    };
    let store = connect_with(settings).await;
    let value = "x".repeat(1024 * 1024);
    let mut written = Vec::new();
    for number in 0..5 {
        written.push(put(&store, &format!("/w/{number}"), &value).await);
    }
    let mut watch = store.watch("/w/".into(), 1).await.unwrap();
    assert_eq!(next(&mut watch).await, Ok(WatchItem::Interrupted));
    for revision in written {
        assert_eq!(next_change(&mut watch).await.0, revision);
    }
    let later = put(&store, "/w/later", "1").await;
    assert_eq!(next_change(&mut watch).await.0, later);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_watch_from_now_misses_nothing_that_happens_while_it_is_away() {
    let mut etcd = Etcd::start().await;
    let store = connect(etcd.endpoints()).await;
    let mut watch = store.watch("/w/".into(), 0).await.unwrap();
    etcd.kill(0);
    etcd.restart(0).await;
    // Written past the adapter, perhaps before the watch is back.
    let mut client = etcd.client(0).await;
    let response = client.put("/w/a", "1", None).await.unwrap();
    let revision = response.header().unwrap().revision();
    assert_eq!(next_change(&mut watch).await.0, revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_moves_to_another_member_when_its_own_dies_or_hangs() {
    let mut etcd = Etcd::start_cluster(3).await;
    let settings = Settings {
        watch_silence: Duration::from_millis(500),
        watch_progress_timeout: Duration::from_millis(500),
        kv_timeout: Duration::from_secs(1),
        ..Settings::new(etcd.endpoints())
    };
    let store = connect_with(settings).await;
    let mut watch = store.watch("/w/".into(), 0).await.unwrap();
    for round in 0..4 {
        let member = round % 3;
        if round % 2 == 0 {
            etcd.kill(member);
        } else {
            etcd.pause(member);
        }
        let key = format!("/w/{round}");
        let revision = put(&store, &key, "1").await;
        assert_eq!(next_change(&mut watch).await, (revision, vec![key]));
        if round % 2 == 0 {
            etcd.restart(member).await;
        } else {
            etcd.resume(member);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_comes_back_after_a_compaction_says_where_history_begins() {
    let mut etcd = Etcd::start().await;
    let settings = Settings {
        // Long enough to write and compact before the watch is back.
        backoff_min: Duration::from_secs(2),
        ..Settings::new(etcd.endpoints())
    };
    let store = connect_with(settings).await;
    let mut watch = store.watch("/w/".into(), 0).await.unwrap();
    put(&store, "/w/a", "1").await;
    next_change(&mut watch).await;

    etcd.kill(0);
    assert_eq!(next(&mut watch).await, Ok(WatchItem::Interrupted));
    etcd.restart(0).await;
    let mut client = etcd.client(0).await;
    for _ in 0..5 {
        client.put("/w/a", "2", None).await.unwrap();
    }
    let oldest = etcd.compact().await;
    assert_eq!(next(&mut watch).await, Ok(WatchItem::Resumed));
    assert_eq!(next(&mut watch).await, Err(Error::Compacted { oldest }));
    assert!(watch.items.recv().await.is_none());
}

/// Of what a watch tells, one item waits for its reader, and the rest in etcd or on the way.
fn one_at_a_time(etcd: &Etcd) -> Settings {
    Settings {
        watch_buffer: 1,
        ..Settings::new(etcd.endpoints())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compaction_leaves_a_watch_alone_that_is_behind_only_because_its_reader_is() {
    let etcd = Etcd::start().await;
    let store = connect_with(one_at_a_time(&etcd)).await;
    let mut watch = store.watch("/w/".into(), 0).await.unwrap();
    let mut written = Vec::new();
    for _ in 0..100 {
        written.push(put(&store, "/w/a", "1").await);
    }
    etcd.compact().await;
    for revision in written {
        assert_eq!(next_change(&mut watch).await.0, revision);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_nobody_reads_holds_up_no_call() {
    let etcd = Etcd::start().await;
    let store = connect_with(one_at_a_time(&etcd)).await;
    let mut watch = store.watch("/w/".into(), 0).await.unwrap();
    // Several times what may be under way to us.
    let value = "v".repeat(1024 * 1024);
    let mut written = Vec::new();
    for _ in 0..16 {
        let answered = timeout(PATIENCE, put(&store, "/w/a", &value)).await;
        written.push(answered.expect("a write waits for the watch"));
    }
    for revision in written {
        assert_eq!(next_change(&mut watch).await.0, revision);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revisions_too_large_for_one_message_arrive_whole() {
    let etcd = Etcd::start().await;
    let store = connect(etcd.endpoints()).await;
    // Nine times 1.2 MiB in three revisions: etcd sends them in fragments of 1.5 MiB and more.
    let value = Bytes::from(vec![b'v'; 400 * 1024]);
    let mut written = Vec::new();
    for _ in 0..9 {
        let keys = (0..3).map(|key| Operation::put(format!("/w/{key}"), value.clone()));
        let txn = Txn {
            success: keys.collect(),
            ..Txn::new()
        };
        written.push(store.txn(txn).await.unwrap().revision);
    }
    let mut watch = store.watch("/w/".into(), written[0]).await.unwrap();
    for revision in written {
        let (seen, keys) = next_change(&mut watch).await;
        assert_eq!((seen, keys.len()), (revision, 3));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_makes_a_quiet_watch_report_a_revision_written_elsewhere() {
    let etcd = Etcd::shared().await;
    let prefix = unique_prefix("quiet");
    let store = connect(etcd.endpoints()).await;
    let mut watch = store.watch(prefix.into(), 0).await.unwrap();
    let written = put(&store, &format!("{}a", unique_prefix("elsewhere")), "1").await;
    let started = Instant::now();
    let revision = watch.probe.current_revision().await.unwrap();
    assert!(revision >= written);
    loop {
        match timeout(Duration::from_millis(100), watch.items.recv()).await {
            Ok(Some(Ok(WatchItem::Progress(reached)))) if reached >= revision => break,
            Ok(Some(Ok(WatchItem::Progress(_)))) => {}
            Ok(other) => panic!("{other:?}"),
            Err(_) => watch.probe.request_progress().await,
        }
        assert!(started.elapsed() < PATIENCE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_watch_ends_it_at_the_server() {
    let etcd = Etcd::start().await;
    let store = connect(etcd.endpoints()).await;
    let watches = || etcd.metric("etcd_debugging_mvcc_watcher_total");
    let before = watches();
    let first = store.watch("/w/".into(), 0).await.unwrap();
    let second = store.watch("/v/".into(), 0).await.unwrap();
    assert_eq!(watches(), before + 2.0);
    drop(first);
    until("one watch is left", || watches() == before + 1.0).await;
    // The store alone ends what was opened from it.
    drop(store);
    until("no watch is left", || watches() == before).await;
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_tells_of_data_that_was_lost() {
    let mut etcd = Etcd::start().await;
    let store = connect(etcd.endpoints()).await;
    let mut watch = store.watch("/w/".into(), 0).await.unwrap();
    for _ in 0..10 {
        put(&store, "/w/a", "1").await;
    }
    let mut seen = 0;
    for _ in 0..10 {
        seen = next_change(&mut watch).await.0;
    }
    etcd.kill(0);
    etcd.wipe(0);
    etcd.restart(0).await;
    assert_eq!(next(&mut watch).await, Ok(WatchItem::Interrupted));
    let started = Instant::now();
    let revision = loop {
        match watch.probe.current_revision().await {
            Ok(revision) => break revision,
            Err(error) => assert!(error.is_transient() && started.elapsed() < PATIENCE),
        }
    };
    assert!(revision < seen);
}
