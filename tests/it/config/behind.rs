//! Watchers that are behind what the server, or the store, remembers.

use std::collections::BTreeMap;

use stanchion_client::proto::ListConfigsRequest;

use super::{
    delete,
    follower::{Follower, prefix},
};
use crate::support::{
    etcd::Etcd,
    server::{Backend, Server, on_both_stores},
};

on_both_stores! {
    a_difference_says_what_is_new_to_the_watcher,
}

/// Neither watcher gets the changes one by one: they are no longer remembered.
async fn a_difference_says_what_is_new_to_the_watcher(backend: Backend) {
    let mut settings = backend.settings();
    settings.cache.log_revisions = 8;
    let server = backend.server_with(settings).await;
    server.put("back", "1").await;
    server.put("kept", "1").await;
    let (early, known) = Follower::start(&server, prefix("")).await.leave();
    server.try_delete(delete("back")).await.unwrap();
    let (late, without) = Follower::start(&server, prefix("")).await.leave();
    assert_eq!((known.len(), without.len()), (2, 1));
    server.put("back", "3").await;
    server.put("back", "4").await;
    for number in 0..20 {
        server.put("busy", format!("{number}")).await;
    }
    // A follower checks that what is added is new to it, and what is modified is not.
    for (token, configs) in [(early, known), (late, without)] {
        let mut follower = Follower::resume(&server, prefix(""), &token, configs).await;
        follower.until_content("busy", "19").await;
        let expected = [("back", "4"), ("busy", "19"), ("kept", "1")];
        assert_eq!(follower.contents(), BTreeMap::from(expected));
        assert_eq!((follower.deltas, follower.resets.len()), ((1, 1), 0));
    }
    server.stop().await;
}

/// The store forgets what a watcher has not read yet: it does not read, and the server's log is
/// too short for it.
async fn a_slow_watcher_survives_compaction(backend: Backend) {
    let mut settings = backend.settings();
    settings.cache.log_revisions = 8;
    let server = backend.server_with(settings).await;
    server.put("gone", "1").await;
    let mut follower = Follower::start(&server, prefix("")).await;
    write_a_lot(&server).await;
    server.try_delete(delete("gone")).await.unwrap();
    let last = server.put("end", "end").await;
    server
        .app()
        .core
        .store
        .compact(last.revision)
        .await
        .unwrap();
    follower.until_content("end", "end").await;
    assert!(
        follower.deltas.1 + follower.resets.len() > 0,
        "it was never behind"
    );
    assert_final_state(&server, &follower).await;
    server.stop().await;
}

/// The store forgets what lies between a token and the start of the replica that gets it.
async fn a_token_from_before_a_compaction_ends_in_the_right_state(backend: Backend) {
    let first = backend.server().await;
    first.put("gone", "1").await;
    first.put("kept", "1").await;
    let follower = Follower::start(&first, prefix("")).await;
    write_a_lot(&first).await;
    first.try_delete(delete("gone")).await.unwrap();
    let last = first.put("end", "end").await;
    first.app().core.store.compact(last.revision).await.unwrap();
    let (token, configs) = follower.leave();
    first.stop().await;
    let second = backend.server().await;
    let mut follower = Follower::resume(&second, prefix(""), &token, configs).await;
    follower.until_content("end", "end").await;
    assert!(
        follower.deltas.1 + follower.resets.len() > 0,
        "nothing was missing"
    );
    assert_final_state(&second, &follower).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compaction_on_the_embedded_store_loses_no_watcher() {
    a_slow_watcher_survives_compaction(Backend::embedded().await).await;
    a_token_from_before_a_compaction_ends_in_the_right_state(Backend::embedded().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compaction_on_etcd_loses_no_watcher() {
    // A server of its own: compaction is everybody's.
    let etcd = Etcd::start().await;
    a_slow_watcher_survives_compaction(Backend::on(etcd.endpoints(), ())).await;
    a_token_from_before_a_compaction_ends_in_the_right_state(Backend::on(etcd.endpoints(), ()))
        .await;
}

/// More than fits between server and client while the client does not read.
async fn write_a_lot(server: &Server) {
    for number in 0..80 {
        let mut content = vec![b'x'; 60_000];
        content.extend(format!("{number}").bytes());
        server.put(&format!("big/{}", number % 7), content).await;
    }
}

async fn assert_final_state(server: &Server, follower: &Follower) {
    let mut expected = BTreeMap::new();
    let mut request = ListConfigsRequest::default();
    loop {
        let response = server.configs().list_configs(request.clone()).await;
        let response = response.unwrap().into_inner();
        expected.extend(
            response
                .configs
                .into_iter()
                .map(|config| (config.key.clone(), config)),
        );
        request.page_token = response.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert!(!expected.contains_key("gone"));
    assert!(
        follower.configs == expected,
        "the watcher has another state than the list"
    );
}
