//! What barriers and latches refuse.

/// Why a barrier or a latch says no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The barrier is for another number of parties, or the same request was.
    #[error("barrier {name} is waited at by those who want to be {parties}")]
    PartiesDiffer {
        /// The barrier.
        name: String,
        /// How many the others want to be.
        parties: u32,
    },
    /// Not enough came until the wait ended.
    #[error("barrier {name} is for {parties}, and {waiting} wait there besides the caller")]
    NotReleased {
        /// The barrier.
        name: String,
        /// How many it is for.
        parties: u32,
        /// How many others wait.
        waiting: usize,
    },
    /// As many wait at the barrier as may.
    #[error("{limit} wait at barrier {name} already")]
    TooManyParticipants {
        /// The barrier.
        name: String,
        /// The most it may have.
        limit: usize,
    },
    /// The latch went while it was waited for.
    #[error("latch {name} was deleted, or its lifetime ended")]
    LatchGone {
        /// The latch.
        name: String,
    },
    /// A latch is there with another count.
    #[error("latch {name} is there with the count {count}")]
    LatchDiffers {
        /// The latch.
        name: String,
        /// Its count.
        count: u32,
    },
    /// The latch was not open when the wait ended.
    #[error("latch {name} is not open: {remaining} parties are missing")]
    LatchNotOpen {
        /// The latch.
        name: String,
        /// How many are missing.
        remaining: usize,
    },
    /// The namespace has as many latches as it may.
    #[error("namespace {namespace} has its {limit} latches already")]
    TooManyLatches {
        /// The namespace.
        namespace: String,
        /// The most it may have.
        limit: usize,
    },
}
