//! The registry: who serves what, where, and how they are.
//!
//! A registration (its record) and its liveness (its session) are separate: `registration` writes
//! the one, and when the other ends the state shows the instance as suspect at once, until `removal`
//! deletes it after the grace. Beside the record stand what `health` found and what an `operator`
//! decided, and `drain` takes an instance out so that nobody misses it. `selection` is what lists
//! and watches show of all that.

mod drain;
mod health;
mod instance;
mod operator;
mod registration;
mod removal;
mod selection;
mod service;
mod timers;

use std::sync::Arc;

use crate::{
    cache::Freshness,
    store::{KeyValue, Revision},
};

use super::{
    Core,
    error::{Error, Resource},
    group::Group,
    keyspace::InstanceKey,
    records,
    session::Sessions,
    state::View,
};

pub use self::{
    drain::{
        DrainAck, DrainCall, DrainDuty, DrainOutcome, DrainProgress, DrainRequest, Drains, Ended,
        Laggard, Peers, Reached, Subscriber, SubscriberInfo, Subscribers, Watching,
    },
    health::{
        CheckKind, CheckPort, CheckTls, Damping, Finding, Findings, Health, HealthCheck, Note,
        Noted, Observation, Registration, Source,
    },
    instance::{Instance, InstanceRecord, InstanceSpec, Port, SlowStart},
    operator::{
        BrakeReleased, Decided, Decision, Drain, Operator, OperatorState, Overlay, ReleaseBrake,
    },
    registration::{
        Deregistered, Deregistration, InstancePatch, Liveness, NewInstance, Registered, Support,
        Terms, Update, Updated,
    },
    removal::{Removal, RemovalCause, Removals, Tombstone, UnhealthyRemoval},
    selection::{
        Filter, FilterError, InstanceView, Instances, Locality, Nearest, RemovedInstances, Roster,
        Route, Services, Tier,
    },
    service::{Counts, Export, Service, ServiceSettings},
    timers::Timers,
};

/// How often others may get in between before a mutation gives up.
const ROUNDS: usize = 8;

/// The instances of all services.
#[derive(Clone)]
pub struct Registry {
    core: Arc<Core>,
    sessions: Sessions,
    group: Arc<Group>,
}

// === impl Registry ===

impl Registry {
    /// The registry in the store that `core` is about.
    pub fn new(core: Arc<Core>, sessions: Sessions) -> Self {
        Self {
            core,
            sessions,
            group: Arc::default(),
        }
    }

    /// Reads one instance, whatever its health, and the view it was found in.
    pub async fn get(
        &self,
        key: &InstanceKey,
        freshness: Freshness,
    ) -> Result<(Arc<Instance>, View), Error> {
        let view = self.core.cache.read(freshness).await?;
        match view.state.instances.get(key.path().as_bytes()) {
            Some(instance) => Ok((instance.clone(), view)),
            None => Err(not_found(key)),
        }
    }

    /// The state that lists are taken from.
    pub async fn read(&self, freshness: Freshness) -> Result<View, Error> {
        Ok(self.core.cache.read(freshness).await?)
    }

    /// What is seen of a record that was just written or confirmed at `revision`. The cache mostly
    /// shows it already; if not, it is derived from what it shows of the rest.
    fn shown(&self, record: Arc<InstanceRecord>, revision: Revision) -> Arc<Instance> {
        let path = record.key.path();
        match self.core.cache.view() {
            Ok(view) => match view.state.instances.get(path.as_bytes()) {
                Some(instance) if instance.record.mod_revision == record.mod_revision => {
                    instance.clone()
                }
                _ => Arc::new(view.state.instance_of(record, revision)),
            },
            Err(_) => Arc::new(super::state::State::default().instance_of(record, revision)),
        }
    }
}

fn decode(key: InstanceKey, kv: &KeyValue) -> Result<InstanceRecord, Error> {
    let name = key.path();
    records::instance(key, kv)
        .map_err(|error| Error::Internal(format!("the record of instance {name}: {error}")))
}

fn not_found(key: &InstanceKey) -> Error {
    Error::NotFound {
        resource: Resource::Instance,
        name: key.path(),
    }
}

/// A name for a request of a caller who gave none.
fn random_request_id() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// What marks an undone registration. The id is part of it, so that a batch can be undone one by
/// one, and a lock request of the same name is another thing.
fn fence_name(key: &InstanceKey, request_id: &str) -> String {
    format!("register {} {request_id}", key.path())
}
