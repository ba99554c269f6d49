//! Renewals that share streams, on servers that die or hang.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use stanchion::store::{Error, Store as _, etcd::Settings};

use super::{PATIENCE, connect, connect_with};
use crate::support::etcd::Etcd;

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

/// A leader that hung and goes on answers renewals until it hears that it was deposed. Whether it
/// does in a round is a matter of milliseconds, so there are some rounds.
#[tokio::test(flavor = "multi_thread")]
async fn a_deposed_leader_extends_no_lease() {
    let etcd = Etcd::start_cluster(3).await;
    let settings = Settings {
        // The streams stay with the leader that hangs.
        renewal_silence: PATIENCE,
        ..Settings::new(etcd.endpoints())
    };
    let store = connect_with(settings.clone()).await;
    let ids = 1..=40;
    for id in ids.clone() {
        store.grant(id, Duration::from_secs(60)).await.unwrap();
    }
    for _ in 0..4 {
        let store = Arc::new(connect_with(settings.clone()).await);
        for id in ids.clone() {
            store.keep_alive(id).await.unwrap();
        }
        let deposed = etcd.leader().await;
        etcd.pause(deposed);
        let leader = another_leader(&etcd, deposed).await;
        // A new leader adds an election timeout to each lease, which must not hide the error.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let mut renewals = tokio::task::JoinSet::new();
        for id in ids.clone() {
            let store = Arc::clone(&store);
            renewals.spawn(async move { (id, store.keep_alive(id).await.unwrap()) });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        etcd.resume(deposed);
        let mut client = etcd.client(leader).await;
        while let Some(renewal) = renewals.join_next().await {
            let (id, renewal) = renewal.unwrap();
            let left = client.lease_time_to_live(id, None).await.unwrap().ttl();
            // In whole seconds, rounded down.
            let ends = Instant::now() + Duration::from_secs(u64::try_from(left).unwrap() + 1);
            let believed = renewal.sent + renewal.ttl;
            assert!(
                believed <= ends,
                "lease {id} is believed in for {:?} too long",
                believed - ends
            );
        }
    }
}

/// The member that leads once `deposed` does not.
async fn another_leader(etcd: &Etcd, deposed: usize) -> usize {
    let started = Instant::now();
    loop {
        for member in (0..etcd.size()).filter(|member| *member != deposed) {
            let status = etcd.client(member).await.status().await.unwrap();
            if status.leader() == status.header().unwrap().member_id() {
                return member;
            }
        }
        assert!(started.elapsed() < PATIENCE, "no other member leads");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Streams of a method that were started and not ended, as etcd counts them.
fn open_streams(etcd: &Etcd, method: &str) -> f64 {
    let label = format!("grpc_method=\"{method}\"");
    etcd.metric_with("grpc_server_started_total", &label)
        - etcd.metric_with("grpc_server_handled_total", &label)
}
