//! A replica that has stopped.

use stanchion::cache::Freshness;

use crate::support::server::{Backend, on_both_stores};

on_both_stores! {
    a_stopped_replica_asks_its_store_for_nothing_more,
}

async fn a_stopped_replica_asks_its_store_for_nothing_more(backend: Backend) {
    let server = backend.server().await;
    let core = server.app().core.clone();
    core.cache.read(Freshness::Linearizable).await.unwrap();
    server.stop().await;
    // Whoever still holds it: the watch's end would be taken for a fault of the store.
    let read = core.cache.read(Freshness::Linearizable).await;
    let error = read.err().expect("the copy is still kept");
    assert!(error.to_string().contains("stopping"), "{error}");
}
