//! Claims on the wire.

use stanchion_client::proto;

use crate::{
    domain::lock::{Claim, LockMode, YieldRequest},
    rpc::convert::{wire_count, wire_duration},
};

pub(super) fn claim(claim: &Claim) -> proto::LockClaim {
    let Claim {
        waiter,
        held,
        visible_revision,
        ..
    } = claim;
    let mode = match waiter.mode {
        LockMode::Exclusive => proto::LockMode::Exclusive,
        LockMode::Shared => proto::LockMode::Shared,
        LockMode::Permits(_) => proto::LockMode::Permits,
    };
    let permits = waiter.mode.permits();
    proto::LockClaim {
        fencing_token: waiter.fencing_token(),
        owner: waiter.owner.to_string(),
        client_id: waiter.client_id.to_string(),
        mode: mode.into(),
        held: *held,
        position: 0,
        create_time: Some(waiter.enqueue_time.into()),
        metadata: waiter.metadata.clone(),
        revision: *visible_revision,
        address: waiter.address.clone(),
        hold_time: None,
        yield_request: waiter.yield_request.as_ref().map(yield_request),
        permits: permits.map(|permits| proto::LockPermits {
            count: permits.count().cast_signed(),
            total: permits.total().cast_signed(),
        }),
        holds: wire_count(waiter.holds.len().max(1)),
        lock_delay: waiter.delay.map(wire_duration),
    }
}

/// What a holder is asked.
pub(in crate::rpc) fn yield_request(asked: &YieldRequest) -> proto::YieldRequest {
    proto::YieldRequest {
        actor: asked.actor.to_string(),
        comment: asked.comment.clone(),
        request_time: Some(asked.request_time.into()),
    }
}
