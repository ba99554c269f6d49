//! Where one waits, told while one does.

use std::{fmt, sync::Arc};

use tonic::{Code, Request, Response, Status, transport::Channel};

use crate::proto::{
    AcquireLockRequest, AcquireLockResponse, CampaignRequest, CampaignResponse,
    HoldLeadershipRequest, HoldLockRequest, acquire_lock_request, campaign_request,
    election_service_client::ElectionServiceClient, hold_leadership_request,
    hold_leadership_response, hold_lock_request, hold_lock_response,
    lock_service_client::LockServiceClient,
};

/// Where a claim waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueuePlace {
    /// Its place among those who wait: 1 for who is next.
    pub position: i32,
    /// How many wait, this one included.
    pub waiters: i32,
}

/// Whom to tell.
#[derive(Clone)]
pub(crate) struct Tell(Arc<dyn Fn(QueuePlace) + Send + Sync>);

/// A request whose place is told until it is granted.
pub(crate) struct Told<R> {
    pub(crate) request: R,
    pub(crate) tell: Tell,
}

// === impl Tell ===

impl Tell {
    pub(crate) fn new(tell: impl Fn(QueuePlace) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    fn tell(&self, position: i32, waiters: i32) {
        (self.0)(QueuePlace { position, waiters });
    }
}

impl fmt::Debug for Tell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tell")
    }
}

/// Waits for a lock at a stream, which tells the place, and then takes the claim over by a call: it
/// does not go when the connection does.
pub(crate) async fn acquire(
    stub: &mut LockServiceClient<Channel>,
    request: Request<Told<AcquireLockRequest>>,
) -> Result<Response<AcquireLockResponse>, Status> {
    let (metadata, extensions, Told { request, tell }) = request.into_parts();
    let hold = Request::from_parts(metadata.clone(), extensions, held(request.clone()));
    let request = Request::from_parts(metadata, Default::default(), request);
    let mut news = match stub.hold_lock(hold).await {
        Ok(news) => news.into_inner(),
        Err(status) if is_older(&status) => return stub.acquire_lock(request).await,
        Err(status) => return Err(status),
    };
    loop {
        match news.message().await?.ok_or_else(ended)?.message {
            Some(hold_lock_response::Message::Queued(at)) => {
                tell.tell(at.position, at.waiter_count);
            }
            Some(hold_lock_response::Message::Acquired(_)) => break,
            _ => {}
        }
    }
    stub.acquire_lock(request).await
}

/// The same for the lead of an election.
pub(crate) async fn campaign(
    stub: &mut ElectionServiceClient<Channel>,
    request: Request<Told<CampaignRequest>>,
) -> Result<Response<CampaignResponse>, Status> {
    let (metadata, extensions, Told { request, tell }) = request.into_parts();
    let hold = Request::from_parts(metadata.clone(), extensions, led(request.clone()));
    let request = Request::from_parts(metadata, Default::default(), request);
    let mut news = match stub.hold_leadership(hold).await {
        Ok(news) => news.into_inner(),
        Err(status) if is_older(&status) => return stub.campaign(request).await,
        Err(status) => return Err(status),
    };
    loop {
        match news.message().await?.ok_or_else(ended)?.message {
            Some(hold_leadership_response::Message::Queued(at)) => {
                tell.tell(at.position, at.candidate_count);
            }
            Some(hold_leadership_response::Message::Elected(_)) => break,
            _ => {}
        }
    }
    stub.campaign(request).await
}

/// A server of an earlier release tells nobody's place, and grants locks all the same.
fn is_older(status: &Status) -> bool {
    status.code() == Code::Unimplemented
}

fn ended() -> Status {
    Status::unavailable("the stream ended before its claim was granted")
}

fn held(request: AcquireLockRequest) -> HoldLockRequest {
    use acquire_lock_request::Wait;
    HoldLockRequest {
        namespace: request.namespace,
        lock: request.lock,
        session_id: request.session_id,
        request_id: request.request_id,
        wait: request.wait.map(|wait| match wait {
            Wait::NoWait(no_wait) => hold_lock_request::Wait::NoWait(no_wait),
            Wait::WaitTimeout(timeout) => hold_lock_request::Wait::WaitTimeout(timeout),
        }),
        mode: request.mode,
        owner: request.owner,
        metadata: request.metadata,
        guard: request.guard,
        permits: request.permits,
        reentrant_owner: request.reentrant_owner,
        lock_delay: request.lock_delay,
    }
}

fn led(request: CampaignRequest) -> HoldLeadershipRequest {
    use campaign_request::Wait;
    HoldLeadershipRequest {
        namespace: request.namespace,
        election: request.election,
        session_id: request.session_id,
        request_id: request.request_id,
        wait: request.wait.map(|wait| match wait {
            Wait::NoWait(no_wait) => hold_leadership_request::Wait::NoWait(no_wait),
            Wait::WaitTimeout(timeout) => hold_leadership_request::Wait::WaitTimeout(timeout),
        }),
        candidate: request.candidate,
        proclamation: request.proclamation,
        metadata: request.metadata,
        guard: request.guard,
    }
}
