//! Watchers whose every message is compared with what etcd did.

use std::time::Duration;

use super::{Load, locks::LOCK, sessions::SERVICE};
use crate::{
    checker::Expect,
    harness::{Figures, Scenario, World},
    recorder::Watcher,
    view::View,
    witness::History,
};

/// How long they may take until they know everything, once nothing is wrong any more.
const CONVERGENCE: Duration = Duration::from_secs(10);

/// What they watch.
#[derive(Debug, Clone, Copy)]
pub struct Selections {
    /// What the keys of the configs begin with.
    pub configs: &'static str,
    pub lock: &'static str,
    /// What the names of the services begin with.
    pub services: &'static str,
}

// === impl Selections ===

impl Default for Selections {
    /// Whatever the load writes.
    fn default() -> Self {
        Self {
            configs: "load/",
            lock: LOCK,
            services: "",
        }
    }
}

/// Starts one of each kind, over the links of all clients.
pub fn start(world: &mut World, selections: Selections) {
    let Selections {
        configs,
        lock,
        services,
    } = selections;
    let fronts: Vec<_> = world.replicas.iter().map(|r| r.front.address).collect();
    let watched = world.watched.as_mut().unwrap();
    let watcher = |name, view| Watcher::new(name, view, fronts.clone());
    watched.add(watcher("configs", View::configs(configs)));
    watched.add(Watcher {
        first: 1,
        rotate_every: Some(40),
        ..watcher("configs at every replica in turn", View::configs(configs))
    });
    watched.add(Watcher {
        rest: Some((40, Duration::from_millis(200))),
        first: 1,
        ..watcher("configs, slowly", View::configs(configs))
    });
    watched.add(watcher("instances", View::instances(SERVICE)));
    watched.add(Watcher {
        first: 1,
        ..watcher("serving instances", View::serving(SERVICE))
    });
    watched.add(Watcher {
        first: 1,
        ..watcher("services", View::services(services))
    });
    watched.add(watcher("claims on a lock", View::lock(lock)));
    watched.add(Watcher {
        first: 1,
        rotate_every: Some(20),
        ..watcher("claims at every replica in turn", View::lock(lock))
    });
}

// === impl Load ===

impl Load {
    /// Writes what every watcher must see at last; returns the revision.
    pub(super) async fn last_word(&self, prefix: &str) -> i64 {
        let configs = self.programs[0].client.config();
        let put = configs.put(&format!("{prefix}last"), "last").send().await;
        put.unwrap().header.unwrap().revision
    }
}

/// Waits until they know everything up to `last`, and judges them. Tells what really happened.
pub async fn judge(
    world: &mut World,
    plan: &Scenario,
    last: i64,
    figures: &mut Figures,
) -> History {
    let mut watched = world.watched.take().unwrap();
    let behind = watched.reach(last, 3 * CONVERGENCE).await;
    assert!(behind.is_empty(), "these watchers stay behind: {behind:?}");
    let expect = Expect {
        reach: Some(last),
        may_miss_undone: plan.expect.history_is_cut,
    };
    let (history, verdicts) = watched.verdicts(plan.name, expect).await.unwrap();
    let (mut events, mut resumes, mut delays) = (0, 0, Vec::new());
    for verdict in verdicts {
        if !verdict.watcher.contains("slowly") {
            delays.extend_from_slice(&verdict.delays);
        }
        let summary = verdict.passes();
        events += summary.events;
        resumes += summary.resumes;
    }
    figures.add("events judged", events);
    figures.add("resumed watches", resumes);
    delays.sort_unstable();
    if let (Some(half), Some(longest)) = (delays.get(delays.len() / 2), delays.last()) {
        figures.bound("event seen after (half)", *half, plan.expect.told_after);
        figures.add("at the latest", format!("{:.2} s", longest.as_secs_f64()));
    }
    history
}
