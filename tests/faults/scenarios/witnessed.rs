//! The witness, the recorder and the checker on servers that are well: everything passes.

use std::time::Duration;

use rustix::process::Signal;
use stanchion_client::proto::{CloseSessionRequest, session_service_client::SessionServiceClient};
use tokio::time::sleep;

use super::site::{Replica, Site};
use crate::{checker::Expect, recorder::Watcher, support::store::PATIENCE, view::View};

/// Every kind of watcher sees everything, while the leader of etcd is killed, a replica is paused
/// and the history is compacted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_see_what_happened_while_etcd_and_a_replica_fail() {
    let mut site = Site::start(3).await;
    let replicas = [site.replica(None).await, site.replica(None).await];
    let addresses: Vec<_> = replicas
        .iter()
        .map(|replica| replica.process.address)
        .collect();
    let watcher = |name, view| Watcher::new(name, view, addresses.clone());
    let watchers = [
        watcher("steady", View::configs("in/")),
        Watcher {
            rotate_every: Some(4),
            ..watcher("rotating", View::configs("in/"))
        },
        Watcher {
            rest: Some((5, Duration::from_millis(300))),
            first: 1,
            ..watcher("slow", View::configs(""))
        },
        Watcher {
            min_interval: Duration::from_millis(100),
            ..watcher("merging", View::configs("in/"))
        },
        Watcher {
            rotate_every: Some(3),
            ..watcher("all", View::instances("web"))
        },
        Watcher {
            rotate_every: Some(3),
            first: 1,
            ..watcher("serving", View::serving("web"))
        },
        Watcher {
            rotate_every: Some(3),
            ..watcher("services", View::services("web"))
        },
    ];
    for watcher in watchers {
        site.watched.add(watcher);
    }

    write(&replicas[0], 0).await;
    let leader = site.etcd.leader().await;
    site.etcd.kill(leader);
    write(&replicas[1], 1).await;
    site.etcd.restart(leader).await;
    replicas[1].process.signal(Signal::STOP);
    write(&replicas[0], 2).await;
    site.etcd.compact().await;
    // Long enough for those who watch there to go away.
    sleep(Duration::from_secs(3)).await;
    replicas[1].process.signal(Signal::CONT);
    write(&replicas[1], 3).await;
    // Sessions that nobody renewed are over by then, and so is the grace of their instances.
    sleep(Duration::from_secs(4)).await;

    let last = replicas[0].put_at_last("in/last", "last").await;
    let behind = site.watched.reach(last, PATIENCE).await;
    assert!(behind.is_empty(), "they stay behind: {behind:?}");
    let expect = Expect {
        reach: Some(last),
        may_miss_undone: true,
    };
    for verdict in site.verdicts("witnessed", expect).await {
        assert!(verdict.passes().events > 0);
    }
}

/// A watcher is told when the store lost everything, and sees what comes after that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_are_told_of_data_loss() {
    let mut site = Site::start(1).await;
    let replica = site.replica(None).await;
    site.watched
        .add(replica.watch("lost", View::configs("in/")));
    for number in 0..5 {
        let content = format!("before {number}");
        replica.put("in/a", &content).await.unwrap();
    }
    let before = replica.put("in/b", "before").await.unwrap();
    assert!(site.watched.reach(before, PATIENCE).await.is_empty());
    site.lose_everything().await;
    let told = site.watched.recorders[0].starts_over(before, PATIENCE);
    assert!(told.await, "it was not told");
    let last = replica.outgrow(before).await;
    assert!(site.watched.reach(last, PATIENCE).await.is_empty());
    let expect = Expect {
        reach: Some(last),
        may_miss_undone: false,
    };
    let summary = site.verdicts("data-loss", expect).await.remove(0).passes();
    assert_eq!(summary.resets.get("RESET_REASON_EPOCH_CHANGED"), Some(&1));
}

/// Writes of every kind; those that the faults refuse are done again.
async fn write(replica: &Replica, round: usize) {
    replica.put_at_last("in/first", &format!("{round}")).await;
    for number in 0..20_usize {
        let content = format!("{round} {number}");
        replica
            .put_at_last(&format!("in/{}", number % 5), &content)
            .await;
        replica
            .put_at_last(&format!("out/{}", number % 3), &content)
            .await;
        if number % 7 == 3 {
            // Refused or not, the witness knows.
            let _ = replica.delete(&format!("in/{}", number % 5)).await;
        }
        if number.is_multiple_of(5) {
            register(replica, round * 100 + number).await;
        }
    }
}

/// Registers two instances on a session; every other session is closed, the others expire.
async fn register(replica: &Replica, number: usize) {
    let Ok(session) = replica.session(Duration::from_secs(1)).await else {
        return;
    };
    for id in 0..2 {
        // As above.
        let _ = replica
            .register("web", &format!("{number}-{id}"), &session)
            .await;
        let _ = replica
            .register("web-2", &format!("{number}-{id}"), &session)
            .await;
    }
    if number.is_multiple_of(2) {
        let request = CloseSessionRequest {
            session_id: session,
            ..CloseSessionRequest::default()
        };
        let _ = SessionServiceClient::new(replica.channel())
            .close_session(request)
            .await;
    }
}
