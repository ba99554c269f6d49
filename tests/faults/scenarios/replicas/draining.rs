//! Replicas that are told to stop, one after the other.

use std::time::Duration;

use super::{replicas, replicas_for_long};
use crate::{
    harness::scenario,
    load::{Stuck, prepare},
};

/// How long a drain may take.
const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn replicas_are_drained_one_after_the_other_and_clients_do_not_notice() {
    let plan = replicas("rolling drain");
    scenario(plan, async |world, load| {
        for replica in 0..3 {
            let took = world.drain_replica(replica).await;
            load.figures().bound("a drain took", took, DEADLINE);
            world.start_replica(replica).await;
            world.wait(0.5..1.5).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn peers_that_do_nothing_hold_up_a_drain_no_longer_than_its_deadline() {
    let plan = replicas_for_long("rolling drain with stuck peers");
    scenario(plan, async |world, load| {
        prepare(&load.programs[0].client).await;
        for replica in 0..3 {
            let stuck = Stuck::to(world.replicas[replica].front.address).await;
            world.wait(0.5..1.0).await;
            let took = world.drain_replica(replica).await;
            load.figures()
                .add("a drain took", format!("{:.2} s", took.as_secs_f64()));
            // The rest of a second is for what comes after the connections.
            assert!(
                took <= DEADLINE + Duration::from_secs(1),
                "it took {took:?}"
            );
            drop(stuck);
            world.start_replica(replica).await;
            world.wait(0.5..1.5).await;
        }
    })
    .await;
}
