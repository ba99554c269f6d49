//! What a watcher saw, message by message.

use std::time::Instant;

use stanchion_client::proto::{DeleteCause, EventType, ResetReason};
use tonic::Code;

use crate::view::Look;

/// All that one watcher saw.
#[derive(Debug, Clone, Default)]
pub struct Observation {
    pub entries: Vec<Entry>,
}

/// One step of it.
#[derive(Debug, Clone)]
pub struct Entry {
    pub at: Instant,
    pub what: What,
}

/// What happened to a watcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It asked a replica, by index, to begin, or to resume after this revision.
    Opened { replica: usize, after: Option<i64> },
    /// A message came.
    Told(Message),
    /// The stream ended: well, or with an error.
    Ended { code: Code, why: String },
}

/// One message of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The epoch in the header.
    pub epoch: String,
    /// The replica in the header.
    pub replica: String,
    /// Whether it can be resumed from.
    pub resumable: bool,
    pub body: Body,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    Snapshot(Vec<(String, Look)>),
    SnapshotEnd(i64),
    Delta(Delta),
    Bookmark { revision: i64, last: bool },
    Reset(ResetReason),
}

/// A delta, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    pub prev_revision: i64,
    pub revision: i64,
    pub events: Vec<Event>,
    pub conflated: bool,
    pub last_part: bool,
}

/// A change of one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub kind: EventType,
    pub path: String,
    pub look: Look,
    pub cause: DeleteCause,
}

// === impl Body ===

impl Body {
    /// The revision through which a watcher is current that has seen the message.
    pub fn through(&self) -> Option<i64> {
        match self {
            Self::SnapshotEnd(revision) | Self::Bookmark { revision, .. } => Some(*revision),
            Self::Delta(delta) => delta.last_part.then_some(delta.revision),
            Self::Snapshot(_) | Self::Reset(_) => None,
        }
    }
}
