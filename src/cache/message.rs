//! What a watcher asks for, and what it is told.

use std::{sync::Arc, time::Duration};

use crate::store::Revision;

use super::{Event, Items, Run, Token};

/// Where a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With a snapshot.
    Snapshot,
    /// After what this token has seen.
    Resume(Token),
    /// After this revision of the present epoch.
    After(Revision),
    /// From a position in another epoch: with a reset and a snapshot.
    Elsewhere,
}

/// How a cursor delivers.
#[derive(Debug, Clone)]
pub struct CursorOptions {
    /// Merges what happens within this time of the last delta. Default 0: nothing is merged.
    pub min_interval: Duration,
    /// After how much quiet a bookmark is sent. Default 10 s.
    pub bookmark_interval: Duration,
    /// When the stream ends by itself. Default 30 min; the caller adds the jitter.
    pub max_age: Duration,
    /// How many bytes one part of a snapshot or delta holds, roughly. Default 256 KiB.
    pub part_bytes: usize,
}

/// What a watcher is told at once.
pub enum Told<T, C> {
    /// What nobody else is told.
    Alone(Message<T, C>),
    /// Deltas that others are told as well.
    Run(Arc<Run<T, C>>),
    /// A part of a snapshot that others are told as well.
    Items {
        /// The items.
        items: Arc<Items<T>>,
        /// The revision it shows.
        revision: Revision,
    },
}

/// One step of a watch.
#[derive(Debug, Clone)]
pub enum Message<T, C> {
    /// A part of the state a watch begins with.
    Snapshot {
        /// The items, in key order.
        items: Vec<T>,
        /// The revision it shows.
        revision: Revision,
    },
    /// The snapshot is whole.
    SnapshotEnd {
        /// The revision it shows.
        revision: Revision,
    },
    /// What changed.
    Delta {
        /// Where the watcher stood before.
        prev_revision: Revision,
        /// Where it stands now.
        revision: Revision,
        /// What happened in between, as the watcher's filter sees it.
        events: Vec<Event<T, C>>,
        /// True if intermediate states were merged.
        conflated: bool,
        /// False if more parts of the same delta follow.
        last_part: bool,
    },
    /// Nothing else happened up to this revision.
    Bookmark {
        /// The revision.
        revision: Revision,
        /// Set on the last message of the stream.
        last: Option<FinalReason>,
    },
    /// What the watcher knows is void: a snapshot follows.
    Reset {
        /// Why.
        reason: ResetReason,
    },
}

/// Why a stream ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinalReason {
    /// This replica is stopping.
    Draining,
    /// The stream is old enough.
    MaxAge,
}

/// Why a watcher has to start over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetReason {
    /// The store's history is another one.
    EpochChanged,
    /// The position is older than what is remembered.
    Behind,
    /// The position lies in a future that did not come.
    Ahead,
}

// === impl CursorOptions ===

impl Default for CursorOptions {
    fn default() -> Self {
        Self {
            min_interval: Duration::ZERO,
            bookmark_interval: Duration::from_secs(10),
            max_age: Duration::from_secs(1800),
            part_bytes: 256 * 1024,
        }
    }
}
