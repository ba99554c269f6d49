//! Work under a lock, and what others may do about one: look, ask, take it by force.

use super::{LockRequest, LockServiceClient};
use crate::{
    Client,
    error::{Error, Result},
    pages::{self, PAGE},
    proto::{
        CheckFencingTokenRequest, Consistency, FindDeadlocksRequest, FindDeadlocksResponse,
        ForceReleaseLockRequest, ForceReleaseLockResponse, GetLockRequest, ListLocksRequest, Lock,
        RequestYieldRequest, RequestYieldResponse,
    },
};

// === impl LockRequest ===

impl LockRequest {
    /// Takes the lock, waiting as long as it takes, does `work` with its fencing token, and
    /// releases it. When the lock is lost the work is dropped where it stands, and this fails with
    /// `LOCK_NOT_HELD`.
    pub async fn run<T, F: Future<Output = T>>(self, work: impl FnOnce(i64) -> F) -> Result<T> {
        let guard = self.acquire().await?;
        let done = guard.run(work(guard.fencing_token())).await;
        let done = done.map_err(|loss| Error::lock_lost(guard.name(), loss))?;
        let name = guard.name().to_owned();
        if let Err(error) = guard.release().await {
            // Dropping it tries once more, and at last it ends with the session.
            tracing::warn!(%error, lock = name, "not released yet");
        }
        Ok(done)
    }
}

// === impl Client ===

impl Client {
    /// Does `work` under a lock, with its fencing token: see [`LockRequest::run`].
    pub async fn with_lock<T, F: Future<Output = T>>(
        &self,
        lock: &str,
        work: impl FnOnce(i64) -> F,
    ) -> Result<T> {
        self.lock(lock).run(work).await
    }

    /// Reads a lock with its waiters.
    pub async fn get_lock(&self, lock: &str) -> Result<Lock> {
        let request = GetLockRequest {
            namespace: self.namespace().into(),
            lock: lock.into(),
            ..Default::default()
        };
        let answer = self
            .caller()
            .call(request, LockServiceClient::get_lock)
            .await?;
        answer.lock.ok_or_else(|| Error::contract("lock"))
    }

    /// Reads the claimed locks whose name begins with `prefix`, without waiters, all pages.
    pub async fn locks(&self, prefix: &str) -> Result<Vec<Lock>> {
        pages::all(move |page_token| async move {
            let request = ListLocksRequest {
                namespace: self.namespace().into(),
                prefix: prefix.into(),
                page_size: PAGE,
                page_token,
                ..Default::default()
            };
            let page = self
                .caller()
                .call(request, LockServiceClient::list_locks)
                .await?;
            Ok((page.locks, page.next_page_token))
        })
        .await
    }

    /// Asks whether a lock is held with a token right now. The answer is advice: it may be old when
    /// it arrives.
    pub async fn check_fencing_token(&self, lock: &str, fencing_token: i64) -> Result<bool> {
        let request = CheckFencingTokenRequest {
            namespace: self.namespace().into(),
            lock: lock.into(),
            fencing_token,
        };
        let answer = self
            .caller()
            .call(request, LockServiceClient::check_fencing_token)
            .await?;
        Ok(answer.held)
    }

    /// Asks whoever holds a lock to give it up; `comment` says why. It may go on all the same.
    pub async fn request_yield(&self, lock: &str, comment: &str) -> Result<RequestYieldResponse> {
        let request = RequestYieldRequest {
            namespace: self.namespace().into(),
            lock: lock.into(),
            actor: self.actor().into(),
            comment: comment.into(),
            ..Default::default()
        };
        self.caller()
            .call(request, LockServiceClient::request_yield)
            .await
    }

    /// Takes a lock, or a place in its queue, from the owner of that token; `comment` says why.
    pub async fn force_release_lock(
        &self,
        lock: &str,
        fencing_token: i64,
        comment: &str,
    ) -> Result<ForceReleaseLockResponse> {
        let request = ForceReleaseLockRequest {
            namespace: self.namespace().into(),
            lock: lock.into(),
            fencing_token,
            actor: self.actor().into(),
            comment: comment.into(),
            guard: None,
        };
        self.caller()
            .call(request, LockServiceClient::force_release_lock)
            .await
    }

    /// Finds sessions that wait for each other's locks, in all namespaces.
    pub async fn find_deadlocks(&self) -> Result<FindDeadlocksResponse> {
        let request = FindDeadlocksRequest {
            consistency: Consistency::Linearizable.into(),
            min_revision: 0,
        };
        self.caller()
            .call(request, LockServiceClient::find_deadlocks)
            .await
    }
}
