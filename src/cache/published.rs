//! What the cache shows at one revision, with the history that leads there. Immutable once it is
//! published.

use std::{ops::Bound, sync::Arc, time::Instant};

use imbl::OrdMap;

use crate::store::{Event, Revision};

use super::{
    Projection,
    log::{Bounds, Log},
};

/// How many holes in the history are remembered before everything up to the oldest is forgotten.
const MAX_GAPS: usize = 64;

/// One state and its history.
pub(super) struct Published<P: Projection> {
    /// Shared, so that a reader costs one count and not one for each part of the state.
    pub(super) state: Arc<P::State>,
    /// The log tells everything up to here.
    pub(super) revision: Revision,
    /// The state is that of this revision too: what may have happened since [`Self::revision`] came
    /// and went, and is yet to be told.
    pub(super) as_of: Revision,
    pub(super) epoch: u64,
    /// Differs whenever the state was replaced by one that does not continue it.
    pub(super) generation: u64,
    pub(super) logs: Vec<Log<P>>,
    /// What happened between two listings is only known as their difference: the later revision,
    /// and the earlier one.
    gaps: OrdMap<Revision, Revision>,
}

/// How a watcher that stands at some revision of this history goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// With the entries of the log.
    Replay,
    /// With the difference, taken from the state and the tombstones.
    Difference,
    /// Not at all: it starts over.
    Lost,
}

// === impl Published ===

impl<P: Projection> Published<P> {
    /// A state without history, at `revision`.
    pub(super) fn new(state: P::State, revision: Revision, generation: u64) -> Self {
        Self {
            epoch: P::epoch(&state),
            state: Arc::new(state),
            revision,
            as_of: revision,
            generation,
            logs: (0..P::KINDS).map(|_| Log::new(revision)).collect(),
            gaps: OrdMap::new(),
        }
    }

    /// Applies the events of one revision. Returns false if they began another epoch: then what
    /// was known may not lead here.
    pub(super) fn apply(
        &mut self,
        projection: &P,
        revision: Revision,
        events: &[Event],
        conflated: bool,
        at: Instant,
    ) -> bool {
        let mut kinds: Vec<Vec<_>> = (0..P::KINDS).map(|_| Vec::new()).collect();
        for change in projection.apply(Arc::make_mut(&mut self.state), revision, events) {
            match kinds.get_mut(change.kind) {
                Some(changes) => changes.push(change),
                None => tracing::error!(
                    kind = change.kind,
                    kinds = P::KINDS,
                    "a change is of a kind that does not exist"
                ),
            }
        }
        for (log, changes) in self.logs.iter_mut().zip(kinds) {
            log.push(revision, changes, conflated, at);
        }
        if conflated {
            self.gaps.insert(revision, self.revision);
        }
        self.progress(revision);
        P::epoch(&self.state) == self.epoch
    }

    /// Everything up to `revision` is applied.
    pub(super) fn progress(&mut self, revision: Revision) {
        self.revision = self.revision.max(revision);
        self.as_of = self.as_of.max(revision);
    }

    /// Forgets all history, because it belongs to another epoch than the state.
    pub(super) fn forget_history(&mut self) {
        self.epoch = P::epoch(&self.state);
        self.gaps.clear();
        for log in &mut self.logs {
            *log = Log::new(self.revision);
        }
    }

    /// Up to where it was last learned from a listing, as far as that is remembered.
    pub(super) fn listed(&self) -> Option<Revision> {
        self.gaps.get_max().map(|(end, _)| *end)
    }

    /// Keeps the history within its bounds.
    pub(super) fn trim(&mut self, bounds: &Bounds, now: Instant) {
        for log in &mut self.logs {
            log.trim(bounds, now);
        }
        let oldest = self
            .logs
            .iter()
            .map(|log| log.floor().min(log.tombstone_floor()))
            .min()
            .unwrap_or_default();
        while let Some((end, _)) = self.gaps.get_min() {
            if *end > oldest && self.gaps.len() <= MAX_GAPS {
                break;
            }
            let end = *end;
            self.gaps.remove(&end);
            if end > oldest {
                for log in &mut self.logs {
                    log.raise(end);
                }
            }
        }
    }

    /// How a watcher of `kind` that stands at `revision` goes on.
    pub(super) fn way(&self, kind: usize, revision: Revision, conflates: bool) -> Way {
        let log = &self.logs[kind];
        let inside_a_gap = self
            .gaps
            .range((Bound::Excluded(revision), Bound::Unbounded))
            .next()
            .is_some_and(|(_, begin)| *begin < revision);
        if inside_a_gap {
            Way::Lost
        } else if revision >= log.floor() {
            Way::Replay
        } else if conflates && revision >= log.tombstone_floor() {
            Way::Difference
        } else {
            Way::Lost
        }
    }
}

impl<P: Projection> Clone for Published<P> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
            revision: self.revision,
            as_of: self.as_of,
            epoch: self.epoch,
            generation: self.generation,
            logs: self.logs.clone(),
            gaps: self.gaps.clone(),
        }
    }
}
