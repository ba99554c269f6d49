//! Locks in the state.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use imbl::ordmap::DiffItem;

use crate::{
    cache::Change,
    domain::{
        keyspace::LockPath,
        lock::{Claim, LockQueue, Waiter},
        records,
        session_id::SessionId,
    },
    store::{KeyValue, Revision},
};

use super::{Cause, Item, Kind, Owned, State, StateProjection};

/// The locks a revision touched.
#[derive(Default)]
pub(super) struct TouchedLocks {
    /// The queues as they were before.
    queues: BTreeMap<Bytes, Option<Arc<LockQueue>>>,
    /// The places that went after their session in the same revision: a session that is closed
    /// goes first, while all keys of an expired one go in key order, in which it is last.
    closed: BTreeSet<Bytes>,
}

/// Where a claim sorts among all claims: by lock, then by place.
pub(crate) fn claim_key(path: &[u8], waiter: &Waiter) -> Bytes {
    let place = format!("/{:016x}", waiter.create_revision);
    [path, place.as_bytes()].concat().into()
}

pub(super) fn put(
    state: &mut State,
    touched: &mut TouchedLocks,
    lock: LockPath,
    id: &[u8],
    kv: &KeyValue,
) -> Result<(), records::DecodeError> {
    let (waiter, result) = match records::waiter(kv) {
        Ok(waiter) => (waiter, Ok(())),
        Err(error) => {
            let Some(session) = session_of(id) else {
                return Err(error);
            };
            let (created, modified) = (kv.create_revision, kv.mod_revision);
            let waiter = Waiter::unreadable(kv.key.clone(), session, created, modified);
            (waiter, Err(error))
        }
    };
    let path = Bytes::from(lock.path());
    state.own(
        waiter.session,
        Owned::Waiter(path.clone(), waiter.key.clone()),
    );
    let mut queue = touch(state, touched, &path).unwrap_or_else(|| LockQueue::new(lock.clone()));
    let before = queue.find(&waiter.key).cloned();
    let mut claim = Claim {
        lock,
        held: false,
        visible_revision: waiter.mod_revision,
        waiter,
    };
    if let Some(before) = before {
        queue.claims.remove(&before.waiter.place());
        if before.waiter.looks_like(&claim.waiter) {
            claim.held = before.held;
            claim.visible_revision = before.visible_revision;
        }
    }
    queue.claims.insert(claim.waiter.place(), Arc::new(claim));
    state.locks.insert(path, Arc::new(queue));
    result
}

pub(super) fn delete(
    state: &mut State,
    touched: &mut TouchedLocks,
    closed: &BTreeSet<SessionId>,
    lock: &LockPath,
    key: &Bytes,
) {
    let path = Bytes::from(lock.path());
    let Some(mut queue) = touch(state, touched, &path) else {
        return;
    };
    if let Some(gone) = queue.find(key).cloned() {
        let session = gone.waiter.session;
        state.disown(session, &Owned::Waiter(path.clone(), key.clone()));
        if closed.contains(&session) {
            touched.closed.insert(key.clone());
        }
        queue.claims.remove(&gone.waiter.place());
    }
    if queue.claims.is_empty() {
        state.locks.remove(&path);
    } else {
        state.locks.insert(path, Arc::new(queue));
    }
}

/// Finds who holds each touched lock now, and tells one change for every claim that looks
/// different.
pub(super) fn settle(
    state: &mut State,
    touched: TouchedLocks,
    closed: &BTreeSet<SessionId>,
    changes: &mut Vec<Change<StateProjection>>,
    revision: Revision,
) {
    for (path, before) in touched.queues {
        let mut after = match state.locks.get(&path) {
            Some(queue) => LockQueue::clone(queue),
            None => match &before {
                Some(before) => LockQueue::new(before.path.clone()),
                None => continue,
            },
        };
        if let Some(holder) = after.holder().filter(|holder| !holder.held) {
            let holder = Claim {
                held: true,
                visible_revision: revision,
                ..Claim::clone(holder)
            };
            after.claims.insert(holder.waiter.place(), Arc::new(holder));
        }
        let none = imbl::OrdMap::new();
        let old = before.as_ref().map_or(&none, |queue| &queue.claims);
        let told = changes.len();
        for difference in old.diff(&after.claims) {
            let (before, after) = match difference {
                DiffItem::Add(_, after) => (None, Some(after)),
                DiffItem::Remove(_, before) => (Some(before), None),
                DiffItem::Update { old, new } => (Some(old.1), Some(new.1)),
            };
            let looks = |claim: Option<&Arc<Claim>>| claim.map(|claim| claim.visible_revision);
            let Some(either) = after.or(before).filter(|_| looks(before) != looks(after)) else {
                continue;
            };
            changes.push(Change {
                kind: Kind::Lock as usize,
                key: claim_key(&path, &either.waiter),
                before: before.cloned().map(Item::Claim),
                after: after.cloned().map(Item::Claim),
                cause: if touched.closed.contains(&either.waiter.key) {
                    Cause::SessionClosed
                } else if closed.contains(&either.waiter.session) {
                    Cause::Expired
                } else {
                    Cause::Released
                },
            });
        }
        if after.claims.is_empty() {
            continue;
        }
        if changes.len() > told {
            after.visible_revision = revision;
        }
        state.locks.insert(path, Arc::new(after));
    }
}

/// The queue as it is, to be changed; remembers how it was.
fn touch(state: &State, touched: &mut TouchedLocks, path: &Bytes) -> Option<LockQueue> {
    let queue = state.locks.get(path);
    touched
        .queues
        .entry(path.clone())
        .or_insert_with(|| queue.cloned());
    queue.map(|queue| LockQueue::clone(queue))
}

/// The session in the last segment of a waiter's key.
fn session_of(id: &[u8]) -> Option<SessionId> {
    let (session, _) = std::str::from_utf8(id).ok()?.split_once('.')?;
    SessionId::parse(session)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{
        cache::Projection,
        domain::{
            keyspace::Keyspace,
            lock::{LockMode, Standing},
            names::{Label, LockName, Namespace},
        },
        store::Event,
    };

    /// A store of one lock, and what a watcher made of what it was told.
    struct Model {
        keys: Keyspace,
        projection: StateProjection,
        lock: LockPath,
        state: State,
        revision: Revision,
        told: BTreeMap<Bytes, Arc<Claim>>,
    }

    impl Model {
        fn new() -> Self {
            let keys = Keyspace::new("test");
            Self {
                projection: StateProjection::new(keys.clone()),
                keys,
                lock: LockPath {
                    namespace: Namespace::parse("default").unwrap(),
                    name: LockName::parse("l").unwrap(),
                },
                state: State::default(),
                revision: 0,
                told: BTreeMap::new(),
            }
        }

        fn queue(&self) -> Option<&Arc<LockQueue>> {
            self.state.locks.get(self.lock.path().as_bytes())
        }

        fn waiter(&self, session: SessionId) -> KeyValue {
            let revision = self.revision + 1;
            let waiter = Waiter {
                key: self.keys.waiter(&self.lock, &session, "r"),
                session,
                client_id: Label::default(),
                request_id: "r".into(),
                owner: Label::default(),
                mode: LockMode::Exclusive,
                era: 7,
                attempt: 1,
                call: rand::random(),
                enqueue_time: SystemTime::UNIX_EPOCH,
                metadata: BTreeMap::new(),
                format: records::FORMAT,
                create_revision: revision,
                mod_revision: revision,
            };
            KeyValue {
                key: waiter.key.clone(),
                value: records::encode_waiter(&waiter),
                create_revision: revision,
                mod_revision: revision,
                version: 1,
                lease: session.lease(),
            }
        }

        /// Applies one revision and returns how many changes were told.
        fn apply(&mut self, events: &[Event]) -> usize {
            self.revision += 1;
            let changes = self
                .projection
                .apply(&mut self.state, self.revision, events);
            for change in &changes {
                let before = self.told.remove(&change.key);
                match (&change.before, before) {
                    (Some(Item::Claim(claim)), Some(before)) => {
                        assert!(claim.waiter.looks_like(&before.waiter));
                        assert_eq!(claim.held, before.held);
                    }
                    (None, None) => {}
                    _ => panic!("told a change of something else"),
                }
                if let Some(Item::Claim(claim)) = &change.after {
                    self.told.insert(change.key.clone(), claim.clone());
                }
            }
            self.check();
            changes.len()
        }

        /// What was told is what is there, in the same order, and the first alone holds the lock.
        fn check(&self) {
            let looks = |claim: &Arc<Claim>| (claim.waiter.create_revision, claim.held);
            let told: Vec<_> = self.told.values().map(looks).collect();
            let queue = self.queue();
            let there: Vec<_> = queue
                .iter()
                .flat_map(|queue| queue.claims.values().map(looks))
                .collect();
            assert_eq!(told, there);
            for (index, (_, held)) in there.iter().enumerate() {
                assert_eq!(*held, index == 0);
            }
            for claim in queue.iter().flat_map(|queue| queue.claims.values()) {
                let standing = queue.unwrap().standing(&claim.waiter.place());
                assert_eq!(matches!(standing, Standing::Held(_)), claim.held);
            }
        }
    }

    #[test]
    fn whatever_happens_the_oldest_holds_the_lock_and_watchers_know() {
        let mut model = Model::new();
        let mut there: Vec<KeyValue> = Vec::new();
        let mut last_token = 0;
        for _ in 0..2000 {
            let pick = rand::random_range(0..there.len().max(1));
            match rand::random_range(0..5) {
                // Somebody queues, always last.
                0 | 1 => {
                    let kv = model.waiter(SessionId::random());
                    there.push(kv.clone());
                    model.apply(&[Event::Put(kv)]);
                }
                // A call is taken up again: nobody sees a difference.
                2 if !there.is_empty() => {
                    let kv = &mut there[pick];
                    let mut waiter = records::waiter(kv).unwrap();
                    waiter.attempt += 1;
                    kv.value = records::encode_waiter(&waiter);
                    kv.mod_revision = model.revision + 1;
                    let told = model.apply(&[Event::Put(kv.clone())]);
                    assert_eq!(told, 0);
                }
                // Somebody leaves, and sometimes several do at once.
                _ if !there.is_empty() => {
                    let count = rand::random_range(1..=3).min(there.len() - pick);
                    let gone: Vec<_> = there.drain(pick..pick + count).collect();
                    let revision = model.revision + 1;
                    let events = gone.into_iter().map(|kv| Event::Delete {
                        key: kv.key,
                        revision,
                    });
                    model.apply(&events.collect::<Vec<_>>());
                }
                _ => {}
            }
            let holder = model.queue().and_then(|queue| queue.holder());
            let oldest = there.first().map(|kv| kv.create_revision);
            assert_eq!(holder.map(|claim| claim.waiter.create_revision), oldest);
            if let Some(holder) = holder {
                let token = holder.waiter.fencing_token();
                assert!(token >= last_token, "a token fell");
                last_token = token;
            }
        }
    }

    #[test]
    fn a_place_that_cannot_be_read_stands_in_the_way() {
        let mut model = Model::new();
        let mut damaged = model.waiter(SessionId::random());
        damaged.value = Bytes::from_static(b"\xff");
        model.apply(&[Event::Put(damaged.clone())]);
        let second = model.waiter(SessionId::random());
        let place = records::waiter(&second).unwrap().place();
        model.apply(&[Event::Put(second)]);
        assert_eq!(model.state.undecodable.len(), 1);
        assert_eq!(model.queue().unwrap().standing(&place), Standing::Waiting);
        let revision = model.revision + 1;
        model.apply(&[Event::Delete {
            key: damaged.key,
            revision,
        }]);
        assert!(matches!(
            model.queue().unwrap().standing(&place),
            Standing::Held(_)
        ));
    }
}
