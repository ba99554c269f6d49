//! Claims that the store has granted and this replica's cache may not show yet: whoever gives a lock
//! up at once need not wait until the cache has heard of it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    domain::{keyspace::QueuePath, state::View},
    store::Revision,
};

use super::Claim;

/// How many are remembered: more are only granted meanwhile when the cache lags, and who is not
/// found here is looked for in the cache.
const LIMIT: usize = 256;

/// In the order in which they were granted, more or less.
#[derive(Default)]
pub(super) struct Unshown(Mutex<VecDeque<Arc<Claim>>>);

// === impl Unshown ===

impl Unshown {
    /// Remembers a claim that was granted while the cache was at `shown`.
    pub(super) fn add(&self, claim: &Arc<Claim>, shown: Revision) {
        let mut claims = self.lock();
        let is_shown = |claim: &Arc<Claim>| claim.waiter.create_revision <= shown;
        while claims.len() >= LIMIT || claims.front().is_some_and(is_shown) {
            claims.pop_front();
        }
        claims.push_back(claim.clone());
    }

    /// Whose token it is: as the cache shows it, or as it was granted just now.
    pub(super) fn find(&self, view: &View, lock: &QueuePath, token: i64) -> Option<Arc<Claim>> {
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
        self.lock().iter().find(is_it).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Claim>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
