//! Deregistration: the instance is gone at once, and only a new registration brings it back.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    domain::{
        error::Error, guard::Guard, keyspace::InstanceKey, names::Label, records,
        session_id::SessionId, state::Owned,
    },
    store::{self, Compare, LeaseId, Operation, Revision, Txn, TxnResponse},
};

use crate::domain::registry::{InstanceRecord, ROUNDS, Registry, decode, fence_name};

/// What is to be deregistered.
#[derive(Debug, Clone)]
pub struct Deregistration {
    /// Which instance.
    pub key: InstanceKey,
    /// The session it must belong to; `None`: whoever owns it.
    pub session: Option<SessionId>,
    /// The revision the registration must have.
    pub expected_revision: Option<Revision>,
    /// The registration by that session that is to be undone, should it still be on its way; empty:
    /// none.
    pub request_id: String,
    /// The lock that must be held.
    pub guard: Option<Guard>,
    /// Who asks, unverified.
    pub actor: Label,
}

/// What came of a deregistration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deregistered {
    /// Whether this call removed it.
    pub removed: bool,
    /// The revision at which it is gone.
    pub revision: Revision,
}

// === impl Registry ===

impl Registry {
    /// Removes an instance, if it is there and the caller's. What belongs to another session by now
    /// stays as it is, and that is no error.
    ///
    /// Nothing is put, in any branch, unless an open registration is to be undone: a full store
    /// still takes deletions.
    ///
    /// Errors: [`Error::Mismatch`].
    pub async fn deregister(&self, deregistration: Deregistration) -> Result<Deregistered, Error> {
        let key = self.core.keys.instance(&deregistration.key);
        let mut fence = self.fence(&deregistration).await.or_else(needless)?;
        let view = self.core.cache.view()?;
        let mut seen = view
            .state
            .instances
            .get(deregistration.key.path().as_bytes())
            .map(|instance| instance.record.clone());
        let mut confirmed = false;
        for _ in 0..ROUNDS {
            let target = deregistration.target(seen.as_ref());
            let removes = matches!(target, Ok(Some(_)));
            let txn = match target {
                Err(error) if confirmed => return Err(error),
                // The cache may be a moment behind.
                Err(_) => Txn::new().then(Operation::get(key.clone())),
                Ok(target) => {
                    let found = target.and_then(|t| self.core.findings_of(t, &view.state));
                    removal(&key, target, seen.as_ref(), fence.as_ref())
                        .then_all(found.map(Operation::delete))
                }
            };
            if removes && let Some(session) = deregistration.session {
                let item = Owned::Instance(deregistration.key.path().into());
                self.sessions.leaving(session, item);
            }
            let settles = !txn.compares.is_empty();
            let committed = self.core.commit(deregistration.guard.as_ref(), txn).await;
            let response = match committed {
                Err(error) if fence.is_some() => {
                    fence = needless(error)?;
                    continue;
                }
                committed => committed?,
            };
            // The mark tells of an attempt whose answer was lost.
            let earlier = fence.as_ref().and_then(|fence| fence.left_by(&response));
            if let Some(revision) =
                earlier.or((settles && response.succeeded).then_some(response.revision))
            {
                return Ok(Deregistered {
                    removed: removes,
                    revision,
                });
            }
            seen = response
                .found(0)
                .map(|kv| decode(deregistration.key.clone(), kv).map(Arc::new))
                .transpose()?;
            confirmed = true;
        }
        Err(Error::Conflict {
            name: deregistration.key.path(),
        })
    }

    /// The mark that stops the registration to be undone, and a lease for it.
    async fn fence(&self, deregistration: &Deregistration) -> Result<Option<Fence>, Error> {
        let Some(session) = deregistration.session else {
            return Ok(None);
        };
        if deregistration.request_id.is_empty() {
            return Ok(None);
        }
        match self.sessions.require(session).await {
            Ok(_) => {}
            // Without its session the registration comes to nothing anyway.
            Err(Error::LeaseExpired) => return Ok(None),
            Err(error) => return Err(error),
        }
        let lease = SessionId::random().lease();
        let ttl = self.core.settings.fence_ttl;
        self.core.store.grant(lease, ttl).await?;
        let name = fence_name(&deregistration.key, &deregistration.request_id);
        Ok(Some(Fence {
            key: self.core.keys.fence(&session, &name),
            lease,
        }))
    }
}

/// A store that has no room for the mark has none for the registration either.
fn needless(error: Error) -> Result<Option<Fence>, Error> {
    match error {
        Error::Store(store::Error::Full { .. }) => Ok(None),
        error => Err(error),
    }
}

/// Where the mark of an undone registration goes.
struct Fence {
    key: Bytes,
    lease: LeaseId,
}

// === impl Fence ===

impl Fence {
    /// The revision at which this very mark was left, if a [`removal`] that failed says that it was.
    fn left_by(&self, response: &TxnResponse) -> Option<Revision> {
        let mark = response.found(1).filter(|mark| mark.lease == self.lease)?;
        Some(mark.mod_revision)
    }
}

// === impl Deregistration ===

impl Deregistration {
    /// The registration to remove, if what is seen is one to remove.
    fn target<'a>(
        &self,
        seen: Option<&'a Arc<InstanceRecord>>,
    ) -> Result<Option<&'a Arc<InstanceRecord>>, Error> {
        let Some(record) = seen else {
            return Ok(None);
        };
        if self.session.is_some() && record.session != self.session {
            return Ok(None);
        }
        Error::unless_at(self.expected_revision, record.mod_revision)?;
        Ok(Some(record))
    }
}

/// The transaction that holds if the key is as it was seen, and then removes the target.
fn removal(
    key: &Bytes,
    target: Option<&Arc<InstanceRecord>>,
    seen: Option<&Arc<InstanceRecord>>,
    fence: Option<&Fence>,
) -> Txn {
    let revision = seen.map_or(0, |record| record.mod_revision);
    let mut txn = Txn::new()
        .when(Compare::mod_revision(key.clone(), revision))
        .otherwise(Operation::get(key.clone()));
    if target.is_some() {
        txn = txn.then(Operation::delete(key.clone()));
    }
    if let Some(fence) = fence {
        let mark = records::encode_fence();
        txn = txn
            .then(Operation::put_leased(fence.key.clone(), mark, fence.lease))
            .otherwise(Operation::get(fence.key.clone()));
    }
    txn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_put_unless_a_registration_is_undone() {
        let key = Bytes::from("key");
        let puts = |txn: &Txn| {
            let operations = txn.success.iter().chain(&txn.failure);
            operations
                .filter(|operation| {
                    !matches!(operation, Operation::Delete(_) | Operation::Range(_))
                })
                .count()
        };
        assert_eq!(puts(&removal(&key, None, None, None)), 0);
        let fence = Fence {
            key: "fence".into(),
            lease: 1,
        };
        assert_eq!(puts(&removal(&key, None, None, Some(&fence))), 1);
    }
}
