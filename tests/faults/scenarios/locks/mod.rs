//! The proof that locks keep what they promise, whatever dies: what clients were told, beside what
//! the store did.

mod hanging;
mod stored;

use std::time::Duration;

use crate::{
    harness::{Figures, Scenario, World, alone, directory},
    load::Holders,
    lock_history::check,
};

const CLIENTS: usize = 32;
/// How many want the same lock in a storm, and for how long it lasts, in operations.
const STORM: usize = 64;
const STORMS: usize = 800;
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
async fn sixty_four_clients_storm_a_lock_by_calls_and_streams() {
    let plan = plan("storm of a lock");
    alone(&plan, storm).await;
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
        // Clients that are cut off fall silent long before their sessions end.
        settings: &["--rpc-ping-interval=1s", "--rpc-ping-timeout=1s"],
        ..Scenario::new(name)
    }
}

/// Kills a leader, hangs a replica, kills one and drains one in each round, and goes on until so
/// much has happened.
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
        world.pause_replica(replica);
        world.wait(0.5..1.5).await;
        world.resume_replica(replica);
        let replica = world.choose(&[0, 1, 2]);
        world.kill_replica(replica).await;
        world.wait(0.5..1.5).await;
        world.start_replica(replica).await;
        let replica = world.choose(&[0, 1, 2]);
        world.drain_replica(replica).await;
        world.start_replica(replica).await;
    }
    world.note("everything is well again");
    holders.all_go_on(CONVERGENCE).await;
    holders.reach(operations, PATIENCE).await;
    judge(world, holders, operations).await
}

/// Many come for one lock, hold it for as short as they can, leave its queue when that takes too
/// long, and come again, while a replica dies under a third of them.
async fn storm(world: &mut World) -> Figures {
    let holders = Holders::storm(world, STORM).await;
    holders.reach(STORMS / 2, PATIENCE).await;
    let replica = world.choose(&[0, 1, 2]);
    world.kill_replica(replica).await;
    world.wait(0.5..1.0).await;
    world.start_replica(replica).await;
    world.note("everything is well again");
    holders.all_go_on(CONVERGENCE).await;
    holders.reach(STORMS, PATIENCE).await;
    judge(world, holders, STORMS).await
}

/// Ends it all and compares what clients were told with what the store did.
async fn judge(world: &mut World, holders: Holders, operations: usize) -> Figures {
    let mut told = holders.stop().await;
    let witness = world.watched.take().unwrap().witness;
    let mut events = stored::events(&witness.finish().await.unwrap(), told.begun);
    events.append(&mut told.events);
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
    assert!(summary.held_by_streams > 0, "{summary:?}");
    assert!(summary.taken_over > 0 && summary.ended > 0, "{summary:?}");
    let mut figures = Figures::default();
    figures.add("operations", summary.operations);
    figures.add("turns under a lock", summary.grants);
    figures.add("turns beside another", summary.together);
    figures.add("increments made", summary.increments);
    figures.add("stale writes, all refused", summary.stale);
    figures.add("writes refused or unknown", summary.unknown);
    figures.add("turns held by streams", summary.held_by_streams);
    figures.add("streams taken over", summary.taken_over);
    figures.add("streams whose end freed the lock", summary.ended);
    figures.add("losses told by streams", summary.lost);
    figures.add("holders that died and delayed", summary.delays);
    figures
}
