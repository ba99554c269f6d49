//! The stored form of places in a queue, and of marks that one was taken by force.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;

use crate::{
    domain::{
        keyspace::QueuePath,
        lock::{
            ForcedRelease, Hold, LockDelay, LockMode, MAX_DELAY, MAX_ERA, Permits, Waiter,
            YieldRequest,
        },
    },
    proto::store as wire,
    store::KeyValue,
};

use super::{
    DecodeError, FORMAT, decode, duration, encode, label, session_id, time, wire_duration,
};

/// Reads a place in a queue.
pub fn waiter(kv: &KeyValue) -> Result<Waiter, DecodeError> {
    let record: wire::LockWaiter = decode(kv)?;
    let mode = match record.mode() {
        wire::LockMode::Exclusive | wire::LockMode::Unspecified => LockMode::Exclusive,
        wire::LockMode::Shared => LockMode::Shared,
        wire::LockMode::Permits => Permits::new(record.permits, record.total_permits)
            .map(LockMode::Permits)
            .ok_or(DecodeError::Field("permits"))?,
    };
    // A token above 63 bits would be no token.
    if !(0..=MAX_ERA).contains(&record.era) {
        return Err(DecodeError::Field("era"));
    }
    Ok(Waiter {
        key: kv.key.clone(),
        session: session_id(&record.session_id)?,
        client_id: label(&record.client_id, "client_id")?,
        request_id: record.request_id,
        owner: label(&record.owner, "owner")?,
        mode,
        era: record.era,
        attempt: record.attempt,
        call: record.call,
        enqueue_time: time(record.create_time, "create_time")?,
        metadata: record.metadata,
        proclamation: record.proclamation,
        holds: record.holds.into_iter().map(hold).collect(),
        address: record.address,
        yield_request: record.r#yield.map(yield_request).transpose()?,
        delay: match record.lock_delay {
            None => None,
            delay => Some(duration(delay, "lock_delay")?),
        },
        format: record.format,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
    })
}

/// Writes a place in a queue.
pub fn encode_waiter(waiter: &Waiter) -> Bytes {
    let mode = match waiter.mode {
        LockMode::Exclusive => wire::LockMode::Exclusive,
        LockMode::Shared => wire::LockMode::Shared,
        LockMode::Permits(_) => wire::LockMode::Permits,
    };
    let permits = waiter.mode.permits();
    encode(&wire::LockWaiter {
        format: FORMAT,
        mode: mode.into(),
        owner: waiter.owner.to_string(),
        request_id: waiter.request_id.clone(),
        era: waiter.era,
        session_id: waiter.session.to_text(),
        client_id: waiter.client_id.to_string(),
        create_time: Some(waiter.enqueue_time.into()),
        attempt: waiter.attempt,
        metadata: waiter.metadata.clone(),
        proclamation: waiter.proclamation.clone(),
        call: waiter.call,
        permits: permits.map_or(0, Permits::count),
        total_permits: permits.map_or(0, Permits::total),
        holds: waiter.holds.iter().map(wire_hold).collect(),
        address: waiter.address.clone(),
        r#yield: waiter.yield_request.as_ref().map(|asked| wire::LockYield {
            actor: asked.actor.to_string(),
            comment: asked.comment.clone(),
            request_time: Some(asked.request_time.into()),
        }),
        lock_delay: waiter.delay.map(wire_duration),
    })
}

/// Reads what stands beside the claim at the key `claim`.
pub fn lock_delay(lock: QueuePath, claim: Bytes, kv: &KeyValue) -> Result<LockDelay, DecodeError> {
    let record: wire::LockDelay = decode(kv)?;
    if !(0..=MAX_ERA).contains(&record.era) {
        return Err(DecodeError::Field("era"));
    }
    Ok(LockDelay {
        lock,
        claim,
        delay: duration(record.delay, "delay")?.min(MAX_DELAY),
        era: record.era,
        owner: label(&record.owner, "owner")?,
        client_id: label(&record.client_id, "client_id")?,
        held: true,
        revision: kv.mod_revision,
    })
}

/// Writes what stands beside a claim.
pub fn encode_lock_delay(waiter: &Waiter, delay: Duration) -> Bytes {
    encode(&wire::LockDelay {
        format: FORMAT,
        era: waiter.era,
        delay: Some(wire_duration(delay)),
        owner: waiter.owner.to_string(),
        client_id: waiter.client_id.to_string(),
    })
}

fn yield_request(record: wire::LockYield) -> Result<YieldRequest, DecodeError> {
    Ok(YieldRequest {
        actor: label(&record.actor, "yield.actor")?,
        comment: record.comment,
        request_time: time(record.request_time, "yield.request_time")?,
    })
}

/// Says whether the same call wrote both records of a place.
pub fn same_call(one: &Bytes, other: &Bytes) -> bool {
    let call = |value: &Bytes| {
        let record = wire::LockWaiter::decode(value.clone()).ok()?;
        Some(record.call)
    };
    call(one).is_some() && call(one) == call(other)
}

/// Reads the mark of a claim that was taken by force.
pub fn forced_release(kv: &KeyValue) -> Result<ForcedRelease, DecodeError> {
    let record: wire::ForcedRelease = decode(kv)?;
    Ok(ForcedRelease {
        actor: label(&record.actor, "actor")?,
        comment: record.comment,
        call: record.call,
    })
}

/// Writes the mark of a claim that was taken by force.
pub fn encode_forced_release(forced: &ForcedRelease) -> Bytes {
    encode(&wire::ForcedRelease {
        format: FORMAT,
        actor: forced.actor.to_string(),
        comment: forced.comment.clone(),
        call: forced.call,
    })
}

fn hold(wire: wire::LockHold) -> Hold {
    Hold {
        request_id: wire.request_id,
        call: wire.call,
    }
}

fn wire_hold(hold: &Hold) -> wire::LockHold {
    wire::LockHold {
        request_id: hold.request_id.clone(),
        call: hold.call,
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::domain::session_id::SessionId;

    fn stored(change: impl FnOnce(&mut wire::LockWaiter)) -> Result<LockMode, DecodeError> {
        let mut record = wire::LockWaiter {
            format: FORMAT,
            session_id: SessionId::random().to_text(),
            create_time: Some(prost_types::Timestamp::default()),
            ..Default::default()
        };
        change(&mut record);
        waiter(&KeyValue {
            key: Bytes::from("k"),
            value: record.encode_to_vec().into(),
            create_revision: 1,
            mod_revision: 1,
            version: 1,
            lease: 0,
        })
        .map(|waiter| waiter.mode)
    }

    #[test]
    fn a_record_without_a_mode_or_of_a_later_one_is_exclusive() {
        assert_eq!(stored(|_| {}), Ok(LockMode::Exclusive));
        assert_eq!(stored(|record| record.mode = 99), Ok(LockMode::Exclusive));
    }

    #[test]
    fn permits_that_cannot_be_are_damage() {
        let permits = |count, total| {
            move |record: &mut wire::LockWaiter| {
                record.set_mode(wire::LockMode::Permits);
                (record.permits, record.total_permits) = (count, total);
            }
        };
        let two = Permits::new(2, 3).map(LockMode::Permits);
        assert_eq!(stored(permits(2, 3)).ok(), two);
        assert_eq!(stored(permits(4, 3)), Err(DecodeError::Field("permits")));
    }
}
