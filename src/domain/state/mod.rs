//! Everything that is current, decoded, as one immutable value per revision.
//!
//! A pure function of the watched keys: what follows from an event (a session ends, so its
//! instances are suspect) appears at that event's revision, on every replica alike.

mod configs;
mod instances;
mod item;
mod locks;
mod routes;
mod schemas;
mod services;
mod sessions;
mod usage;

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use imbl::{OrdMap, OrdSet};

use crate::{
    cache::{Change, Projection},
    store::{Event, KeyValue, Revision},
};

pub use self::{
    item::{Cause, Item, Kind},
    schemas::Schemas,
    usage::Usage,
};

pub(super) use self::locks::claim_key;

use super::{
    config::ConfigHead,
    epoch::Epoch,
    keyspace::{InstanceKey, Keyspace, QueuePath, StateKey},
    lock::{Claim, Closed, ForcedRelease, LockDelay, LockQueue},
    names::{Namespace, ReplicaId},
    namespace::NamespaceSettings,
    records,
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
}

/// Decodes the watched keys and keeps [`State`].
pub struct StateProjection {
    keys: Keyspace,
}

/// What one revision touched, to be looked at once all its events are in.
#[derive(Default)]
struct Touched {
    instances: instances::TouchedInstances,
    services: services::TouchedServices,
    locks: locks::TouchedQueues,
    closed: BTreeSet<SessionId>,
}

// === impl StateProjection ===

impl StateProjection {
    /// A projection of the keys under one root.
    pub fn new(keys: Keyspace) -> Self {
        Self { keys }
    }

    /// The key in words for a log, without the secrets that are in some.
    fn describe(&self, key: &[u8]) -> String {
        match self.keys.parse(key) {
            Some(StateKey::Session(id)) => format!("{id:?}"),
            Some(StateKey::Waiter(queue, _)) => format!("a place in {queue}"),
            Some(StateKey::LockDelay(lock, _)) => format!("a delay of {lock}"),
            _ => String::from_utf8_lossy(key).into_owned(),
        }
    }

    fn put(
        &self,
        state: &mut State,
        touched: &mut Touched,
        changes: &mut Vec<Change<Self>>,
        kv: &KeyValue,
    ) -> Result<(), records::DecodeError> {
        match self.keys.parse(&kv.key) {
            Some(StateKey::Epoch) => {
                state.epoch = records::epoch(kv)?;
                touched.locks.look_at_all(state);
            }
            Some(StateKey::Closed) => {
                // It closes by being there, whatever it says.
                let closed = records::closed(kv);
                state.closed = Some(closed.clone().unwrap_or_default());
                touched.locks.look_at_all(state);
                closed?;
            }
            Some(StateKey::Session(id)) => {
                sessions::put(state, touched, changes, records::session(id, kv)?);
            }
            Some(StateKey::Instance(key)) => {
                let record = records::instance(key, kv)?;
                instances::put(state, touched, record);
            }
            Some(StateKey::Operator(key)) => {
                let operator = Arc::new(records::operator(kv)?);
                instances::decide(state, touched, changes, &key, Some(operator));
            }
            Some(StateKey::Health(key)) => {
                let findings = Arc::new(records::findings(kv)?);
                instances::find(state, touched, changes, &key, Some(findings));
            }
            Some(StateKey::Tombstone(key)) => {
                let path = Bytes::from(key.path());
                let tombstone = Arc::new(records::tombstone(key, kv)?);
                state.tombstones.insert(path, tombstone);
            }
            Some(StateKey::DrainAck(key, replica)) => {
                let ack = Arc::new(records::drain_ack(kv)?);
                services::put_ack(state, changes, ack_path(&key, &replica), ack, kv);
            }
            Some(StateKey::Service(key)) => {
                let settings = records::service(key, kv)?;
                services::put_settings(state, touched, changes, settings);
            }
            Some(StateKey::Namespace(namespace)) => {
                let settings = records::namespace(namespace.clone(), kv)?;
                state.namespaces.insert(namespace, Arc::new(settings));
            }
            Some(StateKey::Config(path)) => {
                configs::put(state, changes, records::config_head(path, kv)?);
            }
            Some(StateKey::Schema(path)) => {
                state.schemas.put(records::config_schema(path, kv)?);
            }
            Some(StateKey::SchemaChange(namespace)) => {
                state.schemas.put_in(namespace, kv.mod_revision);
            }
            Some(StateKey::Waiter(lock, id)) => {
                locks::put(state, &mut touched.locks, lock, &id, kv)?;
            }
            Some(StateKey::LockDelay(lock, claim)) => {
                locks::put_delay(state, &mut touched.locks, lock, claim, kv)?;
            }
            Some(StateKey::Forced(lock, token)) => {
                let forced = Arc::new(records::forced_release(kv)?);
                state.forced.insert((lock, token), forced);
            }
            Some(StateKey::Replica(id)) => {
                state
                    .replicas
                    .insert(id.clone(), Arc::new(records::replica(id, kv)?));
            }
            Some(StateKey::Other) | None => {}
        }
        Ok(())
    }

    fn delete(
        &self,
        state: &mut State,
        touched: &mut Touched,
        changes: &mut Vec<Change<Self>>,
        key: &Bytes,
    ) {
        match self.keys.parse(key) {
            Some(StateKey::Epoch) => state.epoch = Epoch::default(),
            Some(StateKey::Closed) => {
                state.closed = None;
                touched.locks.look_at_all(state);
            }
            Some(StateKey::Session(id)) => sessions::delete(state, touched, changes, id),
            Some(StateKey::Instance(key)) => instances::delete(touched, &key),
            Some(StateKey::Operator(key)) => {
                instances::decide(state, touched, changes, &key, None);
            }
            Some(StateKey::Health(key)) => {
                instances::find(state, touched, changes, &key, None);
            }
            Some(StateKey::Tombstone(key)) => {
                state.tombstones.remove(key.path().as_bytes());
            }
            Some(StateKey::DrainAck(key, replica)) => {
                services::delete_ack(state, changes, ack_path(&key, &replica));
            }
            Some(StateKey::Service(key)) => {
                services::delete_settings(state, touched, changes, &key);
            }
            Some(StateKey::Namespace(namespace)) => {
                state.namespaces.remove(&namespace);
            }
            Some(StateKey::Config(path)) => configs::delete(state, changes, &path),
            Some(StateKey::Schema(path)) => state.schemas.delete(&path),
            Some(StateKey::SchemaChange(namespace)) => state.schemas.forget_put(&namespace),
            Some(StateKey::Waiter(lock, _)) => {
                locks::delete(state, &mut touched.locks, &touched.closed, &lock, key);
            }
            Some(StateKey::LockDelay(lock, claim)) => {
                locks::delete_delay(state, &mut touched.locks, &lock, &claim);
            }
            Some(StateKey::Forced(lock, token)) => {
                state.forced.remove(&(lock, token));
            }
            Some(StateKey::Replica(id)) => {
                state.replicas.remove(&id);
            }
            Some(StateKey::Other) | None => {}
        }
    }
}

impl Projection for StateProjection {
    type State = State;
    type Item = Item;
    type Cause = Cause;

    const KINDS: usize = 12;

    fn apply(&self, state: &mut State, revision: Revision, events: &[Event]) -> Vec<Change<Self>> {
        let mut touched = Touched::default();
        let mut changes = Vec::new();
        for event in events {
            match event {
                Event::Put(kv) => match self.put(state, &mut touched, &mut changes, kv) {
                    Ok(()) => {
                        state.undecodable.remove(&kv.key);
                    }
                    Err(error) => {
                        let key = self.describe(&kv.key);
                        tracing::error!(%key, %error, "a stored record is hidden because it cannot be decoded");
                        // A place in a queue that cannot be read still stands in the way, what delays
                        // a lock delays it, and the mark that closes locks closes them.
                        let stays = matches!(
                            self.keys.parse(&kv.key),
                            Some(StateKey::Waiter(..) | StateKey::LockDelay(..) | StateKey::Closed)
                        );
                        if !stays {
                            self.delete(state, &mut touched, &mut changes, &kv.key);
                        }
                        state.undecodable.insert(kv.key.clone());
                    }
                },
                Event::Delete { key, .. } => {
                    self.delete(state, &mut touched, &mut changes, key);
                    state.undecodable.remove(key);
                }
            }
        }
        services::look_at_instances(state, &mut touched);
        instances::settle(state, &mut touched, &mut changes, revision);
        let Touched {
            locks,
            closed,
            services,
            ..
        } = touched;
        locks::settle(state, locks, &closed, &mut changes, revision);
        state.count_changes(&changes);
        routes::settle(state, &services, &mut changes, revision);
        changes
    }

    fn epoch(state: &State) -> u64 {
        state.epoch.id
    }

    fn visible_revision(item: &Item) -> Revision {
        item.visible_revision()
    }

    fn create_revision(item: &Item) -> Revision {
        item.create_revision()
    }

    fn weight(item: &Item) -> usize {
        item.weight()
    }

    fn no_longer_matching() -> Cause {
        Cause::NoLongerMatching
    }
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

fn ack_path(key: &InstanceKey, replica: &ReplicaId) -> Bytes {
    format!("{}/{replica}", key.path()).into()
}
