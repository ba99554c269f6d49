//! The queues of locks and elections in the state.

mod delays;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use imbl::{OrdMap, ordmap::DiffItem};

use crate::{
    cache::Change,
    domain::{
        hex,
        keyspace::{QueueKind, QueuePath},
        lock::{Admission, Claim, LockQueue, Waiter},
        records,
        session_id::SessionId,
    },
    store::{KeyValue, Revision},
};

pub(super) use self::delays::{delete as delete_delay, put as put_delay};
use super::{Cause, Item, Kind, Owned, State, StateProjection};

/// The queues a revision touched.
#[derive(Default)]
pub(super) struct TouchedQueues {
    /// How they were before.
    queues: BTreeMap<QueuePath, Option<Arc<LockQueue>>>,
    /// The places that went after their session in the same revision: a session that is closed
    /// goes first, while all keys of an expired one go in key order, in which it is last.
    closed: BTreeSet<Bytes>,
}

// === impl TouchedQueues ===

impl TouchedQueues {
    /// Something changed on which every queue depends.
    pub(super) fn look_at_all(&mut self, state: &State) {
        for queue in state.locks.values().chain(state.elections.values()) {
            self.queues
                .entry(queue.path.clone())
                .or_insert_with(|| Some(queue.clone()));
        }
    }
}

// === impl State ===

impl State {
    /// The queue of a lock or an election, if anybody is in it.
    pub fn queue(&self, path: &QueuePath) -> Option<&Arc<LockQueue>> {
        self.queues(path.kind).get(path.path().as_bytes())
    }

    /// All queues of a kind, by path.
    pub fn queues(&self, kind: QueueKind) -> &OrdMap<Bytes, Arc<LockQueue>> {
        match kind {
            QueueKind::Lock => &self.locks,
            QueueKind::Election => &self.elections,
        }
    }

    pub(super) fn queues_mut(&mut self, kind: QueueKind) -> &mut OrdMap<Bytes, Arc<LockQueue>> {
        match kind {
            QueueKind::Lock => &mut self.locks,
            QueueKind::Election => &mut self.elections,
        }
    }
}

/// Where a claim sorts among all claims: by lock, then by place.
pub(crate) fn claim_key(path: &[u8], waiter: &Waiter) -> Bytes {
    let place = hex(&[waiter.create_revision.cast_unsigned()]);
    [path, b"/", place.as_bytes()].concat().into()
}

pub(super) fn put(
    state: &mut State,
    touched: &mut TouchedQueues,
    path: QueuePath,
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
    let owned = Owned::Waiter(path.clone(), waiter.key.clone());
    let known = state.own(waiter.session, owned);
    let mut queue = touch(state, touched, &path).unwrap_or_else(|| LockQueue::new(path.clone()));
    // Whoever is new is not looked for among all the others.
    let before = known.then(|| queue.find(&waiter.key).cloned()).flatten();
    let mut claim = Claim {
        lock: path.clone(),
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
    state.void.remove(&claim.waiter.key);
    queue.joined(&claim.waiter.place());
    queue.claims.insert(claim.waiter.place(), Arc::new(claim));
    replace(state, &path, queue);
    result
}

pub(super) fn delete(
    state: &mut State,
    touched: &mut TouchedQueues,
    closed: &BTreeSet<SessionId>,
    path: &QueuePath,
    key: &Bytes,
) {
    if let Some(gone) = state.void.remove(key) {
        let owned = Owned::Waiter(path.clone(), key.clone());
        state.disown(gone.waiter.session, &owned);
        return;
    }
    let Some(mut queue) = touch(state, touched, path) else {
        return;
    };
    if let Some(gone) = queue.find(key).cloned() {
        let session = gone.waiter.session;
        state.disown(session, &Owned::Waiter(path.clone(), key.clone()));
        if closed.contains(&session) {
            touched.closed.insert(key.clone());
        }
        queue.claims.remove(&gone.waiter.place());
        queue.left(&gone.waiter.place(), gone.held);
    }
    replace(state, path, queue);
}

/// Finds which claims in each touched queue are void and who has now what it is for, and tells one
/// change for every claim that looks different, and one for every election whose leader does.
pub(super) fn settle(
    state: &mut State,
    touched: TouchedQueues,
    closed: &BTreeSet<SessionId>,
    changes: &mut Vec<Change<StateProjection>>,
    revision: Revision,
) {
    for (path, before) in touched.queues {
        let mut after = match state.queue(&path) {
            Some(queue) => LockQueue::clone(queue),
            None if before.is_some() => LockQueue::new(path.clone()),
            None => continue,
        };
        set_aside_void(state, &mut after);
        grant(
            &mut after,
            before.as_deref(),
            state.closed.is_none(),
            state.epoch.claims_from,
            revision,
        );
        let key = Bytes::from(path.path());
        let forced = state.forced.clone();
        let why = |claim: &Claim| {
            if !forced.is_empty()
                && forced.contains_key(&(claim.lock.clone(), claim.waiter.fencing_token()))
            {
                Cause::Forced
            } else if touched.closed.contains(&claim.waiter.key) {
                Cause::SessionClosed
            } else if closed.contains(&claim.waiter.session) {
                Cause::Expired
            } else {
                Cause::Released
            }
        };
        let none = imbl::OrdMap::new();
        let old = before.as_ref().map_or(&none, |queue| &queue.claims);
        let mut told = false;
        for difference in old.diff(&after.claims) {
            let (before, after) = match difference {
                DiffItem::Add(_, after) => (None, Some(after)),
                DiffItem::Remove(_, before) => (Some(before), None),
                DiffItem::Update { old, new } => (Some(old.1), Some(new.1)),
            };
            let Some(either) = after.or(before) else {
                continue;
            };
            let kind = match path.kind {
                _ if looks(before) == looks(after) => Kind::TakenUp,
                QueueKind::Lock => Kind::Lock,
                QueueKind::Election => Kind::Candidate,
            };
            told |= kind != Kind::TakenUp;
            changes.push(Change {
                kind: kind as usize,
                key: claim_key(&key, &either.waiter),
                before: before.cloned().map(Item::Claim),
                after: after.cloned().map(Item::Claim),
                cause: why(either),
            });
        }
        if path.kind == QueueKind::Election {
            let leader = before.as_ref().and_then(|before| before.holder());
            let (before, after) = (leader, after.holder());
            if looks(before) != looks(after) {
                changes.push(Change {
                    kind: Kind::Election as usize,
                    key,
                    before: before.cloned().map(Item::Leader),
                    after: after.cloned().map(Item::Leader),
                    cause: before.map_or(Cause::Released, |before| why(before)),
                });
            }
        }
        delays::note(state, before.as_deref(), &after);
        let wanted = !after.is_empty();
        if wanted != before.is_some() {
            state.count_queue(&path, wanted);
        }
        if told {
            after.visible_revision = revision;
        }
        replace(state, &path, after);
    }
}

/// What is seen of a claim changes with this alone.
fn looks(claim: Option<&Arc<Claim>>) -> Option<Revision> {
    claim.map(|claim| claim.visible_revision)
}

/// Puts a queue back; one of which there is nothing is none.
fn replace(state: &mut State, path: &QueuePath, queue: LockQueue) {
    let queues = state.queues_mut(path.kind);
    let key = Bytes::from(path.path());
    if queue.is_empty() {
        queues.remove(&key);
    } else {
        queues.insert(key, Arc::new(queue));
    }
}

/// Finds who has what the queue is for: nobody unless locks are `open`, and nobody behind what a
/// claim left that was made in this era. Looks no further than to the first who waits and to the
/// last who had it `before`: nobody behind both is concerned.
fn grant(
    queue: &mut LockQueue,
    before: Option<&LockQueue>,
    open: bool,
    claims_from: i64,
    revision: Revision,
) {
    let last = before.and_then(|before| before.holders().last());
    let last = last.map(|claim| claim.waiter.place());
    let delayed = queue.delay(claims_from).map(|delay| delay.revision);
    let mut admission = Admission::default();
    let mut differs = Vec::new();
    for (place, claim) in &queue.claims {
        let in_time = delayed.is_none_or(|delayed| claim.waiter.create_revision < delayed);
        let held = open && in_time && admission.admits(claim.waiter.mode);
        if held != claim.held {
            differs.push(Claim {
                held,
                visible_revision: revision,
                ..Claim::clone(claim)
            });
        }
        if !held && last.as_ref().is_none_or(|last| place >= last) {
            break;
        }
    }
    for claim in differs {
        queue.claims.insert(claim.waiter.place(), Arc::new(claim));
    }
}

/// Takes the claims out of a queue that were made before data was lost: they stand before all
/// others, because nobody queues in an era that is over. One that cannot be read says nothing of
/// its era and stays.
fn set_aside_void(state: &mut State, queue: &mut LockQueue) {
    while let Some(first) = queue.first().cloned() {
        let waiter = &first.waiter;
        if waiter.era >= state.epoch.claims_from || state.undecodable.contains(&waiter.key) {
            return;
        }
        queue.claims.remove(&waiter.place());
        queue.left(&waiter.place(), false);
        state.void.insert(waiter.key.clone(), first);
    }
}

/// The queue as it is, to be changed; remembers how it was.
fn touch(state: &State, touched: &mut TouchedQueues, path: &QueuePath) -> Option<LockQueue> {
    let queue = state.queue(path);
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
mod tests;
