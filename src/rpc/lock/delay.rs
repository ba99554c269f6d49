//! The delay of a lock after its holder's death.

use std::time::Duration;

use stanchion_client::proto;

use crate::{
    domain::lock::{LockDelay, LockMode, LockQueue, Locks, MAX_DELAY},
    rpc::convert::{Violations, wire_duration},
};

/// How long a lock is to be delayed, if at all.
pub(super) fn parse(
    v: &mut Violations,
    delay: Option<prost_types::Duration>,
    mode: LockMode,
    reentrant: bool,
) -> Option<Duration> {
    let delay = v.duration("lock_delay", delay);
    let delay = delay.filter(|delay| !delay.is_zero())?;
    if delay > MAX_DELAY {
        let longest = humantime::format_duration(MAX_DELAY);
        v.add("lock_delay", format!("must be at most {longest}"));
    }
    if mode != LockMode::Exclusive {
        v.add(
            "lock_delay",
            "must be left out unless the mode is EXCLUSIVE",
        );
    }
    if reentrant {
        v.add("lock_delay", "must be left out with `reentrant_owner`");
    }
    Some(delay)
}

/// What delays a lock, with since when as this replica saw it. What a claim left that waited is about
/// to be taken away.
pub(super) fn wire(locks: &Locks, queue: &LockQueue, claims_from: i64) -> Option<proto::LockDelay> {
    let delay: &LockDelay = queue.delay(claims_from).filter(|delay| delay.held)?;
    Some(proto::LockDelay {
        fencing_token: delay.fencing_token(),
        owner: delay.owner.to_string(),
        client_id: delay.client_id.to_string(),
        delay: Some(wire_duration(delay.delay)),
        begin_time: locks.delayed_since(delay).map(Into::into),
    })
}
