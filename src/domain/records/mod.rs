//! Stored records: the only place that reads and writes them.
//!
//! Every record says its `format`. One above [`FORMAT`] is served as far as it is understood and
//! never rewritten ([`writable`]), because decoding drops what we do not know.

mod audit;
mod barrier;
mod blob;
mod check;
mod config;
mod draft;
mod health;
mod instance;
mod latch;
mod lock;
mod operator;
mod pin;
mod release;
mod removed;
mod schema;
mod service;
mod session;

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use prost::Message;

use crate::{
    domain::{
        epoch::Epoch,
        error::Error,
        lock::Closed,
        names::{Label, ReplicaId},
        replica::Replica,
        session_id::SessionId,
    },
    proto::store as wire,
    store::KeyValue,
};

pub use self::{
    audit::{audit_entry, audit_seal, encode_audit_entry, encode_audit_seal, is_newer_audit},
    barrier::{
        barrier_participant, barrier_releases, encode_barrier_participant, encode_barrier_releases,
    },
    blob::{blob, blob_use, encode_blob, encode_blob_use},
    config::{config_head, config_version, encode_config_head, encode_config_version},
    draft::{draft, encode_draft},
    health::{encode_findings, findings},
    instance::{encode_instance, instance},
    latch::{encode_latch, encode_latch_arrival, latch, latch_arrival},
    lock::{
        encode_forced_release, encode_lock_delay, encode_waiter, forced_release, lock_delay,
        same_call, waiter,
    },
    operator::{encode_operator, operator},
    pin::{config_pin, encode_config_pin},
    release::{encode_release, release},
    removed::{drain_ack, encode_drain_ack, encode_tombstone, tombstone},
    schema::{config_schema, encode_config_schema, encode_schema_change},
    service::{encode_namespace, encode_service, namespace, service},
    session::{encode_session, session},
};

/// The format this program writes, but for what an older one would misread.
pub const FORMAT: u32 = 1;

/// The newest format this program understands: a version of a config whose content is in a blob.
pub const NEWEST: u32 = 2;

/// Why a stored record cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It is not the message its key says.
    #[error("not a protobuf message of its kind: {0}")]
    Message(String),
    /// A field has a value that was never written.
    #[error("the field {0} is damaged")]
    Field(&'static str),
}

/// Refuses to rewrite a record that a newer program wrote.
pub fn writable(name: impl Into<String>, format: u32) -> Result<(), Error> {
    if format > FORMAT {
        return Err(Error::NewerFormat {
            name: name.into(),
            format,
        });
    }
    Ok(())
}

/// Reads the epoch.
pub fn epoch(kv: &KeyValue) -> Result<Epoch, DecodeError> {
    let record: wire::Epoch = decode(kv)?;
    Ok(Epoch {
        id: u64::from_str_radix(&record.id, 16).map_err(|_| DecodeError::Field("id"))?,
        era: record.era,
        timeline: record.timeline,
        claims_from: record.claims_from_era,
        format: record.format,
        revision: kv.mod_revision,
    })
}

/// Writes the epoch.
pub fn encode_epoch(epoch: &Epoch) -> Bytes {
    encode(&wire::Epoch {
        format: FORMAT,
        id: epoch.name(),
        era: epoch.era,
        timeline: epoch.timeline,
        claims_from_era: epoch.claims_from,
    })
}

/// Reads the mark that locks are closed.
pub fn closed(kv: &KeyValue) -> Result<Closed, DecodeError> {
    let record: wire::LocksClosed = decode(kv)?;
    Ok(Closed {
        ttl: duration(record.ttl, "ttl")?,
    })
}

/// Writes the mark that locks are closed.
pub fn encode_closed(closed: &Closed) -> Bytes {
    encode(&wire::LocksClosed {
        format: FORMAT,
        ttl: Some(wire_duration(closed.ttl)),
    })
}

/// Reads a replica's presence.
pub fn replica(id: ReplicaId, kv: &KeyValue) -> Result<Replica, DecodeError> {
    let record: wire::Replica = decode(kv)?;
    Ok(Replica {
        id,
        supported_format: record.supported_format,
        address: record.address,
        version: record.version,
        start_time: time(record.start_time, "start_time")?,
    })
}

/// Writes a replica's presence.
pub fn encode_replica(replica: &Replica) -> Bytes {
    encode(&wire::Replica {
        format: FORMAT,
        supported_format: replica.supported_format,
        address: replica.address.clone(),
        version: replica.version.clone(),
        start_time: Some(replica.start_time.into()),
    })
}

/// Writes the mark of a cancelled create.
pub fn encode_fence() -> Bytes {
    encode(&wire::Fence { format: FORMAT })
}

fn decode<M: Message + Default>(kv: &KeyValue) -> Result<M, DecodeError> {
    M::decode(kv.value.clone()).map_err(|error| DecodeError::Message(error.to_string()))
}

fn encode(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

fn time(
    value: Option<prost_types::Timestamp>,
    field: &'static str,
) -> Result<SystemTime, DecodeError> {
    value
        .and_then(|value| SystemTime::try_from(value).ok())
        .ok_or(DecodeError::Field(field))
}

fn optional_time(
    value: Option<prost_types::Timestamp>,
    field: &'static str,
) -> Result<Option<SystemTime>, DecodeError> {
    match value {
        None => Ok(None),
        value => time(value, field).map(Some),
    }
}

fn duration(
    value: Option<prost_types::Duration>,
    field: &'static str,
) -> Result<Duration, DecodeError> {
    value
        .and_then(|value| Duration::try_from(value).ok())
        .ok_or(DecodeError::Field(field))
}

fn wire_duration(value: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(value.as_secs()).unwrap_or(i64::MAX),
        nanos: value.subsec_nanos().cast_signed(),
    }
}

fn label(text: &str, field: &'static str) -> Result<Label, DecodeError> {
    Label::parse(text).map_err(|_| DecodeError::Field(field))
}

fn session_id(text: &str) -> Result<SessionId, DecodeError> {
    SessionId::parse(text).ok_or(DecodeError::Field("session_id"))
}
