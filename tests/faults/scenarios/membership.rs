//! Members that come, go and change their version.

use std::time::Duration;

use crate::{
    harness::{Scenario, scenario},
    support::etcd_binary::Binary,
};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn members_are_upgraded_one_after_the_other() {
    let mut plan = Scenario {
        binary: Binary::Previous,
        ..Scenario::new("upgrade from 3.5 to 3.6")
    };
    plan.expect.longest_gap = Some(Duration::from_secs(5));
    scenario(plan, async |world, _| {
        for member in 0..3 {
            world.kill_member(member);
            world.note(format!("start member {member} as 3.6"));
            world.etcd.restart_as(member, Binary::Current).await;
            world.wait(1.0..2.0).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn members_are_replaced_one_after_the_other() {
    let mut plan = Scenario {
        // Asked for so often that the scenario need not wait for it.
        settings: &["--etcd-sync-interval=1s"],
        ..Scenario::new("members added and removed")
    };
    plan.expect.longest_gap = Some(Duration::from_secs(5));
    scenario(plan, async |world, _| {
        // The last one stays, for those who watch what the store does.
        for old in 0..2 {
            let new = world.etcd.add().await;
            world.note(format!("member {new} is there"));
            world.wait(1.5..2.5).await;
            world.note(format!("remove member {old}"));
            world.etcd.remove(old).await;
            world.wait(1.0..2.0).await;
            world.kill_member(old);
        }
    })
    .await;
}
