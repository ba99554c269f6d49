//! The claims on a lock: the first holds it, unless locks are closed, and those of an era that was
//! lost count for nothing.

use std::collections::{BTreeMap, BTreeSet};

use stanchion::proto::store;
use stanchion_client::proto::DeleteCause;

use super::{Records, decoded};
use crate::{
    view::{Look, claim_stored},
    witness::Change,
};

/// The claims on the lock of which every path begins with a prefix.
pub(super) struct Claims {
    prefix: String,
    /// By the revision at which they were made, which is the order of the queue, and their key.
    queue: BTreeMap<(i64, String), store::LockWaiter>,
    closed: bool,
    /// The first era whose claims count.
    counts_from: i64,
    /// Why each claim went that went with the last revision.
    gone: BTreeMap<String, DeleteCause>,
}

// === impl Claims ===

impl Claims {
    pub(super) fn new(prefix: String) -> Self {
        Self {
            prefix,
            queue: BTreeMap::new(),
            closed: false,
            counts_from: 0,
            gone: BTreeMap::new(),
        }
    }

    /// The path of a claim, which has the same whoever holds the lock.
    fn path(&self, created: i64, waiter: &store::LockWaiter) -> String {
        claim_stored(&self.prefix, waiter, created, false).0
    }

    /// Takes a place out of the queue; says which session's it was.
    fn leave(&mut self, key: &str) -> Option<(String, String)> {
        let place = self.queue.keys().find(|(_, own)| own == key).cloned()?;
        let waiter = self.queue.remove(&place)?;
        Some((self.path(place.0, &waiter), waiter.session_id))
    }
}

impl Records for Claims {
    /// A session that is closed goes before its claims; one that expires goes as etcd deletes the
    /// keys of a lease: in their order, in which it comes after them.
    fn take(&mut self, changes: &[(&str, &Change)]) -> Result<bool, String> {
        let ends = |(key, change): &(&str, &Change)| {
            let session = key.strip_prefix("ses/").filter(|_| change.put.is_none());
            session.map(str::to_owned)
        };
        let ending: BTreeSet<String> = changes.iter().filter_map(ends).collect();
        // Named as the claim is shown.
        let forced = |path: &str| {
            let mark = |(key, change): &(&str, &Change)| {
                change.put.is_some() && key.strip_prefix("forced/") == Some(path)
            };
            changes.iter().any(mark)
        };
        let mut ended = BTreeSet::new();
        let mut touched = false;
        self.gone.clear();
        for (key, change) in changes {
            ended.extend(ends(&(key, change)));
            match (*key, &change.put) {
                ("closed", put) => self.closed = put.is_some(),
                ("epoch", Some(put)) => {
                    let epoch: store::Epoch = decoded(key, put)?;
                    self.counts_from = epoch.claims_from_era;
                }
                ("epoch", None) => self.counts_from = 0,
                (key, put) => {
                    let path = key.strip_prefix("lock/");
                    if !path.is_some_and(|path| path.starts_with(&self.prefix)) {
                        continue;
                    }
                    if let Some((path, session)) = self.leave(key) {
                        let cause = if forced(&path) {
                            DeleteCause::Forced
                        } else if ended.contains(&session) {
                            DeleteCause::SessionClosed
                        } else if ending.contains(&session) {
                            DeleteCause::Expired
                        } else {
                            DeleteCause::Released
                        };
                        self.gone.insert(path, cause);
                    }
                    if let Some(put) = put {
                        let place = (put.create_revision, key.to_owned());
                        self.queue.insert(place, decoded(key, put)?);
                    }
                }
            }
            touched = true;
        }
        Ok(touched)
    }

    fn shown(&self) -> BTreeMap<String, Look> {
        let counting = self.queue.iter();
        let counting = counting.filter(|(_, waiter)| waiter.era >= self.counts_from);
        let looks = counting.enumerate().map(|(index, ((created, _), waiter))| {
            let held = index == 0 && !self.closed;
            claim_stored(&self.prefix, waiter, *created, held)
        });
        looks.collect()
    }

    fn causes(&self, path: &str) -> Vec<DeleteCause> {
        // One that counts no longer is still there.
        let cause = self.gone.get(path).copied();
        vec![cause.unwrap_or(DeleteCause::Released)]
    }
}
