//! What locks and elections share: a place in a queue on the server, and what it holds.

mod held;
mod place;
mod told;

pub(crate) use self::{
    held::Held,
    place::Place,
    told::{Tell, Told, acquire, campaign},
};
pub use self::{held::LockLoss, told::QueuePlace};

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
