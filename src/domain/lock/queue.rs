//! What a lock is: the queue of those who want it, the first of whom holds it.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use bytes::Bytes;

use crate::{
    domain::{keyspace::LockPath, names::Label, session_id::SessionId},
    store::Revision,
};

/// How far the era stands above the create-revision in a fencing token.
const ERA_SHIFT: u32 = 40;

/// A lock that somebody holds. A free lock is no queue at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockQueue {
    /// Which lock.
    pub path: LockPath,
    /// Who wants it, by create-revision. Never empty.
    pub waiters: Vec<Arc<Waiter>>,
    /// The revision at which the queue last changed.
    pub visible_revision: Revision,
}

/// A place in the queue of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiter {
    /// The whole key of the place in the store.
    pub key: Bytes,
    /// Whose it is.
    pub session: SessionId,
    /// The client id of that session.
    pub client_id: Label,
    /// The request that queued: with the session, the identity of the place.
    pub request_id: String,
    /// Who it is, in the client's words.
    pub owner: Label,
    /// What it wants.
    pub mode: LockMode,
    /// The era in which it queued.
    pub era: i64,
    /// How often the call was taken up again, by this replica or another.
    pub attempt: i64,
    /// When it queued.
    pub enqueue_time: SystemTime,
    /// Anything the client says.
    pub metadata: BTreeMap<String, String>,
    /// The format it was written in.
    pub format: u32,
    /// The revision at which it queued: its place.
    pub create_revision: Revision,
    /// The revision that last wrote it.
    pub mod_revision: Revision,
}

/// What a waiter wants of the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LockMode {
    /// The lock for itself. Modes of the future count as this one.
    #[default]
    Exclusive,
}

// === impl LockQueue ===

impl LockQueue {
    /// Who holds the lock.
    pub fn holder(&self) -> Option<&Arc<Waiter>> {
        self.waiters.first()
    }
}

// === impl Waiter ===

impl Waiter {
    /// The fencing token: grows with every new holder, data resets included, because the era
    /// stands above the revision.
    pub fn fencing_token(&self) -> i64 {
        (self.era << ERA_SHIFT) + self.create_revision
    }
}
