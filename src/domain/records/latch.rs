//! The stored form of latches and of those who counted them down.

use bytes::Bytes;

use crate::{
    domain::barrier::{Arrival, LatchMade},
    proto::store as wire,
    store::KeyValue,
};

use super::{DecodeError, FORMAT, decode, duration, encode, label, time, wire_duration};

/// Reads a latch, without those who counted it down.
pub fn latch(kv: &KeyValue) -> Result<LatchMade, DecodeError> {
    let record: wire::Latch = decode(kv)?;
    if record.count == 0 {
        return Err(DecodeError::Field("count"));
    }
    Ok(LatchMade {
        count: record.count,
        lifetime: duration(record.lifetime, "lifetime")?,
        lease: record.lease_id,
        actor: label(&record.actor, "actor")?,
        create_time: time(record.create_time, "create_time")?,
        request_id: record.request_id,
        call: record.call,
        create_revision: kv.create_revision,
    })
}

/// Writes a latch.
pub fn encode_latch(latch: &LatchMade) -> Bytes {
    encode(&wire::Latch {
        format: FORMAT,
        count: latch.count,
        lifetime: Some(wire_duration(latch.lifetime)),
        lease_id: latch.lease,
        actor: latch.actor.to_string(),
        create_time: Some(latch.create_time.into()),
        request_id: latch.request_id.clone(),
        call: latch.call,
    })
}

/// Reads a party that counted.
pub fn latch_arrival(kv: &KeyValue) -> Result<Arrival, DecodeError> {
    let record: wire::LatchArrival = decode(kv)?;
    Ok(Arrival {
        create_time: time(record.create_time, "create_time")?,
        call: record.call,
        revision: kv.create_revision,
    })
}

/// Writes a party that counted.
pub fn encode_latch_arrival(arrival: &Arrival) -> Bytes {
    encode(&wire::LatchArrival {
        format: FORMAT,
        create_time: Some(arrival.create_time.into()),
        call: arrival.call,
    })
}
