//! Which instances are near, by the same rules as the server's lists.

use std::sync::Arc;

use crate::proto::{Health, Instance, Locality, LocalityTier, OperatorState};

const TIERS: [LocalityTier; 3] = [
    LocalityTier::Zone,
    LocalityTier::Region,
    LocalityTier::Elsewhere,
];

// === impl Locality ===

impl Locality {
    /// How near an instance is to a caller here.
    pub fn tier_of(&self, instance: &Instance) -> LocalityTier {
        let said = !self.region.is_empty() && !instance.region.is_empty();
        let same_region = said && self.region == instance.region;
        if !self.zone.is_empty() && self.zone == instance.zone && (same_region || !said) {
            LocalityTier::Zone
        } else if same_region {
            LocalityTier::Region
        } else {
            LocalityTier::Elsewhere
        }
    }

    /// Of `all` instances, ordered by id, those that are `shown`, nearest first, as far as has to
    /// be gone for enough of them to be healthy.
    pub(crate) fn nearest(
        &self,
        all: &[Arc<Instance>],
        shown: impl Fn(&Instance) -> bool,
    ) -> Vec<Arc<Instance>> {
        let (mut active, mut healthy) = (0_u32, 0_u32);
        let mut nearest = Vec::new();
        for tier in TIERS {
            for instance in all.iter().filter(|i| self.tier_of(i) == tier) {
                if instance.operator_state() == OperatorState::Active {
                    active += 1;
                    healthy += u32::from(works(instance));
                }
                if shown(instance) {
                    nearest.push(instance.clone());
                }
            }
            let share = f64::from(healthy) / f64::from(active);
            if active > 0 && self.failover_threshold.is_some_and(|least| share >= least) {
                break;
            }
        }
        nearest
    }
}

fn works(instance: &Instance) -> bool {
    matches!(instance.health(), Health::Healthy | Health::Unknown)
}
