//! What a session can lose, or is asked to give up, and how that is seen in the changes of the state.

use std::sync::Arc;

use crate::{
    cache::Change,
    domain::{
        keyspace::{InstanceKey, QueuePath},
        lock::{Claim, ForcedRelease, YieldRequest},
        names::Label,
        registry::Instance,
        session_id::SessionId,
        state::{Cause, Item, Owned, State, StateProjection},
    },
};

/// Something that a session lost, or is asked to give up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The session.
    pub session: SessionId,
    /// What it lost.
    pub what: Lost,
}

/// What is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// The session itself, and with it everything else.
    Session(SessionLost),
    /// An instance, while the session lives.
    Instance {
        /// Which one.
        key: InstanceKey,
        /// Why.
        cause: InstanceLost,
        /// How the session that has it now calls itself; may be empty.
        client_id: Label,
    },
    /// A lock that it held, or an election that it led, while the session lives.
    Lock {
        /// Which one.
        lock: QueuePath,
        /// The token of the claim.
        fencing_token: i64,
        /// Why.
        cause: LockLost,
    },
    /// Nothing yet: it is asked to give up a lock that it holds.
    Wanted {
        /// Which one.
        lock: QueuePath,
        /// The token of the claim.
        fencing_token: i64,
        /// Who asks, and why.
        request: YieldRequest,
    },
}

/// Why a session is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionLost {
    /// It was silent for too long, or never was.
    Expired,
    /// It was closed.
    Closed,
    /// The store lost it.
    EpochChanged,
}

/// Why an instance is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceLost {
    /// Another session registered it.
    TakenOver,
    /// It was deregistered.
    Deregistered,
}

/// Why a lock is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockLost {
    /// The claim was taken by force.
    Forced(Arc<ForcedRelease>),
    /// The claim was removed.
    Removed,
    /// The store lost it.
    EpochChanged,
    /// It went with the session, of which sessions are told in another way.
    Session,
}

// === impl Loss ===

impl Loss {
    /// Says whether the session has it back, as `state` shows it.
    pub(super) fn is_undone(&self, state: &State) -> bool {
        match &self.what {
            Lost::Instance { key, .. } => state
                .instances
                .get(key.path().as_bytes())
                .is_some_and(|instance| instance.record.session == Some(self.session)),
            Lost::Wanted {
                lock,
                fencing_token,
                ..
            } => {
                let queue = state.queue(lock);
                let claim = queue.and_then(|queue| queue.find_token(*fencing_token));
                claim.is_none_or(|claim| claim.waiter.yield_request.is_none())
            }
            Lost::Session(_) | Lost::Lock { .. } => false,
        }
    }
}

/// What `change` took from a session besides its life, if anything, and which thing that was.
/// `state` is the one after it.
pub(super) fn of_change(change: &Change<StateProjection>, state: &State) -> Option<(Owned, Loss)> {
    match (&change.before, &change.after) {
        (Some(Item::Instance(before)), after) => {
            let after = match after {
                Some(Item::Instance(after)) => Some(after.as_ref()),
                _ => None,
            };
            let loss = of_instance(before, after)?;
            Some((Owned::Instance(change.key.clone()), loss))
        }
        (Some(Item::Claim(before)), None) if before.held => {
            let owned = Owned::Waiter(before.lock.clone(), before.waiter.key.clone());
            let cause = match change.cause {
                Cause::Forced => {
                    let key = (before.lock.clone(), before.waiter.fencing_token());
                    LockLost::Forced(state.forced.get(&key).cloned().unwrap_or_default())
                }
                _ => LockLost::Removed,
            };
            Some((owned, of_lock(before, cause)))
        }
        _ => None,
    }
}

/// What `session`, which lives in both states, had in `before` and no longer has in `after`.
pub(super) fn of_session(
    session: SessionId,
    before: &State,
    after: &State,
    cause: &LockLost,
) -> Vec<(Owned, Loss)> {
    let owned = before.owned.get(&session).into_iter().flatten();
    owned
        .filter_map(|owned| match owned {
            Owned::Instance(path) => {
                let instance = after.instances.get(path).map(AsRef::as_ref);
                let loss = of_instance(before.instances.get(path)?, instance)?;
                Some((owned.clone(), loss))
            }
            Owned::Waiter(path, key) => {
                let holder = before.queue(path)?.find(key)?;
                of_holder(Some(holder).filter(|claim| claim.held)?, after, cause)
            }
            Owned::Participant(..) => None,
        })
        .collect()
}

/// That `holder` no longer holds its lock in `after`, unless it does.
pub(super) fn of_holder(holder: &Claim, after: &State, cause: &LockLost) -> Option<(Owned, Loss)> {
    let Claim { lock, waiter, .. } = holder;
    // The key may have been made anew.
    let queue = after.queue(lock);
    if queue.is_some_and(|queue| queue.claims.contains_key(&waiter.place())) {
        return None;
    }
    let forced = after.forced.get(&(lock.clone(), waiter.fencing_token()));
    let cause = forced
        .cloned()
        .map_or_else(|| cause.clone(), LockLost::Forced);
    let owned = Owned::Waiter(lock.clone(), waiter.key.clone());
    Some((owned, of_lock(holder, cause)))
}

/// What `change` asks of the holder of a lock.
pub(super) fn wanted(change: &Change<StateProjection>) -> Option<Loss> {
    match (&change.before, &change.after) {
        (Some(Item::Claim(before)), Some(Item::Claim(after)))
            if before.waiter.yield_request != after.waiter.yield_request =>
        {
            of_wanted(after)
        }
        _ => None,
    }
}

/// All that `session` is asked for in `state`.
pub(super) fn all_wanted(session: SessionId, state: &State) -> impl Iterator<Item = Loss> {
    let owned = state.owned.get(&session).into_iter().flatten();
    owned.filter_map(|owned| match owned {
        Owned::Waiter(path, key) => of_wanted(state.queue(path)?.find(key)?),
        Owned::Instance(_) | Owned::Participant(..) => None,
    })
}

fn of_wanted(claim: &Claim) -> Option<Loss> {
    Some(Loss {
        session: claim.waiter.session,
        what: Lost::Wanted {
            lock: claim.lock.clone(),
            fencing_token: claim.waiter.fencing_token(),
            request: claim.waiter.yield_request.clone()?,
        },
    })
}

fn of_instance(before: &Instance, after: Option<&Instance>) -> Option<Loss> {
    let session = before.record.session?;
    let (cause, client_id) = match after {
        None => (InstanceLost::Deregistered, Label::default()),
        Some(after) if after.record.session == Some(session) => return None,
        Some(after) => (InstanceLost::TakenOver, after.record.client_id.clone()),
    };
    Some(Loss {
        session,
        what: Lost::Instance {
            key: before.record.key.clone(),
            cause,
            client_id,
        },
    })
}

fn of_lock(holder: &Claim, cause: LockLost) -> Loss {
    Loss {
        session: holder.waiter.session,
        what: Lost::Lock {
            lock: holder.lock.clone(),
            fencing_token: holder.waiter.fencing_token(),
            cause,
        },
    }
}
