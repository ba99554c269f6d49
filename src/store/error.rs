//! What can go wrong at the store, as few outcomes, each of which says if a retry is safe.

use super::Revision;

/// Why the store did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No member could be reached, or the connection broke.
    #[error("the store cannot be reached: {message}")]
    Unavailable {
        /// What the connection said.
        message: String,
        /// Whether the request may have been carried out.
        outcome: Outcome,
    },
    /// Members answer but have no leader or no quorum now.
    #[error("the store has no quorum: {message}")]
    NoQuorum {
        /// What the member said.
        message: String,
        /// Whether the request may still be carried out.
        outcome: Outcome,
    },
    /// No answer within the adapter's timeout.
    #[error("the store did not answer in time")]
    Timeout {
        /// Whether the request may still be carried out.
        outcome: Outcome,
    },
    /// The history asked for was compacted.
    #[error("history before revision {oldest} is gone")]
    Compacted {
        /// The oldest revision still there; `0` if the store did not say.
        oldest: Revision,
    },
    /// The revision asked for does not exist yet, at least not on the member that answered.
    #[error("the revision is ahead of the store")]
    FutureRevision,
    /// The lease expired, was revoked, or never was.
    #[error("the lease does not exist")]
    LeaseNotFound,
    /// The store accepts no more data; reads and deletions still work.
    #[error("the store is full: {message}")]
    Full {
        /// What the member said.
        message: String,
        /// Whether the request was carried out all the same. Unlike elsewhere, it will not be later.
        outcome: Outcome,
    },
    /// The store asks us to slow down.
    #[error("the store is overloaded: {0}")]
    Overloaded(String),
    /// The store refuses our credentials or rights.
    #[error("the store refuses access: {0}")]
    Denied(String),
    /// The request breaks a rule of the port: a fault of ours.
    #[error("the store refuses the request: {0}")]
    Invalid(String),
    /// The store's data is damaged.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
}

/// Whether a request that failed may have been carried out all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Certainly not.
    NotDone,
    /// Possibly, now or later.
    Unknown,
}

// === impl Error ===

impl Error {
    /// Says whether the request may have been carried out.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Unavailable { outcome, .. }
            | Self::NoQuorum { outcome, .. }
            | Self::Full { outcome, .. }
            | Self::Timeout { outcome } => *outcome,
            Self::Compacted { .. }
            | Self::FutureRevision
            | Self::LeaseNotFound
            | Self::Overloaded(_)
            | Self::Denied(_)
            | Self::Invalid(_)
            | Self::Corrupt(_) => Outcome::NotDone,
        }
    }

    /// Says whether the same request may succeed later, without anybody changing it.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Unavailable { .. }
                | Self::NoQuorum { .. }
                | Self::Timeout { .. }
                | Self::Overloaded(_)
        )
    }
}
