//! The proof that locks keep what they promise, whatever dies: what clients were told, beside what
//! the store did.

mod hanging;

use std::{collections::HashMap, time::Duration};

use prost::Message as _;
use stanchion::proto::store::{ConfigHead, LockMode, LockWaiter};

use crate::{
    harness::{Figures, Scenario, World, alone, directory},
    load::{COUNTERS, Holders},
    lock_history::{Event, Mode, check},
    witness::History,
};

const CLIENTS: usize = 32;
/// How far the era stands above the revision in a token.
const ERA_SHIFT: u32 = 40;
/// How long it may take until so much has happened.
const PATIENCE: Duration = Duration::from_secs(400);
/// How long a lock may take until somebody else holds it: whoever left it behind may have to wait
/// until its session ends.
const CONVERGENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn locks_exclude_and_fence_while_members_replicas_and_clients_fail() {
    let plan = plan("locks under faults");
    alone(&plan, async |world| prove(world, 1, 2_000).await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn locks_exclude_and_fence_over_twenty_thousand_operations() {
    let plan = plan("locks under faults for long");
    alone(&plan, async |world| prove(world, 5, 20_000).await).await;
}

fn plan(name: &'static str) -> Scenario {
    Scenario {
        replicas: 3,
        ..Scenario::new(name)
    }
}

/// Kills a leader and a replica in each round, and goes on until so much has happened.
async fn prove(world: &mut World, rounds: usize, operations: usize) -> Figures {
    let holders = Holders::start(world, CLIENTS).await;
    for _ in 0..rounds {
        world.wait(1.0..3.0).await;
        let leader = world.leader().await;
        world.kill_member(leader);
        world.wait(2.0..4.0).await;
        world.start_member(leader);
        world.etcd.serves(leader).await;
        let replica = world.choose(&[0, 1, 2]);
        world.kill_replica(replica).await;
        world.wait(0.5..1.5).await;
        world.start_replica(replica).await;
    }
    world.note("everything is well again");
    holders.all_go_on(CONVERGENCE).await;
    holders.reach(operations, PATIENCE).await;
    judge(world, holders, operations).await
}

/// Ends it all and compares what clients were told with what the store did.
async fn judge(world: &mut World, holders: Holders, operations: usize) -> Figures {
    let told = holders.stop().await;
    let witness = world.watched.take().unwrap().witness;
    let mut events = stored(&witness.finish().await.unwrap());
    events.extend(told);
    let lines: Vec<_> = events.iter().map(ToString::to_string).collect();
    let file = directory().join("locks.history");
    std::fs::write(&file, lines.join("\n")).unwrap();
    let summary = check(&events).unwrap_or_else(|violations| {
        let some = &violations[..violations.len().min(20)];
        panic!("{} in {}: {some:#?}", violations.len(), file.display())
    });
    assert!(summary.operations >= operations, "{summary:?}");
    assert!(summary.stale > 0 && summary.increments > 0, "{summary:?}");
    assert!(summary.together > 0, "{summary:?}");
    let mut figures = Figures::default();
    figures.add("operations", summary.operations);
    figures.add("turns under a lock", summary.grants);
    figures.add("turns beside another", summary.together);
    figures.add("increments made", summary.increments);
    figures.add("stale writes, all refused", summary.stale);
    figures.add("writes refused or unknown", summary.unknown);
    figures
}

/// What the store did to locks and counters.
fn stored(history: &History) -> Vec<Event> {
    let prefix = history.prefix();
    let counters = format!("cfg/default/{COUNTERS}");
    let mut tokens: HashMap<String, i64> = HashMap::new();
    let mut events = Vec::new();
    for (&revision, told) in history.parts.iter().flat_map(|part| &part.revisions) {
        for change in &told.changes {
            let key = std::str::from_utf8(&change.key).unwrap();
            let Some(key) = key.strip_prefix(&prefix) else {
                continue;
            };
            if let Some(claim) = key.strip_prefix("lock/default/") {
                let (lock, _) = claim.split_once('/').unwrap();
                let lock = lock.to_owned();
                match &change.put {
                    Some(put) if put.create_revision == revision => {
                        let waiter = LockWaiter::decode(put.value.clone()).unwrap();
                        let token = (waiter.era << ERA_SHIFT) + revision;
                        tokens.insert(claim.to_owned(), token);
                        events.push(Event::Queued {
                            revision,
                            lock,
                            token,
                            mode: mode(&waiter),
                        });
                    }
                    Some(_) => {}
                    None => events.extend(tokens.remove(claim).map(|token| Event::Left {
                        revision,
                        lock,
                        token,
                    })),
                }
            } else if let Some(lock) = key.strip_prefix(&counters) {
                let Some(put) = &change.put else { continue };
                let head = ConfigHead::decode(put.value.clone()).unwrap();
                let content = String::from_utf8(head.content.to_vec()).unwrap();
                let numbers: Vec<i64> = content.split(' ').map(|n| n.parse().unwrap()).collect();
                events.push(Event::Counted {
                    revision,
                    lock: lock.to_owned(),
                    version: head.version,
                    count: numbers[0],
                    token: numbers[1],
                    operation: numbers[2].cast_unsigned(),
                });
            }
        }
    }
    events
}

fn mode(waiter: &LockWaiter) -> Mode {
    match waiter.mode() {
        LockMode::Shared => Mode::Shared,
        LockMode::Permits => Mode::Permits {
            count: waiter.permits,
            total: waiter.total_permits,
        },
        _ => Mode::Exclusive,
    }
}
