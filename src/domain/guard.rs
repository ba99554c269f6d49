//! Guards: "only while I hold that lock, or lead that election", decided in the transaction of the
//! mutation itself.

use std::sync::Arc;

use crate::{cache::Freshness, store::Compare};

use super::{
    Core,
    error::Error,
    keyspace::QueuePath,
    lock::{Claim, LockMode},
    state::View,
};

/// How many conditions a guard adds to a transaction at most.
pub(super) const COMPARES: usize = 4;

/// The condition that a lock is held with this fencing token, or an election led in this term.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// The lock, or the election.
    pub lock: QueuePath,
    /// The token of whoever holds it.
    pub fencing_token: i64,
}

// === impl Guard ===

impl Guard {
    /// The error of a mutation whose guard does not hold.
    pub fn failed(&self) -> Error {
        Error::GuardFailed {
            queue: self.lock.clone(),
        }
    }
}

// === impl Core ===

impl Core {
    /// What a transaction compares so that it happens only while the guard holds: the claim with
    /// that token is there, it holds the lock, and no data was lost meanwhile.
    ///
    /// Which claim has the token, and that it holds the lock, is looked up in the cache. That may
    /// be old, but not wrong: a claim that holds goes on holding until it goes, because nobody ever
    /// steps in before it. So its key, as it was created and in the same epoch, is proof. Where the
    /// claim excludes all others the store can see the whole of it, and has to: nobody is older.
    /// Among several holders it cannot, because no compare adds up permits.
    pub(super) async fn guard_compares(&self, guard: &Guard) -> Result<Vec<Compare>, Error> {
        let mut view = self.view().await?;
        let mut found = find(&view, guard);
        if found.is_none() {
            // The lock may have been acquired through another replica just now.
            view = self.cache.read(Freshness::Linearizable).await?;
            found = find(&view, guard);
        }
        let holder = &found.ok_or_else(|| guard.failed())?.waiter;
        let mut compares = self.open_compares(&view).to_vec();
        compares.push(Compare::create_revision(
            holder.key.clone(),
            holder.create_revision,
        ));
        if holder.mode == LockMode::Exclusive {
            let queue = self.keys.queue(&guard.lock);
            compares.push(Compare::none_older(queue, holder.create_revision));
        }
        Ok(compares)
    }

    /// What a transaction compares that relies on somebody holding a lock: the epoch is the one of
    /// `view`, and locks are not closed.
    pub(super) fn open_compares(&self, view: &View) -> [Compare; 2] {
        [self.same_epoch(view), Compare::absent(self.keys.closed())]
    }

    /// The condition that the epoch is the one of `view`.
    pub(super) fn same_epoch(&self, view: &View) -> Compare {
        Compare::mod_revision(self.keys.epoch(), view.state.epoch.revision)
    }
}

/// The claim with the token, if it holds the lock.
fn find(view: &View, guard: &Guard) -> Option<Arc<Claim>> {
    let queue = view.state.queue(&guard.lock)?;
    let claim = queue.find_token(guard.fencing_token)?;
    claim.held.then(|| claim.clone())
}
