//! The stored form of places in a lock's queue.

use bytes::Bytes;

use crate::{
    domain::lock::{LockMode, MAX_ERA, Waiter},
    proto::store as wire,
    store::KeyValue,
};

use super::{DecodeError, FORMAT, decode, encode, label, session_id, time};

/// Reads a place in a queue.
pub fn waiter(kv: &KeyValue) -> Result<Waiter, DecodeError> {
    let record: wire::LockWaiter = decode(kv)?;
    let mode = match record.mode() {
        wire::LockMode::Exclusive | wire::LockMode::Unspecified => LockMode::Exclusive,
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
        format: record.format,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
    })
}

/// Writes a place in a queue.
pub fn encode_waiter(waiter: &Waiter) -> Bytes {
    let mode = match waiter.mode {
        LockMode::Exclusive => wire::LockMode::Exclusive,
    };
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
    })
}
