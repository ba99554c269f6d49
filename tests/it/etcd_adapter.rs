//! The etcd adapter against real servers: what the contract suite cannot see, because it needs a
//! server that dies, hangs or forgets.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use stanchion::{
    clock::SystemClock,
    store::{
        Compare, Error, Event, KeyRange, Operation, RangeRequest, Revision, Store, Txn, Watch,
        WatchItem,
        etcd::{EtcdStore, Settings},
    },
};
use tokio::time::timeout;

use crate::support::etcd::{Etcd, unique_prefix};

const PATIENCE: Duration = Duration::from_secs(30);

// Watches

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

#[tokio::test(flavor = "multi_thread")]
async fn a_compaction_leaves_a_watch_alone_that_is_behind_only_because_its_reader_is() {
    let etcd = Etcd::start().await;
    let settings = Settings {
        watch_buffer: 1,
        ..Settings::new(etcd.endpoints())
    };
    let store = connect_with(settings).await;
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

// Leases

#[tokio::test(flavor = "multi_thread")]
async fn renewals_of_five_hundred_leases_share_four_streams() {
    let etcd = Etcd::start().await;
    let store = Arc::new(connect(etcd.endpoints()).await);
    let ids = 1..=500;
    for id in ids.clone() {
        store.grant(id, Duration::from_secs(60)).await.unwrap();
    }
    let renewed = || etcd.metric("etcd_debugging_lease_renewed_total");
    let before = renewed();
    for _ in 0..2 {
        let mut renewals = tokio::task::JoinSet::new();
        for id in ids.clone() {
            let store = Arc::clone(&store);
            renewals.spawn(async move { store.keep_alive(id).await });
        }
        while let Some(renewal) = renewals.join_next().await {
            let renewal = renewal.unwrap().unwrap();
            assert_eq!(renewal.ttl, Duration::from_secs(60));
            assert!(renewal.sent.elapsed() < PATIENCE);
        }
    }
    assert_eq!(renewed() - before, 1000.0);
    let streams = open_streams(&etcd, "LeaseKeepAlive");
    assert!((1.0..=4.0).contains(&streams), "{streams} streams");
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_of_one_lease_share_a_renewal() {
    let etcd = Etcd::start().await;
    let store = Arc::new(connect(etcd.endpoints()).await);
    store.grant(7, Duration::from_secs(60)).await.unwrap();
    let before = etcd.metric("etcd_debugging_lease_renewed_total");
    // Hung, so that all of them meet.
    etcd.pause(0);
    let mut renewals = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let store = Arc::clone(&store);
        renewals.spawn(async move { store.keep_alive(7).await });
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    etcd.resume(0);
    while let Some(renewal) = renewals.join_next().await {
        renewal.unwrap().unwrap();
    }
    let renewed = etcd.metric("etcd_debugging_lease_renewed_total") - before;
    assert!(renewed <= 2.0, "{renewed} renewals");
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_are_kept_alive_across_a_restart_of_the_server() {
    let mut etcd = Etcd::start().await;
    let store = connect(etcd.endpoints()).await;
    store.grant(7, Duration::from_secs(60)).await.unwrap();
    store.keep_alive(7).await.unwrap();
    etcd.kill(0);
    let error = store.keep_alive(7).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    etcd.restart(0).await;
    let started = Instant::now();
    while let Err(error) = store.keep_alive(7).await {
        assert!(error.is_transient(), "{error:?}");
        assert!(started.elapsed() < PATIENCE);
    }
    store.revoke(7).await.unwrap();
    assert_eq!(store.keep_alive(7).await, Err(Error::LeaseNotFound));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_moves_on_when_the_leader_hangs() {
    let etcd = Etcd::start_cluster(3).await;
    let settings = Settings {
        renewal_silence: Duration::from_secs(1),
        ..Settings::new(etcd.endpoints())
    };
    let store = connect_with(settings).await;
    store.grant(7, Duration::from_secs(60)).await.unwrap();
    store.keep_alive(7).await.unwrap();
    etcd.pause(etcd.leader().await);
    store.keep_alive(7).await.unwrap();
}

// Calls

#[tokio::test(flavor = "multi_thread")]
async fn dead_endpoints_among_living_ones_disturb_no_call() {
    let etcd = Etcd::shared().await;
    let prefix = unique_prefix("dead");
    let store = connect([refusing(), etcd.endpoint(), refusing()]).await;
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

async fn connect<E: Into<String>>(endpoints: impl IntoIterator<Item = E>) -> EtcdStore {
    connect_with(Settings::new(endpoints)).await
}

async fn connect_with(settings: Settings) -> EtcdStore {
    EtcdStore::connect(settings, Arc::new(SystemClock))
        .await
        .unwrap()
}

/// Writes a key, again as long as the store cannot, and returns the revision. Writing twice is
/// avoided the way the domain does it: by comparing.
async fn put(store: &EtcdStore, key: &str, value: &str) -> Revision {
    let key = Bytes::copy_from_slice(key.as_bytes());
    let value = Bytes::copy_from_slice(value.as_bytes());
    let started = Instant::now();
    let found = loop {
        match store
            .range(RangeRequest::new(KeyRange::key(key.clone())))
            .await
        {
            Ok(found) => break found,
            Err(error) => assert!(
                error.is_transient() && started.elapsed() < PATIENCE,
                "{error:?}"
            ),
        }
    };
    let seen = found.kvs.first().map_or(0, |kv| kv.mod_revision);
    let txn = Txn::new()
        .when(Compare::mod_revision(key.clone(), seen))
        .then(Operation::put(key.clone(), value))
        .otherwise(Operation::get(key));
    loop {
        match store.txn(txn.clone()).await {
            Ok(done) if done.succeeded => return done.revision,
            // An attempt of before had got through.
            Ok(done) => return done.found(0).unwrap().mod_revision,
            Err(error) => assert!(
                error.is_transient() && started.elapsed() < PATIENCE,
                "{error:?}"
            ),
        }
    }
}

async fn next(watch: &mut Watch) -> Result<WatchItem, Error> {
    let item = timeout(PATIENCE, watch.items.recv()).await;
    item.expect("the watch is silent").expect("the watch ended")
}

/// The next change, whatever else is said before it.
async fn next_change(watch: &mut Watch) -> (Revision, Vec<String>) {
    loop {
        if let WatchItem::Changes { revision, events } = next(watch).await.unwrap() {
            let keys: BTreeSet<_> = events.iter().map(Event::key).collect();
            assert_eq!(keys.len(), events.len());
            let text = |key: &Bytes| String::from_utf8(key.to_vec()).unwrap();
            return (revision, events.iter().map(|e| text(e.key())).collect());
        }
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Streams of a method that were started and not ended, as etcd counts them.
fn open_streams(etcd: &Etcd, method: &str) -> f64 {
    let label = format!("grpc_method=\"{method}\"");
    etcd.metric_with("grpc_server_started_total", &label)
        - etcd.metric_with("grpc_server_handled_total", &label)
}

/// An address where nobody listens.
fn refusing() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}
