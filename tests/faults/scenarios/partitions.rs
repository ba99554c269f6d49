//! Members that do not hear each other, and packets that do not arrive.

use std::time::Duration;

use crate::harness::{Scenario, scenario};

fn apart(name: &'static str) -> Scenario {
    Scenario {
        apart: true,
        ..Scenario::new(name)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_is_cut_off_from_its_peers_alone() {
    let mut plan = apart("leader cut off from its peers");
    plan.expect.longest_gap = Some(Duration::from_secs(5));
    scenario(plan, async |world, _| {
        let leader = world.leader().await;
        world.note(format!(
            "the peers do not hear member {leader}, nor it them"
        ));
        for peer in (0..3).filter(|member| *member != leader) {
            world.hosts().cut_both(leader, peer);
        }
        world.wait(6.0..10.0).await;
        world.hosts().heal();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn the_leader_hears_its_peers_but_they_do_not_hear_it() {
    let mut plan = apart("leader not heard by its peers");
    plan.expect.longest_gap = Some(Duration::from_secs(5));
    scenario(plan, async |world, _| {
        let leader = world.leader().await;
        world.note(format!("the peers do not hear member {leader}"));
        for peer in (0..3).filter(|member| *member != leader) {
            world.hosts().cut(leader, peer);
        }
        world.wait(6.0..10.0).await;
        world.hosts().heal();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn a_follower_is_alone_in_a_minority() {
    let mut plan = apart("follower in a minority");
    plan.expect.longest_gap = Some(Duration::from_secs(5));
    scenario(plan, async |world, _| {
        let follower = world.follower().await;
        world.note(format!("member {follower} is alone"));
        for peer in (0..3).filter(|member| *member != follower) {
            world.hosts().cut_both(follower, peer);
        }
        world.wait(6.0..10.0).await;
        world.hosts().heal();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn replicas_reach_the_minority_alone() {
    let mut plan = apart("replicas with the minority");
    // The majority is well, and takes everybody for dead.
    plan.expect.sessions_live = false;
    scenario(plan, async |world, _| {
        let follower = world.follower().await;
        world.note(format!(
            "member {follower} is alone, and all that replicas reach"
        ));
        for peer in (0..3).filter(|member| *member != follower) {
            world.hosts().cut_both(follower, peer);
            for replica in &world.replicas {
                replica.members[peer].black_hole();
            }
        }
        world.wait(6.0..10.0).await;
        world.hosts().heal();
        for link in world.replicas.iter().flat_map(|replica| &replica.members) {
            link.heal();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn a_fifth_of_all_packets_is_lost_on_a_long_way() {
    let plan = apart("20 % loss at 200 ms");
    scenario(plan, async |world, _| {
        world.note("20 % loss, 100 ms each way");
        for member in 0..3 {
            world.hosts().lose(member, 20);
            for replica in &world.replicas {
                replica.members[member].change_both(|lane| lane.delay = Duration::from_millis(100));
            }
        }
        world.wait(15.0..20.0).await;
        world.hosts().heal();
        for link in world.replicas.iter().flat_map(|replica| &replica.members) {
            link.heal();
        }
    })
    .await;
}
