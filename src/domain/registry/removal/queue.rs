//! What is to be looked at when: a queue of times, bounded by what is registered.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    time::Instant,
};

/// Things, each with what is known of it and the time to look at it.
#[derive(Debug)]
pub(in crate::domain::registry) struct Queue<K, V> {
    entries: HashMap<K, Entry<V>>,
    due: BTreeSet<(Instant, K)>,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    due: Instant,
}

// === impl Queue ===

impl<K: Clone + Ord + Hash, V: Copy> Queue<K, V> {
    /// Notes a thing, to be looked at at `due`, whatever was known of it.
    pub(in crate::domain::registry) fn note(&mut self, key: K, value: V, due: Instant) {
        self.forget(&key);
        self.due.insert((due, key.clone()));
        self.entries.insert(key, Entry { value, due });
    }

    /// What is known of a thing.
    pub(in crate::domain::registry) fn get(&self, key: &K) -> Option<V> {
        self.entries.get(key).map(|entry| entry.value)
    }

    /// Drops a thing.
    pub(in crate::domain::registry) fn forget(&mut self, key: &K) {
        if let Some(known) = self.entries.remove(key) {
            self.due.remove(&(known.due, key.clone()));
        }
    }

    /// Drops everything.
    pub(in crate::domain::registry) fn clear(&mut self) {
        self.entries.clear();
        self.due.clear();
    }

    /// Changes what is known of everything, and with it when each is looked at.
    pub(in crate::domain::registry) fn revise(&mut self, revise: impl Fn(&mut V) -> Instant) {
        self.due.clear();
        for (key, entry) in &mut self.entries {
            entry.due = revise(&mut entry.value);
            self.due.insert((entry.due, key.clone()));
        }
    }

    /// Looks at a thing at another time.
    pub(in crate::domain::registry) fn postpone(&mut self, key: &K, due: Instant) {
        if let Some(entry) = self.entries.get_mut(key) {
            self.due.remove(&(entry.due, key.clone()));
            entry.due = due;
            self.due.insert((due, key.clone()));
        }
    }

    /// When the first one is due.
    pub(in crate::domain::registry) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// At most `limit` of those that are due at `now`.
    pub(in crate::domain::registry) fn due(&self, now: Instant, limit: usize) -> Vec<(K, V)> {
        self.due
            .iter()
            .take_while(|(due, _)| *due <= now)
            .take(limit)
            .filter_map(|(_, key)| Some((key.clone(), self.get(key)?)))
            .collect()
    }
}

impl<K, V> Default for Queue<K, V> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            due: BTreeSet::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_due_is_found_by_its_latest_time_alone() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut queue = Queue::default();
        queue.note("a", 1, at(10));
        queue.note("a", 2, at(20));
        assert_eq!(queue.next_due(), Some(at(20)));
        assert!(queue.due(at(19), 10).is_empty());
        assert_eq!(queue.due(at(20), 10), [("a", 2)]);
        queue.postpone(&"a", at(30));
        queue.note("b", 3, at(25));
        assert_eq!(queue.due(at(29), 10), [("b", 3)]);
        queue.revise(|value| {
            *value += 10;
            at(5)
        });
        assert_eq!(queue.due(at(5), 1), [("a", 12)]);
        queue.forget(&"a");
        queue.forget(&"b");
        assert_eq!(queue.next_due(), None);
    }
}
