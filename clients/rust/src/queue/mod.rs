//! What locks and elections share: a place in a queue on the server, and what it holds.

mod held;
mod place;
mod told;

use std::time::Duration;

use tokio::time::Instant;

pub use self::{held::LockLoss, told::QueuePlace};
pub(crate) use self::{
    held::{Held, run_until},
    place::Place,
    told::{Tell, Told, acquire, campaign},
};
use crate::duration::to_wire;

/// What one queues for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Queue {
    Lock(String),
    Election(String),
}

// === impl Queue ===

impl Queue {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Lock(name) | Self::Election(name) => name,
        }
    }
}

/// What a request says of how long it may wait: `no` longer, at `most` so long, or nothing where
/// that is for ever.
pub(crate) fn wait<W>(
    until: Option<Instant>,
    no: W,
    most: impl FnOnce(prost_types::Duration) -> W,
) -> Option<W> {
    until.map(
        |until| match until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => no,
            left => most(to_wire(left)),
        },
    )
}
