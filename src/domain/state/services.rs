//! Services in the state: what their instances come to, and what was set for them.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;

use crate::{
    cache::Change,
    domain::{
        keyspace::ServiceKey,
        registry::{Counts, DrainAck, Instance, Service, ServiceSettings},
    },
    store::{KeyValue, Revision},
};

use super::{Cause, Item, Kind, State, StateProjection, Touched, instances::Seen, routes};

/// The services whose settings a revision touched.
pub(super) type TouchedServices = BTreeSet<Bytes>;

pub(super) fn put_settings(
    state: &mut State,
    touched: &mut Touched,
    changes: &mut Vec<Change<StateProjection>>,
    settings: ServiceSettings,
) {
    let path = Bytes::from(settings.key.path());
    let after = Arc::new(settings);
    let before = state.settings.insert(path.clone(), after.clone());
    routes::replace(state, &path, before.as_deref(), Some(&after));
    touched.services.insert(path.clone());
    changes.push(of_settings(path, before, Some(after)));
}

pub(super) fn delete_settings(
    state: &mut State,
    touched: &mut Touched,
    changes: &mut Vec<Change<StateProjection>>,
    key: &ServiceKey,
) {
    let path = Bytes::from(key.path());
    if let Some(before) = state.settings.remove(&path) {
        routes::replace(state, &path, Some(&before), None);
        touched.services.insert(path.clone());
        changes.push(of_settings(path, Some(before), None));
    }
}

pub(super) fn put_ack(
    state: &mut State,
    changes: &mut Vec<Change<StateProjection>>,
    path: Bytes,
    ack: Arc<DrainAck>,
    kv: &KeyValue,
) {
    let before = state.drain_acks.insert(path.clone(), ack.clone());
    changes.push(Change {
        kind: Kind::DrainAck as usize,
        key: path,
        before: before.map(|before| Item::DrainAck(before, kv.mod_revision)),
        after: Some(Item::DrainAck(ack, kv.mod_revision)),
        cause: Cause::Deleted,
    });
}

pub(super) fn delete_ack(
    state: &mut State,
    changes: &mut Vec<Change<StateProjection>>,
    path: Bytes,
) {
    if let Some(before) = state.drain_acks.remove(&path) {
        changes.push(Change {
            kind: Kind::DrainAck as usize,
            key: path,
            before: Some(Item::DrainAck(before, 0)),
            after: None,
            cause: Cause::Deleted,
        });
    }
}

/// The instances of services whose settings changed: what is seen of them may depend on it.
pub(super) fn look_at_instances(state: &State, touched: &mut Touched) {
    for service in &touched.services {
        let prefix = [service.as_ref(), b"/"].concat();
        for (path, _) in State::under(&state.instances, &prefix, None) {
            touched.instances.look_at(path.clone());
        }
    }
}

/// Derives what is seen of every service whose instances or settings changed. Whether a service is
/// protected decides which of its instances serve, so those change with it.
pub(super) fn settle(
    state: &mut State,
    touched: &Touched,
    seen: &mut Seen,
    revision: Revision,
) -> Vec<Change<StateProjection>> {
    for path in &touched.services {
        if let Some(service) = state.services.get(path) {
            seen.services.entry(path.clone()).or_insert(service.counts);
        }
    }
    let paths: Vec<_> = seen.services.keys().cloned().collect();
    let mut changes = Vec::new();
    for path in paths {
        let before = state.services.get(&path).cloned();
        let counts = seen.services.get(&path).copied().unwrap_or_default();
        let protected = counts.are_protected(state.settings.get(&path).map(Arc::as_ref));
        if protected != before.as_ref().is_some_and(|before| before.protected) {
            serve(state, seen, &path, protected, revision);
        }
        let counts = seen.services.get(&path).copied().unwrap_or_default();
        changes.extend(settle_one(
            state,
            path,
            before,
            (counts, protected),
            revision,
        ));
    }
    changes
}

/// Shows in the serving view what belongs there now that `protected` has changed.
fn serve(state: &mut State, seen: &mut Seen, service: &Bytes, protected: bool, revision: Revision) {
    let prefix = [service.as_ref(), b"/"].concat();
    let changed: Vec<(Bytes, Arc<Instance>, Instance)> =
        State::under(&state.instances, &prefix, None)
            .filter_map(|(path, before)| {
                let mut after = Instance::clone(before);
                after.serve(protected);
                after.visible_revision = revision;
                let changes = after.serving != before.serving;
                changes.then(|| (path.clone(), before.clone(), after))
            })
            .collect();
    for (path, before, after) in changed {
        seen.change(state, path, Some(before), Some(Arc::new(after)));
    }
}

fn settle_one(
    state: &mut State,
    path: Bytes,
    before: Option<Arc<Service>>,
    (counts, protected): (Counts, bool),
    revision: Revision,
) -> Option<Change<StateProjection>> {
    let settings = state.settings.get(&path).map(Arc::as_ref);
    let after = (counts.instances > 0).then(|| Service {
        path: String::from_utf8_lossy(&path).into_owned(),
        counts,
        protected,
        braked: counts.are_braked(settings),
        create_revision: before.as_ref().map_or(revision, |s| s.create_revision),
        visible_revision: before.as_ref().map_or(revision, |s| s.visible_revision),
    });
    if after.as_ref() == before.as_deref() {
        return None;
    }
    let after = after.map(|after| {
        Arc::new(Service {
            visible_revision: revision,
            ..after
        })
    });
    match &after {
        Some(after) => {
            state.services.insert(path.clone(), after.clone());
        }
        None => {
            state.services.remove(&path);
            state.rosters.remove(&path);
        }
    }
    Some(Change {
        kind: Kind::Service as usize,
        key: path,
        before: before.map(Item::Service),
        after: after.map(Item::Service),
        cause: Cause::Empty,
    })
}

fn of_settings(
    path: Bytes,
    before: Option<Arc<ServiceSettings>>,
    after: Option<Arc<ServiceSettings>>,
) -> Change<StateProjection> {
    Change {
        kind: Kind::Settings as usize,
        key: path,
        before: before.map(Item::Settings),
        after: after.map(Item::Settings),
        cause: Cause::Deleted,
    }
}
