//! From the events of the store to the state, and to what watchers see of them.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;

use crate::{
    cache::{Change, Projection},
    domain::{
        epoch::Epoch,
        keyspace::{InstanceKey, Keyspace, StateKey},
        names::ReplicaId,
        records,
        session_id::SessionId,
    },
    store::{Event, KeyValue, Revision},
};

use super::{
    Cause, Item, State, barriers, configs, instances, latches, locks, routes, services, sessions,
};

/// Decodes the watched keys and keeps [`State`].
pub struct StateProjection {
    keys: Keyspace,
}

/// What one revision touched, to be looked at once all its events are in.
#[derive(Default)]
pub(super) struct Touched {
    pub(super) instances: instances::TouchedInstances,
    pub(super) services: services::TouchedServices,
    pub(super) locks: locks::TouchedQueues,
    pub(super) barriers: barriers::TouchedBarriers,
    pub(super) latches: latches::TouchedLatches,
    pub(super) closed: BTreeSet<SessionId>,
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
            Some(StateKey::Participant(barrier, _)) => format!("a place at {barrier}"),
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
            Some(StateKey::Participant(path, _)) => {
                let participant = records::barrier_participant(kv)?;
                barriers::put(state, &mut touched.barriers, path, participant);
            }
            Some(StateKey::BarrierReleases(path)) => {
                let releases = Arc::new(records::barrier_releases(kv)?);
                barriers::put_releases(state, &mut touched.barriers, path, Some(releases));
            }
            Some(StateKey::Latch(path)) => {
                let made = Arc::new(records::latch(kv)?);
                latches::make(state, &mut touched.latches, path, Some(made));
            }
            Some(StateKey::LatchArrival(path, party)) => {
                let arrival = Arc::new(records::latch_arrival(kv)?);
                latches::arrive(state, &mut touched.latches, path, party, arrival);
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
            Some(StateKey::Participant(path, _)) => {
                barriers::delete(state, &mut touched.barriers, path, key);
            }
            Some(StateKey::BarrierReleases(path)) => {
                barriers::put_releases(state, &mut touched.barriers, path, None);
            }
            Some(StateKey::Latch(path)) => {
                latches::make(state, &mut touched.latches, path, None);
            }
            Some(StateKey::LatchArrival(path, party)) => {
                latches::leave(state, &mut touched.latches, path, &party);
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

    const KINDS: usize = 14;

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
            barriers,
            latches,
            closed,
            services,
            ..
        } = touched;
        locks::settle(state, locks, &closed, &mut changes, revision);
        barriers::settle(state, barriers, &mut changes, revision);
        latches::settle(state, latches, &mut changes, revision);
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

fn ack_path(key: &InstanceKey, replica: &ReplicaId) -> Bytes {
    format!("{}/{replica}", key.path()).into()
}
