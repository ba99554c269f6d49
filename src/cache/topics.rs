//! Which topics there are, and which of them a change concerns.

use std::{
    any::Any,
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use bytes::Bytes;

use super::{
    Projection, Selection,
    bell::{Bell, Ringers},
    topic::Topic,
};

/// The topics of all kinds that somebody watches.
pub(super) struct Topics {
    kinds: Vec<Mutex<Kind>>,
    pub(super) ringers: Ringers,
}

#[derive(Default)]
struct Kind {
    by_digest: HashMap<u64, Weak<dyn Any + Send + Sync>>,
    /// The bells of the topics, by what the keys begin with that they cover.
    by_prefix: HashMap<Bytes, Vec<Arc<Bell>>>,
    /// How many prefixes have which length: they are few, so that a key finds its topics by
    /// looking up its own beginnings.
    lengths: BTreeMap<usize, usize>,
}

/// A topic's place in the list; it is off the list when this is dropped.
pub(super) struct Listed {
    topics: Arc<Topics>,
    kind: usize,
    digest: u64,
    prefix: Bytes,
    pub(super) bell: Arc<Bell>,
}

// === impl Topics ===

impl Topics {
    pub(super) fn new(kinds: usize) -> Self {
        Self {
            kinds: (0..kinds).map(|_| Mutex::default()).collect(),
            ringers: Ringers::default(),
        }
    }

    /// The topic of a selection, which all who watch the same share.
    pub(super) fn of<P: Projection, S: Selection<P>>(
        self: &Arc<Self>,
        selection: S,
    ) -> Arc<Topic<P, S>> {
        let (number, digest) = (selection.kind(), selection.digest());
        // Dropped after the lock: the last one of a topic takes it off the list.
        let known;
        let mut kind = self.kind(number);
        known = kind.by_digest.get(&digest).and_then(Weak::upgrade);
        if let Some(Ok(topic)) = known.clone().map(Arc::downcast) {
            return topic;
        }
        let listed = Listed {
            topics: self.clone(),
            kind: number,
            digest,
            prefix: selection.prefix(),
            bell: Arc::default(),
        };
        kind.enter(&listed.prefix, &listed.bell);
        let topic = Arc::new(Topic::new(selection, digest, listed));
        let known: Weak<dyn Any + Send + Sync> = Arc::downgrade(&topic) as Weak<_>;
        kind.by_digest.insert(digest, known);
        topic
    }

    /// Rings for the topics that may cover `key`.
    pub(super) fn ring(&self, kind: usize, key: &[u8]) {
        let kind = self.kind(kind);
        for length in kind.lengths.keys() {
            let Some(prefix) = key.get(..*length) else {
                break;
            };
            for bell in kind.by_prefix.get(prefix).into_iter().flatten() {
                bell.ring();
            }
        }
    }

    /// Rings for all topics.
    pub(super) fn ring_all(&self) {
        for number in 0..self.kinds.len() {
            for bell in self.kind(number).by_prefix.values().flatten() {
                bell.ring();
            }
        }
    }

    fn kind(&self, number: usize) -> MutexGuard<'_, Kind> {
        self.kinds[number]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Kind ===

impl Kind {
    fn enter(&mut self, prefix: &Bytes, bell: &Arc<Bell>) {
        let bells = self.by_prefix.entry(prefix.clone()).or_default();
        if bells.is_empty() {
            *self.lengths.entry(prefix.len()).or_default() += 1;
        }
        bells.push(bell.clone());
    }

    fn leave(&mut self, prefix: &Bytes, bell: &Arc<Bell>) {
        let Some(bells) = self.by_prefix.get_mut(prefix) else {
            return;
        };
        bells.retain(|known| !Arc::ptr_eq(known, bell));
        if bells.is_empty() {
            self.by_prefix.remove(prefix);
            if let Some(count) = self.lengths.get_mut(&prefix.len()) {
                *count -= 1;
                if *count == 0 {
                    self.lengths.remove(&prefix.len());
                }
            }
        }
    }
}

// === impl Listed ===

impl Drop for Listed {
    fn drop(&mut self) {
        let mut kind = self.topics.kind(self.kind);
        kind.leave(&self.prefix, &self.bell);
        // Another topic of the same selection may have begun meanwhile.
        if let Some(known) = kind.by_digest.get(&self.digest)
            && known.strong_count() == 0
        {
            kind.by_digest.remove(&self.digest);
        }
    }
}
