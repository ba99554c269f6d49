//! The entries of all watches, by what they are looked for.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Instant,
};

use crate::domain::keyspace::ServiceKey;

use super::Entry;

/// All watches at this replica, and those that ended a moment ago.
#[derive(Default)]
pub(super) struct All {
    pub(super) last: u64,
    pub(super) by_number: BTreeMap<u64, Arc<Entry>>,
    by_service: HashMap<ServiceKey, BTreeSet<u64>>,
    pub(super) by_fingerprint: HashMap<u64, u64>,
    /// Those whose streams ended, oldest first.
    pub(super) ended: BTreeSet<(Instant, u64)>,
}

// === impl All ===

impl All {
    pub(super) fn insert(&mut self, entry: Arc<Entry>) {
        let (number, service) = (entry.number, entry.watching.service.clone());
        if entry.fingerprint != 0
            && let Some(former) = self.by_fingerprint.insert(entry.fingerprint, number)
        {
            self.remove(former);
        }
        self.by_service.entry(service).or_default().insert(number);
        self.by_number.insert(number, entry);
    }

    pub(super) fn remove(&mut self, number: u64) {
        let Some(entry) = self.by_number.remove(&number) else {
            return;
        };
        if let Some((_, until)) = *entry.ended() {
            self.ended.remove(&(until, number));
        }
        if self.by_fingerprint.get(&entry.fingerprint) == Some(&number) {
            self.by_fingerprint.remove(&entry.fingerprint);
        }
        if let Some(numbers) = self.by_service.get_mut(&entry.watching.service) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_service.remove(&entry.watching.service);
            }
        }
    }

    pub(super) fn of(&self, service: &ServiceKey) -> impl Iterator<Item = &Arc<Entry>> {
        let numbers = self.by_service.get(service).into_iter().flatten();
        numbers.filter_map(|number| self.by_number.get(number))
    }
}
