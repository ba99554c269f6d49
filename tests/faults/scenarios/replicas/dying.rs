//! Replicas that are killed or paused.

use super::{replicas, replicas_for_long};
use crate::harness::{World, scenario};

/// Kills one replica after the other, each as soon as the one before serves again.
async fn kill_by_turns(world: &mut World, times: usize) {
    for _ in 0..times {
        let replica = world.choose(&[0, 1, 2]);
        world.kill_replica(replica).await;
        world.wait(0.2..1.5).await;
        world.start_replica(replica).await;
        world.wait(0.5..2.0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_are_killed_and_clients_do_not_notice() {
    let plan = replicas("replicas killed");
    scenario(plan, async |world, _| kill_by_turns(world, 3).await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn replicas_are_killed_for_a_minute_and_clients_do_not_notice() {
    let plan = replicas_for_long("replicas killed for long");
    scenario(plan, async |world, _| kill_by_turns(world, 20).await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn replicas_are_paused_for_longer_than_a_session_lives() {
    let plan = replicas("replicas paused");
    scenario(plan, async |world, _| {
        for replica in 0..3 {
            world.pause_replica(replica);
            world.wait(6.0..10.0).await;
            world.resume_replica(replica);
            world.wait(1.0..3.0).await;
        }
    })
    .await;
}
