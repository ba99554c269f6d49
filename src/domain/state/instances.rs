//! Instances in the state.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use bytes::Bytes;
use imbl::OrdMap;

use crate::{
    cache::Change,
    domain::{
        keyspace::InstanceKey,
        registry::{
            Counts, Findings, Health, HealthCheck, Instance, InstanceRecord, Operator,
            OperatorState, RemovalCause, ServiceSettings, SlowStart,
        },
    },
    store::Revision,
};

use super::{Cause, Item, Kind, Owned, State, StateProjection, Touched, services};

/// The instances a revision touched, with their new record where it changed.
#[derive(Default)]
pub(super) struct TouchedInstances(BTreeMap<Bytes, Touch>);

enum Touch {
    Written(Arc<InstanceRecord>),
    Deleted,
    /// Something it depends on changed.
    LookAt,
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

/// Notes what checks and reports found of an instance; `None`: nothing any more.
pub(super) fn find(
    state: &mut State,
    touched: &mut Touched,
    changes: &mut Vec<Change<StateProjection>>,
    key: &InstanceKey,
    after: Option<Arc<Findings>>,
) {
    let path = Bytes::from(key.path());
    let before = replace(&mut state.health, &path, after.clone());
    touched.instances.look_at(path.clone());
    let sides = (before.map(Item::Findings), after.map(Item::Findings));
    changes.extend(changed(Kind::Findings, path, sides));
}

/// Notes what was decided about an instance; `None`: nothing any more.
pub(super) fn decide(
    state: &mut State,
    touched: &mut Touched,
    changes: &mut Vec<Change<StateProjection>>,
    key: &InstanceKey,
    after: Option<Arc<Operator>>,
) {
    let path = Bytes::from(key.path());
    let before = replace(&mut state.operators, &path, after.clone());
    match after.as_ref().and_then(|after| after.drain) {
        Some(_) => state.drained.insert(path.clone()),
        None => state.drained.remove(&path),
    };
    touched.instances.look_at(path.clone());
    let sides = (before.map(Item::Operator), after.map(Item::Operator));
    changes.extend(changed(Kind::Operator, path, sides));
}

fn replace<T>(
    map: &mut OrdMap<Bytes, Arc<T>>,
    path: &Bytes,
    after: Option<Arc<T>>,
) -> Option<Arc<T>> {
    match after {
        Some(after) => map.insert(path.clone(), after),
        None => map.remove(path),
    }
}

fn changed(
    kind: Kind,
    key: Bytes,
    (before, after): (Option<Item>, Option<Item>),
) -> Option<Change<StateProjection>> {
    (before.is_some() || after.is_some()).then_some(Change {
        kind: kind as usize,
        key,
        before,
        after,
        cause: Cause::Deleted,
    })
}

/// Derives what is seen of every touched instance and of its service.
pub(super) fn settle(
    state: &mut State,
    touched: &mut Touched,
    changes: &mut Vec<Change<StateProjection>>,
    revision: Revision,
) {
    let mut seen = Seen::default();
    for (path, touch) in std::mem::take(&mut touched.instances.0) {
        let before = state.instances.get(&path).cloned();
        let record = match (touch, &before) {
            (Touch::Written(record), _) => Some(record),
            (Touch::LookAt, Some(before)) => Some(before.record.clone()),
            (Touch::Deleted, _) | (Touch::LookAt, None) => None,
        };
        if record.is_none()
            && let Some(session) = before.as_ref().and_then(|before| before.record.session)
        {
            state.disown(session, &Owned::Instance(path.clone()));
        }
        let after = record.map(|record| Arc::new(state.instance_at(&path, record, revision)));
        seen.change(state, path, before, after);
    }
    let services = services::settle(state, touched, &mut seen, revision);
    for (path, (before, after)) in seen.instances {
        let unseen = match (&before, &after) {
            (Some(before), Some(after)) => before.looks_like(after),
            (None, None) => true,
            _ => false,
        };
        if !unseen {
            let cause = match &after {
                Some(_) => Cause::Deregistered,
                None => cause(state, touched, &path, before.as_deref()),
            };
            changes.push(Change {
                kind: Kind::Instance as usize,
                key: path,
                before: before.map(Item::Instance),
                after: after.map(Item::Instance),
                cause,
            });
        }
    }
    changes.extend(services);
}

/// How an instance looks; `None`: it is not there.
type Look = Option<Arc<Instance>>;

/// The instances a revision changes, as they were and as they are.
#[derive(Default)]
pub(super) struct Seen {
    instances: BTreeMap<Bytes, (Look, Look)>,
    /// Their services, in numbers.
    pub(super) services: BTreeMap<Bytes, Counts>,
}

// === impl Seen ===

impl Seen {
    /// Notes how an instance changes, and has the state show it.
    pub(super) fn change(
        &mut self,
        state: &mut State,
        path: Bytes,
        before: Option<Arc<Instance>>,
        mut after: Option<Arc<Instance>>,
    ) {
        let Some(service) = service_of(&path) else {
            return;
        };
        if let Some((first, _)) = self.instances.get(&path) {
            revise(first.as_deref(), after.as_mut());
        } else {
            revise(before.as_deref(), after.as_mut());
        }
        if before.is_some() || after.is_some() {
            let counts = self.services.entry(service.clone()).or_insert_with(|| {
                state
                    .services
                    .get(&service)
                    .map_or_else(Counts::default, |s| s.counts)
            });
            before.iter().for_each(|before| counts.remove(before));
            after.iter().for_each(|after| counts.add(after));
            state.rosters.insert(service, Arc::default());
        }
        match &after {
            Some(after) => state.instances.insert(path.clone(), after.clone()),
            None => state.instances.remove(&path),
        };
        match self.instances.entry(path) {
            Entry::Vacant(entry) => {
                entry.insert((before, after));
            }
            Entry::Occupied(mut entry) => entry.get_mut().1 = after,
        }
    }
}

/// What looks as before changed when it did before.
fn revise(before: Option<&Instance>, after: Option<&mut Arc<Instance>>) {
    if let (Some(before), Some(after)) = (before, after)
        && before.looks_like(after)
        && before.visible_revision != after.visible_revision
    {
        Arc::make_mut(after).visible_revision = before.visible_revision;
    }
}

fn service_of(path: &Bytes) -> Option<Bytes> {
    let end = path.iter().rposition(|&byte| byte == b'/')?;
    Some(path.slice(..end))
}

/// Why an instance is gone. What is neither suspect nor goes with its session was asked
/// to be deregistered, unless a tombstone knows better.
fn cause(state: &State, touched: &Touched, path: &[u8], before: Option<&Instance>) -> Cause {
    let Some(before) = before else {
        return Cause::Deregistered;
    };
    let closed = |session| touched.closed.contains(&session);
    let tombstone = state.tombstones.get(path);
    let tombstone = tombstone.filter(|it| it.record.mod_revision == before.record.mod_revision);
    match tombstone.map(|tombstone| tombstone.cause) {
        _ if before.health == Health::Suspect => Cause::Expired,
        _ if before.record.session.is_some_and(closed) => Cause::SessionClosed,
        // One that was written for a removal that came to nothing says nothing.
        Some(RemovalCause::Drained) if before.operator == OperatorState::Draining => Cause::Drained,
        Some(RemovalCause::Unhealthy) if before.health == Health::Unhealthy => Cause::Unhealthy,
        _ => Cause::Deregistered,
    }
}

// === impl State ===

impl State {
    /// What is seen of a record, given all else that is known. Changed last at `revision`.
    pub(in crate::domain) fn instance_of(
        &self,
        record: Arc<InstanceRecord>,
        revision: Revision,
    ) -> Instance {
        let path = Bytes::from(record.key.path());
        self.instance_at(&path, record, revision)
    }

    /// The same, of a record whose path is at hand.
    fn instance_at(
        &self,
        path: &Bytes,
        record: Arc<InstanceRecord>,
        revision: Revision,
    ) -> Instance {
        let health = match record.session {
            Some(session) if !self.sessions.contains_key(&session) => Health::Suspect,
            _ => {
                let findings = self.health.get(path).map(Arc::as_ref);
                Findings::health(findings, &record, self.checks_of(&record))
            }
        };
        let operator = self.operators.get(path);
        let overlaid = operator
            .filter(|operator| !operator.overlay.is_empty())
            .map(|operator| Arc::new(operator.overlay.over(&record.spec)));
        let mut instance = Instance {
            overlaid,
            operator: operator.map_or_else(Default::default, |o| o.state(&record)),
            health,
            serving: false,
            slow_start: None,
            visible_revision: revision,
            record,
        };
        if instance.works() {
            instance.slow_start = self.slow_start_of(&instance.record);
        }
        let service = service_of(path);
        let service = service.and_then(|service| self.services.get(&service));
        instance.serve(service.is_some_and(|service| service.protected));
        instance
    }

    /// How an instance is checked.
    pub fn checks_of<'a>(&'a self, record: &'a InstanceRecord) -> &'a [HealthCheck] {
        if !record.spec.checks.is_empty() {
            return &record.spec.checks;
        }
        self.settings_of(record)
            .map_or(&[], |settings| &settings.checks)
    }

    /// How an instance that works is started.
    fn slow_start_of(&self, record: &InstanceRecord) -> Option<SlowStart> {
        let window = self.settings_of(record)?.slow_start?;
        let findings = self.health.get(record.key.path().as_bytes());
        let works = findings.and_then(|f| f.works_since(record, self.checks_of(record)));
        Some(SlowStart {
            start: record
                .register_time
                .max(works.unwrap_or(record.register_time)),
            window,
        })
    }

    /// What was set for the service of an instance.
    fn settings_of(&self, record: &InstanceRecord) -> Option<&ServiceSettings> {
        // Spares a lookup where nobody sets anything.
        if self.settings.is_empty() {
            return None;
        }
        let service = record.key.service_key().path();
        self.settings.get(service.as_bytes()).map(Arc::as_ref)
    }
}
