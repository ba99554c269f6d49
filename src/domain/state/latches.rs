//! Latches in the state.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use crate::{
    cache::Change,
    domain::{
        barrier::{Arrival, Latch, LatchMade, LatchStands},
        keyspace::LatchPath,
        names::PartyName,
    },
    store::Revision,
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
    revision: Revision,
) {
    for (key, before) in touched.0 {
        let made = |latch: &Arc<Latch>| latch.made.is_some();
        let before = before.filter(made);
        let after = state.latches.get(&key).cloned().filter(made);
        if before.is_some() != after.is_some() {
            state.count_latch(&key, after.is_some());
        }
        let stands = |latch: Option<Arc<Latch>>| {
            latch.map(|latch| LatchStands {
                create_revision: latch.create_revision(),
                open: latch.is_open(),
                revision,
            })
        };
        let (before, after) = (stands(before), stands(after));
        if before != after {
            changes.push(Change {
                kind: Kind::Latch as usize,
                key,
                before: before.map(Item::Stands),
                after: after.map(Item::Stands),
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::{
        cache::Projection,
        domain::{keyspace::Keyspace, names::Label, records},
        store::{Event, KeyValue},
    };

    #[test]
    fn those_who_wait_are_told_that_a_latch_opens_and_how_it_went_and_not_of_each_who_counts() {
        let keys = Keyspace::new("test");
        let path = LatchPath::parse("a/ready").unwrap();
        let mut state = State::default();
        let mut revision = 0;
        let mut apply = |events: &[Event]| {
            revision += 1;
            let projection = StateProjection::new(keys.clone());
            let changes = projection.apply(&mut state, revision, events);
            let stands = |item: Option<Item>| match item {
                Some(Item::Stands(stands)) => Some((stands.create_revision, stands.open)),
                _ => None,
            };
            let told = changes.into_iter();
            let told = told.filter(|change| change.kind == Kind::Latch as usize);
            let told = told.map(|change| (stands(change.before), stands(change.after)));
            (told.collect::<Vec<_>>(), state.latch(&path).cloned())
        };
        let put = |key: Bytes, value: Bytes, revision| {
            Event::Put(KeyValue {
                key,
                value,
                create_revision: revision,
                mod_revision: revision,
                version: 1,
                lease: 1,
            })
        };
        let made = LatchMade {
            count: 2,
            lifetime: Duration::from_secs(60),
            lease: 1,
            actor: Label::default(),
            create_time: SystemTime::UNIX_EPOCH,
            request_id: String::new(),
            call: 1,
            create_revision: 1,
        };
        let record = put(keys.latch(&path), records::encode_latch(&made), 1);
        let (told, latch) = apply(&[record]);
        assert_eq!(told, [(None, Some((1, false)))]);
        assert_eq!(latch.unwrap().made.as_deref(), Some(&made));
        let mut keys_there = vec![keys.latch(&path)];
        for (party, revision) in [("x", 2), ("y", 3), ("z", 4)] {
            let arrival = Arrival {
                create_time: SystemTime::UNIX_EPOCH,
                call: 1,
                revision,
            };
            let party = PartyName::parse(party).unwrap();
            let key = keys.latch_arrival(&path, &party);
            keys_there.push(key.clone());
            let (told, latch) =
                apply(&[put(key, records::encode_latch_arrival(&arrival), revision)]);
            let opens = (Some((1, false)), Some((1, true)));
            assert_eq!(told, if revision == 3 { vec![opens] } else { vec![] });
            assert_eq!(latch.unwrap().is_open(), revision >= 3);
        }
        // All that hangs on its lease goes at one revision.
        let gone = keys_there
            .into_iter()
            .map(|key| Event::Delete { key, revision: 5 });
        let (told, latch) = apply(&gone.collect::<Vec<_>>());
        assert_eq!(told, [(Some((1, true)), None)]);
        assert_eq!(latch, None);
        assert!(state.latches.is_empty() && state.usage.is_empty());
    }
}
