//! Where a value comes from, and what keeps a newer one from being shown.

use std::{fmt, sync::Arc, time::SystemTime};

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// An operator put it into the failover directory.
    Failover,
    /// The service said so.
    Service,
    /// The snapshot on the local disk said so, because no server did.
    Snapshot {
        /// When the service last said so.
        confirmed: SystemTime,
    },
}

/// Why a [`Live`](super::Live) does not show what is there now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// The config was deleted.
    Deleted,
    /// The config does not decode.
    Undecodable {
        /// Where it was found.
        origin: Origin,
        /// Its version; zero in the failover directory.
        version: i64,
        /// What the decoder says. May quote the content.
        error: String,
    },
    /// A file could not be read, or is damaged.
    Unreadable {
        /// What was found.
        error: String,
    },
}

/// What a [`Live`](super::Live) shows at one moment.
#[derive(Debug)]
pub struct Current<T> {
    /// The value: the last one that decoded.
    pub value: Arc<T>,
    /// Where it comes from.
    pub origin: Origin,
    /// The version of the config that it was decoded from; zero from the failover directory.
    pub version: i64,
    /// Why it is not what is there now, if it is not.
    pub problem: Option<Problem>,
}

// === impl Problem ===

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deleted => f.write_str("the config was deleted"),
            Self::Undecodable {
                origin: Origin::Failover,
                error,
                ..
            } => write!(f, "the failover file does not decode: {error}"),
            Self::Undecodable { version, error, .. } => {
                write!(f, "version {version} does not decode: {error}")
            }
            Self::Unreadable { error } => f.write_str(error),
        }
    }
}

impl<T> Clone for Current<T> {
    fn clone(&self) -> Self {
        Self {
            value: self.value.clone(),
            origin: self.origin,
            version: self.version,
            problem: self.problem.clone(),
        }
    }
}
