//! Members that come, go, or are not what they say.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    time::{Duration, Instant},
};

use stanchion::store::{
    Store as _, WatchItem,
    etcd::{EtcdStore, Settings},
};

use super::{PATIENCE, connect_with, next, next_change, put, refusing, until};
use crate::support::{
    etcd::{Etcd, Launch},
    server::eventually,
};

/// Asks for the members so often that no test waits.
fn quickly<E: Into<String>>(endpoints: impl IntoIterator<Item = E>) -> Settings {
    Settings {
        sync_interval: Some(Duration::from_millis(200)),
        probe_interval: Duration::from_millis(200),
        probe_timeout: Duration::from_millis(500),
        backoff_max: Duration::from_millis(200),
        kv_timeout: Duration::from_secs(1),
        ..Settings::new(endpoints)
    }
}

/// Where each member is reached, by name; members that do not answer have none.
async fn members(store: &EtcdStore) -> BTreeMap<String, String> {
    let status = super::until_answer("the status", || store.status()).await;
    let members = status.members.into_iter();
    members
        .map(|member| (member.name, member.endpoint))
        .collect()
}

async fn until_members(store: &EtcdStore, names: &[&str]) -> BTreeMap<String, String> {
    eventually(&format!("the members {names:?}"), || async {
        let found = members(store).await;
        found.keys().eq(names.iter()).then_some(found)
    })
    .await
}

/// Waits until the members were listed a few times more.
async fn synced(etcd: &Etcd) {
    let lists = || {
        let method = "grpc_method=\"MemberList\"";
        etcd.metric_with("grpc_server_handled_total", method)
    };
    let before = lists();
    until("the members are listed", || lists() >= before + 3.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_endpoint_leads_to_all_members_and_may_then_die() {
    let mut etcd = Etcd::start_cluster(3).await;
    // In other words than it says itself.
    let given = etcd.endpoint().replace("127.0.0.1", "localhost");
    let store = connect_with(quickly([&given])).await;
    let mut watch = store.watch("/w/".into(), 0).await.unwrap();
    let found = until_members(&store, &["m0", "m1", "m2"]).await;
    assert_eq!(found["m0"], given, "what was given is kept");
    assert!(found["m1"].ends_with(&etcd.endpoints()[1]));

    etcd.kill(0);
    for number in 0..10 {
        let key = format!("/w/{number}");
        let written = put(&store, &key, "1").await;
        assert_eq!(next_change(&mut watch).await, (written, vec![key]));
    }
    eventually("the dead one to be shown as such", || async {
        let status = super::until_answer("the status", || store.status()).await;
        assert_eq!(status.members.len(), 3);
        assert!(status.promise.ends_with("3 members"), "{}", status.promise);
        let broken = status
            .members
            .iter()
            .filter(|member| member.error.is_some());
        let broken: Vec<_> = broken.map(|member| &member.endpoint).collect();
        (broken == [&given]).then_some(())
    })
    .await;
    etcd.restart(0).await;
    until_members(&store, &["m0", "m1", "m2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_added_is_used_and_a_watch_moves_off_one_that_is_removed() {
    let mut etcd = Etcd::start_cluster(3).await;
    let store = connect_with(quickly(etcd.endpoints())).await;
    let mut watch = store.watch("/w/".into(), 0).await.unwrap();
    put(&store, "/w/before", "1").await;
    next_change(&mut watch).await;
    let added = etcd.add().await;
    until_members(&store, &["m0", "m1", "m2", "m3"]).await;

    let watchers = |member| etcd.metric_at(member, "etcd_debugging_mvcc_watcher_total", "");
    let carrier = (0..=added).find(|member| watchers(*member) > 0.0).unwrap();
    etcd.remove(carrier).await;
    let mut written = Vec::new();
    for number in 0..50 {
        written.push(put(&store, &format!("/w/{number}"), "1").await);
    }
    let mut seen = Vec::new();
    let mut interrupted = 0;
    while seen.len() < written.len() {
        match next(&mut watch).await.unwrap() {
            WatchItem::Changes { revision, .. } => seen.push(revision),
            WatchItem::Interrupted => interrupted += 1,
            WatchItem::Progress(_) | WatchItem::Resumed => {}
        }
    }
    assert_eq!(seen, written);
    let left: Vec<_> = (0..=added).filter(|member| *member != carrier).collect();
    let left: Vec<_> = left.iter().map(|member| format!("m{member}")).collect();
    let left: Vec<_> = left.iter().map(String::as_str).collect();
    until_members(&store, &left).await;
    while interrupted == 0 {
        interrupted += usize::from(next(&mut watch).await == Ok(WatchItem::Interrupted));
    }

    // Nobody comes there any more.
    let gone = etcd.endpoints()[carrier].clone();
    let listener = eventually("the removed one to end", || async {
        TcpListener::bind(&gone).ok()
    })
    .await;
    listener.set_nonblocking(true).unwrap();
    let begun = Instant::now();
    // What was on its way when the list changed may come yet.
    while listener.accept().is_ok() && begun.elapsed() < PATIENCE {}
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(listener.accept().is_err(), "it is still called");
}

#[tokio::test(flavor = "multi_thread")]
async fn members_without_a_vote_are_not_used() {
    let mut etcd = Etcd::start_cluster(3).await;
    let store = connect_with(quickly([etcd.endpoint()])).await;
    let learner = etcd.add_learner().await;
    synced(&etcd).await;
    assert_eq!(
        until_members(&store, &["m0", "m1", "m2"]).await.len(),
        learner
    );
    let status = store.status().await.unwrap();
    assert!(status.promise.ends_with("3 members"), "{}", status.promise);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_what_members_advertise_leads_nowhere_the_endpoints_go_on() {
    let mut etcd = Etcd::launch(Launch {
        advertised: Some("http://127.0.0.1:1".into()),
        ..Launch::of(3)
    })
    .await;
    let all = connect_with(quickly(etcd.endpoints())).await;
    let one = connect_with(quickly([etcd.endpoint()])).await;
    synced(&etcd).await;
    let found = until_members(&all, &["m0", "m1", "m2"]).await;
    assert!(found.into_values().eq(etcd.endpoints()));
    let status = one.status().await.unwrap();
    let answers = status
        .members
        .iter()
        .filter(|member| member.error.is_none());
    let answers: Vec<_> = answers.map(|member| &member.endpoint).collect();
    assert_eq!(answers, [&etcd.endpoint()]);
    put(&one, "/k", "1").await;
    etcd.kill(0);
    put(&all, "/k", "2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_belongs_to_nobody_leaves_the_list() {
    let etcd = Etcd::start().await;
    let settings = quickly([refusing(), etcd.endpoint()]);
    let store = connect_with(settings).await;
    until_members(&store, &["m0"]).await;
    put(&store, "/k", "1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_leader_shows_in_the_term() {
    let mut etcd = Etcd::start_cluster(3).await;
    let store = connect_with(quickly(etcd.endpoints())).await;
    let before = store.term();
    assert!(before > 0);
    let leader = etcd.leader().await;
    etcd.kill(leader);
    until("a later term", || store.term() > before).await;
}
