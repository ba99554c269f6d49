//! Barriers in the state.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use imbl::ordmap::DiffItem;

use crate::{
    cache::Change,
    domain::{
        barrier::{Barrier, Participant, Releases},
        keyspace::BarrierPath,
    },
    store::Revision,
};

use super::{Cause, Item, Kind, Owned, State, StateProjection};

/// The barriers a revision touched, as they were before.
#[derive(Default)]
pub(super) struct TouchedBarriers(BTreeMap<Bytes, Option<Arc<Barrier>>>);

// === impl State ===

impl State {
    /// A barrier, if there is anything of it.
    pub fn barrier(&self, path: &BarrierPath) -> Option<&Arc<Barrier>> {
        self.barriers.get(path.path().as_bytes())
    }

    /// At how many barriers somebody waits.
    pub fn waited_at(&self) -> usize {
        let barriers = self.barriers.values();
        barriers.filter(|barrier| barrier.is_waited_at()).count()
    }
}

pub(super) fn put(
    state: &mut State,
    touched: &mut TouchedBarriers,
    path: BarrierPath,
    participant: Participant,
) {
    let owned = Owned::Participant(path.clone(), participant.key.clone());
    let known = state.own(participant.session, owned);
    change(state, touched, path, |barrier| {
        // Whoever is new is not looked for among all the others.
        if known && let Some(before) = barrier.find(&participant.key).cloned() {
            barrier.participants.remove(&before.place());
        }
        let place = participant.place();
        barrier.participants.insert(place, Arc::new(participant));
    });
}

pub(super) fn delete(
    state: &mut State,
    touched: &mut TouchedBarriers,
    path: BarrierPath,
    key: &Bytes,
) {
    let Some(gone) = state.barrier(&path).and_then(|barrier| barrier.find(key)) else {
        return;
    };
    let gone = gone.clone();
    state.disown(gone.session, &Owned::Participant(path.clone(), key.clone()));
    change(state, touched, path, |barrier| {
        barrier.participants.remove(&gone.place());
    });
}

pub(super) fn put_releases(
    state: &mut State,
    touched: &mut TouchedBarriers,
    path: BarrierPath,
    releases: Option<Arc<Releases>>,
) {
    change(state, touched, path, |barrier| barrier.releases = releases);
}

/// Notes when what can be seen of the touched barriers changed, and tells those who wait at one that
/// is complete or was released, or that somebody left. Who else comes is nothing to them.
pub(super) fn settle(
    state: &mut State,
    touched: TouchedBarriers,
    changes: &mut Vec<Change<StateProjection>>,
    revision: Revision,
) {
    let claims_from = state.epoch.claims_from;
    for (key, before) in touched.0 {
        let after = state.barriers.get(&key).cloned();
        let waited_at =
            |barrier: &Option<Arc<Barrier>>| barrier.as_ref().is_some_and(|b| b.is_waited_at());
        if waited_at(&before) != waited_at(&after) {
            state.count_barrier(&key, waited_at(&after));
        }
        let (mut came, mut left) = (false, false);
        let none = imbl::OrdMap::new();
        let waiting = |barrier: &Option<Arc<Barrier>>| match barrier {
            Some(barrier) => barrier.participants.clone(),
            None => none.clone(),
        };
        for difference in waiting(&before).diff(&waiting(&after)) {
            came |= matches!(difference, DiffItem::Add(..));
            left |= matches!(difference, DiffItem::Remove(..));
        }
        let of = |barrier: &Option<Arc<Barrier>>| barrier.as_ref().map(|b| b.released_at());
        let released = of(&before) != of(&after);
        let after = match after {
            Some(after) if came || left || released => {
                let mut after = Barrier::clone(&after);
                after.visible_revision = revision;
                let after = Arc::new(after);
                state.barriers.insert(key.clone(), after.clone());
                Some(after)
            }
            after => after,
        };
        let complete = after
            .as_ref()
            .is_some_and(|b| b.group(claims_from).is_some());
        if left || released || complete {
            changes.push(Change {
                kind: Kind::Barrier as usize,
                key,
                before: before.map(Item::Barrier),
                after: after.map(Item::Barrier),
                cause: Cause::Released,
            });
        }
    }
}

/// Changes a barrier; one of which there is nothing is none.
fn change(
    state: &mut State,
    touched: &mut TouchedBarriers,
    path: BarrierPath,
    change: impl FnOnce(&mut Barrier),
) {
    let key = Bytes::from(path.path());
    let before = state.barriers.get(&key).cloned();
    let mut barrier = match &before {
        Some(before) => Barrier::clone(before),
        None => Barrier::new(path),
    };
    touched.0.entry(key.clone()).or_insert(before);
    change(&mut barrier);
    if barrier.is_empty() {
        state.barriers.remove(&key);
    } else {
        state.barriers.insert(key, Arc::new(barrier));
    }
}
