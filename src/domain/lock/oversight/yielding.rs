//! Asking a holder to give its lock up.

use std::{sync::Arc, time::SystemTime};

use crate::{
    domain::{
        audit::{AuditOperation, Caller, Deed},
        error::Error,
        guard::Guard,
        keyspace::QueuePath,
        lock::{Claim, Locks, Waiter},
        names::Label,
        records,
        revise::Step,
        state::View,
    },
    store::{Compare, Operation, Revision, Txn},
};

/// What a holder is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YieldRequest {
    /// Who asks, unverified.
    pub actor: Label,
    /// Why.
    pub comment: String,
    /// When it was asked.
    pub request_time: SystemTime,
}

/// Whom to ask.
#[derive(Debug, Clone)]
pub struct RequestYield {
    /// The lock.
    pub lock: QueuePath,
    /// The token of the holder; `None`: whoever holds it.
    pub fencing_token: Option<i64>,
    /// Who asks, unverified.
    pub actor: Label,
    /// Who calls.
    pub caller: Caller,
    /// Why.
    pub comment: String,
    /// Only while this holds.
    pub guard: Option<Guard>,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Yielding {
    /// Whether this call asked.
    pub requested: bool,
    /// The holder, with what it is asked; `None`: nobody holds the lock.
    pub claim: Option<Arc<Claim>>,
    /// The revision at which it is so.
    pub revision: Revision,
}

// === impl Locks ===

impl Locks {
    /// Asks a holder to give its lock up, unless it was asked before: the record of its place says
    /// so, and goes with it; the entry of the audit stays. Errors: [`Error::LockNotHeld`] for a
    /// token that does not hold the lock, [`Error::GuardFailed`].
    pub async fn request_yield(&self, ask: RequestYield) -> Result<Yielding, Error> {
        let asked = YieldRequest {
            actor: ask.actor.clone(),
            comment: ask.comment.clone(),
            request_time: self.core.clock.system_time(),
        };
        let decide = |view: &View| {
            let Some(claim) = holder(view, &ask, &asked)? else {
                return Ok(Step::Keep(None));
            };
            let seen = &claim.waiter;
            if seen.yield_request.is_some() {
                return Ok(Step::Keep(Some(claim)));
            }
            records::writable(format!("a place in {}", ask.lock), seen.format)?;
            let waiter = Waiter {
                yield_request: Some(asked.clone()),
                ..seen.clone()
            };
            let txn = Txn::new()
                .when(Compare::mod_revision(seen.key.clone(), seen.mod_revision))
                .then(Operation::overwrite(
                    seen.key.clone(),
                    records::encode_waiter(&waiter),
                ))
                .then(self.core.deed(&ask.lock.namespace, ask.deed(&claim)));
            let claim = Claim {
                waiter,
                ..Claim::clone(&claim)
            };
            Ok(Step::Send(txn, Some(Arc::new(claim))))
        };
        let name = ask.lock.path();
        let done = self.core.revise(&name, ask.guard.as_ref(), decide).await?;
        // Of an attempt whose answer was lost only the trace is found.
        let trace = |claim: &Arc<Claim>| claim.waiter.yield_request.as_ref() == Some(&asked);
        Ok(Yielding {
            requested: done.value.as_ref().is_some_and(trace),
            claim: done.value,
            revision: done.revision,
        })
    }
}

// === impl RequestYield ===

impl RequestYield {
    /// What the audit says of it, once this holder is asked.
    fn deed(&self, holder: &Claim) -> Deed<'_> {
        let token = holder.waiter.fencing_token();
        Deed {
            operation: AuditOperation::RequestYield,
            subject: self.lock.name.to_string(),
            detail: format!("held by {}, token {token}", holder.describe()),
            actor: &self.actor,
            caller: &self.caller,
            comment: &self.comment,
            request_id: "",
        }
    }
}

/// The holder that is meant. Of several it is the one that this call asked already, as it finds when
/// an answer was lost, or else the first that nobody has asked: whoever asks again reaches them all.
fn holder(
    view: &View,
    ask: &RequestYield,
    asked: &YieldRequest,
) -> Result<Option<Arc<Claim>>, Error> {
    let queue = view.state.queue(&ask.lock);
    let Some(token) = ask.fencing_token else {
        let find = |request: Option<&YieldRequest>| {
            let mut holders = queue?.holders();
            holders.find(|claim| claim.waiter.yield_request.as_ref() == request)
        };
        let meant = find(Some(asked)).or_else(|| find(None));
        let meant = meant.or_else(|| queue.and_then(|queue| queue.holder()));
        return Ok(meant.cloned());
    };
    let claim = queue.and_then(|queue| queue.find_token(token));
    match claim.filter(|claim| claim.held) {
        Some(claim) => Ok(Some(claim.clone())),
        None => Err(Error::LockNotHeld {
            name: ask.lock.path(),
        }),
    }
}
