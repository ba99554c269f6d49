//! Why there is no result, or not the one hoped for.

use std::{io, path::PathBuf};

use stanchion::{cache, domain::names::NameError, store};

/// Why there is no result, or not the one hoped for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CountError {
    /// Something of the operating system failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Instructions are counted by valgrind.
    #[error(
        "there is no valgrind, which counts the instructions: install it \
         (Debian and Ubuntu: `sudo apt-get install valgrind`)"
    )]
    NoValgrind,
    /// Callgrind did not get to the end of a case.
    #[error("counting {case} failed: {why}")]
    Count {
        /// Which case.
        case: String,
        /// What went wrong.
        why: String,
    },
    /// No case has this name.
    #[error("there is no case {0:?}")]
    NoCase(String),
    /// A line of the file of figures says nothing.
    #[error("{}:{line}: must be a name and a number", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// Nothing is committed to compare with.
    #[error("there is no {}; `make bench-instructions UPDATE=1` writes it", .0.display())]
    NoFigures(PathBuf),
    /// The counts are not those that were committed.
    #[error(
        "{}\nwhere they went: callgrind_annotate {}/NAME.out; \
         if it has to be: make bench-instructions UPDATE=1",
        complaints.join("\n"),
        profiles.display()
    )]
    Differs {
        /// One for each case.
        complaints: Vec<String>,
        /// Where the profiles are.
        profiles: PathBuf,
    },
    /// The replica did something else than the case is about.
    #[error("the replica is not as expected: {0}")]
    Unexpected(String),
    /// The replica refused a call.
    #[error("a call failed: {0}")]
    Call(#[from] tonic::Status),
    /// The cache does not answer.
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A name of ours is none.
    #[error(transparent)]
    Name(#[from] NameError),
}

// === impl CountError ===

impl CountError {
    /// Says what was tried.
    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io {
            what: what.into(),
            source,
        }
    }

    /// Says what did not happen.
    pub(crate) fn unexpected(what: impl Into<String>) -> Self {
        Self::Unexpected(what.into())
    }
}
