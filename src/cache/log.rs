//! What happened to one kind of thing lately: the changes by revision, and the things that are
//! gone. Persistent, so that every published state shares it.

use std::{
    ops::Bound,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use imbl::OrdMap;

use crate::store::Revision;

use super::{Change, Projection, Settings};

/// How many more deletions than revisions are remembered: they cost little and spare a watcher
/// that was away for long a new snapshot.
const TOMBSTONES_PER_REVISION: usize = 4;

/// What a change weighs besides its items.
const OVERHEAD: usize = 128;

/// The changes of one kind.
pub(super) struct Log<P: Projection> {
    entries: OrdMap<Revision, Arc<Entry<P>>>,
    tombstones: OrdMap<(Revision, usize), Arc<Tombstone<P>>>,
    floor: Revision,
    tombstone_floor: Revision,
    last: Revision,
    bytes: usize,
    tombstone_bytes: usize,
}

/// What one revision changed of one kind.
pub(super) struct Entry<P: Projection> {
    /// The changes, never empty, in an order in which they may be told.
    pub(super) changes: Vec<Change<P>>,
    /// True if this is the difference of two listings: what happened in between is lost.
    pub(super) conflated: bool,
    bytes: usize,
    at: Instant,
}

/// A thing that is gone.
pub(super) struct Tombstone<P: Projection> {
    /// Which one.
    pub(super) key: Bytes,
    /// How it looked last.
    pub(super) item: P::Item,
    /// Why it is gone.
    pub(super) cause: P::Cause,
    bytes: usize,
}

/// How much a log may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    revisions: usize,
    bytes: usize,
    age: Duration,
}

// === impl Bounds ===

impl Bounds {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            revisions: settings.log_revisions,
            bytes: settings.log_bytes,
            age: settings.log_age,
        }
    }
}

// === impl Log ===

impl<P: Projection> Log<P> {
    /// A log that begins after `floor`.
    pub(super) fn new(floor: Revision) -> Self {
        Self {
            entries: OrdMap::new(),
            tombstones: OrdMap::new(),
            floor,
            tombstone_floor: floor,
            last: floor,
            bytes: 0,
            tombstone_bytes: 0,
        }
    }

    /// Every change after this revision is in the log.
    pub(super) fn floor(&self) -> Revision {
        self.floor
    }

    /// Every deletion after this revision is remembered.
    pub(super) fn tombstone_floor(&self) -> Revision {
        self.tombstone_floor
    }

    /// The last revision that changed anything; where the log began, if none did since.
    pub(super) fn last(&self) -> Revision {
        self.last
    }

    /// The entries after `revision`, oldest first.
    pub(super) fn after(&self, revision: Revision) -> impl Iterator<Item = (Revision, &Entry<P>)> {
        self.entries
            .range((Bound::Excluded(revision), Bound::Unbounded))
            .map(|(revision, entry)| (*revision, entry.as_ref()))
    }

    /// What was deleted after `revision`, oldest first, with the revision that did it.
    pub(super) fn gone_after(
        &self,
        revision: Revision,
    ) -> impl Iterator<Item = (Revision, &Tombstone<P>)> {
        self.tombstones
            .range((Bound::Excluded((revision, usize::MAX)), Bound::Unbounded))
            .map(|((revision, _), tombstone)| (*revision, tombstone.as_ref()))
    }

    /// Notes what `revision` changed, if anything.
    pub(super) fn push(
        &mut self,
        revision: Revision,
        changes: Vec<Change<P>>,
        conflated: bool,
        at: Instant,
    ) {
        if changes.is_empty() {
            return;
        }
        for (index, change) in changes.iter().enumerate() {
            // A thing that was made anew between two listings is also one that is gone.
            if let Some(item) = &change.before
                && change
                    .after
                    .as_ref()
                    .is_none_or(|after| P::create_revision(after) > P::create_revision(item))
            {
                let bytes = P::weight(item) + change.key.len() + OVERHEAD;
                self.tombstone_bytes += bytes;
                self.tombstones.insert(
                    (revision, index),
                    Arc::new(Tombstone {
                        key: change.key.clone(),
                        item: item.clone(),
                        cause: change.cause,
                        bytes,
                    }),
                );
            }
        }
        let bytes = changes.iter().map(weight).sum();
        self.bytes += bytes;
        self.last = revision;
        self.entries.insert(
            revision,
            Arc::new(Entry {
                changes,
                conflated,
                bytes,
                at,
            }),
        );
    }

    /// Gives up what happened up to `revision`.
    pub(super) fn raise(&mut self, revision: Revision) {
        self.floor = self.floor.max(revision);
        self.tombstone_floor = self.tombstone_floor.max(revision);
    }

    /// Forgets what is too much or too old.
    pub(super) fn trim(&mut self, bounds: &Bounds, now: Instant) {
        while let Some((revision, entry)) = self.entries.get_min() {
            if self.entries.len() <= bounds.revisions
                && self.bytes <= bounds.bytes
                && now.saturating_duration_since(entry.at) <= bounds.age
            {
                break;
            }
            let revision = *revision;
            self.bytes = self.bytes.saturating_sub(entry.bytes);
            self.floor = self.floor.max(revision);
            self.entries.remove(&revision);
        }
        let deletions = bounds.revisions.saturating_mul(TOMBSTONES_PER_REVISION);
        while let Some((at, tombstone)) = self.tombstones.get_min() {
            if self.tombstones.len() <= deletions && self.tombstone_bytes <= bounds.bytes {
                break;
            }
            let at = *at;
            self.tombstone_bytes = self.tombstone_bytes.saturating_sub(tombstone.bytes);
            self.tombstone_floor = self.tombstone_floor.max(at.0);
            self.tombstones.remove(&at);
        }
    }
}

impl<P: Projection> Clone for Log<P> {
    fn clone(&self) -> Self {
        Self {
            entries: self.entries.clone(),
            tombstones: self.tombstones.clone(),
            floor: self.floor,
            tombstone_floor: self.tombstone_floor,
            last: self.last,
            bytes: self.bytes,
            tombstone_bytes: self.tombstone_bytes,
        }
    }
}

fn weight<P: Projection>(change: &Change<P>) -> usize {
    let side = |item: &Option<P::Item>| item.as_ref().map_or(0, P::weight);
    side(&change.before) + side(&change.after) + change.key.len() + OVERHEAD
}
