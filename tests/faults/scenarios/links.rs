//! Bad links between a replica and members.

use std::time::Duration;

use crate::harness::{Flow, Proxy, Scenario, World, scenario};

/// Does something to the links of every replica to a member.
fn links(world: &World, member: usize, change: impl Fn(&Proxy)) {
    for replica in &world.replicas {
        change(&replica.members[member]);
    }
}

fn heal(world: &World) {
    for member in 0..world.etcd.size() {
        links(world, member, Proxy::heal);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_becomes_a_black_hole_in_both_directions() {
    let mut plan = Scenario::new("member black-holed");
    plan.expect.longest_gap = Some(Duration::from_secs(5));
    scenario(plan, async |world, _| {
        let leader = world.leader().await;
        world.note(format!("nothing goes to or from member {leader}"));
        links(world, leader, Proxy::black_hole);
        world.wait(8.0..12.0).await;
        heal(world);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn requests_to_a_member_are_lost() {
    let mut plan = Scenario::new("requests to a member lost");
    plan.expect.longest_gap = Some(Duration::from_secs(5));
    scenario(plan, async |world, _| {
        for member in [world.leader().await, world.follower().await] {
            world.note(format!("nothing goes to member {member}"));
            links(world, member, |link| {
                link.change(|link| link.there.flow = Flow::Stalled)
            });
            world.wait(6.0..8.0).await;
            heal(world);
            world.wait(0.5..1.0).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn answers_of_a_member_are_lost() {
    let mut plan = Scenario::new("answers of a member lost");
    plan.expect.longest_gap = Some(Duration::from_secs(5));
    scenario(plan, async |world, _| {
        for member in [world.leader().await, world.follower().await] {
            world.note(format!("nothing comes from member {member}"));
            links(world, member, |link| {
                link.change(|link| link.back.flow = Flow::Swallowed)
            });
            world.wait(6.0..8.0).await;
            links(world, member, |link| {
                link.heal();
                // What swallowed bytes cannot go on.
                link.reset();
            });
            world.wait(0.5..1.0).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn nothing_reaches_any_member_for_a_moment() {
    let plan = Scenario::new("all members black-holed, less than a TTL");
    scenario(plan, async |world, _| {
        world.note("nothing goes to or from any member");
        for member in 0..3 {
            links(world, member, Proxy::black_hole);
        }
        // Two thirds of a session's time to live are always left.
        world.wait(2.0..2.8).await;
        heal(world);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn nothing_reaches_any_member_until_sessions_have_ended() {
    let mut plan = Scenario::new("all members black-holed, longer than a TTL");
    // The members are well, and take everybody for dead.
    plan.expect.sessions_live = false;
    scenario(plan, async |world, _| {
        world.note("nothing goes to or from any member");
        for member in 0..3 {
            links(world, member, Proxy::black_hole);
        }
        world.wait(8.0..10.0).await;
        heal(world);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn connections_to_members_are_reset_again_and_again() {
    let mut plan = Scenario::new("connections reset");
    plan.expect.longest_gap = Some(Duration::from_secs(2));
    scenario(plan, async |world, _| {
        for _ in 0..12 {
            let member = world.choose(&[0, 1, 2]);
            world.note(format!("reset the connections to member {member}"));
            links(world, member, Proxy::reset);
            world.wait(0.1..0.8).await;
        }
        for after in [500, 20_000, 200_000] {
            world.note(format!("cut connections after {after} bytes"));
            for member in 0..3 {
                links(world, member, |link| {
                    link.change_both(|lane| lane.cut_after = Some(after))
                });
            }
            world.wait(1.0..2.0).await;
            heal(world);
            world.wait(0.5..1.0).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn the_way_to_the_members_is_long_and_narrow() {
    let mut plan = Scenario::new("slow network");
    plan.expect.told_after = Duration::from_millis(200);
    plan.expect.longest_gap = Some(Duration::from_secs(2));
    scenario(plan, async |world, _| {
        world.note("100 ms each way, 50 ms of jitter, 1 MB/s");
        for member in 0..3 {
            links(world, member, |link| {
                link.change_both(|lane| {
                    lane.delay = Duration::from_millis(100);
                    lane.jitter = Duration::from_millis(50);
                    lane.bandwidth = Some(1_000_000);
                })
            });
        }
        world.wait(8.0..10.0).await;
        heal(world);
    })
    .await;
}
