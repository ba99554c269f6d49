//! What the cache counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// How often things happened since the start; `subscribers` is how many there are now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Events of the store that were applied.
    pub events: u64,
    /// Revisions that were applied.
    pub revisions: u64,
    /// Revisions that came again and were dropped.
    pub duplicates_dropped: u64,
    /// States that were published.
    pub publications: u64,
    /// Listings taken because the store had forgotten what the watch needed.
    pub relists: u64,
    /// Listings taken because the store's history was another one.
    pub replacements: u64,
    /// Breaks of the watch that it survived by itself.
    pub interruptions: u64,
    /// Watches opened after one that ended.
    pub rewatches: u64,
    /// Probes sent.
    pub probes: u64,
    /// Probes that failed.
    pub probe_failures: u64,
    /// Readers that waited for a probe.
    pub probe_waiters: u64,
    /// Cursors that exist.
    pub subscribers: u64,
    /// Watchers that were made to start over.
    pub resets: u64,
    /// Watchers behind the log that were caught up with a difference.
    pub differences: u64,
}

/// The counters behind [`Stats`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) events: Counter,
    pub(super) revisions: Counter,
    pub(super) duplicates_dropped: Counter,
    pub(super) publications: Counter,
    pub(super) relists: Counter,
    pub(super) replacements: Counter,
    pub(super) interruptions: Counter,
    pub(super) rewatches: Counter,
    pub(super) probes: Counter,
    pub(super) probe_failures: Counter,
    pub(super) probe_waiters: Counter,
    pub(super) subscribers: Counter,
    pub(super) resets: Counter,
    pub(super) differences: Counter,
}

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

// === impl Counters ===

impl Counters {
    pub(super) fn read(&self) -> Stats {
        Stats {
            events: self.events.get(),
            revisions: self.revisions.get(),
            duplicates_dropped: self.duplicates_dropped.get(),
            publications: self.publications.get(),
            relists: self.relists.get(),
            replacements: self.replacements.get(),
            interruptions: self.interruptions.get(),
            rewatches: self.rewatches.get(),
            probes: self.probes.get(),
            probe_failures: self.probe_failures.get(),
            probe_waiters: self.probe_waiters.get(),
            subscribers: self.subscribers.get(),
            resets: self.resets.get(),
            differences: self.differences.get(),
        }
    }
}

// === impl Counter ===

impl Counter {
    pub(super) fn add(&self, more: usize) {
        self.0.fetch_add(more as u64, Ordering::Relaxed);
    }

    pub(super) fn subtract(&self, less: u64) {
        self.0.fetch_sub(less, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
