//! What happens to the data: the store is full, forgets, or loses everything.

use std::time::Duration;

use etcd_client::{AlarmAction, AlarmType, CompactionOptions, Error as EtcdError, GetOptions};
use stanchion_client::{Client, Options};
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    harness::{Scenario, World, scenario},
    load::{Expectations, SERVICE, Selections},
    support::{etcd::Etcd, server::eventually},
};

/// What fills a store: not under the replicas' keys.
const FILLER: &str = "filler/";
/// What the keys of those configs begin with that scenarios write which lose data.
const CONFIGS: &str = "seen/";
/// The lock that they use.
const LOCK: &str = "seen";
/// How often each of two holds it before the loss: often enough for a watcher to have moved to
/// another replica, and not so often that one is about to when the data goes.
const TURNS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn the_store_is_full() {
    let mut plan = Scenario {
        flags: &["--quota-backend-bytes=16777216"],
        ..Scenario::new("store full")
    };
    plan.expect.refusals = &["STORE_FULL"];
    // It can commit deletions, but not what the load writes.
    plan.expect.writes_back = Duration::from_secs(10);
    scenario(plan, async |world, _| {
        let client = Client::connect(world.fronts(), Options::default()).unwrap();
        let session = client.session().await.unwrap();
        let leaving = client.register("leaving", "10.0.0.2").start();
        let leaving = leaving.await.unwrap();
        let mut client = world.etcd.client(0).await;
        world.note("fill the store");
        fill(&mut client).await;
        // Sessions live, leases are renewed, and what only frees goes on.
        world.wait(6.0..8.0).await;
        world.note("deregister and close a session");
        let gone = leaving.deregister().await;
        assert_eq!(gone.ok(), Some(true), "a full store refuses to free");
        session.close().await.unwrap();
        world.note("empty the store");
        empty(world).await;
    })
    .await;
}

async fn fill(client: &mut etcd_client::Client) {
    for number in 0.. {
        let value = vec![b'x'; 1024 * 1024];
        match client.put(format!("{FILLER}{number}"), value, None).await {
            Ok(_) => {}
            Err(EtcdError::GRpcStatus(status)) if status.message().contains("space exceeded") => {
                return;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// As its operator would: delete, compact, defragment, disarm.
async fn empty(world: &World) {
    let mut client = world.etcd.client(0).await;
    let all = etcd_client::DeleteOptions::new().with_prefix();
    client.delete(FILLER, Some(all)).await.unwrap();
    compact(&mut client).await;
    for member in 0..world.etcd.size() {
        world.etcd.client(member).await.defragment().await.unwrap();
    }
    let alarms = client.alarm(AlarmAction::Get, AlarmType::None, None).await;
    for alarm in alarms.unwrap().alarms() {
        let mut options = etcd_client::AlarmOptions::new();
        options.with_member(alarm.member_id());
        let disarm = client.alarm(AlarmAction::Deactivate, AlarmType::Nospace, Some(options));
        disarm.await.unwrap();
    }
}

async fn compact(client: &mut etcd_client::Client) {
    let count = GetOptions::new().with_count_only();
    let now = client.get("-", Some(count)).await.unwrap();
    let revision = now.header().unwrap().revision();
    let physical = CompactionOptions::new().with_physical();
    // Another compaction may have been faster.
    let _ = client.compact(revision, Some(physical)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_compacted_all_the_time_while_watches_lag_and_a_replica_starts() {
    let mut plan = Scenario::new("compaction each 200 ms");
    plan.expect.history_is_cut = true;
    scenario(plan, async |world, _| {
        world.note("compact each 200 ms");
        let mut client = world.etcd.client(0).await;
        let compacting = AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                compact(&mut client).await;
                sleep(Duration::from_millis(200)).await;
            }
        }));
        for round in 0..4 {
            let replica = round % world.replicas.len();
            world.note(format!("replica {replica} hears nothing for a moment"));
            for link in &world.replicas[replica].members {
                link.black_hole();
            }
            world.wait(0.4..1.4).await;
            for link in &world.replicas[replica].members {
                // What lagged has to be read anew.
                link.reset();
                link.heal();
            }
            world.wait(0.3..0.8).await;
        }
        world.note("start another replica");
        world.add_replica(&[]).await;
        let front = world.fronts().pop();
        let client = Client::connect(front, Options::default()).unwrap();
        client.config().put("late", "1").send().await.unwrap();
        drop(compacting);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_data_is_lost() {
    scenario(loss("all data lost"), async |world, _| {
        let before = Era::of(world).await;
        world.lose("all data", Etcd::wipe).await;
        before.is_over(world).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn an_older_backup_is_restored() {
    restored("older backup restored", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn an_older_backup_is_restored_with_bumped_revisions() {
    let flags = ["--bump-revision", "1000000", "--mark-compacted"];
    restored("older backup restored, revisions bumped", &flags).await;
}

async fn restored(name: &'static str, flags: &[&str]) {
    scenario(loss(name), async |world, _| {
        let directory = tempfile::tempdir().unwrap();
        let backup = directory.path().join("backup");
        let client = Client::connect(world.fronts(), Options::default()).unwrap();
        let held = client.lock(LOCK).acquire().await.unwrap();
        world.note("take a backup");
        world.etcd.snapshot(&backup).await;
        // What comes back with the backup is a claim that was given up since.
        assert!(held.release().await.unwrap());
        world.wait(2.0..3.0).await;
        let before = Era::of(world).await;
        let restore = |etcd: &Etcd, member| etcd.restore_snapshot(member, &backup, flags);
        world.lose("what came after the backup", restore).await;
        before.is_over(world).await;
    })
    .await;
}

fn loss(name: &'static str) -> Scenario {
    Scenario {
        // What the load writes at the last moment, nobody witnesses: the configs and the lock are
        // the scenario's own, and of the services only that one which nobody enters or leaves.
        watched: Selections {
            configs: CONFIGS,
            lock: LOCK,
            services: SERVICE,
        },
        expect: Expectations::after_a_loss(),
        ..Scenario::new(name)
    }
}

/// What every replica answered before a loss.
struct Era {
    epoch: String,
    token: i64,
}

// === impl Era ===

impl Era {
    async fn of(world: &World) -> Self {
        let client = Client::connect(world.fronts(), Options::default()).unwrap();
        let key = format!("{CONFIGS}before");
        for number in 0..20 {
            let put = client.config().put(&key, format!("{number}"));
            put.send().await.unwrap();
        }
        let (one, other) = tokio::join!(turns(&client), turns(&client));
        Self {
            epoch: epoch(&client).await,
            token: one.max(other),
        }
    }

    /// Every replica has seen that another one began, and its tokens are larger.
    async fn is_over(&self, world: &World) {
        for front in world.fronts() {
            let client = Client::connect([front], Options::default()).unwrap();
            eventually("another era", || async {
                (epoch(&client).await != self.epoch).then_some(())
            })
            .await;
            // Locks are closed at first.
            let lock = eventually("a lock", || async {
                client.lock(LOCK).acquire().await.ok()
            });
            assert!(lock.await.fencing_token() > self.token);
        }
    }
}

/// Takes turns under the lock, and has let go of it in the end; says the last token.
async fn turns(client: &Client) -> i64 {
    let mut token = 0;
    for _ in 0..TURNS {
        let lock = client.lock(LOCK).acquire().await.unwrap();
        token = lock.fencing_token();
        assert!(lock.release().await.unwrap(), "the lock was lost");
    }
    token
}

async fn epoch(client: &Client) -> String {
    let info = client.server_info().await.unwrap();
    info.header.unwrap().epoch
}
