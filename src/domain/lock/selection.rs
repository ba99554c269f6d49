//! What can be listed and watched of locks.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    cache::Selection,
    domain::{
        hash64,
        keyspace::{QueueKind, QueuePath},
        names::Namespace,
        state::{Item, Kind, State, StateProjection, claim_key},
    },
};

use super::{Claim, LockQueue};

/// The claims on one lock, in order of their tokens.
#[derive(Debug, Clone)]
pub struct ClaimsOf {
    /// The lock. It may be free.
    pub lock: QueuePath,
}

/// The locks of a namespace that are held, or its elections, for lists.
#[derive(Debug, Clone)]
pub struct HeldLocks {
    /// Which of the two.
    pub kind: QueueKind,
    /// The namespace.
    pub namespace: Namespace,
    /// How the names begin.
    pub prefix: String,
}

// === impl ClaimsOf ===

impl Selection<StateProjection> for ClaimsOf {
    type Item = Arc<Claim>;

    fn kind(&self) -> usize {
        Kind::Lock as usize
    }

    fn digest(&self) -> u64 {
        hash64(format!("claims/{}", self.lock.path()))
    }

    fn prefix(&self) -> Bytes {
        format!("{}/", self.lock.path()).into()
    }

    fn covers(&self, key: &[u8]) -> bool {
        key.strip_prefix(self.lock.path().as_bytes())
            .is_some_and(|rest| rest.starts_with(b"/"))
    }

    fn select(&self, item: &Item) -> Option<Self::Item> {
        match item {
            Item::Claim(claim) => Some(claim.clone()),
            _ => None,
        }
    }

    fn list<'a>(
        &self,
        state: &'a State,
        after: Option<&Bytes>,
    ) -> Box<dyn Iterator<Item = (Bytes, Item)> + Send + 'a> {
        let path = Bytes::from(self.lock.path());
        let after = after.cloned();
        let claims = state
            .locks
            .get(&path)
            .map_or_else(Default::default, |queue| queue.claims.clone());
        let items = claims.into_iter().map(move |(_, claim)| {
            let key = claim_key(&path, &claim.waiter);
            (key, Item::Claim(claim))
        });
        Box::new(items.filter(move |(key, _)| after.as_ref().is_none_or(|after| key > after)))
    }

    /// Who held the lock in between is what one watches a lock for.
    fn conflates(&self) -> bool {
        false
    }
}

// === impl HeldLocks ===

impl Selection<StateProjection> for HeldLocks {
    type Item = Arc<LockQueue>;

    fn kind(&self) -> usize {
        match self.kind {
            QueueKind::Lock => Kind::Lock as usize,
            QueueKind::Election => Kind::Election as usize,
        }
    }

    fn digest(&self) -> u64 {
        let what = match self.kind {
            QueueKind::Lock => "locks",
            QueueKind::Election => "elections",
        };
        hash64(format!("{what}/{}/{}", self.namespace, self.prefix))
    }

    fn prefix(&self) -> Bytes {
        self.start().into()
    }

    fn covers(&self, key: &[u8]) -> bool {
        key.starts_with(self.start().as_bytes())
    }

    fn select(&self, item: &Item) -> Option<Self::Item> {
        match item {
            Item::Lock(queue) => Some(queue.clone()),
            _ => None,
        }
    }

    fn list<'a>(
        &self,
        state: &'a State,
        after: Option<&Bytes>,
    ) -> Box<dyn Iterator<Item = (Bytes, Item)> + Send + 'a> {
        let start = Bytes::from(self.start());
        let first = after.cloned().unwrap_or_else(|| start.clone());
        let after = after.cloned();
        Box::new(
            state
                .queues(self.kind)
                .range(first.max(start.clone())..)
                .filter(move |(path, _)| after.as_ref() != Some(path))
                .take_while(move |(path, _)| path.starts_with(&start))
                .map(|(path, queue)| (path.clone(), Item::Lock(queue.clone()))),
        )
    }
}

impl HeldLocks {
    fn start(&self) -> String {
        format!("{}/{}", self.namespace, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_covered_begins_with_the_prefix_by_which_changes_are_found() {
        let namespace = Namespace::parse("a").unwrap();
        let lock = QueuePath::parse(QueueKind::Lock, "a/nightly").unwrap();
        let claims = ClaimsOf { lock };
        assert!(claims.covers(b"a/nightly/1") && b"a/nightly/1".starts_with(&claims.prefix()));
        let prefix = "n".to_owned();
        let kind = QueueKind::Lock;
        let held = HeldLocks {
            kind,
            namespace,
            prefix,
        };
        assert!(held.covers(b"a/nightly") && b"a/nightly".starts_with(&held.prefix()));
    }
}
