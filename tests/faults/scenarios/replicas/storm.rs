//! Thousands of watches that lose their connections at the same moment.

use std::time::{Duration, Instant};

use crate::{
    harness::{Figures, Scenario, World, alone},
    load::{Before, Watchers},
    support::scrape,
};

const WATCHES: usize = 5_000;
const CONNECTIONS: usize = 50;
/// How long all of them may take until they go on.
const RESUMED: Duration = Duration::from_secs(10);
/// The shortest time over which calls to the store are counted.
const COUNTED: Duration = Duration::from_secs(5);

/// What the replicas asked of the members so far.
#[derive(Debug, Clone, Copy)]
struct Asked {
    ranges: f64,
    watches: f64,
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn thousands_of_watches_resume_from_memory_when_their_connections_are_cut() {
    let plan = Scenario {
        replicas: 1,
        ..Scenario::new("reconnect storm")
    };
    alone(&plan, storm).await;
}

async fn storm(world: &mut World) -> Figures {
    let mut figures = Figures::default();
    let before = Before::of(world);
    let (front, replica) = (world.replicas[0].front.address, world.replicas[0].address());
    let watchers = Watchers::start(front, replica, WATCHES, CONNECTIONS).await;

    let (begun, first) = (Instant::now(), Asked::of(world));
    let written = watchers.written();
    world.note("reset all connections of clients");
    world.replicas[0].front.reset();
    // The next version may have been under way before; the one after it was not.
    let took = watchers.reach(written + 2, 3 * RESUMED).await;
    tokio::time::sleep(COUNTED.saturating_sub(begun.elapsed())).await;
    let (length, in_storm) = (begun.elapsed(), Asked::of(world).since(first));

    // The same time without a storm.
    let first = Asked::of(world);
    tokio::time::sleep(length).await;
    let in_quiet = Asked::of(world).since(first);

    let last = watchers.written();
    watchers.reach(last, RESUMED).await;
    watchers.are_right();
    figures.add("watches", WATCHES);
    figures.bound("all went on after", took, RESUMED);
    figures.add("ranges in the storm", in_storm.ranges);
    figures.add("without", in_quiet.ranges);
    assert!(
        in_storm.ranges <= in_quiet.ranges + 10.0 && in_storm.watches <= in_quiet.watches,
        "the storm reached the store: {in_storm:?}, without {in_quiet:?}"
    );
    // Its watches are none of the replica's.
    drop(world.watched.take());
    drop(watchers);
    before.is_restored(world, &mut figures).await;
    figures
}

// === impl Asked ===

impl Asked {
    fn of(world: &World) -> Self {
        let mut asked = Self {
            ranges: 0.0,
            watches: 0.0,
        };
        for member in world.etcd.endpoints() {
            let page = scrape::get(member.parse().unwrap(), "/metrics").unwrap();
            let started = |method| scrape::metric(&page, "grpc_server_started_total", method);
            asked.ranges += started("grpc_method=\"Range\"");
            asked.watches += started("grpc_method=\"Watch\"");
        }
        asked
    }

    fn since(self, before: Self) -> Self {
        Self {
            ranges: self.ranges - before.ranges,
            watches: self.watches - before.watches,
        }
    }
}
