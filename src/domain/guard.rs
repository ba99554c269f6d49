//! Guards: "only while I hold that lock, or lead that election", decided in the transaction of the mutation itself.

use bytes::Bytes;

use crate::{
    cache::Freshness,
    store::{Compare, Revision},
};

use super::{Core, error::Error, keyspace::QueuePath, state::View};

/// How many conditions a guard adds to a transaction.
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
    /// What a transaction compares so that it happens only while the guard holds: the holder's key
    /// is the one with that token, nobody in the queue is older, and no data was lost meanwhile.
    /// The first alone would let a queued waiter pass.
    ///
    /// Which key has the token is looked up in the cache. That may be old: then the compares fail.
    pub(super) async fn guard_compares(&self, guard: &Guard) -> Result<[Compare; COMPARES], Error> {
        let mut view = self.cache.view()?;
        let mut found = find(&view, guard);
        if found.is_none() {
            // The lock may have been acquired through another replica just now.
            view = self.cache.read(Freshness::Linearizable).await?;
            found = find(&view, guard);
        }
        let (key, create_revision) = found.ok_or_else(|| guard.failed())?;
        let [same_epoch, open] = self.open_compares(&view);
        Ok([
            Compare::create_revision(key, create_revision),
            Compare::none_older(self.keys.queue(&guard.lock), create_revision),
            same_epoch,
            open,
        ])
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

/// The key with the token, if that is the holder's.
fn find(view: &View, guard: &Guard) -> Option<(Bytes, Revision)> {
    let queue = view.state.queue(&guard.lock)?;
    let holder = queue.holder()?;
    (holder.waiter.fencing_token() == guard.fencing_token)
        .then(|| (holder.waiter.key.clone(), holder.waiter.create_revision))
}
