//! Looking into queues, and stepping in.

use stanchion_client::proto::{
    self, CheckFencingTokenRequest, CheckFencingTokenResponse, FindDeadlocksRequest,
    FindDeadlocksResponse, ForceReleaseLockRequest, ForceReleaseLockResponse, LockContention,
    LockParty, RequestYieldRequest, RequestYieldResponse,
};
use tonic::{Response, Status};

use crate::{
    domain::{
        audit::Caller,
        guard::Guard,
        lock::{Claim, Contention, DeadlockWait, ForceRelease, RequestYield, deadlocks as find},
        names::NameError,
        state::State,
    },
    rpc::{convert::Violations, status},
};

use super::{LockHandler, path, yield_request};

/// How many deadlocks are told at once.
const MAX_DEADLOCKS: usize = 100;

pub(super) async fn check(
    handler: &LockHandler,
    request: CheckFencingTokenRequest,
) -> Result<Response<CheckFencingTokenResponse>, Status> {
    let mut v = Violations::new();
    let lock = path(&mut v, &request.namespace, &request.lock);
    let fencing_token = positive(&mut v, request.fencing_token);
    let guard = Guard {
        lock: v.give(lock)?,
        fencing_token,
    };
    let checked = handler.locks.check(&guard).await.map_err(status::of)?;
    Ok(Response::new(CheckFencingTokenResponse {
        header: Some(handler.context.header.at(checked.revision)),
        held: checked.held,
    }))
}

pub(super) async fn ask(
    handler: &LockHandler,
    request: RequestYieldRequest,
    caller: Caller,
) -> Result<Response<RequestYieldResponse>, Status> {
    let mut v = Violations::new();
    let lock = path(&mut v, &request.namespace, &request.lock);
    let fencing_token = match request.fencing_token {
        0 => None,
        token => Some(positive(&mut v, token)),
    };
    let actor = v.label("actor", &request.actor);
    let comment = v.comment(request.comment);
    let guard = v.guard(request.guard, &request.namespace);
    let ask = RequestYield {
        lock: v.give(lock)?,
        fencing_token,
        actor,
        caller,
        comment,
        guard,
    };
    let asked = handler.locks.request_yield(ask).await.map_err(status::of)?;
    let waiter = asked.claim.as_ref().map(|claim| &claim.waiter);
    Ok(Response::new(RequestYieldResponse {
        header: Some(handler.context.header.at(asked.revision)),
        requested: asked.requested,
        fencing_token: waiter.map_or(0, |waiter| waiter.fencing_token()),
        yield_request: waiter
            .and_then(|waiter| waiter.yield_request.as_ref())
            .map(yield_request),
    }))
}

pub(super) async fn force(
    handler: &LockHandler,
    request: ForceReleaseLockRequest,
    caller: Caller,
) -> Result<Response<ForceReleaseLockResponse>, Status> {
    let mut v = Violations::new();
    let lock = path(&mut v, &request.namespace, &request.lock);
    let fencing_token = positive(&mut v, request.fencing_token);
    let actor = v.label("actor", &request.actor);
    if request.comment.is_empty() {
        v.add("comment", NameError::Empty);
    }
    let comment = v.comment(request.comment);
    let guard = v.guard(request.guard, &request.namespace);
    let force = ForceRelease {
        lock: v.give(lock)?,
        fencing_token,
        actor,
        caller,
        comment,
        guard,
    };
    let forced = handler.locks.force_release(force).await;
    let forced = forced.map_err(status::of)?;
    Ok(Response::new(ForceReleaseLockResponse {
        header: Some(handler.context.header.at(forced.revision)),
        released: forced.released,
        noted: forced.noted,
    }))
}

pub(super) async fn deadlocks(
    handler: &LockHandler,
    request: FindDeadlocksRequest,
) -> Result<Response<FindDeadlocksResponse>, Status> {
    let mut v = Violations::new();
    let freshness = v.freshness(request.consistency, request.min_revision);
    v.check()?;
    let read = handler.context.core.read(freshness).await;
    let view = read.map_err(|error| status::of(error.into()))?;
    let (found, truncated) = find(&view.state, MAX_DEADLOCKS);
    let deadlocks = found.iter().map(|ring| proto::Deadlock {
        waits: ring.iter().map(|w| wait(w, &view.state)).collect(),
    });
    Ok(Response::new(FindDeadlocksResponse {
        header: Some(handler.context.header.of(&view)),
        deadlocks: deadlocks.collect(),
        truncated,
    }))
}

/// How much a lock was in demand.
pub(super) fn contention(seen: Contention) -> LockContention {
    LockContention {
        since: Some(seen.since.into()),
        acquisition_count: seen.acquisitions.cast_signed(),
        contended_count: seen.contended.cast_signed(),
    }
}

fn wait(wait: &DeadlockWait, state: &State) -> proto::LockWait {
    let lock = &wait.waiter.lock;
    proto::LockWait {
        namespace: lock.namespace.to_string(),
        lock: lock.name.to_string(),
        waiter: Some(party(&wait.waiter, state)),
        holder: Some(party(&wait.holder, state)),
    }
}

fn party(claim: &Claim, state: &State) -> LockParty {
    let session = state.sessions.get(&claim.waiter.session);
    LockParty {
        client_id: claim.waiter.client_id.to_string(),
        owner: claim.waiter.owner.to_string(),
        fencing_token: claim.waiter.fencing_token(),
        session_revision: session.map_or(0, |session| session.create_revision),
    }
}

fn positive(v: &mut Violations, token: i64) -> i64 {
    if token <= 0 {
        v.add("fencing_token", "must be positive");
    }
    token
}
