//! The registry: who serves what, where, and how they are.
//!
//! A registration (its record) and its liveness (its session) are separate. Who may have an id is
//! decided in `claim`, and made true by one transaction (`attempt`); when a session ends, the
//! state shows its instances as suspect at once, and [`Removal`] deletes them after the grace.

mod alias;
mod attempt;
mod backing;
mod check;
mod claim;
mod damping;
mod decide;
mod departure;
mod deregister;
mod drain;
mod drain_ack;
mod drain_call;
mod drain_duty;
mod drain_end;
mod filter;
mod health;
mod instance;
mod interruptions;
mod locality;
mod note;
mod observation;
mod operator;
mod peers;
mod put_service;
mod queue;
mod register;
mod release_brake;
mod removal;
mod removed;
mod removed_instances;
mod room;
mod selection;
mod service;
mod subscribers;
mod timers;
mod unhealthy;
mod update;

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
    alias::Route,
    backing::Support,
    check::{CheckKind, CheckPort, CheckTls, HealthCheck},
    decide::{Decided, Decision},
    departure::Removals,
    deregister::{Deregistered, Deregistration},
    drain::{DrainRequest, Drains},
    drain_ack::{DrainAck, Laggard},
    drain_call::{DrainCall, DrainOutcome, DrainProgress},
    drain_duty::DrainDuty,
    filter::{Filter, FilterError},
    health::{Damping, Finding, Findings, Health, Registration, Source},
    instance::{Instance, InstanceRecord, InstanceSpec, Port, SlowStart},
    locality::{Locality, Nearest, Tier},
    note::{Note, Noted},
    observation::Observation,
    operator::{Drain, Operator, OperatorState, Overlay},
    peers::Peers,
    put_service::{DeleteService, PutService},
    register::{Liveness, NewInstance, Registered, Terms},
    release_brake::{BrakeReleased, ReleaseBrake},
    removal::Removal,
    removed::{RemovalCause, Tombstone},
    removed_instances::RemovedInstances,
    selection::{InstanceView, Instances, Roster, Services},
    service::{Counts, Export, Service, ServiceSettings},
    subscribers::{Ended, Reached, Subscriber, SubscriberInfo, Subscribers, Watching},
    timers::Timers,
    unhealthy::UnhealthyRemoval,
    update::{InstancePatch, Update, Updated},
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
