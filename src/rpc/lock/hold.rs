//! `HoldLock`: a lock that is held while somebody listens.

use stanchion_client::proto::{
    AcquireLockRequest, HoldAcquired, HoldContended, HoldLockRequest, HoldLockResponse, HoldLost,
    HoldQueued, acquire_lock_request::Wait, hold_lock_request, hold_lock_response::Message,
};
use tonic::{Request, Response, Status};

use crate::{
    domain::{lock::News, session::LockLost},
    rpc::{
        Context, Peer,
        convert::{wire_count, wire_duration},
        hold::{self, HoldStream},
        session::lost_cause,
    },
};

use super::{LockHandler, acquire, yield_request};

pub(super) async fn answer(
    handler: &LockHandler,
    request: Request<HoldLockRequest>,
) -> Result<Response<HoldStream<HoldLockResponse>>, Status> {
    let peer = Peer::of(&request);
    let address = peer.as_ref().map(|peer| peer.address.to_string());
    let acquire = acquire(alike(request.into_inner()), address.unwrap_or_default())?;
    hold::open(&handler.context, acquire, peer, write).await
}

/// What makes the same claim without a stream.
fn alike(request: HoldLockRequest) -> AcquireLockRequest {
    AcquireLockRequest {
        namespace: request.namespace,
        lock: request.lock,
        session_id: request.session_id,
        request_id: request.request_id,
        wait: request.wait.map(|wait| match wait {
            hold_lock_request::Wait::NoWait(no_wait) => Wait::NoWait(no_wait),
            hold_lock_request::Wait::WaitTimeout(timeout) => Wait::WaitTimeout(timeout),
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

fn write(context: &Context, news: News, revision: i64) -> Option<HoldLockResponse> {
    let message = match news {
        News::Queued {
            fencing_token,
            position,
            waiting,
        } => Message::Queued(HoldQueued {
            fencing_token,
            position: wire_count(position),
            waiter_count: wire_count(waiting),
        }),
        News::Acquired {
            fencing_token,
            valid_for,
        } => Message::Acquired(HoldAcquired {
            fencing_token,
            valid_for: valid_for.map(wire_duration),
        }),
        News::Contended { waiting, asked } => Message::Contended(HoldContended {
            waiter_count: wire_count(waiting),
            yield_request: asked.as_ref().map(yield_request),
        }),
        News::Lost {
            fencing_token,
            cause,
        } => Message::Lost(lost(fencing_token, &cause)),
    };
    Some(HoldLockResponse {
        header: Some(context.header.at(revision)),
        message: Some(message),
    })
}

fn lost(fencing_token: i64, cause: &LockLost) -> HoldLost {
    let (actor, comment) = match cause {
        LockLost::Forced(by) => (by.actor.to_string(), by.comment.clone()),
        _ => Default::default(),
    };
    HoldLost {
        fencing_token,
        cause: lost_cause(cause).into(),
        actor,
        comment,
    }
}
