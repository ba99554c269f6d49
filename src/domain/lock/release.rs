//! Giving a lock up, or the place in its queue.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    cache::Freshness,
    domain::{
        error::Error,
        guard::Guard,
        keyspace::{QueueKind, QueuePath},
        records,
        session_id::SessionId,
        state::{Owned, View},
    },
    planted::{self, Bug},
    store::{self, Compare, LeaseId, Operation, OperationResponse, Revision, Txn},
};

use super::{
    Claim, Locks, delay,
    reentrant::{self, Hold},
};

/// What is to be given up.
#[derive(Debug, Clone)]
pub struct Release {
    /// The lock, or the election.
    pub lock: QueuePath,
    /// Whose claim it is; `None`: of a session that cannot be.
    pub session: Option<SessionId>,
    /// The reentrant owner that made it, if one did.
    pub reentrant: Option<String>,
    /// Which of its claims.
    pub which: Which,
    /// Only while this holds.
    pub guard: Option<Guard>,
}

/// How a claim is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// By its fencing token.
    Token(i64),
    /// By the request that made it, or would have made it.
    Request(String),
}

/// A claim is no longer there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Released {
    /// True if it was there before.
    pub released: bool,
    /// The revision at which it was not.
    pub revision: Revision,
}

// === impl Locks ===

impl Locks {
    /// Gives up a claim, held or waiting. One that is gone is no error.
    ///
    /// Named by its request, the claim need not have arrived: a mark is left that refuses it when
    /// it does. Only that mark needs room in the store. Errors: [`Error::LockNotHeld`] or
    /// [`Error::NotLeader`] for a token of another session, [`Error::GuardFailed`].
    pub async fn release(&self, release: Release) -> Result<Released, Error> {
        match &release.which {
            Which::Token(token) => self.release_token(&release, *token).await,
            Which::Request(request_id) => self.release_request(&release, request_id).await,
        }
    }

    async fn release_token(&self, release: &Release, token: i64) -> Result<Released, Error> {
        let find = |view: &View| self.sessions.find_claim(view, &release.lock, token);
        let mut view = self.core.cache.view()?;
        let mut claim = find(&view);
        if claim.is_none() {
            view = self.core.cache.read(Freshness::Linearizable).await?;
            claim = find(&view);
        }
        match claim {
            None => self.nothing_there(release, view.revision).await,
            Some(claim)
                if Some(claim.waiter.session) != release.session
                    && !planted::is(Bug::UnlockWithoutOwnerCheck) =>
            {
                let name = release.lock.path();
                Err(match release.lock.kind {
                    QueueKind::Lock => Error::LockNotHeld { name },
                    QueueKind::Election => Error::NotLeader { name },
                })
            }
            Some(claim) => {
                let waiter = &claim.waiter;
                self.leaving(&claim);
                let there = Compare::create_revision(waiter.key.clone(), waiter.create_revision);
                let delayed = waiter.delay.is_some();
                self.delete(release, there, &waiter.key, delayed).await
            }
        }
    }

    async fn release_request(
        &self,
        release: &Release,
        request_id: &str,
    ) -> Result<Released, Error> {
        let view = self.core.view().await?;
        let Some(session) = release.session else {
            return self.nothing_there(release, view.revision).await;
        };
        let identity = reentrant::identity(release.reentrant.as_deref(), request_id);
        let key = self.core.keys.waiter(&release.lock, &session, &identity);
        let claim = find_key(&view, &release.lock, &key);
        if release.reentrant.is_none()
            && let Some(claim) = &claim
        {
            self.leaving(claim);
        }
        let guard = release.guard.as_ref();
        let gone = match release.reentrant {
            None => {
                // The cache may be behind, and show an earlier claim at the same key.
                let delayed = release.lock.kind == QueueKind::Lock;
                self.delete(release, Compare::exists(key.clone()), &key, delayed)
                    .await?
            }
            Some(_) => self.leave_hold(release, guard, request_id, &key).await?,
        };
        // One that held the lock has arrived and was decided. Without a request id nothing would
        // tell a late call from the next one of the same session.
        let decided = gone.released && claim.is_some_and(|claim| claim.held);
        if decided || request_id.is_empty() || self.sessions.require(session).await.is_err() {
            return Ok(gone);
        }
        let alone = release.reentrant.is_none().then_some(&key);
        match self.leave_fence(session, request_id, alone).await {
            Ok(fenced) => {
                let arrived = match alone {
                    Some(_) => fenced,
                    None => self.leave_hold(release, None, request_id, &key).await?,
                };
                Ok(Released {
                    released: gone.released || arrived.released,
                    revision: arrived.revision.max(fenced.revision).max(gone.revision),
                })
            }
            // What has no room for the mark has none for the claim either.
            Err(Error::Store(store::Error::Full { .. }) | Error::LeaseExpired) => Ok(gone),
            Err(error) => Err(error),
        }
    }

    /// Takes away what the request has of a reentrant owner's place.
    async fn leave_hold(
        &self,
        release: &Release,
        guard: Option<&Guard>,
        request_id: &str,
        key: &Bytes,
    ) -> Result<Released, Error> {
        let mine = |hold: &Hold| hold.request_id == request_id;
        let last = |claim: &Claim| self.leaving(claim);
        let left = reentrant::leave(&self.core, &release.lock, key, guard, mine, last).await?;
        Ok(Released {
            released: left.value,
            revision: left.revision,
        })
    }

    /// There is nothing to give up; but that, too, was asked only while the guard holds.
    async fn nothing_there(
        &self,
        release: &Release,
        revision: Revision,
    ) -> Result<Released, Error> {
        self.core.require(release.guard.as_ref()).await?;
        Ok(Released {
            released: false,
            revision,
        })
    }

    /// It did not give it up, and may yet lose it.
    pub(super) fn staying(&self, claim: &Claim) {
        let owned = Owned::Waiter(claim.lock.clone(), claim.waiter.key.clone());
        self.sessions.staying(claim.waiter.session, owned);
    }

    /// What a session gives up it does not lose.
    pub(super) fn leaving(&self, claim: &Claim) {
        let owned = Owned::Waiter(claim.lock.clone(), claim.waiter.key.clone());
        self.sessions.leaving(claim.waiter.session, owned);
    }

    /// Without a put in any branch, because a full store takes nothing else.
    async fn delete(
        &self,
        release: &Release,
        there: Compare,
        key: &Bytes,
        delayed: bool,
    ) -> Result<Released, Error> {
        let steps = delay::remove(&self.core.keys, key, delayed);
        let txn = Txn::new().when(there).then_all(steps);
        let response = self
            .commit(&release.lock, release.guard.as_ref(), txn)
            .await?;
        Ok(Released {
            released: response.succeeded,
            revision: response.revision,
        })
    }

    /// Marks the request as undone, for as long as it may be on its way, and takes with it what
    /// arrived in between at a place that is its `alone`. The guard was asked when the claim itself was deleted.
    async fn leave_fence(
        &self,
        session: SessionId,
        request_id: &str,
        alone: Option<&Bytes>,
    ) -> Result<Released, Error> {
        let lease = rand::random_range(1..LeaseId::MAX);
        self.core
            .store
            .grant(lease, self.core.settings.fence_ttl)
            .await?;
        let fence = self.core.keys.fence(&session, request_id);
        let txn = Txn::new()
            .when(Compare::exists(self.core.keys.session(&session)))
            .then(Operation::put_leased(fence, records::encode_fence(), lease))
            .then_all(
                alone
                    .into_iter()
                    .flat_map(|key| delay::remove(&self.core.keys, key, true)),
            );
        let response = self.core.commit(None, txn).await?;
        let deleted = response
            .responses
            .iter()
            .any(|response| matches!(response, OperationResponse::Delete(1..)));
        Ok(Released {
            released: deleted,
            revision: response.revision,
        })
    }
}

/// Who stands at the key in a lock's queue.
pub(super) fn find_key(view: &View, lock: &QueuePath, key: &Bytes) -> Option<Arc<Claim>> {
    let queue = view.state.queue(lock)?;
    queue.find(key).cloned()
}
