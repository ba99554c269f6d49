//! Keys of barriers and latches.

use bytes::Bytes;

use crate::{
    domain::{names::PartyName, session_id::SessionId},
    store::KeyRange,
};

use super::{BarrierPath, Keyspace, LatchPath, waiter_id};

// === impl Keyspace ===

impl Keyspace {
    /// Somebody who waits at a barrier.
    pub fn participant(&self, path: &BarrierPath, session: &SessionId, request_id: &str) -> Bytes {
        let id = waiter_id(session, request_id);
        self.at("state/barrier/", &format!("{}/{id}", path.path()))
    }

    /// How a barrier was released last. In a room of its own, because it is nothing that keeps a
    /// namespace from being given up.
    pub fn barrier_releases(&self, path: &BarrierPath) -> Bytes {
        self.at("state/barrier-released/", &path.path())
    }

    /// A latch.
    pub fn latch(&self, path: &LatchPath) -> Bytes {
        self.at("state/latch/", &path.path())
    }

    /// All who counted a latch down.
    pub fn latch_arrivals(&self, path: &LatchPath) -> KeyRange {
        KeyRange::prefix(self.at("state/latch/", &format!("{}/", path.path())))
    }

    /// A party that counted a latch down.
    pub fn latch_arrival(&self, path: &LatchPath, party: &PartyName) -> Bytes {
        self.at("state/latch/", &format!("{}/{party}", path.path()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::keyspace::StateKey;

    #[test]
    fn every_key_is_read_back_and_a_latch_has_its_own_arrivals_alone() {
        let keys = Keyspace::new("stanchion");
        let barrier = BarrierPath::parse("default/step").unwrap();
        let participant = keys.participant(&barrier, &SessionId::random(), "r1");
        assert!(
            matches!(keys.parse(&participant), Some(StateKey::Participant(found, _)) if found == barrier)
        );
        assert_eq!(
            keys.parse(&keys.barrier_releases(&barrier)),
            Some(StateKey::BarrierReleases(barrier))
        );
        let latch = LatchPath::parse("default/ready").unwrap();
        let longer = LatchPath::parse("default/ready-2").unwrap();
        let party = PartyName::parse("node-1").unwrap();
        assert_eq!(
            keys.parse(&keys.latch(&latch)),
            Some(StateKey::Latch(latch.clone()))
        );
        let arrival = keys.latch_arrival(&latch, &party);
        assert_eq!(
            keys.parse(&arrival),
            Some(StateKey::LatchArrival(latch.clone(), party.clone()))
        );
        let arrivals = keys.latch_arrivals(&latch);
        assert!(arrivals.contains(&arrival));
        for other in [
            keys.latch(&latch),
            keys.latch(&longer),
            keys.latch_arrival(&longer, &party),
        ] {
            assert!(!arrivals.contains(&other), "{other:?}");
        }
    }
}
