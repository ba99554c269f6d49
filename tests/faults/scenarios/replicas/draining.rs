//! Replicas that are told to stop, one after the other.

use std::time::Duration;

use super::replicas;
use crate::harness::scenario;

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
