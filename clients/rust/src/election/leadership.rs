//! The lead of an election, until it is lost or given up.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    error::{Error, Result},
    lock::LockLoss,
    proto::{Candidate, Guard, ProclaimRequest, election_service_client::ElectionServiceClient},
    queue::Held,
};

/// The lead of an election. Given up when dropped, in the background; best by
/// [`resign`](Self::resign).
///
/// To lead is advice unless what the leader changes checks the [`term`](Self::term): a program
/// that is paused does not notice in time that another one leads. For changes at Stanchion itself,
/// [`guard`](Self::guard) is that check.
#[derive(Debug)]
pub struct Leadership {
    held: Held,
}

// === impl Leadership ===

impl Leadership {
    pub(super) fn new(held: Held) -> Self {
        Self { held }
    }

    /// Name of the election.
    pub fn election(&self) -> &str {
        self.held.place().queue.name()
    }

    /// The term to pass on to whatever the leader changes: positive, and larger than every term of
    /// the election before it.
    pub fn term(&self) -> i64 {
        self.held.token()
    }

    /// Makes a change happen only in this term: the `guard` of a request.
    pub fn guard(&self) -> Guard {
        self.held.guard()
    }

    /// Says whether this surely leads now. It says no before another candidate can be elected.
    pub fn is_leader(&self) -> bool {
        self.held.is_held()
    }

    /// For how long from now this surely leads, unless somebody removes the candidate.
    pub fn leads_for(&self) -> Duration {
        self.held.held_for()
    }

    /// Completes when this no longer surely leads: step down. That is final, even if the session
    /// is found to live on.
    pub async fn lost(&self) -> LockLoss {
        self.held.lost().await
    }

    /// Does `work` as long as this surely leads. When the lead is lost, `work` is dropped where it
    /// stands.
    pub async fn run<T>(&self, work: impl Future<Output = T>) -> Result<T, LockLoss> {
        self.held.run(work).await
    }

    /// Replaces what the leader proclaims; at most 4 KiB. Fails with `NOT_LEADER` once the term is
    /// over.
    pub async fn proclaim(&self, proclamation: impl Into<Bytes>) -> Result<Candidate> {
        let place = self.held.place();
        let request = ProclaimRequest {
            namespace: place.namespace.clone(),
            election: place.queue.name().into(),
            session_id: place.session.id().into(),
            term: self.held.token(),
            proclamation: proclamation.into(),
            guard: None,
        };
        let call = place.caller.call(request, ElectionServiceClient::proclaim);
        call.await?.leader.ok_or_else(|| Error::contract("leader"))
    }

    /// Gives up the lead. Answers whether this still led until now.
    pub async fn resign(self) -> Result<bool> {
        self.held.release().await
    }
}
