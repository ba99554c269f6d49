//! The stored form of instances.

use bytes::Bytes;

use crate::{
    domain::{
        keyspace::InstanceKey,
        registry::{InstanceRecord, InstanceSpec, Port},
    },
    proto::store as wire,
    store::{KeyValue, Revision},
};

use super::{
    DecodeError, FORMAT,
    check::{checks, wire_checks},
    decode, encode, label, session_id, time,
};

/// Reads an instance.
pub fn instance(key: InstanceKey, kv: &KeyValue) -> Result<InstanceRecord, DecodeError> {
    from_wire(key, decode(kv)?, (kv.create_revision, kv.mod_revision))
}

/// Writes an instance.
pub fn encode_instance(record: &InstanceRecord) -> Bytes {
    encode(&to_wire(record))
}

pub(super) fn from_wire(
    key: InstanceKey,
    record: wire::Instance,
    (create_revision, mod_revision): (Revision, Revision),
) -> Result<InstanceRecord, DecodeError> {
    let ports = record
        .ports
        .into_iter()
        .map(port)
        .collect::<Result<_, _>>()?;
    let session = match record.session_id.as_str() {
        "" => None,
        text => Some(session_id(text)?),
    };
    Ok(InstanceRecord {
        key,
        spec: InstanceSpec {
            address: record.address,
            ports,
            weight: u32::try_from(record.weight).map_err(|_| DecodeError::Field("weight"))?,
            version: record.version,
            region: record.region,
            zone: record.zone,
            metadata: record.metadata,
            checks: checks(record.checks)?,
        },
        session,
        client_id: label(&record.client_id, "client_id")?,
        request_id: record.request_id,
        register_request_id: record.register_request_id,
        actor: label(&record.actor, "actor")?,
        register_time: time(record.register_time, "register_time")?,
        format: record.format,
        create_revision,
        mod_revision,
    })
}

pub(super) fn to_wire(record: &InstanceRecord) -> wire::Instance {
    let spec = &record.spec;
    let port = |port: &Port| wire::Port {
        name: port.name.clone(),
        port: i32::from(port.port),
        protocol: port.protocol.clone(),
    };
    wire::Instance {
        format: FORMAT,
        session_id: record.session.map(|id| id.to_text()).unwrap_or_default(),
        client_id: record.client_id.to_string(),
        request_id: record.request_id.clone(),
        register_request_id: record.register_request_id.clone(),
        address: spec.address.clone(),
        ports: spec.ports.iter().map(port).collect(),
        weight: i32::try_from(spec.weight).unwrap_or(i32::MAX),
        version: spec.version.clone(),
        region: spec.region.clone(),
        zone: spec.zone.clone(),
        metadata: spec.metadata.clone(),
        register_time: Some(record.register_time.into()),
        actor: record.actor.to_string(),
        checks: wire_checks(&spec.checks),
    }
}

fn port(port: wire::Port) -> Result<Port, DecodeError> {
    Ok(Port {
        name: port.name,
        port: u16::try_from(port.port).map_err(|_| DecodeError::Field("port"))?,
        protocol: port.protocol,
    })
}
