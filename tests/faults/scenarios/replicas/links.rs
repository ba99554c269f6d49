//! Bad links between clients and one of the replicas.

use std::time::{Duration, Instant};

use super::replicas;
use crate::harness::{Flow, Proxy, Scenario, World, scenario};

/// How soon a replica finds out that a client is gone, with the settings of these scenarios.
const SILENCE: Duration = Duration::from_secs(7);
const PINGS: &[&str] = &["--rpc-ping-interval=5s", "--rpc-ping-timeout=2s"];

fn links(name: &'static str) -> Scenario {
    Scenario {
        settings: PINGS,
        ..replicas(name)
    }
}

/// Makes the links to one replica after the other bad, until it finds out that its clients are gone.
async fn each_lets_go(plan: Scenario, bad: impl Fn(&Proxy)) {
    scenario(plan, async |world, load| {
        for replica in 0..3 {
            world.note(format!("the link of clients to replica {replica} is bad"));
            bad(&world.replicas[replica].front);
            let took = lets_go(world, replica).await;
            load.figures().bound("replica let go after", took, SILENCE);
            world.replicas[replica].front.heal();
            world.wait(1.0..2.0).await;
        }
    })
    .await;
}

/// Waits until a replica has no connection any more; says how long that took.
async fn lets_go(world: &World, replica: usize) -> Duration {
    let begun = Instant::now();
    while world.replicas[replica].metric("stanchion_rpc_connections") > 0.0 {
        assert!(
            begun.elapsed() < 3 * SILENCE,
            "it keeps connections to nobody"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn nothing_goes_between_clients_and_a_replica() {
    each_lets_go(links("clients black-holed"), Proxy::black_hole).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn what_clients_say_does_not_reach_a_replica() {
    each_lets_go(links("requests of clients lost"), |front| {
        front.change(|link| link.there.flow = Flow::Stalled);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn what_a_replica_says_does_not_reach_its_clients() {
    let plan = links("answers to clients lost");
    scenario(plan, async |world, _| {
        for replica in 0..3 {
            world.note(format!("nothing goes from replica {replica} to clients"));
            let front = &world.replicas[replica].front;
            front.change(|link| link.back.flow = Flow::Swallowed);
            world.wait(6.0..10.0).await;
            let front = &world.replicas[replica].front;
            front.heal();
            // What swallowed bytes cannot go on.
            front.reset();
            world.wait(1.0..2.0).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn connections_to_a_replica_break_again_and_again() {
    let plan = replicas("connections of clients broken");
    scenario(plan, async |world, _| {
        for _ in 0..20 {
            let replica = world.choose(&[0, 1, 2]);
            world.note(format!("reset the connections to replica {replica}"));
            world.replicas[replica].front.reset();
            world.wait(0.1..0.8).await;
        }
        for bytes in [200, 2_000, 20_000] {
            let replica = world.choose(&[0, 1, 2]);
            world.note(format!("replica {replica}: cut after {bytes} bytes"));
            let front = &world.replicas[replica].front;
            front.change_both(|lane| lane.cut_after = Some(bytes));
            world.wait(2.0..3.0).await;
            world.replicas[replica].front.heal();
        }
    })
    .await;
}
