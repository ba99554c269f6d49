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
        let released_at =
            |barrier: &Option<Arc<Barrier>>| barrier.as_ref().map_or(0, |b| b.released_at());
        let released = released_at(&before) != released_at(&after);
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
                before: Some(Item::Stirred(revision)),
                after: Some(Item::Stirred(revision)),
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

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{
        cache::Projection,
        domain::{
            barrier::Release, keyspace::Keyspace, names::Label, records, session_id::SessionId,
        },
        store::{Event, KeyValue},
    };

    /// A barrier for three, from events to what is told.
    struct Model {
        keys: Keyspace,
        path: BarrierPath,
        state: State,
        revision: Revision,
    }

    impl Model {
        fn new() -> Self {
            Self {
                keys: Keyspace::new("test"),
                path: BarrierPath::parse("a/step").unwrap(),
                state: State::default(),
                revision: 0,
            }
        }

        /// Says whether those who wait are told of the events of the next revision.
        fn apply(&mut self, events: &[Event]) -> bool {
            self.revision += 1;
            let projection = StateProjection::new(self.keys.clone());
            let changes = projection.apply(&mut self.state, self.revision, events);
            let told = changes.iter();
            let told = told.filter(|change| change.kind == Kind::Barrier as usize);
            told.inspect(|change| assert_eq!(&change.key[..], b"a/step"))
                .count()
                == 1
        }

        fn put(&self, key: Bytes, value: Bytes) -> Event {
            let revision = self.revision + 1;
            Event::Put(KeyValue {
                key,
                value,
                create_revision: revision,
                mod_revision: revision,
                version: 1,
                lease: 1,
            })
        }

        fn comes(&self) -> Event {
            let session = SessionId::random();
            let participant = Participant {
                key: self.keys.participant(&self.path, &session, "r"),
                session,
                client_id: Label::default(),
                request_id: "r".into(),
                parties: 3,
                era: 0,
                call: 1,
                create_time: SystemTime::UNIX_EPOCH,
                address: String::new(),
                format: 1,
                create_revision: 0,
                mod_revision: 0,
            };
            let value = records::encode_barrier_participant(&participant);
            self.put(participant.key, value)
        }

        fn goes(&self, event: &Event) -> Event {
            let revision = self.revision + 1;
            let key = event.key().clone();
            Event::Delete { key, revision }
        }

        fn waiting(&self) -> usize {
            let barrier = self.state.barrier(&self.path);
            barrier.map_or(0, |barrier| barrier.participants.len())
        }
    }

    #[test]
    fn those_who_wait_are_told_when_they_are_complete_and_when_somebody_leaves() {
        let mut model = Model::new();
        let first = model.comes();
        assert!(!model.apply(std::slice::from_ref(&first)));
        let second = model.comes();
        assert!(!model.apply(std::slice::from_ref(&second)));
        let left = model.goes(&first);
        assert!(model.apply(&[left]));
        assert_eq!((model.waiting(), model.state.waited_at()), (1, 1));
        for complete in [false, true] {
            let comes = model.comes();
            assert_eq!(model.apply(&[comes]), complete);
        }
    }

    #[test]
    fn a_release_is_told_and_remembered_until_its_record_goes() {
        let mut model = Model::new();
        let mut there = Vec::new();
        for _ in 0..3 {
            let comes = model.comes();
            model.apply(std::slice::from_ref(&comes));
            there.push(comes);
        }
        let usage = |model: &Model| {
            let usage = model.state.usage_of(&model.path.namespace);
            usage.map_or(0, |usage| usage.barriers)
        };
        assert_eq!((usage(&model), model.state.owned.len()), (1, 3));
        let barrier = model.state.barrier(&model.path).unwrap();
        let group = barrier.group(0).unwrap();
        let release = Release {
            generation: 0,
            era: 0,
            time: SystemTime::UNIX_EPOCH,
            members: group.iter().map(|member| member.member()).collect(),
        };
        let places: Vec<_> = group.iter().map(|member| member.place()).collect();
        let value = records::encode_barrier_releases(std::iter::once(&release));
        let key = model.keys.barrier_releases(&model.path);
        let record = model.put(key, value);
        let mut events: Vec<_> = there.iter().map(|there| model.goes(there)).collect();
        events.push(record.clone());
        assert!(model.apply(&events));
        assert_eq!((usage(&model), model.state.owned.len()), (0, 0));
        let barrier = model.state.barrier(&model.path).unwrap();
        assert_eq!(barrier.visible_revision, model.revision);
        for (index, place) in places.iter().enumerate() {
            let told = barrier.releases.as_ref().unwrap();
            let told = told.passed_by(&place.key).unwrap();
            assert_eq!((told.index, told.generation), (index, model.revision));
        }
        let gone = model.goes(&record);
        model.apply(&[gone]);
        assert!(model.state.barriers.is_empty());
    }
}
