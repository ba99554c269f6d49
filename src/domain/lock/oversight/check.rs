//! Whether a token counts, for those who cannot have a guard.

use crate::{
    cache::Freshness,
    domain::{error::Error, guard::Guard, lock::Locks},
    store::{self, Outcome, Revision, Txn},
};

/// Whether a token counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// True if a guard with it would have held.
    pub held: bool,
    /// The revision at which it was so.
    pub revision: Revision,
}

// === impl Locks ===

impl Locks {
    /// Asks the store what it would say of a guard, so that both always say the same.
    pub async fn check(&self, guard: &Guard) -> Result<Checked, Error> {
        match self.core.commit(Some(guard), Txn::new()).await {
            Ok(response) => Ok(Checked {
                held: true,
                revision: response.revision,
            }),
            Err(Error::GuardFailed { .. }) => Ok(Checked {
                held: false,
                revision: self.core.cache.read(Freshness::Cached).await?.revision,
            }),
            // Nothing was written, so there is no outcome to be unsure of.
            Err(Error::CommitUnknown(message)) => Err(Error::Store(store::Error::Unavailable {
                message,
                outcome: Outcome::NotDone,
            })),
            Err(error) => Err(error),
        }
    }
}
