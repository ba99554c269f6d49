//! Taking a lock, or a place in its queue, from its owner.

use crate::{
    cache::Freshness,
    domain::{
        Core,
        audit::{AuditOperation, Caller, Deed},
        error::Error,
        guard::Guard,
        keyspace::QueuePath,
        lock::{Claim, LockDelay, Locks, delay, queue::describe},
        names::Label,
        records,
        state::View,
    },
    store::{self, Compare, LeaseId, Operation, Revision, Txn},
};

/// What is to be taken.
#[derive(Debug, Clone)]
pub struct ForceRelease {
    /// The lock.
    pub lock: QueuePath,
    /// The token of the claim.
    pub fencing_token: i64,
    /// Who asks, unverified.
    pub actor: Label,
    /// Who calls.
    pub caller: Caller,
    /// Why.
    pub comment: String,
    /// Only while this holds.
    pub guard: Option<Guard>,
}

/// What is noted of it for a while: who did it, and why. With it a deletion is told from a release.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ForcedRelease {
    /// Who did it, unverified.
    pub actor: Label,
    /// Why.
    pub comment: String,
    /// Names the call that did it.
    pub call: u64,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forced {
    /// Whether this call removed the claim.
    pub released: bool,
    /// Whether that is noted in the store.
    pub noted: bool,
    /// The revision at which the claim was not there.
    pub revision: Revision,
}

// === impl Locks ===

impl Locks {
    /// Removes a claim, whoever has it. The note of it and the entry of the audit go into the same
    /// transaction; a store that has no room for them frees all the same. Errors: [`Error::GuardFailed`].
    pub async fn force_release(&self, force: ForceRelease) -> Result<Forced, Error> {
        let find = |view: &View| {
            let queue = view.state.queue(&force.lock)?;
            queue.find_token(force.fencing_token).cloned()
        };
        let mut view = self.core.view().await?;
        let mut claim = find(&view);
        if claim.is_none() {
            view = self.core.cache.read(Freshness::Linearizable).await?;
            claim = find(&view);
        }
        let guard = force.guard.as_ref();
        let orphan = |view: &View| {
            let queue = view.state.queue(&force.lock)?;
            queue.find_orphan(force.fencing_token).cloned()
        };
        if let (None, Some(delay)) = (&claim, orphan(&view)) {
            return self.end_delay(&force, &delay).await;
        }
        let Some(claim) = claim else {
            self.core.require(guard).await?;
            return Ok(Forced {
                released: false,
                noted: false,
                revision: view.revision,
            });
        };
        let was = if claim.held {
            "held by"
        } else {
            "waited for by"
        };
        let owner = claim.describe();
        let detail = format!("{was} {owner}, token {}", force.fencing_token);
        let txn = deletion(&self.core, &claim);
        let forced = self.delete_by_force(&force, txn, detail).await?;
        if forced.released {
            let ForceRelease {
                lock,
                fencing_token,
                actor,
                comment,
                ..
            } = &force;
            tracing::warn!(%lock, fencing_token, owner, %actor, comment, "a lock was taken by force");
            return Ok(forced);
        }
        // Its session may have died meanwhile, and what it left delays the lock.
        let view = self.core.cache.read(Freshness::Linearizable).await?;
        match orphan(&view) {
            Some(delay) => self.end_delay(&force, &delay).await,
            None => Ok(forced),
        }
    }

    /// Ends the delay that a claim left behind.
    async fn end_delay(&self, force: &ForceRelease, delay: &LockDelay) -> Result<Forced, Error> {
        let owner = describe(&delay.owner, &delay.client_id);
        let detail = format!("delayed by {owner}, token {}", force.fencing_token);
        let txn = delay::end(&self.core.keys, delay);
        let forced = self.delete_by_force(force, txn, detail).await?;
        if forced.released {
            let ForceRelease {
                lock,
                fencing_token,
                actor,
                comment,
                ..
            } = force;
            tracing::warn!(%lock, fencing_token, owner, %actor, comment, "the delay of a lock was ended by force");
        }
        Ok(forced)
    }

    /// Carries out `deletion` with what is noted of it, or without that if there is no room.
    async fn delete_by_force(
        &self,
        force: &ForceRelease,
        deletion: Txn,
        detail: String,
    ) -> Result<Forced, Error> {
        let noted = self.delete_with_note(force, deletion.clone(), detail);
        match noted.await {
            Err(Error::Store(store::Error::Full { .. })) => {
                let guard = force.guard.as_ref();
                let response = self.core.commit(guard, deletion).await?;
                Ok(Forced {
                    released: response.succeeded,
                    noted: false,
                    revision: response.revision,
                })
            }
            forced => forced,
        }
    }

    async fn delete_with_note(
        &self,
        force: &ForceRelease,
        deletion: Txn,
        detail: String,
    ) -> Result<Forced, Error> {
        let note = ForcedRelease {
            actor: force.actor.clone(),
            comment: force.comment.clone(),
            call: rand::random(),
        };
        let lease = rand::random_range(1..LeaseId::MAX);
        self.core
            .store
            .grant(lease, self.core.settings.fence_ttl)
            .await?;
        let key = self.core.keys.forced(&force.lock, force.fencing_token);
        let value = records::encode_forced_release(&note);
        let txn = deletion
            .then(Operation::put_leased(key.clone(), value, lease))
            .then(self.core.deed(&force.lock.namespace, force.deed(detail)))
            .otherwise(Operation::get(key));
        let response = self.core.commit(force.guard.as_ref(), txn).await?;
        let found = response.found(0).map(records::forced_release);
        // The first answer may have been lost.
        let mine = found.is_some_and(|found| found == Ok(note));
        let released = response.succeeded || mine;
        Ok(Forced {
            released,
            noted: released,
            revision: response.revision,
        })
    }
}

// === impl ForceRelease ===

impl ForceRelease {
    /// What the audit says of it.
    fn deed(&self, detail: String) -> Deed<'_> {
        Deed {
            operation: AuditOperation::ForceReleaseLock,
            subject: self.lock.name.to_string(),
            detail,
            actor: &self.actor,
            caller: &self.caller,
            comment: &self.comment,
            request_id: "",
        }
    }
}

/// Of this claim, and not of one that comes after it.
fn deletion(core: &Core, claim: &Claim) -> Txn {
    let waiter = &claim.waiter;
    Txn::new()
        .when(Compare::create_revision(
            waiter.key.clone(),
            waiter.create_revision,
        ))
        .then_all(delay::removal(&core.keys, waiter))
}
