//! Latches in the state.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use crate::{
    cache::Change,
    domain::{
        barrier::{Arrival, Latch, LatchMade},
        keyspace::LatchPath,
        names::PartyName,
    },
};

use super::{Cause, Item, Kind, State, StateProjection};

/// The latches a revision touched, as they were before.
#[derive(Default)]
pub(super) struct TouchedLatches(BTreeMap<Bytes, Option<Arc<Latch>>>);

// === impl State ===

impl State {
    /// A latch, if there is one. What is left of one that cannot be read is none.
    pub fn latch(&self, path: &LatchPath) -> Option<&Arc<Latch>> {
        let latch = self.latches.get(path.path().as_bytes());
        latch.filter(|latch| latch.made.is_some())
    }
}

/// A latch came, or went.
pub(super) fn make(
    state: &mut State,
    touched: &mut TouchedLatches,
    path: LatchPath,
    made: Option<Arc<LatchMade>>,
) {
    change(state, touched, path, |latch| latch.made = made);
}

/// A party counted.
pub(super) fn arrive(
    state: &mut State,
    touched: &mut TouchedLatches,
    path: LatchPath,
    party: PartyName,
    arrival: Arc<Arrival>,
) {
    change(state, touched, path, |latch| {
        latch.arrivals.insert(party, arrival);
    });
}

/// What a party counted went with its latch.
pub(super) fn leave(
    state: &mut State,
    touched: &mut TouchedLatches,
    path: LatchPath,
    party: &PartyName,
) {
    change(state, touched, path, |latch| {
        latch.arrivals.remove(party);
    });
}

/// Tells of those that opened, came or went, for those who wait.
pub(super) fn settle(
    state: &mut State,
    touched: TouchedLatches,
    changes: &mut Vec<Change<StateProjection>>,
) {
    for (key, before) in touched.0 {
        let made = |latch: &Arc<Latch>| latch.made.is_some();
        let before = before.filter(made);
        let after = state.latches.get(&key).cloned().filter(made);
        if before.is_some() != after.is_some() {
            state.count_latch(&key, after.is_some());
        }
        let looks = |latch: &Option<Arc<Latch>>| {
            let latch = latch.as_ref()?;
            Some((latch.create_revision(), latch.is_open()))
        };
        if looks(&before) != looks(&after) {
            changes.push(Change {
                kind: Kind::Latch as usize,
                key,
                before: before.map(Item::Latch),
                after: after.map(Item::Latch),
                cause: Cause::Deleted,
            });
        }
    }
}

/// Changes a latch; one of which there is nothing is none.
fn change(
    state: &mut State,
    touched: &mut TouchedLatches,
    path: LatchPath,
    change: impl FnOnce(&mut Latch),
) {
    let key = Bytes::from(path.path());
    let before = state.latches.get(&key).cloned();
    let mut latch = match &before {
        Some(before) => Latch::clone(before),
        None => Latch::new(path),
    };
    touched.0.entry(key.clone()).or_insert(before);
    change(&mut latch);
    if latch.is_empty() {
        state.latches.remove(&key);
    } else {
        state.latches.insert(key, Arc::new(latch));
    }
}
