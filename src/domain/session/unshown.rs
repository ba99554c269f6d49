//! Locks that the store has granted and this replica's cache may not show yet: whoever gives one up
//! at once need not wait until the cache has heard of it, and whoever loses it before is told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    domain::{
        error::Error,
        keyspace::QueuePath,
        lock::{Claim, Place},
        state::{State, View},
    },
    store::Revision,
};

use super::Sessions;

/// How many are remembered: more are only granted meanwhile when the cache lags far. One that is
/// not found here is looked for in the cache.
const LIMIT: usize = 4096;

#[derive(Default)]
pub(super) struct Unshown(Mutex<BTreeMap<Place, Arc<Claim>>>);

// === impl Sessions ===

impl Sessions {
    /// Notes that a claim holds its lock by the word of the store, if the cache, which did not show
    /// it when it was at `before`, still does not. False if it is gone by now, or the history
    /// another one.
    pub fn granted(&self, claim: &Arc<Claim>, before: &View) -> Result<bool, Error> {
        let place = claim.waiter.place();
        // What the cache shows from here on is marked as seen after it is noted.
        let mut claims = self.unshown.lock();
        let now = self.core.cache.view()?;
        if now.state.epoch.id != before.state.epoch.id {
            return Ok(false);
        }
        if now.revision >= place.create_revision {
            let queue = now.state.queue(&claim.lock);
            return Ok(queue.is_some_and(|queue| queue.claims.contains_key(&place)));
        }
        if claims.len() >= LIMIT {
            claims.pop_first();
        }
        claims.insert(place, claim.clone());
        Ok(true)
    }

    /// The claim on `lock` that has this token: as the cache shows it, or as it was granted just
    /// now.
    pub fn find_claim(&self, view: &View, lock: &QueuePath, token: i64) -> Option<Arc<Claim>> {
        let queue = view.state.queue(lock);
        if let Some(claim) = queue.and_then(|queue| queue.find_token(token)) {
            return Some(claim.clone());
        }
        // What the cache has seen and does not show is gone.
        let is_it = |claim: &&Arc<Claim>| {
            claim.waiter.create_revision > view.revision
                && claim.waiter.fencing_token() == token
                && claim.lock == *lock
        };
        self.unshown.lock().values().find(is_it).cloned()
    }
}

// === impl Unshown ===

impl Unshown {
    /// Forgets a claim that a change has shown.
    pub(super) fn seen(&self, claim: &Claim) {
        self.lock().remove(&claim.waiter.place());
    }

    /// Takes those that no change has shown, though changes were told up to `told`, or that no
    /// change will show, because the store lost them.
    pub(super) fn take_unseen(&self, told: Revision, state: &State) -> Vec<Arc<Claim>> {
        let is_over = |place: &Place, claim: &mut Arc<Claim>| {
            place.create_revision <= told || claim.waiter.era < state.epoch.claims_from
        };
        let mut claims = self.lock();
        claims
            .extract_if(.., is_over)
            .map(|(_, claim)| claim)
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, Arc<Claim>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
