//! What streams say that hold a lock or the lead of an election, in the same words.

use std::time::Duration;

use stanchion_client::proto::{
    CandidateElected, CandidateLost, CandidateQueued, HoldAcquired, HoldLeadershipRequest,
    HoldLeadershipResponse, HoldLockRequest, HoldLockResponse, HoldLost, HoldQueued, LockLostCause,
    election_service_client::ElectionServiceClient, hold_leadership_response as lead,
    hold_lock_response as lock, lock_service_client::LockServiceClient,
};
use tonic::{Status, Streaming, transport::Channel};

use super::claim::{Owner, Want};
use crate::lock_history::{Cause, Micros, News};

/// A stream.
pub(super) enum Messages {
    Lock(Streaming<HoldLockResponse>),
    Lead(Streaming<HoldLeadershipResponse>),
}

// === impl Want ===

impl Want {
    /// Claims it by a stream, which waits for ever.
    pub(super) async fn open(self, channel: Channel, owner: Owner) -> Result<Messages, Status> {
        if self.is_election {
            let request = HoldLeadershipRequest {
                election: self.name,
                session_id: owner.session_id,
                request_id: owner.request_id,
                ..Default::default()
            };
            let mut elections = ElectionServiceClient::new(channel);
            let answer = elections.hold_leadership(request).await?;
            return Ok(Messages::Lead(answer.into_inner()));
        }
        let request = HoldLockRequest {
            lock: self.name,
            session_id: owner.session_id,
            request_id: owner.request_id,
            mode: self.mode.into(),
            permits: self.permits,
            lock_delay: self.delay.map(|delay| delay.try_into().unwrap()),
            ..Default::default()
        };
        let answer = LockServiceClient::new(channel).hold_lock(request).await?;
        Ok(Messages::Lock(answer.into_inner()))
    }
}

// === impl Messages ===

impl Messages {
    /// What is said next.
    pub(super) async fn next(&mut self) -> Result<Option<News>, Status> {
        Ok(match self {
            Self::Lock(stream) => stream.message().await?.map(of_lock),
            Self::Lead(stream) => stream.message().await?.map(of_lead),
        })
    }
}

fn of_lock(said: HoldLockResponse) -> News {
    let revision = said.header.unwrap().revision;
    match said.message.unwrap() {
        lock::Message::Queued(HoldQueued {
            fencing_token: token,
            position,
            waiter_count,
        }) => queued(token, position, waiter_count, revision),
        lock::Message::Acquired(HoldAcquired {
            fencing_token: token,
            valid_for,
        }) => acquired(token, revision, valid_for),
        lock::Message::Contended(contended) => News::Contended {
            waiting: contended.waiter_count.try_into().unwrap(),
            revision,
        },
        lock::Message::Lost(lost @ HoldLost { fencing_token, .. }) => News::Lost {
            token: fencing_token,
            revision,
            cause: cause(lost.cause()),
        },
    }
}

fn of_lead(said: HoldLeadershipResponse) -> News {
    let revision = said.header.unwrap().revision;
    match said.message.unwrap() {
        lead::Message::Queued(CandidateQueued {
            term: token,
            position,
            candidate_count,
        }) => queued(token, position, candidate_count, revision),
        lead::Message::Elected(CandidateElected {
            term: token,
            valid_for,
        }) => acquired(token, revision, valid_for),
        lead::Message::Lost(lost @ CandidateLost { term, .. }) => News::Lost {
            token: term,
            revision,
            cause: cause(lost.cause()),
        },
    }
}

fn queued(token: i64, position: i32, waiting: i32, revision: i64) -> News {
    News::Queued {
        token,
        position: position.try_into().unwrap(),
        waiting: waiting.try_into().unwrap(),
        revision,
    }
}

fn acquired(token: i64, revision: i64, valid_for: Option<prost_types::Duration>) -> News {
    let micros = |time: Duration| Micros::try_from(time.as_micros()).unwrap();
    News::Acquired {
        token,
        revision,
        valid_for: valid_for.map(|time| micros(time.try_into().unwrap())),
    }
}

fn cause(cause: LockLostCause) -> Cause {
    match cause {
        LockLostCause::SessionLost => Cause::Session,
        LockLostCause::Removed => Cause::Removed,
        _ => Cause::Other,
    }
}
