//! Changing what operators decided: one record, by compare, whoever else changes it.

use crate::{
    cache::Freshness,
    store::{Revision, Txn},
};

use super::{Core, error::Error, guard::Guard, state::View};

/// How often others may get in between before a change gives up.
const ROUNDS: usize = 8;

/// What is to be done, given all that is seen.
pub(super) enum Step<T> {
    /// Nothing: it is as it should be.
    Keep(T),
    /// Nothing, because it is only asked what would be so.
    Would(T),
    /// This, if what was seen is still so.
    Send(Txn, T),
}

/// What came of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revised<T> {
    /// What is so now.
    pub value: T,
    /// Whether this call made it so, or would.
    pub changed: bool,
    /// The revision at which it is so.
    pub revision: Revision,
}

// === impl Core ===

impl Core {
    /// Does what `decide` says of the state. The cache may be a moment behind: that nothing is to
    /// be done, or nothing can be, is said of what the store has, and while the guard holds.
    ///
    /// Errors: those of `decide`, [`Error::GuardFailed`], and [`Error::Conflict`] of `name`.
    pub(super) async fn revise<T>(
        &self,
        name: &str,
        guard: Option<&Guard>,
        decide: impl Fn(&View) -> Result<Step<T>, Error>,
    ) -> Result<Revised<T>, Error> {
        let mut view = self.cache.view()?;
        let mut confirmed = false;
        for _ in 0..ROUNDS {
            match decide(&view) {
                Ok(Step::Send(txn, value)) => {
                    let response = self.commit(guard, txn).await?;
                    if response.succeeded {
                        return Ok(Revised {
                            value,
                            changed: true,
                            revision: response.revision,
                        });
                    }
                }
                Ok(Step::Keep(value)) if confirmed => {
                    self.require(guard).await?;
                    return Ok(Revised {
                        value,
                        changed: false,
                        revision: view.revision,
                    });
                }
                Ok(Step::Would(value)) if confirmed => {
                    self.require(guard).await?;
                    return Ok(Revised {
                        value,
                        changed: true,
                        revision: view.revision,
                    });
                }
                Err(error) if confirmed => {
                    self.require(guard).await?;
                    return Err(error);
                }
                Ok(Step::Keep(_) | Step::Would(_)) | Err(_) => {}
            }
            view = self.cache.read(Freshness::Linearizable).await?;
            confirmed = true;
        }
        Err(Error::Conflict { name: name.into() })
    }

    /// Makes sure that a guard holds.
    pub(super) async fn require(&self, guard: Option<&Guard>) -> Result<(), Error> {
        if guard.is_some() {
            self.commit(guard, Txn::new()).await?;
        }
        Ok(())
    }
}
