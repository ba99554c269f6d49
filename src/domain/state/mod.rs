//! Everything that is current, decoded, as one immutable value per revision.
//!
//! A pure function of the watched keys: what follows from an event (a session ends, so its
//! instances are suspect) appears at that event's revision, on every replica alike.

mod barriers;
mod configs;
mod instances;
mod item;
mod latches;
mod locks;
mod projection;
mod routes;
mod schemas;
mod services;
mod sessions;
mod usage;

use std::sync::Arc;

use bytes::Bytes;
use imbl::{OrdMap, OrdSet};

use crate::store::Revision;

pub use self::{
    item::{Cause, Item, Kind},
    projection::StateProjection,
    schemas::Schemas,
    usage::Usage,
};

use self::projection::Touched;

pub(super) use self::locks::claim_key;

use super::{
    barrier::{Barrier, Latch},
    config::ConfigHead,
    epoch::Epoch,
    keyspace::{BarrierPath, QueuePath},
    lock::{Claim, Closed, ForcedRelease, LockDelay, LockQueue},
    names::{Namespace, ReplicaId},
    namespace::NamespaceSettings,
    registry::{
        DrainAck, Findings, Instance, Operator, Roster, Route, Service, ServiceSettings, Tombstone,
    },
    replica::Replica,
    session::{Session, SessionPlace},
    session_id::SessionId,
};

/// The watch cache of all that is current.
pub type Cache = crate::cache::Cache<StateProjection>;
/// A published state.
pub type View = crate::cache::View<StateProjection>;

/// Everything that is current. The maps are keyed by path (`namespace/service/id`,
/// `namespace/key`, `namespace/name`), in which things of one owner stand together.
#[derive(Clone, Default)]
pub struct State {
    /// The identity of the store's history.
    pub epoch: Epoch,
    /// All live sessions.
    pub sessions: OrdMap<SessionId, Arc<Session>>,
    /// The sessions by the request that opened them.
    pub sessions_by_request: OrdMap<String, SessionId>,
    /// The sessions in the order in which they were opened.
    pub sessions_in_order: OrdMap<SessionPlace, SessionId>,
    /// What hangs on each session, whether it lives or not.
    pub owned: OrdMap<SessionId, OrdSet<Owned>>,
    /// All instances.
    pub instances: OrdMap<Bytes, Arc<Instance>>,
    /// What readers of a service are answered, another one whenever one of its instances changes.
    pub rosters: OrdMap<Bytes, Arc<Roster>>,
    /// All services that have instances.
    pub services: OrdMap<Bytes, Arc<Service>>,
    /// What operators said of instances, whether registered or not.
    pub operators: OrdMap<Bytes, Arc<Operator>>,
    /// The instances of which operator state says that they are drained; it may be out of date.
    pub drained: OrdSet<Bytes>,
    /// What checks and reports found of instances, whether registered or not.
    pub health: OrdMap<Bytes, Arc<Findings>>,
    /// Instances that were removed a moment ago.
    pub tombstones: OrdMap<Bytes, Arc<Tombstone>>,
    /// What replicas acknowledged of drains, by the instance's path and the replica.
    pub drain_acks: OrdMap<Bytes, Arc<DrainAck>>,
    /// What was set for services, whether they exist or not.
    pub settings: OrdMap<Bytes, Arc<ServiceSettings>>,
    /// Where services lead whose settings make them aliases.
    pub routes: OrdMap<Bytes, Route>,
    /// The aliases that settings make of each service.
    pub aliases: OrdMap<Bytes, OrdSet<Bytes>>,
    /// The revision at which a service last came to lead elsewhere.
    pub routes_revision: Revision,
    /// What was set for namespaces.
    pub namespaces: OrdMap<Namespace, Arc<NamespaceSettings>>,
    /// What is in each namespace that has something in it.
    pub usage: OrdMap<Bytes, Usage>,
    /// All config items, deleted ones included.
    pub configs: OrdMap<Bytes, Arc<ConfigHead>>,
    /// All schemas for the contents of config items.
    pub schemas: Schemas,
    /// All locks that somebody wants.
    pub locks: OrdMap<Bytes, Arc<LockQueue>>,
    /// All elections that somebody leads or wants to.
    pub elections: OrdMap<Bytes, Arc<LockQueue>>,
    /// Claims on locks that were taken by force a moment ago, by lock and token.
    pub forced: OrdMap<(QueuePath, i64), Arc<ForcedRelease>>,
    /// Nobody holds a lock, whatever the queues say.
    pub closed: Option<Closed>,
    /// Claims made before data was lost, by their keys in the store: they count for nothing, and
    /// are to be deleted.
    pub void: OrdMap<Bytes, Arc<Claim>>,
    /// What delays locks whose holders died, by the keys of their claims.
    pub delayed: OrdMap<Bytes, Arc<LockDelay>>,
    /// All barriers at which somebody waits, or that were released a while ago.
    pub barriers: OrdMap<Bytes, Arc<Barrier>>,
    /// All latches; see [`State::latch`].
    pub latches: OrdMap<Bytes, Arc<Latch>>,
    /// All replicas that are up.
    pub replicas: OrdMap<ReplicaId, Arc<Replica>>,
    /// Keys that could not be decoded: kept in the store, hidden from everybody.
    pub undecodable: OrdSet<Bytes>,
}

/// Something that hangs on a session.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owned {
    /// An instance, by its path.
    Instance(Bytes),
    /// A place in a queue: the path of that, and the key in the store.
    Waiter(QueuePath, Bytes),
    /// A place at a barrier: the path of that, and the key in the store.
    Participant(BarrierPath, Bytes),
}

// === impl State ===

impl State {
    /// How many records it shows.
    pub fn len(&self) -> usize {
        self.sessions.len()
            + self.instances.len()
            + self.configs.len()
            + [&self.locks, &self.elections]
                .into_iter()
                .flat_map(|queues| queues.values())
                .map(|queue| queue.claims.len())
                .sum::<usize>()
    }

    /// Says whether it shows none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Walks the entries of a map whose path starts with `prefix`, after the path `after`.
    pub fn under<'a, V>(
        map: &'a OrdMap<Bytes, V>,
        prefix: &'a [u8],
        after: Option<&Bytes>,
    ) -> impl Iterator<Item = (&'a Bytes, &'a V)> + use<'a, V> {
        use std::ops::Bound;
        let start = match after {
            Some(after) if after.as_ref() >= prefix => Bound::Excluded(after.clone()),
            _ => Bound::Included(Bytes::copy_from_slice(prefix)),
        };
        map.range((start, Bound::Unbounded))
            .take_while(move |(path, _)| path.starts_with(prefix))
    }
}
