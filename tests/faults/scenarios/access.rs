//! Members that want TLS, a certificate and a password: what becomes of clients when one of these
//! changes, or ends.

use std::time::{Duration, Instant};

use stanchion_client::proto::{PutConfigRequest, config_service_client::ConfigServiceClient};
use tonic::Code;

use crate::{
    harness::{Scenario, Tokens, World, scenario},
    load::Load,
    support::{pki::Authority, server::assert_status},
};

/// How soon replicas write again once they are let in again.
const BACK: Duration = Duration::from_secs(3);

fn guarded(name: &'static str, tokens: Tokens) -> Scenario {
    Scenario {
        guard: Some(tokens),
        ..Scenario::new(name)
    }
}

/// Members that can commit all the while, and do not let the replicas.
fn refused(name: &'static str) -> Scenario {
    let mut plan = guarded(name, Tokens::Remembered);
    // Measured by the scenario, from when they are let in again.
    plan.expect.writes_back = Duration::from_secs(10);
    plan
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn the_authority_and_all_certificates_are_replaced() {
    let mut plan = guarded("certificates replaced", Tokens::Remembered);
    plan.expect.longest_gap = Some(Duration::from_secs(5));
    scenario(plan, async |world, _| {
        let new = Authority::new();
        world.note("trust the new authority too");
        let access = world.access();
        access.trust(&[&access.authority, &new]);
        restart_members(world).await;
        world.note("show certificates of the new authority");
        world.access().show(&new);
        restart_members(world).await;
        world.note("trust the new authority alone");
        world.access().trust(&[&new]);
        restart_members(world).await;
    })
    .await;
}

/// One after the other: whom a member trusts, it reads when it starts.
async fn restart_members(world: &mut World) {
    for member in 0..world.etcd.size() {
        world.kill_member(member);
        world.wait(0.2..0.8).await;
        world.start_member(member);
        world.etcd.serves(member).await;
        world.wait(0.5..1.0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn tokens_end_every_two_seconds_and_the_leader_is_killed() {
    let plan = guarded("tokens that end all the time", Tokens::Signed);
    kill_leaders(plan, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn members_forget_tokens_that_are_not_used_and_the_leader_is_killed() {
    let plan = guarded("tokens that are forgotten", Tokens::Remembered);
    kill_leaders(plan, 3).await;
}

/// Whoever leads next has seen no token for some time, or one that has ended.
async fn kill_leaders(mut plan: Scenario, times: usize) {
    plan.expect.longest_gap = Some(Duration::from_secs(5));
    scenario(plan, async |world, _| {
        for _ in 0..times {
            world.wait(3.0..5.0).await;
            let leader = world.leader().await;
            world.kill_member(leader);
            world.wait(3.0..5.0).await;
            world.start_member(leader);
            world.etcd.serves(leader).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn the_user_of_the_replicas_is_removed_and_loses_its_role_for_a_moment() {
    let plan = refused("user removed, less than a TTL");
    scenario(plan, async |world, load| {
        world.note("remove the user");
        world.etcd.remove_user().await;
        writes_are_refused(world).await;
        world.wait(0.5..1.0).await;
        world.note("the user is back");
        world.etcd.add_user().await;
        writes_again(load).await;
        // Until sessions have been renewed.
        world.wait(4.0..5.0).await;
        world.note("take the user its role");
        world.etcd.forbid_user().await;
        writes_are_refused(world).await;
        world.wait(0.5..1.0).await;
        world.note("the user has its role again");
        world.etcd.allow_user().await;
        writes_again(load).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn the_user_of_the_replicas_is_removed_until_sessions_have_ended() {
    let mut plan = refused("user removed, longer than a TTL");
    // The members are well, and take everybody for dead.
    plan.expect.sessions_live = false;
    scenario(plan, async |world, load| {
        world.note("remove the user");
        world.etcd.remove_user().await;
        writes_are_refused(world).await;
        world.note("break every connection to a member");
        for link in world.replicas.iter().flat_map(|replica| &replica.members) {
            link.reset();
        }
        world.wait(8.0..10.0).await;
        writes_are_refused(world).await;
        world.note("the user is back");
        world.etcd.add_user().await;
        writes_again(load).await;
    })
    .await;
}

/// Asserts that every replica refuses to write, at once, and says why.
async fn writes_are_refused(world: &World) {
    for replica in &world.replicas {
        let request = PutConfigRequest {
            key: "refused".into(),
            ..PutConfigRequest::default()
        };
        let begun = Instant::now();
        let mut configs = ConfigServiceClient::new(replica.channel());
        let status = configs.put_config(request).await.unwrap_err();
        let took = begun.elapsed();
        assert_status(&status, Code::Unavailable, "STORE_UNAVAILABLE");
        assert!(status.message().contains("refuses access"), "{status:?}");
        assert!(took < Duration::from_secs(2), "refused after {took:?}");
    }
}

async fn writes_again(load: &Load) {
    let begun = Instant::now();
    load.writes_again(3 * BACK).await;
    let took = begun.elapsed();
    load.figures()
        .bound("writes let in again after", took, BACK);
}
