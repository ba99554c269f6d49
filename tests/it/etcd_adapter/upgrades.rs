//! Clusters whose members change their version one by one.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use stanchion::store::{
    Store as _, Watch, WatchItem,
    etcd::{EtcdStore, Settings},
};

use super::{connect_with, next, put, until_answer};
use crate::support::{etcd::Etcd, etcd_binary::Binary, server::eventually};

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_member_by_member_leaves_a_watch_without_gap_and_writes_going_on() {
    let (_etcd, _store, watch) = upgrade(Binary::Previous, Binary::Current).await;
    assert_eq!(watch.probe.extent(0).await, Ok(None));
}

#[tokio::test(flavor = "multi_thread")]
async fn from_an_old_version_too_and_reports_of_progress_are_used_in_the_end() {
    let (_etcd, _store, watch) = upgrade(Binary::Old, Binary::Previous).await;
    eventually("the watch to be on a new member", || async {
        (watch.probe.extent(0).await == Ok(None)).then_some(())
    })
    .await;
}

/// Upgrades a cluster under a watch, which tells everything, and a writer.
async fn upgrade(from: Binary, to: Binary) -> (Etcd, Arc<EtcdStore>, Watch) {
    let mut etcd = Etcd::start_cluster_of(from, 3).await;
    let settings = Settings {
        allow_old: from == Binary::Old,
        ..Settings::new(etcd.endpoints())
    };
    let store = Arc::new(connect_with(settings).await);
    let before = store.status().await.unwrap();
    assert!(before.version.starts_with("3.5."), "{}", before.version);
    let mut watch = store.watch("/w/".into(), 0).await.unwrap();

    let done = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (store, done) = (Arc::clone(&store), Arc::clone(&done));
        async move {
            let mut written = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let key = format!("/w/{}", written.len());
                written.push(put(&store, &key, "1").await);
            }
            written
        }
    });
    for member in 0..3 {
        etcd.kill(member);
        etcd.restart_as(member, to).await;
    }
    done.store(true, Ordering::Relaxed);
    let written = writer.await.unwrap();

    let mut seen = Vec::new();
    while seen.len() < written.len() {
        if let WatchItem::Changes { revision, .. } = next(&mut watch).await.unwrap() {
            seen.push(revision);
        }
    }
    assert_eq!(seen, written);
    let after = until_answer("the status", || store.status()).await;
    assert!(after.version > before.version, "{}", after.version);
    (etcd, store, watch)
}
