//! The leader of an election, for watches.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    cache::Selection,
    domain::{
        hash64,
        keyspace::QueuePath,
        state::{Item, Kind, State, StateProjection},
    },
};

use super::Claim;

/// Who leads one election: one thing that changes hands, so that only the last leader counts for a
/// watcher who was away.
#[derive(Debug, Clone)]
pub struct LeaderOf {
    /// The election. It may have no candidates.
    pub election: QueuePath,
}

// === impl LeaderOf ===

impl Selection<StateProjection> for LeaderOf {
    type Item = Arc<Claim>;

    fn kind(&self) -> usize {
        Kind::Election as usize
    }

    fn digest(&self) -> u64 {
        hash64(format!("leader/{}", self.election.path()))
    }

    fn prefix(&self) -> Bytes {
        self.election.path().into()
    }

    fn covers(&self, key: &[u8]) -> bool {
        key == self.election.path().as_bytes()
    }

    fn select(&self, item: &Item) -> Option<Self::Item> {
        match item {
            Item::Leader(leader) => Some(leader.clone()),
            _ => None,
        }
    }

    fn list<'a>(
        &self,
        state: &'a State,
        after: Option<&Bytes>,
    ) -> Box<dyn Iterator<Item = (Bytes, Item)> + Send + 'a> {
        let path = Bytes::from(self.election.path());
        let leader = state.queue(&self.election).and_then(|queue| queue.holder());
        let leader = leader.filter(|_| after.is_none_or(|after| path > *after));
        let leader = leader.cloned().map(Item::Leader);
        Box::new(leader.map(|leader| (path, leader)).into_iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::keyspace::QueueKind;

    #[test]
    fn one_election_is_covered_and_none_whose_name_goes_on() {
        let election = QueuePath::parse(QueueKind::Election, "a/scheduler").unwrap();
        let leader = LeaderOf { election };
        assert!(leader.covers(b"a/scheduler") && b"a/scheduler".starts_with(&leader.prefix()));
        assert!(!leader.covers(b"a/scheduler-2") && !leader.covers(b"a/schedule"));
    }
}
