//! Changing what operators decided: one record, by compare, whoever else changes it.

use std::time::Duration;

use crate::{
    cache::Freshness,
    store::{Operation, Revision, Txn, TxnResponse},
};

use super::{Core, error::Error, guard::Guard, state::View};

/// How often a change is made anew after losing to another one.
pub(super) const ATTEMPTS: u32 = 64;
/// How many of those follow at once.
const AT_ONCE: u32 = 4;
/// The longest wait before each later one.
const PAUSE: Duration = Duration::from_millis(40);

/// What is to be done, given all that is seen.
pub(super) enum Step<T> {
    /// Nothing: it is as it should be.
    Keep(T),
    /// Nothing, because it is only asked what would be so.
    Would(T),
    /// This, if what was seen is still so.
    Send(Txn, T),
    /// This, which only frees, with this entry of the audit if there is room for one.
    Free(Txn, Operation, T),
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
        let mut view = self.view().await?;
        let mut confirmed = false;
        for attempt in 0..ATTEMPTS {
            self.make_way(attempt).await;
            match decide(&view) {
                Ok(Step::Send(txn, value)) => {
                    let response = self.commit(guard, txn).await?;
                    if response.succeeded {
                        return Ok(done(value, &response));
                    }
                }
                Ok(Step::Free(txn, entry, value)) => {
                    let (response, _) = self.free(guard, txn, entry).await?;
                    if response.succeeded {
                        return Ok(done(value, &response));
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

    /// Waits before another attempt: of many that lose to each other, each a little differently.
    pub(super) async fn make_way(&self, attempt: u32) {
        if attempt >= AT_ONCE {
            let pause = PAUSE.mul_f64(rand::random_range(0.0..1.0));
            self.clock.sleep(pause).await;
        }
    }

    /// Makes sure that a guard holds.
    pub(super) async fn require(&self, guard: Option<&Guard>) -> Result<(), Error> {
        if guard.is_some() {
            self.commit(guard, Txn::new()).await?;
        }
        Ok(())
    }
}

fn done<T>(value: T, response: &TxnResponse) -> Revised<T> {
    Revised {
        value,
        changed: true,
        revision: response.revision,
    }
}
