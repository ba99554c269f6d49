//! What can be listed of barriers and latches.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    cache::Selection,
    domain::{
        hash64,
        names::Namespace,
        state::{Item, Kind, State, StateProjection},
    },
};

use super::{Barrier, Latch};

/// The barriers of a namespace at which somebody waits.
#[derive(Debug, Clone)]
pub struct WaitedAt {
    /// The namespace.
    pub namespace: Namespace,
    /// How the names begin.
    pub prefix: String,
}

/// The latches of a namespace.
#[derive(Debug, Clone)]
pub struct LatchesOf {
    /// The namespace.
    pub namespace: Namespace,
    /// How the names begin.
    pub prefix: String,
}

// === impl WaitedAt ===

impl Selection<StateProjection> for WaitedAt {
    type Item = Arc<Barrier>;

    fn kind(&self) -> usize {
        Kind::Barrier as usize
    }

    fn digest(&self) -> u64 {
        hash64(format!("barriers/{}/{}", self.namespace, self.prefix))
    }

    fn prefix(&self) -> Bytes {
        format!("{}/{}", self.namespace, self.prefix).into()
    }

    fn covers(&self, key: &[u8]) -> bool {
        key.starts_with(&self.prefix())
    }

    fn select(&self, item: &Item) -> Option<Self::Item> {
        match item {
            Item::Barrier(barrier) => Some(barrier.clone()),
            _ => None,
        }
    }

    fn list<'a>(
        &self,
        state: &'a State,
        after: Option<&Bytes>,
    ) -> Box<dyn Iterator<Item = (Bytes, Item)> + Send + 'a> {
        let claims_from = state.epoch.claims_from;
        let barriers = below(&state.barriers, self.prefix(), after);
        let waited_at =
            barriers.filter(move |(_, barrier)| barrier.waiting(claims_from).next().is_some());
        Box::new(waited_at.map(|(path, barrier)| (path.clone(), Item::Barrier(barrier.clone()))))
    }
}

// === impl LatchesOf ===

impl Selection<StateProjection> for LatchesOf {
    type Item = Arc<Latch>;

    fn kind(&self) -> usize {
        Kind::Latch as usize
    }

    fn digest(&self) -> u64 {
        hash64(format!("latches/{}/{}", self.namespace, self.prefix))
    }

    fn prefix(&self) -> Bytes {
        format!("{}/{}", self.namespace, self.prefix).into()
    }

    fn covers(&self, key: &[u8]) -> bool {
        key.starts_with(&self.prefix())
    }

    fn select(&self, item: &Item) -> Option<Self::Item> {
        match item {
            Item::Latch(latch) => Some(latch.clone()),
            _ => None,
        }
    }

    fn list<'a>(
        &self,
        state: &'a State,
        after: Option<&Bytes>,
    ) -> Box<dyn Iterator<Item = (Bytes, Item)> + Send + 'a> {
        let latches = below(&state.latches, self.prefix(), after);
        let made = latches.filter(|(_, latch)| latch.made.is_some());
        Box::new(made.map(|(path, latch)| (path.clone(), Item::Latch(latch.clone()))))
    }
}

/// What of a map has a path that begins with `prefix`, after the path `after`.
fn below<'a, V>(
    map: &'a imbl::OrdMap<Bytes, V>,
    prefix: Bytes,
    after: Option<&Bytes>,
) -> impl Iterator<Item = (&'a Bytes, &'a V)> + use<'a, V> {
    use std::ops::Bound;
    let start = match after {
        Some(after) if *after >= prefix => Bound::Excluded(after.clone()),
        _ => Bound::Included(prefix.clone()),
    };
    map.range((start, Bound::Unbounded))
        .take_while(move |(path, _)| path.starts_with(&prefix))
}
