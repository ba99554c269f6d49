//! What is claimed, and the calls that claim it and give it up: of a lock or of an election, which
//! are one to whoever counts under them.

use std::time::Duration;

use stanchion_client::{
    Session,
    proto::{
        AcquireLockRequest, CampaignRequest, Guard, LockMode, LockPermits, ReleaseLockRequest,
        ResignRequest, acquire_lock_request, campaign_request,
        election_service_client::ElectionServiceClient, lock_service_client::LockServiceClient,
        release_lock_request, resign_request,
    },
};
use tonic::{Response, Status, transport::Channel};

/// The place among the locks that an election has.
const ELECTION: usize = 1;
/// How many permits a lock has that is about some.
const PERMITS: i32 = 3;
/// For how long the next one is delayed where a holder delays it.
const DELAY: Duration = Duration::from_secs(1);

/// What is claimed, and how.
#[derive(Debug, Clone)]
pub(super) struct Want {
    pub(super) name: String,
    pub(super) is_election: bool,
    pub(super) mode: LockMode,
    pub(super) permits: Option<LockPermits>,
    pub(super) delay: Option<Duration>,
}

/// Who claims it.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    pub(super) session_id: String,
    pub(super) request_id: String,
}

/// A claim that is to be given up.
#[derive(Debug, Clone)]
pub(super) struct GiveUp {
    pub(super) want: Want,
    pub(super) session_id: String,
    pub(super) which: Which,
    /// Request and stream, if it was claimed by one.
    pub(super) stream: Option<(u64, u32)>,
}

/// By what a claim is known.
#[derive(Debug, Clone)]
pub(super) enum Which {
    Token(i64),
    Request(String),
}

/// A claim holds: with which token, as of which revision.
pub(super) struct Granted {
    pub(super) token: i64,
    pub(super) revision: i64,
}

// === impl Want ===

impl Want {
    /// What is claimed at this place, in every other turn. Of eight locks one is an election, four are
    /// for one alone, of which one is delayed, and two have permits; one is for readers too, and
    /// another one, whose writers delay it.
    pub(super) fn of(place: usize, odd: bool) -> Self {
        let (mode, permits) = match (place % 4, odd) {
            (2, true) => (LockMode::Shared, None),
            (3, odd) => {
                let permits = LockPermits {
                    count: if odd { 2 } else { 1 },
                    total: PERMITS,
                };
                (LockMode::Permits, Some(permits))
            }
            _ => (LockMode::Exclusive, None),
        };
        let is_election = place == ELECTION;
        let delays = matches!(place, 4 | 6) && mode == LockMode::Exclusive;
        let kind = if is_election { "election" } else { "lock" };
        Self {
            name: format!("{kind}-{place}"),
            is_election,
            mode,
            permits,
            delay: delays.then_some(DELAY),
        }
    }

    /// Only while it is held.
    pub(super) fn guard(&self, fencing_token: i64) -> Guard {
        let mut guard = Guard {
            fencing_token,
            ..Guard::default()
        };
        match self.is_election {
            true => guard.election.clone_from(&self.name),
            false => guard.lock.clone_from(&self.name),
        }
        guard
    }

    /// Claims it by a call, which waits for so long.
    pub(super) async fn acquire(
        self,
        channel: Channel,
        owner: Owner,
        wait: Duration,
    ) -> Result<Response<Granted>, Status> {
        let wait = wait.try_into().unwrap();
        if self.is_election {
            let request = CampaignRequest {
                election: self.name,
                session_id: owner.session_id,
                request_id: owner.request_id,
                wait: Some(campaign_request::Wait::WaitTimeout(wait)),
                ..Default::default()
            };
            let mut elections = ElectionServiceClient::new(channel);
            let led = elections.campaign(request).await?;
            return Ok(led.map(|led| Granted {
                token: led.term,
                revision: led.header.unwrap().revision,
            }));
        }
        let request = AcquireLockRequest {
            lock: self.name,
            session_id: owner.session_id,
            request_id: owner.request_id,
            wait: Some(acquire_lock_request::Wait::WaitTimeout(wait)),
            mode: self.mode.into(),
            permits: self.permits,
            lock_delay: self.delay.map(|delay| delay.try_into().unwrap()),
            ..Default::default()
        };
        let held = LockServiceClient::new(channel)
            .acquire_lock(request)
            .await?;
        Ok(held.map(|held| Granted {
            token: held.fencing_token,
            revision: held.header.unwrap().revision,
        }))
    }
}

// === impl Owner ===

impl Owner {
    pub(super) fn new(session: &Session, request_id: &str) -> Self {
        Self {
            session_id: session.id().into(),
            request_id: request_id.into(),
        }
    }
}

// === impl GiveUp ===

impl GiveUp {
    /// Gives it up; says whether this call did.
    pub(super) async fn send(self, channel: Channel) -> Result<Response<bool>, Status> {
        if self.want.is_election {
            let claim = match self.which {
                Which::Token(term) => resign_request::Claim::Term(term),
                Which::Request(id) => resign_request::Claim::RequestId(id),
            };
            let request = ResignRequest {
                election: self.want.name,
                session_id: self.session_id,
                claim: Some(claim),
                ..Default::default()
            };
            let mut elections = ElectionServiceClient::new(channel);
            let resigned = elections.resign(request).await?;
            return Ok(resigned.map(|answer| answer.resigned));
        }
        let claim = match self.which {
            Which::Token(token) => release_lock_request::Claim::FencingToken(token),
            Which::Request(id) => release_lock_request::Claim::RequestId(id),
        };
        let request = ReleaseLockRequest {
            lock: self.want.name,
            session_id: self.session_id,
            claim: Some(claim),
            ..Default::default()
        };
        let released = LockServiceClient::new(channel)
            .release_lock(request)
            .await?;
        Ok(released.map(|answer| answer.released))
    }
}
