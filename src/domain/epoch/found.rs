//! What the store shows of its history, and whether that is the one we know.

use crate::store::{Kind, Revision, Status};

use super::Epoch;

/// What the store shows of its history.
pub(super) struct Found {
    pub(super) epoch: Option<Epoch>,
    pub(super) revision: Revision,
    pub(super) status: Status,
}

/// Why an era begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beginning {
    /// The store is new, as far as anybody knows.
    First,
    /// The store was closed and opened.
    Reopened,
    /// The store lost data.
    Loss,
}

// === impl Found ===

impl Found {
    /// Says why a new era has to begin, if one has to, for somebody who has seen the revision
    /// `seen` (`0`: none that means anything) in the epoch `known`.
    pub(super) fn beginning(&self, seen: Revision, known: &Epoch) -> Option<Beginning> {
        let Some(epoch) = &self.epoch else {
            let first = seen == 0 && known.id == 0;
            return Some(if first {
                Beginning::First
            } else {
                Beginning::Loss
            });
        };
        let another = known.id != 0 && epoch.id != known.id;
        // Another replica noticed the same loss: what we saw means nothing in its era.
        let noticed = another && epoch.claims_from > known.era;
        if self.revision < seen && !noticed {
            return Some(Beginning::Loss);
        }
        let fell = self.status.timeline_at_most < epoch.timeline;
        match self.status.kind {
            // An era that knows nothing of ours was begun by a replica that found an empty store.
            Kind::Etcd => (fell || another && !noticed).then_some(Beginning::Loss),
            Kind::Memory | Kind::File => fell.then_some(Beginning::Reopened),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: Revision = 100;
    const KNOWN: Epoch = Epoch {
        id: 1,
        era: 7,
        timeline: 20,
        claims_from: 0,
        format: 1,
        revision: 2,
    };

    fn found(kind: Kind, epoch: Option<Epoch>, revision: Revision, timeline: i64) -> Found {
        Found {
            epoch,
            revision,
            status: Status {
                kind,
                timeline,
                timeline_at_most: timeline,
                ..Status::default()
            },
        }
    }

    fn in_etcd(epoch: Option<Epoch>, revision: Revision, timeline: i64) -> Option<Beginning> {
        found(Kind::Etcd, epoch, revision, timeline).beginning(SEEN, &KNOWN)
    }

    #[test]
    fn an_empty_store_is_new_only_to_those_who_know_none() {
        let empty = found(Kind::Etcd, None, 1, 0);
        assert_eq!(
            empty.beginning(0, &Epoch::default()),
            Some(Beginning::First)
        );
        assert_eq!(empty.beginning(SEEN, &KNOWN), Some(Beginning::Loss));
        // Its key is gone, so that the cache no longer knows what it has seen.
        assert_eq!(empty.beginning(0, &KNOWN), Some(Beginning::Loss));
    }

    #[test]
    fn etcd_that_went_on_is_the_same_and_one_that_fell_lost_data() {
        assert_eq!(in_etcd(Some(KNOWN), SEEN, 20), None);
        assert_eq!(in_etcd(Some(KNOWN), SEEN + 5, 25), None);
        assert_eq!(in_etcd(Some(KNOWN), SEEN - 1, 20), Some(Beginning::Loss));
        assert_eq!(in_etcd(Some(KNOWN), SEEN + 5, 19), Some(Beginning::Loss));
    }

    #[test]
    fn a_loss_that_another_replica_noticed_is_not_noticed_again() {
        let next = Epoch {
            id: 2,
            era: 8,
            claims_from: 8,
            timeline: 3,
            ..KNOWN
        };
        assert_eq!(in_etcd(Some(next), 5, 3), None);
        // But one that took the emptied store for a new one did not notice.
        let first = Epoch {
            claims_from: 0,
            ..next
        };
        assert_eq!(in_etcd(Some(first), 5, 3), Some(Beginning::Loss));
        assert_eq!(in_etcd(Some(first), SEEN + 5, 3), Some(Beginning::Loss));
    }

    #[test]
    fn the_embedded_store_loses_nothing_when_it_is_opened() {
        let reopened = found(Kind::File, Some(KNOWN), SEEN + 1, 19);
        assert_eq!(
            reopened.beginning(0, &Epoch::default()),
            Some(Beginning::Reopened)
        );
    }
}
