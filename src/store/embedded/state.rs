//! The state of the store at one moment: an immutable value that shares its structure with the
//! moments before and after, so that readers keep one for as long as they look at it and the
//! writer stages changes on a copy.

use std::{ops::Bound, sync::Arc, time::Duration};

use bytes::Bytes;
use imbl::{OrdMap, OrdSet};

use crate::store::{
    Error, Event, KeyRange, KeyValue, LeaseId, RangeRequest, RangeResponse, Revision,
};

/// Everything the store holds. A clone costs a few reference counts.
#[derive(Clone)]
pub(super) struct State {
    /// The latest revision.
    pub(super) revision: Revision,
    /// Reads and watches from before this revision fail.
    pub(super) compacted: Revision,
    /// The keys as they are now.
    current: OrdMap<Bytes, Arc<KeyValue>>,
    /// Former versions, each under the revision that replaced or deleted it: a version is what
    /// its key was from its own `mod_revision` up to and without that.
    past: OrdMap<(Bytes, Revision), Arc<KeyValue>>,
    /// What each revision did.
    log: OrdMap<Revision, Arc<[Event]>>,
    /// The leases and their time to live. When they end is not state: see `lease`.
    leases: OrdMap<LeaseId, Duration>,
    /// The keys of each lease.
    attached: OrdSet<(LeaseId, Bytes)>,
}

/// One revision in the making: all its writes, then [`Change::finish`].
pub(super) struct Change<'a> {
    state: &'a mut State,
    revision: Revision,
    events: Vec<Event>,
}

// === impl State ===

impl State {
    /// A store at `revision` without any history, which has only what is restored to it.
    pub(super) fn new(revision: Revision, compacted: Revision) -> Self {
        Self {
            revision,
            compacted,
            current: OrdMap::new(),
            past: OrdMap::new(),
            log: OrdMap::new(),
            leases: OrdMap::new(),
            attached: OrdSet::new(),
        }
    }

    /// Puts back a key as it was stored.
    pub(super) fn restore(&mut self, kv: KeyValue) {
        if kv.lease != 0 {
            self.attached.insert((kv.lease, kv.key.clone()));
        }
        self.current.insert(kv.key.clone(), Arc::new(kv));
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&KeyValue> {
        self.current.get(key).map(Arc::as_ref)
    }

    /// The keys of a range as they are now, in key order.
    pub(super) fn live(&self, keys: &KeyRange) -> impl Iterator<Item = &Arc<KeyValue>> {
        let (start, end) = match &keys.end {
            None => (
                Bound::Included(keys.start.as_ref()),
                Bound::Included(keys.start.as_ref()),
            ),
            Some(end) if *end > keys.start => (
                Bound::Included(keys.start.as_ref()),
                Bound::Excluded(end.as_ref()),
            ),
            // Ranges that end before they start are empty; the map would panic.
            Some(_) => (
                Bound::Included(keys.start.as_ref()),
                Bound::Excluded(keys.start.as_ref()),
            ),
        };
        self.current
            .range::<_, [u8]>((start, end))
            .map(|(_, kv)| kv)
    }

    /// Refuses revisions that are gone or not there yet. `0` and below mean "now".
    pub(super) fn check_revision(&self, revision: Revision) -> Result<(), Error> {
        if revision > self.revision {
            Err(Error::FutureRevision)
        } else if revision > 0 && revision < self.compacted {
            Err(Error::Compacted {
                oldest: self.compacted,
            })
        } else {
            Ok(())
        }
    }

    /// Answers a read whose revision was checked; `now` is the revision this state is at.
    pub(super) fn read(&self, request: &RangeRequest, now: Revision) -> RangeResponse {
        let mut response = RangeResponse {
            revision: now,
            ..RangeResponse::default()
        };
        let mut take = |kv: &KeyValue| {
            response.count += 1;
            if request.count_only {
                return;
            }
            if request.limit > 0 && response.kvs.len() == request.limit {
                response.more = true;
                return;
            }
            let mut kv = kv.clone();
            if request.keys_only {
                kv.value = Bytes::new();
            }
            response.kvs.push(kv);
        };
        if request.revision <= 0 || request.revision == now {
            self.live(&request.keys).for_each(|kv| take(kv));
        } else {
            self.as_of(&request.keys, request.revision)
                .into_iter()
                .for_each(take);
        }
        response
    }

    /// The keys of a range as they were at `revision`, in key order.
    fn as_of(&self, keys: &KeyRange, revision: Revision) -> Vec<&KeyValue> {
        let end = match &keys.end {
            Some(end) if *end > keys.start => (end.clone(), 0),
            Some(_) => return Vec::new(),
            None => (keys.start.clone(), Revision::MAX),
        };
        let former = self
            .past
            .range((keys.start.clone(), 0)..end)
            .filter(|((_, until), kv)| kv.mod_revision <= revision && revision < *until)
            .map(|(_, kv)| kv.as_ref());
        let still = self
            .live(keys)
            .filter(|kv| kv.mod_revision <= revision)
            .map(Arc::as_ref);
        let mut found: Vec<_> = former.chain(still).collect();
        // Each key has at most one version at a revision.
        found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        found
    }

    /// What happened from `revision` on, in order.
    pub(super) fn changes_from(
        &self,
        revision: Revision,
    ) -> impl Iterator<Item = (Revision, &Arc<[Event]>)> {
        self.log
            .range(revision..)
            .map(|(revision, events)| (*revision, events))
    }

    pub(super) fn lease(&self, id: LeaseId) -> Option<Duration> {
        self.leases.get(&id).copied()
    }

    pub(super) fn leases(&self) -> impl Iterator<Item = (LeaseId, Duration)> {
        self.leases.iter().map(|(id, ttl)| (*id, *ttl))
    }

    pub(super) fn add_lease(&mut self, id: LeaseId, ttl: Duration) {
        self.leases.insert(id, ttl);
    }

    /// Forgets history before `revision`. What it held goes with [`State::sweep`].
    pub(super) fn compact(&mut self, revision: Revision) -> Result<(), Error> {
        if revision > self.revision {
            return Err(Error::FutureRevision);
        }
        self.compacted = self.compacted.max(revision);
        Ok(())
    }

    /// Frees at most `limit` revisions that were compacted. Returns true if there are more.
    pub(super) fn sweep(&mut self, limit: usize) -> bool {
        for _ in 0..limit {
            match self.log.get_min() {
                Some((revision, events)) if *revision < self.compacted => {
                    let (revision, events) = (*revision, events.clone());
                    for event in events.iter() {
                        self.past.remove(&(event.key().clone(), revision));
                    }
                    self.log.remove(&revision);
                }
                _ => return false,
            }
        }
        true
    }
}

// === impl Change ===

impl<'a> Change<'a> {
    pub(super) fn new(state: &'a mut State) -> Self {
        Self {
            revision: state.revision + 1,
            state,
            events: Vec::new(),
        }
    }

    /// The state with the writes made so far.
    pub(super) fn state(&self) -> &State {
        self.state
    }

    /// The revision the store is at now: the next one as soon as something was written.
    pub(super) fn revision(&self) -> Revision {
        if self.events.is_empty() {
            self.state.revision
        } else {
            self.revision
        }
    }

    /// Writes a key under a lease that exists (`0`: none).
    pub(super) fn put(&mut self, key: Bytes, value: Bytes, lease: LeaseId) {
        let previous = self.state.current.get(&key).cloned();
        let kv = KeyValue {
            key: key.clone(),
            value,
            create_revision: previous
                .as_ref()
                .map_or(self.revision, |kv| kv.create_revision),
            mod_revision: self.revision,
            version: previous.as_ref().map_or(1, |kv| kv.version + 1),
            lease,
        };
        if let Some(previous) = previous {
            self.retire(previous);
        }
        if lease != 0 {
            self.state.attached.insert((lease, key.clone()));
        }
        self.events.push(Event::Put(kv.clone()));
        self.state.current.insert(key, Arc::new(kv));
    }

    /// Deletes keys, in key order. Returns how many there were.
    pub(super) fn delete(&mut self, keys: &KeyRange) -> usize {
        let gone: Vec<_> = self.state.live(keys).cloned().collect();
        let count = gone.len();
        for kv in gone {
            self.state.current.remove(&kv.key);
            self.events.push(Event::Delete {
                key: kv.key.clone(),
                revision: self.revision,
            });
            self.retire(kv);
        }
        count
    }

    /// Ends a lease and deletes its keys. Returns false if there is no such lease.
    pub(super) fn end_lease(&mut self, id: LeaseId) -> bool {
        if self.state.leases.remove(&id).is_none() {
            return false;
        }
        let keys: Vec<_> = self
            .state
            .attached
            .range((id, Bytes::new())..(id.saturating_add(1), Bytes::new()))
            .map(|(_, key)| key.clone())
            .collect();
        for key in keys {
            self.delete(&KeyRange::key(key));
        }
        true
    }

    /// Takes the revision, if anything was written. Returns the one the store is at.
    pub(super) fn finish(self) -> Revision {
        if !self.events.is_empty() {
            self.state.log.insert(self.revision, self.events.into());
            self.state.revision = self.revision;
        }
        self.state.revision
    }

    /// Keeps a version that this revision ends.
    fn retire(&mut self, kv: Arc<KeyValue>) {
        if kv.lease != 0 {
            self.state.attached.remove(&(kv.lease, kv.key.clone()));
        }
        // A version of this very revision was never visible.
        if kv.mod_revision < self.revision {
            self.state.past.insert((kv.key.clone(), self.revision), kv);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(state: &mut State, key: &'static str, value: &'static str) -> Revision {
        let mut change = Change::new(state);
        change.put(key.into(), value.into(), 0);
        change.finish()
    }

    fn values(state: &State, revision: Revision) -> Vec<(Bytes, Bytes)> {
        let request = RangeRequest::new(KeyRange::span("", "~")).at(revision);
        let response = state.read(&request, state.revision);
        let pair = |kv: KeyValue| (kv.key, kv.value);
        response.kvs.into_iter().map(pair).collect()
    }

    #[test]
    fn every_revision_reads_as_it_was() {
        let mut state = State::new(1, 0);
        put(&mut state, "b", "1");
        put(&mut state, "a", "2");
        put(&mut state, "b", "3");
        let mut change = Change::new(&mut state);
        change.delete(&KeyRange::key("b"));
        change.finish();
        put(&mut state, "b", "4");
        let pairs = |pairs: &[(&'static str, &'static str)]| {
            let pair =
                |(key, value): &(&'static str, &'static str)| ((*key).into(), (*value).into());
            pairs.iter().map(pair).collect::<Vec<(Bytes, Bytes)>>()
        };
        assert_eq!(values(&state, 1), pairs(&[]));
        assert_eq!(values(&state, 2), pairs(&[("b", "1")]));
        assert_eq!(values(&state, 3), pairs(&[("a", "2"), ("b", "1")]));
        assert_eq!(values(&state, 4), pairs(&[("a", "2"), ("b", "3")]));
        assert_eq!(values(&state, 5), pairs(&[("a", "2")]));
        assert_eq!(values(&state, 6), pairs(&[("a", "2"), ("b", "4")]));
    }

    #[test]
    fn sweeping_frees_what_compaction_made_unreadable_and_nothing_else() {
        let mut state = State::new(1, 0);
        for _ in 0..10 {
            put(&mut state, "k", "v");
        }
        state.compact(6).unwrap();
        let before = values(&state, 6);
        assert!(state.sweep(2));
        assert!(!state.sweep(100));
        assert_eq!(values(&state, 6), before);
        assert_eq!(state.log.len(), 6);
        assert_eq!(state.past.len(), 6);
        state.compact(state.revision).unwrap();
        state.sweep(100);
        assert_eq!((state.log.len(), state.past.len()), (1, 1));
    }
}
