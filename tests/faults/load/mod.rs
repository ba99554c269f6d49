//! What clients do while faults happen, and the judgement of what they saw.

mod asking;
mod calls;
mod canary;
mod editors;
mod followers;
mod guests;
mod history;
mod holders;
mod judgement;
mod leaks;
mod locks;
mod onlookers;
mod reads;
mod sessions;
mod storm;
mod stuck;
mod watchers;
mod writes;

use std::{
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use stanchion_client::{Client, Options};

use self::{
    calls::Caller, canary::Canary, followers::Follower, guests::Guest, locks::Locker, reads::Reader,
};
pub use self::{
    editors::{EDITED, Editors},
    holders::{COUNTERS, Holders},
    judgement::Expectations,
    leaks::Before,
    onlookers::Onlookers,
    sessions::{Program, SERVICE, TTL},
    storm::Watchers,
    stuck::{Stuck, prepare},
    watchers::Selections,
    writes::Writer,
};
use crate::{
    harness::{Figures, World},
    witness::Reach,
};

/// How many writers each replica has.
const WRITERS: usize = 2;
/// How many programs live on while everything happens.
const PROGRAMS: usize = 3;
/// How many callers go to whichever replica answers.
const CALLERS: usize = 2;

/// All clients, busy until this is dropped.
pub struct Load {
    canary: Canary,
    pub writers: Vec<Writer>,
    readers: Vec<Reader>,
    pub programs: Vec<Program>,
    lockers: Vec<Locker>,
    _guest: Guest,
    callers: Vec<Caller>,
    followers: Vec<Follower>,
    before: Before,
    measured: Mutex<Figures>,
}

// === impl Load ===

impl Load {
    /// Starts all clients, and the watchers that are judged.
    pub async fn start(world: &mut World, watched: Selections) -> Self {
        let fronts = world.fronts();
        let before = Before::of(world);
        let mut programs = Vec::new();
        for number in 0..PROGRAMS {
            programs.push(Program::start(&fronts, &format!("program-{number}")).await);
        }
        watchers::start(world, watched);
        let world = &*world;
        let read = programs[0].client.config().put(reads::KEY, "read");
        read.send().await.unwrap();
        let replicas = || world.replicas.iter().enumerate();
        let writers = replicas().flat_map(|(index, replica)| {
            (0..WRITERS).map(move |number| {
                let prefix = format!("load/writer-{index}-{number}");
                Writer::start(index, prefix, replica.channel())
            })
        });
        let readers = replicas().map(|(index, replica)| Reader::start(index, replica.channel()));
        let lockers = programs.iter().take(2);
        let client = || Client::connect(&fronts, Options::default()).unwrap();
        let mut followers = Vec::new();
        for _ in 0..CALLERS {
            followers.push(Follower::start(client(), PROGRAMS).await);
        }
        Self {
            canary: Canary::start(Reach::of(&world.etcd)),
            writers: writers.collect(),
            readers: readers.collect(),
            lockers: lockers
                .map(|program| Locker::start(program.client.clone()))
                .collect(),
            _guest: Guest::start(client()),
            programs,
            callers: (0..CALLERS)
                .map(|number| Caller::start(client(), number))
                .collect(),
            followers,
            before,
            measured: Mutex::default(),
        }
    }

    /// Where a scenario puts what it measures itself.
    pub fn figures(&self) -> MutexGuard<'_, Figures> {
        self.measured.lock().unwrap()
    }

    /// Ends all clients; what there was before them is told.
    fn end(self) -> Before {
        self.before
    }

    /// Waits until every replica has carried out another write; panics when one does not.
    pub async fn writes_again(&self, within: Duration) {
        for writer in &self.writers {
            let again = tokio::time::timeout(within, writer.writes_again());
            let replica = writer.replica;
            assert!(
                again.await.is_ok(),
                "replica {replica} does not write again"
            );
        }
    }
}
