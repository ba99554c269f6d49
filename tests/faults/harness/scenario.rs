//! How a scenario runs: one at a time, from a seed, with a load, and again when the machine was
//! too busy for its figures to mean anything.

use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::sync::{Mutex, MutexGuard};

use super::{
    access::Tokens,
    report::{self, Figures},
    stall::{StallWatch, TOLERATED},
    world::World,
};
use crate::{
    load::{Expectations, Load, Selections},
    support::etcd_binary::Binary,
};

/// How often a run is repeated whose machine stalled.
const REPEATS: usize = 2;

/// How long everything is well before anything happens.
const HEALTHY: Duration = Duration::from_secs(2);

/// The turn of a scenario.
static TURN: Mutex<()> = Mutex::const_new(());

/// What a scenario needs.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// What it is called in the report.
    pub name: &'static str,
    /// The etcd that the members are.
    pub binary: Binary,
    pub members: usize,
    pub replicas: usize,
    /// Whether each member has a host of its own.
    pub apart: bool,
    /// Whether writes of members wait for the disk.
    pub synced: bool,
    /// Whether members want TLS, a certificate and a password, and how they then know again who
    /// gave one.
    pub guard: Option<Tokens>,
    /// Flags of the members.
    pub flags: &'static [&'static str],
    /// Flags of the replicas.
    pub settings: &'static [&'static str],
    /// What the watchers watch that are judged.
    pub watched: Selections,
    /// What clients may notice.
    pub expect: Expectations,
}

// === impl Scenario ===

impl Scenario {
    /// Three members, two replicas, nothing special.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            binary: Binary::Current,
            members: 3,
            replicas: 2,
            apart: false,
            synced: false,
            guard: None,
            flags: &[],
            settings: &[],
            watched: Selections::default(),
            expect: Expectations::default(),
        }
    }
}

/// Waits until nothing else runs whose bounds are times, and keeps it so.
pub async fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().await
}

/// Plays a scenario under load and judges what clients saw. What `play` did is undone when it
/// returns; then clients must find everything well again.
pub async fn scenario(plan: Scenario, play: impl AsyncFn(&mut World, &Load)) {
    alone(&plan, async |world| run(&plan, world, &play).await).await;
}

/// Plays a scenario that is its own load and its own judge.
pub async fn alone(plan: &Scenario, play: impl AsyncFn(&mut World) -> Figures) {
    let _turn = turn().await;
    let seed = match std::env::var("STANCHION_SEED") {
        Ok(seed) => seed.parse().expect("STANCHION_SEED is a number"),
        Err(_) => rand::random(),
    };
    for repeat in 0..=REPEATS {
        let stalls = StallWatch::start();
        let mut world = World::new(plan, seed).await;
        let run = AssertUnwindSafe(play(&mut world)).catch_unwind();
        let Err(panic) = run
            .await
            .map(|figures| figures.save(plan.name, stalls.longest()))
        else {
            return;
        };
        eprintln!(
            "{}: STANCHION_SEED={seed} does this again:\n{}",
            plan.name,
            world.done()
        );
        let stalled = stalls.longest();
        if stalled <= TOLERATED || repeat == REPEATS {
            for (index, replica) in world.replicas.iter().enumerate() {
                let log = report::directory().join(format!("replica-{index}.log"));
                std::fs::write(&log, replica.log()).unwrap();
                eprintln!("what replica {index} logged is in {}", log.display());
            }
            resume_unwind(panic);
        }
        eprintln!("the test itself was held up for {stalled:?}, so this run does not count");
    }
}

async fn run(
    plan: &Scenario,
    world: &mut World,
    play: &impl AsyncFn(&mut World, &Load),
) -> Figures {
    let load = Load::start(world, plan.watched).await;
    tokio::time::sleep(HEALTHY).await;
    play(world, &load).await;
    world.note("everything is well again");
    load.judge(world, plan).await
}
