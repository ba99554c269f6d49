//! What a replica does without being called: it shows that it is there, and old history goes.

use std::time::Duration;

use stanchion::store::{Error, KeyRange, Operation, RangeRequest, Store, Txn};

use crate::support::{
    etcd::Etcd,
    server::{Backend, Server, eventually, on_both_stores},
};

on_both_stores! {
    a_replica_is_known_while_it_runs,
    a_replica_whose_presence_was_lost_comes_back,
}

async fn a_replica_is_known_while_it_runs(backend: Backend) {
    let server = backend.server().await;
    let other = backend.server().await;
    let replica = server.app().core.replica.clone();
    let address = server.address.to_string();
    eventually("the presence of a replica", async || {
        let state = other.app().core.cache.view().unwrap().state;
        let known = state.replicas.get(&replica)?;
        (known.address == address && state.replicas.len() == 2).then_some(())
    })
    .await;
    server.stop().await;
    eventually("the farewell of a replica", async || {
        let state = other.app().core.cache.view().unwrap().state;
        (!state.replicas.contains_key(&replica)).then_some(())
    })
    .await;
    other.stop().await;
}

async fn a_replica_whose_presence_was_lost_comes_back(backend: Backend) {
    let mut settings = backend.settings();
    settings.domain.replica_ttl = Duration::from_secs(1);
    let server = backend.server_with(settings).await;
    let store = server.app().core.store.clone();
    let first = presence(&server).await;
    store.revoke(first.lease).await.unwrap();
    let second = eventually("another lease", async || {
        let found = presence(&server).await;
        (found.lease != first.lease).then_some(found)
    })
    .await;
    // Somebody removed the key alone.
    let removed = Txn::new().then(Operation::delete(second.key.clone()));
    store.txn(removed).await.unwrap();
    eventually("the key again", async || {
        let found = presence(&server).await;
        (found.create_revision > second.create_revision).then_some(())
    })
    .await;
    server.stop().await;
}

/// This replica's key, as soon as it is there.
async fn presence(server: &Server) -> stanchion::store::KeyValue {
    let core = &server.app().core;
    let key = KeyRange::key(core.keys.replica(&core.replica));
    eventually("the presence key", async || {
        let range = core.store.range(RangeRequest::new(key.clone())).await;
        range.unwrap().kvs.into_iter().next()
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_history_of_an_embedded_store_goes() {
    old_history_goes(Backend::embedded().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_history_of_etcd_goes() {
    let etcd = Etcd::start().await;
    old_history_goes(Backend::on(etcd.endpoints(), etcd)).await;
}

async fn old_history_goes(backend: Backend) {
    let mut settings = backend.settings();
    settings.domain.history = Some(Duration::from_millis(300));
    let server = backend.server_with(settings.clone()).await;
    let other = backend.server_with(settings).await;
    let store = server.app().core.store.clone();
    let key = server.app().core.keys.session(&super::id(&"1".repeat(32)));
    let old = put(store.as_ref(), key.clone()).await;
    let new = put(store.as_ref(), key.clone()).await;
    let read = |revision| {
        let range = RangeRequest::new(KeyRange::key(key.clone()));
        store.range(range.at(revision))
    };
    eventually("old history to go", async || match read(old).await {
        Err(Error::Compacted { .. }) => Some(()),
        Err(error) => panic!("{error}"),
        Ok(_) => None,
    })
    .await;
    // What is current stays, and both replicas follow what comes.
    let range = RangeRequest::new(KeyRange::key(key.clone()));
    let found = store.range(range).await.unwrap();
    assert_eq!(found.kvs[0].mod_revision, new);
    let next = put(store.as_ref(), key.clone()).await;
    for replica in [&server, &other] {
        let cache = &replica.app().core.cache;
        assert!(cache.reached(next, crate::support::store::PATIENCE).await);
    }
    server.stop().await;
    other.stop().await;
}

async fn put(store: &dyn Store, key: bytes::Bytes) -> i64 {
    // Not a record that can be read, which is as good here.
    let txn = Txn::new().then(Operation::put(key, "\u{1}\u{2}"));
    store.txn(txn).await.unwrap().revision
}
