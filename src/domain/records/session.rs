//! The stored form of sessions.

use bytes::Bytes;

use crate::{
    domain::{session::Session, session_id::SessionId},
    proto::store as wire,
    store::KeyValue,
};

use super::{DecodeError, FORMAT, decode, duration, encode, label, time, wire_duration};

/// Reads a session.
pub fn session(id: SessionId, kv: &KeyValue) -> Result<Session, DecodeError> {
    let record: wire::Session = decode(kv)?;
    Ok(Session {
        id,
        client_id: label(&record.client_id, "client_id")?,
        ttl: duration(record.ttl, "ttl")?,
        request_id: record.request_id,
        metadata: record.metadata,
        open_time: time(record.create_time, "create_time")?,
        principal: record.principal,
        replica: record.replica,
        format: record.format,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
    })
}

/// Writes a session.
pub fn encode_session(session: &Session) -> Bytes {
    encode(&wire::Session {
        format: FORMAT,
        client_id: session.client_id.to_string(),
        ttl: Some(wire_duration(session.ttl)),
        request_id: session.request_id.clone(),
        create_time: Some(session.open_time.into()),
        principal: session.principal.clone(),
        metadata: session.metadata.clone(),
        replica: session.replica.clone(),
        lease_id: session.id.lease(),
    })
}
