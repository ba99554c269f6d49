//! Why there is no result.

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// Something of the operating system failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// No connection to a server.
    #[error("cannot connect: {0}")]
    Connect(#[from] tonic::transport::Error),
    /// A server refused a call.
    #[error("a call failed: {0}")]
    Call(#[from] tonic::Status),
    /// Servers did not do what the workload needs.
    #[error("{0}")]
    Failed(String),
}

// === impl BenchError ===

impl BenchError {
    /// Says what was tried.
    pub(crate) fn io(what: &str, source: std::io::Error) -> Self {
        Self::Io {
            what: what.to_owned(),
            source,
        }
    }

    /// Says what did not happen.
    pub(crate) fn failed(why: impl Into<String>) -> Self {
        Self::Failed(why.into())
    }
}
