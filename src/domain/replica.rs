//! The replicas that serve one store, as they know each other.

use std::time::{Duration, SystemTime};

use super::{Core, names::ReplicaId, state::State};

/// A replica that is up, as its presence key says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Its id: random, another one after every start.
    pub id: ReplicaId,
    /// The newest format of records it understands.
    pub supported_format: u32,
    /// Where it serves.
    pub address: String,
    /// Its version.
    pub version: String,
    /// When it started.
    pub start_time: SystemTime,
}

/// The place of `replica` among `replicas` for the piece of work `subject`: 0 does it, 1 does it if
/// that one does not, and so on. Rendezvous hashing, so that a replica that comes or goes moves
/// only its own share.
pub fn rank<'a>(
    replica: &ReplicaId,
    replicas: impl Iterator<Item = &'a ReplicaId>,
    subject: &[u8],
) -> usize {
    let score = |id: &ReplicaId| super::hash64([id.as_str().as_bytes(), b"/", subject].concat());
    let own = (score(replica), replica);
    replicas
        .filter(|other| *other != replica && (score(other), *other) > own)
        .count()
}

// === impl Core ===

impl Core {
    /// How long this replica leaves the piece of work `subject` to those before it in rank.
    pub(super) fn turn(&self, state: &State, subject: &[u8]) -> Duration {
        let rank = rank(&self.replica, state.replicas.keys(), subject);
        let turns = u32::try_from(rank).unwrap_or(u32::MAX);
        self.settings.rank_delay.saturating_mul(turns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_of_work_has_one_replica_of_each_rank() {
        let ids: Vec<_> = ["a", "b", "c"]
            .map(|id| ReplicaId::parse(id).unwrap())
            .into();
        for subject in ["x", "y", "z", "default/web/1"] {
            let mut ranks: Vec<_> = ids
                .iter()
                .map(|id| rank(id, ids.iter(), subject.as_bytes()))
                .collect();
            ranks.sort_unstable();
            assert_eq!(ranks, [0, 1, 2]);
        }
    }
}
