//! The stored form of what is left of removed instances, and of who was told of a drain.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    domain::{
        keyspace::InstanceKey,
        registry::{DrainAck, Laggard, RemovalCause, Tombstone},
    },
    proto::store as wire,
    store::KeyValue,
};

use super::{DecodeError, FORMAT, decode, encode, instance, time};

/// Reads the mark of a removed instance.
pub fn tombstone(key: InstanceKey, kv: &KeyValue) -> Result<Tombstone, DecodeError> {
    let record: wire::Tombstone = decode(kv)?;
    let cause = match record.cause() {
        wire::RemovalCause::Unhealthy => RemovalCause::Unhealthy,
        wire::RemovalCause::Drained => RemovalCause::Drained,
        wire::RemovalCause::Expired | wire::RemovalCause::Unspecified => RemovalCause::Expired,
    };
    let last = record.instance.ok_or(DecodeError::Field("instance"))?;
    let last = instance::from_wire(key, last, (0, record.revision))?;
    Ok(Tombstone {
        record: Arc::new(last),
        cause,
        detail: record.detail,
        remove_time: time(record.remove_time, "remove_time")?,
    })
}

/// Writes the mark of a removed instance.
pub fn encode_tombstone(tombstone: &Tombstone) -> Bytes {
    let cause = match tombstone.cause {
        RemovalCause::Expired => wire::RemovalCause::Expired,
        RemovalCause::Unhealthy => wire::RemovalCause::Unhealthy,
        RemovalCause::Drained => wire::RemovalCause::Drained,
    };
    encode(&wire::Tombstone {
        format: FORMAT,
        cause: cause.into(),
        detail: tombstone.detail.clone(),
        remove_time: Some(tombstone.remove_time.into()),
        instance: Some(instance::to_wire(&tombstone.record)),
        revision: tombstone.record.mod_revision,
    })
}

/// Reads what was acknowledged of a drain.
pub fn drain_ack(kv: &KeyValue) -> Result<DrainAck, DecodeError> {
    let record: wire::DrainAck = decode(kv)?;
    let laggard = |laggard: wire::Laggard| Laggard {
        client_id: laggard.client_id,
        address: laggard.address,
        broken: laggard.broken,
        subscriber: laggard.subscriber,
    };
    Ok(DrainAck {
        drain: record.drain_id,
        subscribers: record.subscribers,
        done: record.done,
        laggards: record.laggards.into_iter().map(laggard).collect(),
    })
}

/// Writes what was acknowledged of a drain.
pub fn encode_drain_ack(ack: &DrainAck) -> Bytes {
    let laggard = |laggard: &Laggard| wire::Laggard {
        client_id: laggard.client_id.clone(),
        address: laggard.address.clone(),
        broken: laggard.broken,
        subscriber: laggard.subscriber,
    };
    encode(&wire::DrainAck {
        format: FORMAT,
        drain_id: ack.drain,
        subscribers: ack.subscribers,
        done: ack.done,
        laggards: ack.laggards.iter().map(laggard).collect(),
    })
}
