//! Guards: "only while I hold that lock", decided in the transaction of the mutation itself.

use bytes::Bytes;

use crate::{
    cache::Freshness,
    store::{Compare, Revision},
};

use super::{Core, error::Error, keyspace::LockPath, state::View};

/// The condition that a lock is held with this fencing token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// The lock.
    pub lock: LockPath,
    /// The token of whoever holds it.
    pub fencing_token: i64,
}

// === impl Guard ===

impl Guard {
    /// The error of a mutation whose guard does not hold.
    pub fn failed(&self) -> Error {
        Error::GuardFailed {
            name: self.lock.path(),
        }
    }
}

// === impl Core ===

impl Core {
    /// What a transaction compares so that it happens only while the guard holds: the holder's key
    /// is the one with that token, and nobody in the queue is older. The first alone would let a
    /// queued waiter pass.
    ///
    /// Which key has the token is looked up in the cache. That may be old: then the compares fail.
    pub(super) async fn guard_compares(&self, guard: &Guard) -> Result<[Compare; 2], Error> {
        let mut found = find(&self.cache.view()?, guard);
        if found.is_none() {
            // The lock may have been acquired through another replica just now.
            found = find(&self.cache.read(Freshness::Linearizable).await?, guard);
        }
        let (key, create_revision) = found.ok_or_else(|| guard.failed())?;
        Ok([
            Compare::create_revision(key, create_revision),
            Compare::none_older(self.keys.lock(&guard.lock), create_revision),
        ])
    }
}

/// The key with the token. One of an earlier era is found only if its place outlived the loss of
/// data: nothing in the store says more.
fn find(view: &View, guard: &Guard) -> Option<(Bytes, Revision)> {
    let queue = view.state.locks.get(guard.lock.path().as_bytes())?;
    let waiter = &queue.find_token(guard.fencing_token)?.waiter;
    Some((waiter.key.clone(), waiter.create_revision))
}
