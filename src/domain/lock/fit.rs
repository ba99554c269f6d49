//! Whether there is room for a claim, and whether it goes with those that are there.

use crate::domain::{error::Error, state::View};

use super::{Acquire, LockMode, Locks, Wait};

/// Why a claim does not go with those that are there.
enum Misfit {
    /// They are about so many permits.
    Total(u32),
    /// It would have to wait.
    Waits,
}

// === impl Locks ===

impl Locks {
    /// Refuses a claim for which its session has no room, or the queue.
    pub(super) fn check_room(&self, request: &Acquire, view: &View) -> Result<(), Error> {
        self.sessions.check_room(view, &request.session, 1)?;
        if request.tries_alone() {
            return Ok(());
        }
        let lock = &request.lock;
        let limit = self.core.settings.max_waiters;
        // The first one is not counted; others are, whether they hold it or wait.
        match view.state.queue(lock) {
            Some(queue) if queue.claims.len() > limit => Err(Error::TooManyWaiters {
                queue: lock.clone(),
                limit,
            }),
            _ => Ok(()),
        }
    }

    /// Refuses a claim that does not go with those that are there: permits of another total, and one
    /// that will not wait but would have to. An exclusive one that will not wait is the store's to
    /// refuse.
    pub(super) async fn check_fit(&self, request: &Acquire, view: &View) -> Result<(), Error> {
        if misfit(request, view).is_none() {
            return Ok(());
        }
        // Whoever is in the way may be gone by now.
        let view = self.look_anew().await?;
        match misfit(request, &view) {
            None => Ok(()),
            Some(Misfit::Total(total)) => Err(Error::PermitsDiffer {
                name: request.lock.path(),
                total,
            }),
            Some(Misfit::Waits) => Err(self.not_granted(&request.lock, view.revision).await),
        }
    }
}

fn misfit(request: &Acquire, view: &View) -> Option<Misfit> {
    let queue = view.state.queue(&request.lock);
    if let (LockMode::Permits(permits), Some(queue)) = (request.mode, queue) {
        let claims = queue.claims.values();
        let totals = claims.filter_map(|claim| Some(claim.waiter.mode.permits()?.total()));
        if let Some(total) = totals.into_iter().find(|total| *total != permits.total()) {
            return Some(Misfit::Total(total));
        }
    }
    let claims_from = view.state.epoch.claims_from;
    let admitted = queue.is_none_or(|queue| queue.admits(request.mode, claims_from));
    let waits = view.state.closed.is_some() || !admitted;
    let tries = request.wait == Wait::No && request.mode != LockMode::Exclusive;
    (tries && waits).then_some(Misfit::Waits)
}
