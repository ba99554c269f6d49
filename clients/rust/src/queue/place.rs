//! A place in a queue, given up when dropped.

use std::{sync::Arc, time::Duration};

use super::Queue;
use crate::{
    Client,
    call::{Caller, request_id},
    error::{Error, Result},
    proto::{
        ReleaseLockRequest, ResignRequest, election_service_client::ElectionServiceClient,
        lock_service_client::LockServiceClient, release_lock_request, resign_request,
    },
    session::Session,
};

/// How long giving up in the background may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A place in the queue, given up when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) caller: Arc<Caller>,
    pub(crate) session: Session,
    pub(crate) namespace: String,
    pub(crate) queue: Queue,
    pub(crate) request_id: String,
    /// Whose the place is, if it is shared by the requests of a reentrant owner.
    pub(crate) reentrant_owner: String,
    /// Whether there may be something to give up.
    claimed: bool,
}

// === impl Place ===

impl Place {
    /// A place that a call is about to take, in `session` or the one the client shares.
    pub(crate) async fn new(
        client: &Client,
        session: Option<Session>,
        queue: Queue,
    ) -> Result<Self> {
        Ok(Self {
            session: match session {
                Some(session) => session,
                None => client.session().await?,
            },
            caller: client.caller().clone(),
            namespace: client.namespace().into(),
            queue,
            request_id: request_id(),
            reentrant_owner: String::new(),
            claimed: true,
        })
    }

    /// Places in the queues of several locks, that one call is about to take.
    pub(crate) async fn together(
        client: &Client,
        session: Option<Session>,
        locks: Vec<String>,
    ) -> Result<Vec<Self>> {
        let mut places: Vec<Self> = Vec::with_capacity(locks.len());
        for lock in locks {
            let session = match places.first() {
                Some(first) => Some(first.session.clone()),
                None => session.clone(),
            };
            let mut place = Self::new(client, session, Queue::Lock(lock)).await?;
            if let Some(first) = places.first() {
                place.request_id.clone_from(&first.request_id);
            }
            places.push(place);
        }
        Ok(places)
    }

    /// Whether there may be something to give up.
    pub(crate) fn is_claimed(&self) -> bool {
        self.claimed
    }

    /// Says of a place that another one's call was to take whether there may be something to give
    /// up.
    pub(crate) fn set_claimed(&mut self, claimed: bool) {
        self.claimed = claimed;
    }

    /// Waits for the call that takes the place.
    pub(crate) async fn take<T>(&mut self, taking: impl Future<Output = Result<T>>) -> Result<T> {
        let answer = tokio::select! {
            // What was granted before the session ended is nobody's any more.
            biased;
            _ = self.session.lost() => Err(Error::session_lost()),
            answer = taking => answer,
        };
        // A program that was stopped finds answers from when its session still lived.
        let answer = match answer {
            Ok(_) if !self.session.is_valid() => {
                // Without any proof for so long it has ended, as far as anybody can tell here. The
                // drop gives the place up all the same.
                let proof = tokio::time::timeout(self.session.ttl(), self.session.outlives_now());
                match proof.await {
                    Ok(true) => answer,
                    Ok(false) => Err(Error::session_lost()),
                    Err(_) => return Err(Error::session_lost()),
                }
            }
            answer => answer,
        };
        if let Err(error) = &answer {
            // A refusal leaves nothing behind. Where the outcome is open, giving up also undoes a
            // request that is still under way.
            self.claimed = error.is_retryable() && self.session.ended().is_none();
        }
        answer
    }

    /// Gives the place up; answers whether it was there until now.
    pub(crate) async fn leave(mut self) -> Result<bool> {
        // On failure the drop tries once more, in the background.
        let left = self.give_up().await?;
        self.claimed = false;
        Ok(left)
    }

    async fn give_up(&self) -> Result<bool> {
        let (namespace, session_id) = (self.namespace.clone(), self.session.id().to_owned());
        let request_id = self.request_id.clone();
        match self.queue.clone() {
            Queue::Lock(lock) => {
                let request = ReleaseLockRequest {
                    namespace,
                    lock,
                    session_id,
                    claim: Some(release_lock_request::Claim::RequestId(request_id)),
                    guard: None,
                    reentrant_owner: self.reentrant_owner.clone(),
                };
                let call = self.caller.call(request, LockServiceClient::release_lock);
                Ok(call.await?.released)
            }
            Queue::Election(election) => {
                let request = ResignRequest {
                    namespace,
                    election,
                    session_id,
                    claim: Some(resign_request::Claim::RequestId(request_id)),
                    guard: None,
                };
                let call = self.caller.call(request, ElectionServiceClient::resign);
                Ok(call.await?.resigned)
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.claimed || self.session.ended().is_some() {
            return;
        }
        // Without a runtime nobody can give it up, and it ends with the session.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let place = Self {
            caller: self.caller.clone(),
            session: self.session.clone(),
            namespace: std::mem::take(&mut self.namespace),
            queue: self.queue.clone(),
            request_id: std::mem::take(&mut self.request_id),
            reentrant_owner: std::mem::take(&mut self.reentrant_owner),
            claimed: false,
        };
        runtime.spawn(async move {
            let giving_up = tokio::time::timeout(TIMEOUT, place.give_up());
            if let Ok(Err(error)) = giving_up.await {
                let name = place.queue.name();
                tracing::warn!(%error, name, "not given up; it ends with the session");
            }
        });
    }
}
