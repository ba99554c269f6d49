//! What is left of an instance that was removed without asking for it.

use std::{sync::Arc, time::SystemTime};

use crate::domain::registry::InstanceRecord;

/// Mark of an instance that was removed; ends after a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// The registration as it last was.
    pub record: Arc<InstanceRecord>,
    /// Why it was removed.
    pub cause: RemovalCause,
    /// What was seen, for people.
    pub detail: String,
    /// When it was removed.
    pub remove_time: SystemTime,
}

/// Why an instance was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemovalCause {
    /// Its session ended, and its grace.
    Expired,
    /// It was unhealthy for too long.
    Unhealthy,
    /// It was drained.
    Drained,
}

// === impl RemovalCause ===

impl RemovalCause {
    /// All of them, in their order.
    pub const ALL: [Self; 3] = [Self::Expired, Self::Unhealthy, Self::Drained];
}
