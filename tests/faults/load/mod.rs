//! What clients do while faults happen, and the judgement of what they saw.

mod canary;
mod judgement;
mod locks;
mod reads;
mod sessions;
mod writes;

use std::time::Duration;

use self::{canary::Canary, locks::Locker, reads::Reader};
pub use self::{judgement::Expectations, sessions::Program, writes::Writer};
use crate::harness::World;

/// How many writers each replica has.
const WRITERS: usize = 2;
/// How many programs live on while everything happens.
const PROGRAMS: usize = 3;

/// All clients, busy until this is dropped.
pub struct Load {
    canary: Canary,
    pub writers: Vec<Writer>,
    readers: Vec<Reader>,
    pub programs: Vec<Program>,
    lockers: Vec<Locker>,
}

// === impl Load ===

impl Load {
    pub async fn start(world: &World) -> Self {
        let fronts = world.fronts();
        let mut programs = Vec::new();
        for number in 0..PROGRAMS {
            programs.push(Program::start(&fronts, &format!("program-{number}")).await);
        }
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
        Self {
            canary: Canary::start(world.etcd.endpoints()),
            writers: writers.collect(),
            readers: readers.collect(),
            lockers: lockers
                .map(|program| Locker::start(program.client.clone()))
                .collect(),
            programs,
        }
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
