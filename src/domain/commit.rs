//! The one way down: a transaction, carried out once whatever happens on the way.

use std::time::{Duration, Instant};

use crate::store::{self, Operation, OperationResponse, Outcome, Txn, TxnResponse};

use super::{
    Core,
    error::Error,
    guard::Guard,
    look_back::{look, needs_room, would_write},
};

/// How much later than the deadline an attempt may end: one that is cut off leaves its outcome
/// unknown. Clients stop waiting after 3 s, and the deadline is after 2 s.
const GRACE: Duration = Duration::from_millis(500);

/// The store's answer to a transaction.
pub(super) struct Sent {
    pub(super) response: TxnResponse,
    /// An earlier attempt was not answered: what this one found may be its work.
    unknown: bool,
}

// === impl Core ===

impl Core {
    /// Carries out `txn`, if `guard` holds at that very moment, and waits until this replica's
    /// cache shows what it did.
    ///
    /// When an answer is lost, the same transaction is sent again: its compares must make sure
    /// that it cannot happen twice, and its `otherwise` branch must read enough to recognise that
    /// it has happened. It runs inside the guard's transaction, so that `otherwise` means that the
    /// guard holds and the mutation's own conditions do not. A full store that refuses it is asked
    /// the same.
    ///
    /// Errors: [`Error::GuardFailed`], [`Error::LeaseExpired`] for a put under a dead lease,
    /// [`Error::CommitUnknown`] when the mutation may have happened and nothing tells.
    pub async fn commit(&self, guard: Option<&Guard>, txn: Txn) -> Result<TxnResponse, Error> {
        let response = self.write(guard, txn).await?;
        self.show(&response).await;
        Ok(response)
    }

    /// The same without waiting for the cache. Whoever answers with it has to
    /// [`acknowledge`](Self::acknowledge) it.
    pub(super) async fn write(
        &self,
        guard: Option<&Guard>,
        txn: Txn,
    ) -> Result<TxnResponse, Error> {
        let Some(guard) = guard else {
            return Ok(self.send(txn).await?.response);
        };
        let guarded = Txn::new()
            .when_all(self.guard_compares(guard).await?)
            .then(Operation::Txn(txn));
        let Sent {
            mut response,
            unknown,
        } = self.send(guarded).await?;
        match (response.succeeded, response.responses.pop()) {
            (true, Some(OperationResponse::Txn(inner))) => Ok(TxnResponse {
                revision: response.revision,
                ..inner
            }),
            // The lost answer may have been a yes, after which the lock was given up.
            _ if unknown => Err(Error::CommitUnknown(guard.failed().to_string())),
            _ => Err(guard.failed()),
        }
    }

    /// Waits until the cache shows what a transaction did, if it did anything.
    pub(super) async fn show(&self, response: &TxnResponse) {
        if response.succeeded {
            self.cache
                .reached(response.revision, self.settings.read_your_writes)
                .await;
        }
    }

    pub(super) async fn send(&self, txn: Txn) -> Result<Sent, Error> {
        txn.check_size()?;
        let deadline = self.clock.now() + self.settings.commit_timeout;
        self.send_again(txn, None, deadline).await
    }

    /// Sends a transaction of which an earlier attempt may have `failed`, by itself or with others.
    /// No attempt begins after `deadline`, but one is made.
    pub(super) async fn send_again(
        &self,
        txn: Txn,
        failed: Option<store::Error>,
        deadline: Instant,
    ) -> Result<Sent, Error> {
        let mut unknown = match failed {
            Some(error @ store::Error::Full { .. }) if needs_room(&txn) => {
                return self.look_back(&txn, error, false, deadline).await;
            }
            failed => failed.is_some_and(|error| error.outcome() == Outcome::Unknown),
        };
        let mut pause = Duration::from_millis(20);
        loop {
            let begun = self.clock.now();
            let error = match self.attempt(txn.clone(), deadline).await {
                Ok(response) => return Ok(Sent { response, unknown }),
                Err(error @ store::Error::Full { .. }) => {
                    return self.look_back(&txn, error, unknown, deadline).await;
                }
                Err(error) => error,
            };
            unknown |= error.outcome() == Outcome::Unknown;
            let now = self.clock.now();
            // As long again would be cut off, and nobody would know any more that nothing happened.
            let too_slow = !unknown && now + (now - begun) > deadline + GRACE;
            if !error.is_transient() || now + pause >= deadline || too_slow {
                return Err(give_up(error, unknown));
            }
            tracing::debug!(%error, "a transaction is sent again");
            self.clock
                .sleep(pause.mul_f64(rand::random_range(0.8..1.2)))
                .await;
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }

    /// Finds out whether a store without room carried out a transaction all the same; an earlier
    /// attempt may be `unknown`.
    async fn look_back(
        &self,
        txn: &Txn,
        full: store::Error,
        unknown: bool,
        deadline: Instant,
    ) -> Result<Sent, Error> {
        let refused = match full {
            store::Error::Full {
                message,
                outcome: Outcome::Unknown,
            } => store::Error::Full {
                message,
                outcome: Outcome::NotDone,
            },
            certain => return Err(give_up(certain, unknown)),
        };
        // A look finds the store neither full nor in need of a look.
        let looked = Box::pin(self.send_again(look(txn), None, deadline))
            .await
            .map_err(|_| Error::CommitUnknown(refused.to_string()))?;
        if would_write(txn, &looked.response) {
            return Err(give_up(refused, unknown));
        }
        Ok(Sent {
            unknown: true,
            ..looked
        })
    }

    /// Sends a transaction once. A member that has lost its leader may sit on it for longer than
    /// any caller waits.
    pub(super) async fn attempt(
        &self,
        txn: Txn,
        deadline: Instant,
    ) -> Result<TxnResponse, store::Error> {
        let limit = deadline.max(self.clock.now()) + GRACE;
        tokio::select! {
            biased;
            answer = self.store.txn(txn) => answer,
            () = self.clock.sleep_until(limit) => Err(store::Error::Timeout {
                outcome: Outcome::Unknown,
            }),
        }
    }
}

/// An earlier attempt may have been carried out even if the last one certainly was not. Only a dead
/// lease settles it: what an earlier attempt put there is gone with it.
fn give_up(error: store::Error, unknown: bool) -> Error {
    if unknown && error != store::Error::LeaseNotFound {
        Error::CommitUnknown(error.to_string())
    } else {
        error.into()
    }
}
