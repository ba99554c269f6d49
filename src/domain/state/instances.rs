//! Instances and services in the state.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use crate::{
    cache::Change,
    domain::{
        keyspace::InstanceKey,
        registry::{Health, Instance, InstanceRecord, Service},
    },
    store::Revision,
};

use super::{Cause, Item, Kind, Owned, State, StateProjection, Touched};

/// The instances a revision touched, with their new record where it changed.
#[derive(Default)]
pub(super) struct TouchedInstances(BTreeMap<Bytes, Touch>);

enum Touch {
    Written(Arc<InstanceRecord>),
    Deleted,
    /// Something it depends on changed.
    LookAt,
}

/// By how much the counts of a service change.
#[derive(Default)]
struct Counts {
    instances: isize,
    serving: isize,
}

// === impl TouchedInstances ===

impl TouchedInstances {
    pub(super) fn look_at(&mut self, path: Bytes) {
        self.0.entry(path).or_insert(Touch::LookAt);
    }
}

pub(super) fn put(state: &mut State, touched: &mut Touched, record: InstanceRecord) {
    let path = Bytes::from(record.key.path());
    if let Some(before) = state.instances.get(&path).map(|i| i.record.session)
        && before != record.session
        && let Some(session) = before
    {
        state.disown(session, &Owned::Instance(path.clone()));
    }
    if let Some(session) = record.session {
        state.own(session, Owned::Instance(path.clone()));
    }
    touched
        .instances
        .0
        .insert(path, Touch::Written(Arc::new(record)));
}

pub(super) fn delete(touched: &mut Touched, key: &InstanceKey) {
    touched
        .instances
        .0
        .insert(Bytes::from(key.path()), Touch::Deleted);
}

/// Derives what is seen of every touched instance and of its service.
pub(super) fn settle(
    state: &mut State,
    touched: &mut Touched,
    changes: &mut Vec<Change<StateProjection>>,
    revision: Revision,
) {
    let mut services: BTreeMap<Bytes, Counts> = BTreeMap::new();
    for (path, touch) in std::mem::take(&mut touched.instances.0) {
        let before = state.instances.get(&path).cloned();
        let after = match (touch, &before) {
            (Touch::Written(record), _) => Some(record),
            (Touch::LookAt, Some(before)) => Some(before.record.clone()),
            (Touch::Deleted, _) | (Touch::LookAt, None) => None,
        }
        .map(|record| derive(state, record, before.as_deref(), revision));
        match &after {
            Some(after) => {
                state.instances.insert(path.clone(), after.clone());
            }
            None => {
                state.instances.remove(&path);
                if let Some(session) = before.as_ref().and_then(|before| before.record.session) {
                    state.disown(session, &Owned::Instance(path.clone()));
                }
            }
        }
        let service = path
            .iter()
            .rposition(|&byte| byte == b'/')
            .map(|end| path.slice(..end));
        if let Some(service) = &service
            && (before.is_some() || after.is_some())
        {
            state.rosters.insert(service.clone(), Arc::default());
        }
        let unseen = match (&before, &after) {
            (Some(before), Some(after)) => before.looks_like(after),
            (None, None) => true,
            _ => false,
        };
        if unseen {
            continue;
        }
        if let Some(service) = service {
            let counts = services.entry(service).or_default();
            counts.add(before.as_deref(), -1);
            counts.add(after.as_deref(), 1);
        }
        let cause = cause(touched, before.as_deref());
        changes.push(Change {
            kind: Kind::Instance as usize,
            key: path,
            before: before.map(Item::Instance),
            after: after.map(Item::Instance),
            cause,
        });
    }
    for (path, counts) in services {
        settle_service(state, changes, path, counts, revision);
    }
}

fn derive(
    state: &State,
    record: Arc<InstanceRecord>,
    before: Option<&Instance>,
    revision: Revision,
) -> Arc<Instance> {
    let mut instance = state.instance_of(record, revision);
    if let Some(before) = before
        && before.looks_like(&instance)
    {
        instance.visible_revision = before.visible_revision;
    }
    Arc::new(instance)
}

fn cause(touched: &Touched, before: Option<&Instance>) -> Cause {
    match before {
        Some(before) if before.health == Health::Suspect => Cause::Expired,
        Some(before)
            if before
                .record
                .session
                .is_some_and(|session| touched.closed.contains(&session)) =>
        {
            Cause::SessionClosed
        }
        _ => Cause::Deregistered,
    }
}

fn settle_service(
    state: &mut State,
    changes: &mut Vec<Change<StateProjection>>,
    path: Bytes,
    counts: Counts,
    revision: Revision,
) {
    let before = state.services.get(&path).cloned();
    let (mut instances, mut serving) = before.as_ref().map_or((0, 0), |s| (s.instances, s.serving));
    instances = instances.saturating_add_signed(counts.instances);
    serving = serving.saturating_add_signed(counts.serving);
    let after = (instances > 0).then(|| {
        Arc::new(Service {
            path: String::from_utf8_lossy(&path).into_owned(),
            instances,
            serving,
            create_revision: before.as_ref().map_or(revision, |s| s.create_revision),
            visible_revision: revision,
        })
    });
    match (&before, &after) {
        (None, None) => return,
        (Some(before), Some(after))
            if before.instances == after.instances && before.serving == after.serving =>
        {
            return;
        }
        (_, Some(after)) => {
            state.services.insert(path.clone(), after.clone());
        }
        (Some(_), None) => {
            state.services.remove(&path);
            state.rosters.remove(&path);
        }
    }
    changes.push(Change {
        kind: Kind::Service as usize,
        key: path,
        before: before.map(Item::Service),
        after: after.map(Item::Service),
        cause: Cause::Empty,
    });
}

// === impl State ===

impl State {
    /// What is seen of a record, given all else that is known. Changed last at `revision`.
    pub(in crate::domain) fn instance_of(
        &self,
        record: Arc<InstanceRecord>,
        revision: Revision,
    ) -> Instance {
        let path = record.key.path();
        let path = path.as_bytes();
        let health = match record.session {
            Some(session) if !self.sessions.contains_key(&session) => Health::Suspect,
            Some(_) => *self.health.get(path).unwrap_or(&Health::Healthy),
            None => *self.health.get(path).unwrap_or(&Health::Unknown),
        };
        Instance {
            record,
            operator: self.operators.get(path).copied().unwrap_or_default(),
            health,
            visible_revision: revision,
        }
    }
}

// === impl Counts ===

impl Counts {
    fn add(&mut self, instance: Option<&Instance>, by: isize) {
        if let Some(instance) = instance {
            self.instances += by;
            if instance.is_serving() {
                self.serving += by;
            }
        }
    }
}
