//! What a watch shows: updates, put together of the messages that came.

use std::time::Duration;

use bytes::Bytes;

use super::Body;
use crate::{
    duration::from_wire,
    proto::{DeleteCause, ResetReason, ResponseHeader},
};

/// What a watch shows next.
#[derive(Debug, Clone)]
pub struct Update<T> {
    /// Which state it shows.
    pub header: ResponseHeader,
    /// Revision through which the watch is current.
    pub revision: i64,
    /// Whether the serving view also shows suspect and unhealthy instances. Only for instances.
    pub protected: bool,
    /// Resumes a watch after this update, on any replica.
    pub resume_token: Bytes,
    /// What is new.
    pub kind: UpdateKind<T>,
}

/// What is new.
#[derive(Debug, Clone)]
pub enum UpdateKind<T> {
    /// Everything selected. Replaces all that was shown before.
    Snapshot {
        /// The items.
        items: Vec<T>,
        /// Why there is one although the watch had begun before.
        reset: Option<ResetReason>,
    },
    /// What changed; apply it whole.
    Delta {
        /// The changes, at most one for each item.
        changes: Vec<Change<T>>,
        /// Whether changes of several revisions are merged.
        conflated: bool,
    },
    /// Nothing.
    Current,
}

/// The change of one item.
#[derive(Debug, Clone)]
pub enum Change<T> {
    /// It became visible in the selection.
    Added(T),
    /// It changed.
    Modified(T),
    /// It is no longer selected: as it last was, and why.
    Deleted(T, DeleteCause),
}

/// What has come of an update that is not complete yet.
pub(super) struct Parts<T> {
    snapshot: Option<Vec<T>>,
    delta: Vec<Change<T>>,
    /// Why a snapshot comes.
    reset: Option<ResetReason>,
}

// === impl Update ===

impl<T> Update<T> {
    /// How long ago, when it was sent, the replica last knew its state to be current.
    pub fn age(&self) -> Option<Duration> {
        self.header.age.map(from_wire)
    }
}

// === impl Parts ===

impl<T> Parts<T> {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self {
            snapshot: None,
            delta: Vec::new(),
            reset: None,
        }
    }

    /// Forgets what came over a stream that ended. Why a snapshot comes still holds.
    pub(super) fn clear(&mut self) {
        self.snapshot = None;
        self.delta.clear();
    }

    /// Takes in what a message says. When that makes an update whole: what it shows, and through
    /// which revision.
    pub(super) fn take(&mut self, body: Body<T>) -> Option<(i64, UpdateKind<T>)> {
        match body {
            Body::Snapshot(items) => {
                self.snapshot.get_or_insert_default().extend(items);
                None
            }
            Body::SnapshotEnd { revision } => {
                let items = self.snapshot.take().unwrap_or_default();
                let reset = self.reset.take();
                Some((revision, UpdateKind::Snapshot { items, reset }))
            }
            Body::Delta {
                revision,
                changes,
                conflated,
                last_part,
            } => {
                self.delta.extend(changes);
                last_part.then(|| {
                    let changes = std::mem::take(&mut self.delta);
                    (revision, UpdateKind::Delta { changes, conflated })
                })
            }
            Body::Bookmark { revision, .. } => Some((revision, UpdateKind::Current)),
            Body::Reset(reason) => {
                self.clear();
                self.reset = Some(reason);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(change: u8, last_part: bool) -> Body<u8> {
        Body::Delta {
            revision: 7,
            changes: vec![Change::Added(change)],
            conflated: false,
            last_part,
        }
    }

    #[test]
    fn a_delta_in_parts_is_shown_whole() {
        let mut parts = Parts::new();
        assert!(parts.take(delta(1, false)).is_none());
        let Some((7, UpdateKind::Delta { changes, .. })) = parts.take(delta(2, true)) else {
            panic!("the last part ends it");
        };
        assert_eq!(changes.len(), 2);
    }

    #[test]
    fn a_snapshot_that_broke_off_is_forgotten_and_why_it_came_is_not() {
        let mut parts = Parts::new();
        assert!(parts.take(Body::Reset(ResetReason::BehindLog)).is_none());
        assert!(parts.take(Body::Snapshot(vec![1])).is_none());
        parts.clear();
        assert!(parts.take(Body::Snapshot(vec![2])).is_none());
        let end = parts.take(Body::SnapshotEnd { revision: 9 });
        let Some((9, UpdateKind::Snapshot { items, reset })) = end else {
            panic!("the end ends it");
        };
        assert_eq!((items, reset), (vec![2], Some(ResetReason::BehindLog)));
    }
}
