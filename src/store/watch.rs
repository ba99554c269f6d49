//! Watches: what a store tells of its changes.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Error, KeyValue, Revision};

/// A running watch. Dropping it ends it.
pub struct Watch {
    /// What happens, in order. After an `Err` the channel is closed.
    pub items: mpsc::Receiver<Result<WatchItem, Error>>,
    /// Asks the watched member where the store is.
    pub probe: Arc<dyn Probe>,
}

/// One step of a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchItem {
    /// All events of one revision under the prefix, in operation order. Revisions only rise.
    Changes {
        /// The revision.
        revision: Revision,
        /// What it did, never empty.
        events: Vec<Event>,
    },
    /// All events up to and with this revision have been delivered.
    Progress(Revision),
    /// The connection was lost and the watch is being resumed; nothing is missed.
    Interrupted,
    /// It has been resumed, on the store as it is now.
    Resumed,
}

/// What happened to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It was created or overwritten.
    Put(KeyValue),
    /// It was deleted, or its lease ended.
    Delete {
        /// The key.
        key: Bytes,
        /// The revision of the deletion.
        revision: Revision,
    },
}

/// The side channel of a [`Watch`].
#[async_trait]
pub trait Probe: Send + Sync {
    /// Returns the store's revision as a quorum knows it. The watch may be behind it, and asked by
    /// [`Probe::request_progress`] to say when it is there.
    async fn current_revision(&self) -> Result<Revision, Error>;

    /// Asks the watch to report [`WatchItem::Progress`]. The report may be lost: ask again.
    async fn request_progress(&self);

    /// What the watched keys amount to, where reports of progress cannot be trusted and are not
    /// given (an old etcd); `None` everywhere else. `applied` is how far the caller's copy is.
    async fn extent(&self, applied: Revision) -> Result<Option<Extent>, Error> {
        let _ = applied;
        Ok(None)
    }
}

/// What a range of keys amounts to, as a quorum knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The store's revision.
    pub revision: Revision,
    /// When a key that is there now was last written; `0` if none was since the copy's revision
    /// that was asked with.
    pub newest: Revision,
    /// How many keys there are.
    pub count: usize,
}

// === impl Event ===

impl Event {
    /// The key it happened to.
    pub fn key(&self) -> &Bytes {
        match self {
            Self::Put(kv) => &kv.key,
            Self::Delete { key, .. } => key,
        }
    }
}
