//! The instances of a service as one caller sees them: near ones first.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    cache::Selection,
    domain::{
        hash64,
        state::{Item, State, StateProjection},
    },
};

use crate::domain::registry::{Instance, Instances, OperatorState};

/// Where a caller is.
#[derive(Debug, Clone, PartialEq)]
pub struct Locality {
    /// Its region; may be empty.
    pub region: String,
    /// Its zone; may be empty.
    pub zone: String,
    /// How many of the near instances have to be healthy, from 0 to 1, for the others not to be
    /// shown. `None`: all are shown.
    pub failover_threshold: Option<f64>,
}

/// How near an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// In the caller's zone.
    Zone,
    /// In the caller's region.
    Region,
    /// Anywhere else.
    Elsewhere,
}

/// Instances ordered by tier, then by id.
///
/// Its keys are not those of the state: before the path they have the farthest tier that is shown,
/// which the first page decides for all of them, and the tier. So it is for lists alone.
#[derive(Debug, Clone)]
pub struct Nearest {
    instances: Instances,
    locality: Locality,
}

const TIERS: [Tier; 3] = [Tier::Zone, Tier::Region, Tier::Elsewhere];

// === impl Locality ===

impl Locality {
    /// How near an instance is. A zone belongs to its region where both sides say one.
    fn tier(&self, instance: &Instance) -> Tier {
        let spec = instance.spec();
        let said = !self.region.is_empty() && !spec.region.is_empty();
        let same_region = said && self.region == spec.region;
        if !self.zone.is_empty() && self.zone == spec.zone && (same_region || !said) {
            Tier::Zone
        } else if same_region {
            Tier::Region
        } else {
            Tier::Elsewhere
        }
    }
}

// === impl Tier ===

impl Tier {
    fn of_byte(byte: u8) -> Option<Self> {
        TIERS.into_iter().find(|tier| *tier as u8 == byte)
    }
}

// === impl Nearest ===

impl Nearest {
    /// Orders `instances` for a caller at `locality`.
    pub fn new(instances: Instances, locality: Locality) -> Self {
        Self {
            instances,
            locality,
        }
    }

    /// The farthest tier that is shown: the first up to which enough of the active instances are
    /// healthy. Those of other views count as well, or all of those shown would always be.
    fn reach(&self, state: &State) -> Tier {
        let Some(threshold) = self.locality.failover_threshold else {
            return Tier::Elsewhere;
        };
        let mut counts = [(0_u32, 0_u32); TIERS.len()];
        for (_, item) in self.instances.list(state, None) {
            if let Item::Instance(instance) = item
                && instance.operator == OperatorState::Active
                && self.instances.filter_takes(&instance)
            {
                let (active, healthy) = &mut counts[self.locality.tier(&instance) as usize];
                *active += 1;
                *healthy += u32::from(instance.works());
            }
        }
        let mut sum = (0, 0);
        for (tier, (active, healthy)) in TIERS.into_iter().zip(counts) {
            sum = (sum.0 + active, sum.1 + healthy);
            if sum.0 > 0 && f64::from(sum.1) / f64::from(sum.0) >= threshold {
                return tier;
            }
        }
        Tier::Elsewhere
    }
}

impl Selection<StateProjection> for Nearest {
    type Item = (Arc<Instance>, Tier);

    fn kind(&self) -> usize {
        self.instances.kind()
    }

    fn digest(&self) -> u64 {
        let Locality {
            region,
            zone,
            failover_threshold,
        } = &self.locality;
        let instances = self.instances.digest();
        let threshold = failover_threshold.map(f64::to_bits);
        // Neither holds a line break.
        hash64(format!(
            "nearest {instances} {threshold:?}\n{region}\n{zone}"
        ))
    }

    fn prefix(&self) -> Bytes {
        Bytes::new()
    }

    fn covers(&self, key: &[u8]) -> bool {
        key.get(2..).is_some_and(|path| self.instances.covers(path))
    }

    fn select(&self, item: &Item) -> Option<Self::Item> {
        let instance = self.instances.select(item)?;
        let tier = self.locality.tier(&instance);
        Some((instance, tier))
    }

    fn list<'a>(
        &self,
        state: &'a State,
        after: Option<&Bytes>,
    ) -> Box<dyn Iterator<Item = (Bytes, Item)> + Send + 'a> {
        let position = after.and_then(|key| {
            let (reach, tier) = (Tier::of_byte(*key.first()?)?, Tier::of_byte(*key.get(1)?)?);
            Some((reach, tier, key.slice(2..)))
        });
        let (reach, first, after) = match position {
            Some((reach, tier, path)) => (reach, tier, Some(path)),
            None => (self.reach(state), Tier::Zone, None),
        };
        let this = self.clone();
        let shown = TIERS
            .into_iter()
            .filter(move |tier| (first..=reach).contains(tier));
        Box::new(shown.flat_map(move |tier| {
            let after = after.as_ref().filter(|_| tier == first);
            let locality = this.locality.clone();
            this.instances
                .list(state, after)
                .filter(move |(_, item)| match item {
                    Item::Instance(instance) => locality.tier(instance) == tier,
                    _ => false,
                })
                .map(move |(path, item)| {
                    let key = [&[reach as u8, tier as u8], path.as_ref()].concat();
                    (key.into(), item)
                })
        }))
    }
}
