//! What a watcher must not see.

use std::fmt;

/// One broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub kind: Kind,
    /// Index of the entry of the observation that breaks it.
    pub entry: usize,
    pub revision: i64,
    pub path: Option<String>,
    /// What is wrong, in a sentence.
    pub says: String,
}

/// Which promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Something was shown that does not match the selection, or did not happen.
    Filter,
    /// Something was shown again, or later than it may be.
    Order,
    /// A change was not shown.
    Gap,
    /// A delta does not continue what came before.
    Chain,
    /// A bookmark says more or less than was shown.
    Bookmark,
    /// A snapshot is not the state at its revision.
    Snapshot,
    /// An event does not say what happened: its type or cause.
    Event,
    /// An item does not look as it did.
    Look,
    /// A reset that should not be, or does not say why.
    Reset,
    /// An epoch that is not the store's.
    Epoch,
    /// Messages that do not make a stream.
    Shape,
    /// At the end, the watcher is behind.
    Behind,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            entry,
            revision,
            path,
            says,
        } = self;
        write!(f, "{kind:?} at entry {entry}, revision {revision}")?;
        if let Some(path) = path {
            write!(f, ", {path}")?;
        }
        write!(f, ": {says}")
    }
}
