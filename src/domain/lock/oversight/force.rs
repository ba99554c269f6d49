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
        let mut view = self.core.cache.view()?;
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
        let forced = match self.delete_with_note(&force, &claim).await {
            Err(Error::Store(store::Error::Full { .. })) => {
                let txn = deletion(&self.core, &claim);
                let response = self.core.commit(guard, txn).await?;
                Forced {
                    released: response.succeeded,
                    noted: false,
                    revision: response.revision,
                }
            }
            forced => forced?,
        };
        if forced.released {
            let ForceRelease {
                lock,
                fencing_token,
                actor,
                comment,
                ..
            } = &force;
            let owner = claim.describe();
            tracing::warn!(%lock, fencing_token, owner, %actor, comment, "a lock was taken by force");
        }
        Ok(forced)
    }

    /// Ends the delay that a claim left behind.
    async fn end_delay(&self, force: &ForceRelease, delay: &LockDelay) -> Result<Forced, Error> {
        let who = describe(&delay.owner, &delay.client_id);
        let deed = force.deed(format!("delayed by {who}, token {}", force.fencing_token));
        let entry = self.core.deed(&force.lock.namespace, deed);
        let txn = delay::end(&self.core.keys, delay);
        let guard = force.guard.as_ref();
        let (response, noted) = self.core.free(guard, txn, entry).await?;
        Ok(Forced {
            released: response.succeeded,
            noted: response.succeeded && noted,
            revision: response.revision,
        })
    }

    async fn delete_with_note(&self, force: &ForceRelease, claim: &Claim) -> Result<Forced, Error> {
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
        let was = if claim.held {
            "held by"
        } else {
            "waited for by"
        };
        let detail = format!("{was} {}, token {}", claim.describe(), force.fencing_token);
        let txn = deletion(&self.core, claim)
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
