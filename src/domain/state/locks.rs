//! Locks in the state.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use crate::{
    cache::Change,
    domain::{
        keyspace::LockPath,
        lock::{LockQueue, Waiter},
    },
    store::Revision,
};

use super::{Cause, Item, Kind, Owned, State, StateProjection};

/// The locks a revision touched, with the queue as it was before.
pub(super) type TouchedLocks = BTreeMap<Bytes, Option<Arc<LockQueue>>>;

pub(super) fn put(state: &mut State, touched: &mut TouchedLocks, lock: LockPath, waiter: Waiter) {
    let path = Bytes::from(lock.path());
    state.own(
        waiter.session,
        Owned::Waiter(path.clone(), waiter.key.clone()),
    );
    let before = state.locks.get(&path).cloned();
    let mut waiters = before.as_ref().map_or(Vec::new(), |q| q.waiters.clone());
    waiters.retain(|other| other.key != waiter.key);
    let place = waiters.partition_point(|other| other.create_revision < waiter.create_revision);
    waiters.insert(place, Arc::new(waiter));
    replace(state, touched, path, lock, before, waiters);
}

pub(super) fn delete(state: &mut State, touched: &mut TouchedLocks, lock: LockPath, key: &Bytes) {
    let path = Bytes::from(lock.path());
    let Some(before) = state.locks.get(&path).cloned() else {
        return;
    };
    let (gone, waiters): (Vec<_>, Vec<_>) = before
        .waiters
        .iter()
        .cloned()
        .partition(|waiter| waiter.key == *key);
    for waiter in gone {
        state.disown(
            waiter.session,
            &Owned::Waiter(path.clone(), waiter.key.clone()),
        );
    }
    replace(state, touched, path, lock, Some(before), waiters);
}

fn replace(
    state: &mut State,
    touched: &mut TouchedLocks,
    path: Bytes,
    lock: LockPath,
    before: Option<Arc<LockQueue>>,
    waiters: Vec<Arc<Waiter>>,
) {
    if waiters.is_empty() {
        state.locks.remove(&path);
    } else {
        let queue = LockQueue {
            path: lock,
            waiters,
            visible_revision: 0,
        };
        state.locks.insert(path.clone(), Arc::new(queue));
    }
    touched.entry(path).or_insert(before);
}

/// Tells one change for every lock whose queue is another one now.
pub(super) fn settle(
    state: &mut State,
    touched: TouchedLocks,
    changes: &mut Vec<Change<StateProjection>>,
    revision: Revision,
) {
    for (path, before) in touched {
        let after = state.locks.get(&path).map(|queue| {
            Arc::new(LockQueue {
                visible_revision: revision,
                ..LockQueue::clone(queue)
            })
        });
        if let Some(after) = &after {
            state.locks.insert(path.clone(), after.clone());
        }
        if before.is_none() && after.is_none() {
            continue;
        }
        changes.push(Change {
            kind: Kind::Lock as usize,
            key: path,
            before: before.map(Item::Lock),
            after: after.map(Item::Lock),
            cause: Cause::Released,
        });
    }
}
