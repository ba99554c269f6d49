//! Bugs that the server is told to make: each is found, and without it nothing is.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use stanchion_client::proto::{
    AcquireLockRequest, Consistency, GetLockRequest, ReleaseLockRequest,
    lock_service_client::LockServiceClient, release_lock_request::Claim,
};

use super::site::Site;
use crate::{
    checker::{Expect, Kind},
    support::{process::ended, store::PATIENCE},
    view::View,
    watched::Verdict,
};

/// How long a watcher may take to know everything, once all is well again: as long as a server
/// that suffers no bug needs on a busy machine.
const HEAL: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_resumes_at_its_revision_is_found() {
    resumed(None).await.passes();
    fails(resumed(Some("resume-at-revision")).await, &[Kind::Order]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_of_etcd_that_was_canceled_unnoticed_is_found() {
    compacted(None).await.passes();
    fails(compacted(Some("ignore-canceled")).await, &[Kind::Behind]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compaction_that_is_passed_over_is_found() {
    let gap = [Kind::Gap, Kind::Bookmark];
    fails(compacted(Some("ignore-compaction")).await, &gap);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loss_of_data_that_is_taken_for_normal_is_found() {
    lost(None).await.passes();
    let found = [Kind::Epoch, Kind::Behind];
    fails(lost(Some("ignore-epoch-change")).await, &found);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_others_release_is_found() {
    held_by_its_owner(None).await.unwrap();
    held_by_its_owner(Some("unlock-without-owner-check"))
        .await
        .unwrap_err();
}

#[tokio::test]
async fn a_bug_that_does_not_exist_is_refused() {
    let mut command = crate::support::process::command(&["--store", "memory:"]);
    command.env("STANCHION_PLANTED_BUG", "no-such-bug");
    let output = ended(command).await;
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("no-such-bug"), "{said}");
}

/// A watcher that resumes after every third message.
async fn resumed(bug: Option<&str>) -> Verdict {
    let mut site = Site::start(1).await;
    let replica = site.replica(bug).await;
    let mut watcher = replica.watch("rotating", View::configs("in/"));
    watcher.rotate_every = Some(3);
    site.watched.add(watcher);
    let mut last = 0;
    for number in 0..30 {
        last = replica.put("in/a", &format!("{number}")).await.unwrap();
    }
    site.watched.reach(last, HEAL).await;
    let expect = Expect {
        reach: Some(last),
        ..Expect::default()
    };
    site.verdicts("resumed", expect).await.remove(0)
}

/// A replica is away while etcd restarts and forgets what the replica has not seen.
async fn compacted(bug: Option<&str>) -> Verdict {
    let mut site = Site::start(1).await;
    let replica = site.replica(bug).await;
    let other = site.replica(None).await;
    site.watched
        .add(replica.watch("away", View::configs("in/")));
    let before = replica.put("in/before", "").await.unwrap();
    assert!(site.watched.reach(before, PATIENCE).await.is_empty());

    replica.process.signal(Signal::STOP);
    site.etcd.kill(0);
    site.etcd.restart(0).await;
    for number in 0..5 {
        other
            .put_at_last(&format!("in/{number}"), "meanwhile")
            .await;
    }
    site.etcd.compact().await;
    replica.process.signal(Signal::CONT);

    let mut last = 0;
    let healed = Instant::now();
    while healed.elapsed() < HEAL {
        last = other.put_at_last("in/after", &format!("{last}")).await;
        if site
            .watched
            .reach(last, Duration::from_secs(1))
            .await
            .is_empty()
        {
            break;
        }
    }
    let expect = Expect {
        reach: Some(last),
        ..Expect::default()
    };
    site.verdicts("compacted", expect).await.remove(0)
}

/// etcd loses everything, and outgrows what it was.
async fn lost(bug: Option<&str>) -> Verdict {
    let mut site = Site::start(1).await;
    let replica = site.replica(bug).await;
    site.watched
        .add(replica.watch("lost", View::configs("in/")));
    for number in 0..5 {
        replica
            .put("in/a", &format!("before {number}"))
            .await
            .unwrap();
    }
    let before = replica.put("in/b", "before").await.unwrap();
    assert!(site.watched.reach(before, PATIENCE).await.is_empty());
    site.lose_everything().await;
    let recorder = &mut site.watched.recorders[0];
    recorder.starts_over(before, HEAL).await;
    let last = replica.outgrow(before).await;
    site.watched.reach(last, HEAL).await;
    let expect = Expect {
        reach: Some(last),
        ..Expect::default()
    };
    site.verdicts("lost", expect).await.remove(0)
}

/// One session holds a lock, another releases it by the holder's token. Says who lost it.
async fn held_by_its_owner(bug: Option<&str>) -> Result<(), String> {
    let site = Site::start(1).await;
    let replica = site.replica(bug).await;
    let owner = replica.session(Duration::from_secs(60)).await.unwrap();
    let other = replica.session(Duration::from_secs(60)).await.unwrap();
    let mut locks = LockServiceClient::new(replica.channel());
    let acquire = AcquireLockRequest {
        lock: "l".into(),
        session_id: owner,
        ..AcquireLockRequest::default()
    };
    let held = locks.acquire_lock(acquire).await.unwrap().into_inner();
    let release = ReleaseLockRequest {
        lock: "l".into(),
        session_id: other,
        claim: Some(Claim::FencingToken(held.fencing_token)),
        ..ReleaseLockRequest::default()
    };
    let released = locks.release_lock(release).await;
    let ask = GetLockRequest {
        lock: "l".into(),
        consistency: Consistency::Linearizable.into(),
        ..GetLockRequest::default()
    };
    let lock = locks.get_lock(ask).await.unwrap().into_inner().lock;
    match (released, lock.and_then(|lock| lock.holder)) {
        (Err(_), Some(holder)) if holder.fencing_token == held.fencing_token => Ok(()),
        (released, holder) => Err(format!("{released:?}, now held by {holder:?}")),
    }
}

#[track_caller]
fn fails(verdict: Verdict, kinds: &[Kind]) {
    match verdict.result {
        Ok(summary) => panic!("the bug was not found: {summary:?}"),
        Err(violations) => assert!(
            violations
                .iter()
                .any(|violation| kinds.contains(&violation.kind)),
            "found for another reason: {}",
            violations[0]
        ),
    }
}
