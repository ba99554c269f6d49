//! Members that die, hang or come back.

use std::time::Duration;

use crate::harness::{Scenario, scenario};

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_is_killed() {
    let mut plan = Scenario::new("leader killed");
    plan.expect.longest_gap = Some(Duration::from_secs(5));
    scenario(plan, async |world, _| {
        let leader = world.leader().await;
        world.kill_member(leader);
        world.wait(4.0..6.0).await;
        world.start_member(leader);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_is_killed() {
    let mut plan = Scenario::new("follower killed");
    plan.expect.longest_gap = Some(Duration::from_secs(2));
    scenario(plan, async |world, _| {
        // Both: one of them carries a watch, if not both.
        let leader = world.leader().await;
        for follower in (0..3).filter(|member| *member != leader) {
            world.kill_member(follower);
            world.wait(1.0..3.0).await;
            world.start_member(follower);
            world.etcd.serves(follower).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn the_leader_hangs_without_closing_a_connection() {
    let mut plan = Scenario::new("leader paused");
    plan.expect.longest_gap = Some(Duration::from_secs(5));
    scenario(plan, async |world, _| {
        let leader = world.leader().await;
        world.pause_member(leader);
        world.wait(8.0..12.0).await;
        world.resume_member(leader);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn a_follower_hangs_without_closing_a_connection() {
    let mut plan = Scenario::new("follower paused");
    plan.expect.longest_gap = Some(Duration::from_secs(5));
    scenario(plan, async |world, _| {
        let leader = world.leader().await;
        for follower in (0..3).filter(|member| *member != leader) {
            world.pause_member(follower);
            world.wait(5.0..8.0).await;
            world.resume_member(follower);
            world.wait(0.5..1.0).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quorum_is_lost_and_comes_back() {
    let plan = Scenario::new("quorum lost");
    scenario(plan, async |world, _| {
        let leader = world.leader().await;
        let follower = world.follower().await;
        world.kill_member(follower);
        world.kill_member(leader);
        // Longer than the sessions of the programs live without a renewal.
        world.wait(8.0..10.0).await;
        world.start_member(leader);
        world.start_member(follower);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn all_members_restart_at_once() {
    let plan = Scenario::new("all members restarted");
    scenario(plan, async |world, _| {
        for member in 0..3 {
            world.kill_member(member);
        }
        world.wait(1.0..7.0).await;
        for member in 0..3 {
            world.start_member(member);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn members_restart_one_after_the_other() {
    let mut plan = Scenario::new("rolling restart");
    plan.expect.longest_gap = Some(Duration::from_secs(5));
    scenario(plan, async |world, _| {
        for member in 0..3 {
            world.kill_member(member);
            world.wait(0.5..1.5).await;
            world.start_member(member);
            world.etcd.serves(member).await;
            world.wait(1.0..2.0).await;
        }
    })
    .await;
}
