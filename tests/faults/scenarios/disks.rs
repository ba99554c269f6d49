//! Disks that are slow or broken.

use std::time::Duration;

use crate::harness::{Scenario, SlowDisk, scenario};

/// What a slow disk adds to each sync.
const SLOW: Duration = Duration::from_millis(700);

fn synced(name: &'static str) -> Scenario {
    Scenario {
        synced: true,
        ..Scenario::new(name)
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn the_disk_of_the_leader_is_slow_and_then_every_disk_is() {
    let mut plan = synced("slow disk");
    // A follower with a slow disk is behind the leader.
    plan.expect.told_after = Duration::from_secs(1);
    scenario(plan, async |world, _| {
        let leader = world.leader().await;
        world.note(format!("syncs of member {leader} take {SLOW:?} more"));
        let slow = SlowDisk::delay(world.etcd.pid(leader), SLOW);
        world.wait(8.0..10.0).await;
        drop(slow);
        world.note(format!("syncs of all members take {SLOW:?} more"));
        let slow = [0, 1, 2].map(|member| SlowDisk::delay(world.etcd.pid(member), SLOW));
        world.wait(8.0..10.0).await;
        drop(slow);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn the_disk_of_the_leader_fails() {
    let mut plan = synced("disk failed");
    plan.expect.longest_gap = Some(Duration::from_secs(5));
    scenario(plan, async |world, _| {
        let leader = world.leader().await;
        world.note(format!("syncs of member {leader} fail"));
        let broken = SlowDisk::fail(world.etcd.pid(leader));
        world.wait(4.0..6.0).await;
        drop(broken);
        // It ended itself at the first failure.
        world.kill_member(leader);
        world.start_member(leader);
    })
    .await;
}
