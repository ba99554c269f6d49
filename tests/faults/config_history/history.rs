//! What happened to configs.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// What a history is made of. What a watcher was shown comes in the order in which it was; the rest
/// in any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The store has a version since this revision.
    Made { revision: i64, version: Version },
    /// The service says afterwards that it has a version since this revision.
    Kept { revision: i64, version: Version },
    /// It says which version a config has; `0`: it is not there.
    Head {
        key: String,
        version: i64,
        content: Option<String>,
    },
    /// It says what its audit has under this number.
    Audited {
        number: i64,
        revision: i64,
        key: String,
        version: i64,
        /// The name of the deed.
        deed: String,
        author: String,
        operation: u64,
        /// Checksums of the contents before and after.
        before: Option<String>,
        after: Option<String>,
    },
    /// It says that its audit is whole and has so many entries.
    Verified { entries: i64 },
    /// A client asked for a change of a config and was told what came of it. Those of one operation
    /// were asked for together. Times are microseconds by one clock.
    Asked {
        author: String,
        operation: u64,
        key: String,
        deed: Deed,
        /// The version that the config had to have; `0`: it had not to be there.
        expected: Option<i64>,
        content: Option<String>,
        begun: u64,
        ended: u64,
        outcome: Outcome,
    },
    /// A watcher was shown something, and is current through a revision.
    Shown {
        watcher: String,
        how: How,
        revision: i64,
        changes: Vec<Change>,
    },
}

/// A version of a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub key: String,
    pub number: i64,
    pub deed: Deed,
    pub author: String,
    pub operation: u64,
    /// None for a deletion.
    pub content: Option<String>,
}

/// What makes a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    Put,
    Delete,
    /// A copy of this version.
    Rollback(i64),
}

/// What a client was told of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It made this version.
    Made(i64),
    /// There was nothing to change.
    Unchanged,
    Refused,
    Unknown,
}

/// How something was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// All there is.
    Snapshot,
    /// What one revision changed.
    Delta,
    /// What several may have changed together.
    Conflated,
    /// Nothing is new.
    Current,
}

/// A config that was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub key: String,
    /// Its version and content, unless it is gone.
    pub shown: Option<(i64, String)>,
}

/// The checksum of a content, as the service writes it.
pub fn checksum(content: &str) -> String {
    let digest = Sha256::digest(content);
    digest.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

// === impl Deed ===

impl Deed {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Delete => "delete",
            Self::Rollback(_) => "rollback",
        }
    }
}
