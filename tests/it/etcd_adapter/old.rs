//! etcd 3.5.12, whose reports of progress overtake events: refused, or used with care.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use stanchion::{
    clock::SystemClock,
    store::{
        KeyRange, RangeRequest, Store, WatchItem,
        etcd::{EtcdStore, Settings},
    },
};
use stanchion_client::proto::{
    AcquireLockRequest, Consistency, DeleteConfigRequest, EventType, ListConfigsRequest,
    OpenSessionRequest, PutConfigRequest, ReleaseLockRequest, WatchConfigsRequest,
    WatchConfigsResponse, release_lock_request::Claim, watch_configs_request::Selection,
    watch_configs_response::Message,
};
use tokio::{task::JoinSet, time::timeout};
use tonic::Streaming;

use super::{connect_with, next, put};
use crate::support::{
    etcd::Etcd,
    etcd_binary::Binary,
    process::{Process, run},
    server::{Backend, Server},
    store::PATIENCE,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_refused_unless_it_is_allowed_and_then_complained_of() {
    let etcd = Etcd::start_cluster_of(Binary::Old, 1).await;
    let store = format!("--store=etcd://{}/old", etcd.endpoint());
    let output = run(&[&store]).await;
    assert_eq!(output.status.code(), Some(69));
    let said = String::from_utf8(output.stderr).unwrap();
    for word in ["3.5.12", "3.5.13", "--allow-old-etcd"] {
        assert!(said.contains(word), "{said}");
    }
    let process = Process::serve(&[&store, "--allow-old-etcd=true"]).await;
    let log = process.log();
    assert!(log.contains("older than 3.5.13"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_watch_is_told_complete_by_the_extent_of_its_keys() {
    let etcd = Etcd::start_cluster_of(Binary::Old, 1).await;
    let store = connect_with(allowed(&etcd)).await;
    let mut watch = store.watch("/w/".into(), 0).await.unwrap();
    for key in ["/w/a", "/w/b"] {
        let written = put(&store, key, "1").await;
        let extent = watch.probe.extent(0).await.unwrap().unwrap();
        assert_eq!((extent.revision, extent.newest), (written, written));
        while next(&mut watch).await.unwrap()
            != (WatchItem::Changes {
                revision: written,
                events: found(&store, key).await,
            })
        {}
    }
    let applied = etcd.client(0).await.delete("/w/a", None).await.unwrap();
    let deleted = applied.header().unwrap().revision();
    let outside = put(&store, "/v/a", "1").await;
    let extent = watch.probe.extent(deleted).await.unwrap().unwrap();
    assert_eq!(
        (extent.revision, extent.newest, extent.count),
        (outside, 0, 1)
    );
    assert!(extent.is_copied(deleted, 1));
    assert!(!extent.is_copied(deleted - 1, 2));
}

/// The event that made a key what it is.
async fn found(store: &EtcdStore, key: &'static str) -> Vec<stanchion::store::Event> {
    let answer = store.range(RangeRequest::new(KeyRange::key(key))).await;
    let kvs = answer.unwrap().kvs;
    kvs.into_iter().map(stanchion::store::Event::Put).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn linearizable_reads_show_what_was_acknowledged_before_under_load_on_two_replicas() {
    let etcd = Etcd::start_cluster_of(Binary::Old, 1).await;
    let backend = Backend::on(etcd.endpoints(), ());
    let mut servers = Vec::new();
    for _ in 0..2 {
        let store: Arc<dyn Store> = Arc::new(connect_with(allowed(&etcd)).await);
        let clock = Arc::new(SystemClock);
        servers.push(backend.server_on(store, backend.settings(), clock).await);
    }
    let servers = Arc::new(servers);
    let mut watches = Vec::new();
    for server in servers.iter() {
        watches.push(tokio::spawn(follow(watch(server).await)));
    }

    let done = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    // Somebody else's keys, of which no watch tells.
    let mut stranger = etcd.client(0).await;
    let until = done.clone();
    load.spawn(async move {
        while !until.load(Ordering::Relaxed) {
            stranger.put("/stranger", "1", None).await.unwrap();
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        Duration::ZERO
    });
    // What comes and goes.
    let (until, replicas) = (done.clone(), servers.clone());
    load.spawn(async move {
        let opened = replicas[0].sessions();
        let opened = { opened }.open_session(OpenSessionRequest::default()).await;
        let session_id = opened.unwrap().into_inner().session_id;
        while !until.load(Ordering::Relaxed) {
            lock_and_release(&replicas[0], &session_id).await;
        }
        Duration::ZERO
    });
    for writer in 0..4 {
        let (until, replicas) = (done.clone(), servers.clone());
        load.spawn(async move {
            let mut slowest = Duration::ZERO;
            for round in 0.. {
                if until.load(Ordering::Relaxed) {
                    break;
                }
                let key = format!("w{writer}/{}", round % 5);
                let (here, there) = (&replicas[writer % 2], &replicas[(writer + 1) % 2]);
                let delete = round % 7 == 6;
                let written = match delete {
                    true => erase(here, &key).await,
                    false => write(here, &key, round).await,
                };
                let begun = Instant::now();
                let (revision, content) = read(there, &key).await;
                slowest = slowest.max(begun.elapsed());
                assert!(revision >= written, "{key}: {revision} < {written}");
                let expected = (!delete).then(|| round.to_string());
                assert_eq!(content, expected, "{key} of {written} read at {revision}");
            }
            slowest
        });
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    done.store(true, Ordering::Relaxed);
    let mut slowest = Duration::ZERO;
    while let Some(finished) = load.join_next().await {
        slowest = slowest.max(finished.unwrap());
    }
    assert!(slowest < Duration::from_secs(2), "a read took {slowest:?}");

    // Quiet now, after a last write that no watch tells of.
    etcd.client(0)
        .await
        .put("/stranger", "2", None)
        .await
        .unwrap();
    let mut lists = Vec::new();
    for server in servers.iter() {
        lists.push(list(server).await);
    }
    assert_eq!(lists[0], lists[1]);
    let last = write(&servers[0], "last", 0).await;
    for watching in watches {
        let (seen, until) = timeout(PATIENCE, watching).await.unwrap().unwrap();
        assert_eq!(until, last);
        assert_eq!(seen, lists[0]);
    }
    for server in servers.iter() {
        let stats = server.app().core.cache.stats();
        assert_eq!((stats.relists, stats.replacements), (0, 0), "{stats:?}");
    }
}

fn allowed(etcd: &Etcd) -> Settings {
    Settings {
        allow_old: true,
        ..Settings::new(etcd.endpoints())
    }
}

async fn write(server: &Server, key: &str, round: usize) -> i64 {
    let request = PutConfigRequest {
        key: key.into(),
        content: round.to_string().into(),
        ..PutConfigRequest::default()
    };
    let answer = server.configs().put_config(request).await.unwrap();
    answer.into_inner().header.unwrap().revision
}

async fn erase(server: &Server, key: &str) -> i64 {
    let request = DeleteConfigRequest {
        key: key.into(),
        ..DeleteConfigRequest::default()
    };
    let answer = server.configs().delete_config(request).await.unwrap();
    answer.into_inner().header.unwrap().revision
}

/// The revision of a linearizable read, and what it found.
async fn read(server: &Server, key: &str) -> (i64, Option<String>) {
    let request = ListConfigsRequest {
        prefix: key.into(),
        consistency: Consistency::Linearizable.into(),
        ..ListConfigsRequest::default()
    };
    let answer = server.configs().list_configs(request).await.unwrap();
    let answer = answer.into_inner();
    let mut found = answer
        .configs
        .into_iter()
        .filter(|config| config.key == key);
    let content = found.next().map(|config| text(&config.content));
    (answer.header.unwrap().revision, content)
}

async fn list(server: &Server) -> BTreeMap<String, String> {
    let request = ListConfigsRequest {
        consistency: Consistency::Linearizable.into(),
        ..ListConfigsRequest::default()
    };
    let answer = server.configs().list_configs(request).await.unwrap();
    let configs = answer.into_inner().configs.into_iter();
    configs
        .map(|config| (config.key, text(&config.content)))
        .collect()
}

async fn lock_and_release(server: &Server, session_id: &str) {
    let request = AcquireLockRequest {
        session_id: session_id.into(),
        lock: "comes-and-goes".into(),
        request_id: "it".into(),
        ..AcquireLockRequest::default()
    };
    let acquired = server.locks().acquire_lock(request).await.unwrap();
    let request = ReleaseLockRequest {
        session_id: session_id.into(),
        lock: "comes-and-goes".into(),
        claim: Some(Claim::FencingToken(acquired.into_inner().fencing_token)),
        ..ReleaseLockRequest::default()
    };
    let released = server.locks().release_lock(request).await.unwrap();
    assert!(released.into_inner().released);
}

async fn watch(server: &Server) -> Streaming<WatchConfigsResponse> {
    let request = WatchConfigsRequest {
        selection: Some(Selection::Prefix(String::new())),
        ..WatchConfigsRequest::default()
    };
    let stream = server.configs().watch_configs(request).await.unwrap();
    stream.into_inner()
}

/// Folds what a watch tells until the key `last` appears: what there is without it, and when it
/// came.
async fn follow(mut messages: Streaming<WatchConfigsResponse>) -> (BTreeMap<String, String>, i64) {
    let mut state = BTreeMap::new();
    let mut stands = 0;
    loop {
        match messages.message().await.unwrap().unwrap().message.unwrap() {
            Message::SnapshotEnd(end) => stands = end.revision,
            Message::Delta(delta) => {
                assert_eq!(delta.prev_revision, stands);
                assert!(!delta.conflated);
                stands = delta.revision;
                for event in delta.events {
                    let kind = event.r#type();
                    let config = event.config.unwrap();
                    if config.key == "last" {
                        return (state, stands);
                    }
                    match kind {
                        EventType::Deleted => state.remove(&config.key),
                        _ => state.insert(config.key, text(&config.content)),
                    };
                }
            }
            Message::Bookmark(bookmark) => {
                assert!(bookmark.revision >= stands);
                stands = bookmark.revision;
            }
            other => panic!("{other:?}"),
        }
    }
}

fn text(content: &[u8]) -> String {
    String::from_utf8(content.to_vec()).unwrap()
}
