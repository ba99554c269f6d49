//! Who changed what: an entry for each deed, written in the deed's own transaction.
//!
//! The entries of one transaction are there exactly if it happened, so that nothing is changed
//! without one and nothing that failed has one. One replica seals them, soon after, into one chain
//! of hashes for each namespace ([`Sealing`]): nothing in it can be changed, added or left out
//! without a trace ([`Audit::verify`]).

mod chain;
mod deed;
mod entry;
mod list;
mod retention;
mod sealing;
mod seals;
mod unsealed;
mod verify;

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::Core;

pub(super) use self::deed::differing;
pub use self::{
    chain::{Fault, FaultKind, Hash, Link, Seal, SealedEntry},
    deed::Deed,
    entry::{ANONYMOUS, AuditEntry, AuditOperation, Caller, SubjectKind},
    list::{AuditFilter, AuditPage, Place, Recorded},
    sealing::Sealing,
    verify::Verdict,
};

/// How many verifications go on at once: each reads all there is.
const VERIFICATIONS: usize = 2;

/// The audit of all namespaces. Clones share it.
#[derive(Clone)]
pub struct Audit {
    core: Arc<Core>,
    verifications: Arc<Semaphore>,
}

// === impl Audit ===

impl Audit {
    /// The audit as one replica shows it.
    pub fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            verifications: Arc::new(Semaphore::new(VERIFICATIONS)),
        }
    }
}
