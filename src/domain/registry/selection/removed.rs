//! What lists of removed instances are about.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    cache::Selection,
    domain::{
        hash64,
        names::{Namespace, ServiceName},
        state::{Item, Kind, State, StateProjection},
    },
};

use crate::domain::registry::{
    Filter, Health, Instance, OperatorState, RemovalCause, Tombstone, selection::walk,
};

/// The instances of one service that were removed a moment ago. For lists alone.
#[derive(Debug, Clone)]
pub struct RemovedInstances {
    /// `namespace/service/`
    prefix: Bytes,
    filter: Option<Filter>,
}

// === impl RemovedInstances ===

impl RemovedInstances {
    /// Those of `service` that `filter` takes, as they last were; all without one.
    pub fn of(namespace: &Namespace, service: &ServiceName, filter: Option<Filter>) -> Self {
        Self {
            prefix: format!("{namespace}/{service}/").into(),
            filter,
        }
    }
}

impl Selection<StateProjection> for RemovedInstances {
    type Item = (Arc<Instance>, Arc<Tombstone>);

    fn kind(&self) -> usize {
        Kind::Instance as usize
    }

    fn digest(&self) -> u64 {
        let filter = self
            .filter
            .as_ref()
            .map_or(String::new(), Filter::to_string);
        // No name holds a blank.
        hash64([b"removed ", self.prefix.as_ref(), b" ", filter.as_bytes()].concat())
    }

    fn prefix(&self) -> Bytes {
        self.prefix.clone()
    }

    fn covers(&self, key: &[u8]) -> bool {
        key.starts_with(&self.prefix)
    }

    fn select(&self, item: &Item) -> Option<Self::Item> {
        let Item::Tombstone(tombstone) = item else {
            return None;
        };
        let last = Arc::new(as_it_was(tombstone));
        let filter = self.filter.as_ref();
        let taken = filter.is_none_or(|filter| filter.takes(&last));
        taken.then(|| (last, tombstone.clone()))
    }

    fn list<'a>(
        &self,
        state: &'a State,
        after: Option<&Bytes>,
    ) -> Box<dyn Iterator<Item = (Bytes, Item)> + Send + 'a> {
        let removed = walk(&state.tombstones, self.prefix.clone(), after);
        Box::new(removed.map(|(path, tombstone)| (path, Item::Tombstone(tombstone))))
    }
}

/// An instance as its end says that it was.
fn as_it_was(tombstone: &Tombstone) -> Instance {
    let (operator, health) = match tombstone.cause {
        RemovalCause::Expired => (OperatorState::Active, Health::Suspect),
        RemovalCause::Unhealthy => (OperatorState::Active, Health::Unhealthy),
        RemovalCause::Drained => (OperatorState::Draining, Health::Unknown),
    };
    Instance {
        record: tombstone.record.clone(),
        overlaid: None,
        operator,
        health,
        serving: false,
        slow_start: None,
        visible_revision: tombstone.record.mod_revision,
    }
}
