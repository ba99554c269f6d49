//! The stored form of the audit.

use bytes::Bytes;
use prost::Message;

use crate::{
    domain::{
        audit::{AuditEntry, AuditOperation, Caller, Hash, Link, Seal, SealedEntry},
        names::ReplicaId,
    },
    proto::store as wire,
    store::KeyValue,
};

use super::{DecodeError, FORMAT, decode, encode, label, time};

/// Reads what is remembered of a deed.
pub fn audit_entry(record: &Bytes) -> Result<AuditEntry, DecodeError> {
    let record = wire::AuditEntry::decode(record.clone())
        .map_err(|error| DecodeError::Message(error.to_string()))?;
    let address = Some(&record.address).filter(|text| !text.is_empty());
    let address = address.map(|text| text.parse()).transpose();
    Ok(AuditEntry {
        operation: operation(record.operation())?,
        version: record.version,
        old_checksum: checksum(&record.old_sha256, "old_sha256")?,
        new_checksum: checksum(&record.new_sha256, "new_sha256")?,
        actor: label(&record.actor, "actor")?,
        create_time: time(record.create_time, "create_time")?,
        replica: ReplicaId::parse(&record.replica).map_err(|_| DecodeError::Field("replica"))?,
        caller: Caller {
            principal: record.principal,
            address: address.map_err(|_| DecodeError::Field("address"))?,
        },
        subject: record.subject,
        comment: record.comment,
        detail: record.detail,
        request_id: record.request_id,
    })
}

/// Says whether a newer program wrote it.
pub fn is_newer_audit(record: &Bytes) -> bool {
    wire::AuditEntry::decode(record.clone()).is_ok_and(|record| record.format > FORMAT)
}

/// Writes what is remembered of a deed.
pub fn encode_audit_entry(entry: &AuditEntry) -> Bytes {
    let checksum = |sum: Option<Hash>| sum.map_or(Bytes::new(), |sum| sum.to_vec().into());
    let address = entry.caller.address;
    encode(&wire::AuditEntry {
        format: FORMAT,
        operation: wire_operation(entry.operation).into(),
        subject: entry.subject.clone(),
        version: entry.version,
        old_sha256: checksum(entry.old_checksum),
        new_sha256: checksum(entry.new_checksum),
        actor: entry.actor.to_string(),
        principal: entry.caller.principal.clone(),
        address: address.map_or(String::new(), |address| address.to_string()),
        replica: entry.replica.to_string(),
        create_time: Some(entry.create_time.into()),
        comment: entry.comment.clone(),
        detail: entry.detail.clone(),
        request_id: entry.request_id.clone(),
    })
}

/// Reads a stretch of the chain.
pub fn audit_seal(kv: &KeyValue) -> Result<Seal, DecodeError> {
    let record: wire::AuditSeal = decode(kv)?;
    let entries = record.entries.into_iter().map(|entry| {
        Ok(SealedEntry {
            number: entry.number,
            revision: entry.revision,
            mod_revision: entry.mod_revision,
            id: entry.id,
            record: entry.record,
            hash: hash(&entry.hash, "hash")?,
        })
    });
    Ok(Seal {
        before: Link {
            number: record.number_before,
            hash: hash(&record.hash_before, "hash_before")?,
        },
        entries: entries.collect::<Result<_, _>>()?,
        newest_time: time(record.newest_time, "newest_time")?,
        create_time: time(record.create_time, "create_time")?,
    })
}

/// Writes a stretch of the chain that `replica` sealed.
pub fn encode_audit_seal(seal: &Seal, replica: &ReplicaId) -> Bytes {
    let entry = |entry: &SealedEntry| wire::SealedAuditEntry {
        number: entry.number,
        revision: entry.revision,
        mod_revision: entry.mod_revision,
        id: entry.id.clone(),
        record: entry.record.clone(),
        hash: entry.hash.to_vec().into(),
    };
    encode(&wire::AuditSeal {
        format: FORMAT,
        number_before: seal.before.number,
        hash_before: seal.before.hash.to_vec().into(),
        entries: seal.entries.iter().map(entry).collect(),
        newest_time: Some(seal.newest_time.into()),
        create_time: Some(seal.create_time.into()),
        replica: replica.to_string(),
    })
}

fn checksum(bytes: &[u8], field: &'static str) -> Result<Option<Hash>, DecodeError> {
    match bytes {
        [] => Ok(None),
        bytes => hash(bytes, field).map(Some),
    }
}

fn hash(bytes: &[u8], field: &'static str) -> Result<Hash, DecodeError> {
    bytes.try_into().map_err(|_| DecodeError::Field(field))
}

fn operation(wire: wire::AuditOperation) -> Result<AuditOperation, DecodeError> {
    Ok(match wire {
        wire::AuditOperation::PutConfig => AuditOperation::PutConfig,
        wire::AuditOperation::DeleteConfig => AuditOperation::DeleteConfig,
        wire::AuditOperation::RollbackConfig => AuditOperation::RollbackConfig,
        wire::AuditOperation::ForceReleaseLock => AuditOperation::ForceReleaseLock,
        wire::AuditOperation::IsolateInstance => AuditOperation::IsolateInstance,
        wire::AuditOperation::RestoreInstance => AuditOperation::RestoreInstance,
        wire::AuditOperation::OverlayInstance => AuditOperation::OverlayInstance,
        wire::AuditOperation::DrainInstance => AuditOperation::DrainInstance,
        wire::AuditOperation::PutService => AuditOperation::PutService,
        wire::AuditOperation::DeleteService => AuditOperation::DeleteService,
        wire::AuditOperation::ReleaseBrake => AuditOperation::ReleaseBrake,
        wire::AuditOperation::PutNamespace => AuditOperation::PutNamespace,
        wire::AuditOperation::DeleteNamespace => AuditOperation::DeleteNamespace,
        wire::AuditOperation::PutConfigSchema => AuditOperation::PutConfigSchema,
        wire::AuditOperation::DeleteConfigSchema => AuditOperation::DeleteConfigSchema,
        wire::AuditOperation::PinConfigVersion => AuditOperation::PinConfigVersion,
        wire::AuditOperation::UnpinConfigVersion => AuditOperation::UnpinConfigVersion,
        wire::AuditOperation::RequestYield => AuditOperation::RequestYield,
        wire::AuditOperation::Unspecified => return Err(DecodeError::Field("operation")),
    })
}

fn wire_operation(operation: AuditOperation) -> wire::AuditOperation {
    match operation {
        AuditOperation::PutConfig => wire::AuditOperation::PutConfig,
        AuditOperation::DeleteConfig => wire::AuditOperation::DeleteConfig,
        AuditOperation::RollbackConfig => wire::AuditOperation::RollbackConfig,
        AuditOperation::ForceReleaseLock => wire::AuditOperation::ForceReleaseLock,
        AuditOperation::IsolateInstance => wire::AuditOperation::IsolateInstance,
        AuditOperation::RestoreInstance => wire::AuditOperation::RestoreInstance,
        AuditOperation::OverlayInstance => wire::AuditOperation::OverlayInstance,
        AuditOperation::DrainInstance => wire::AuditOperation::DrainInstance,
        AuditOperation::PutService => wire::AuditOperation::PutService,
        AuditOperation::DeleteService => wire::AuditOperation::DeleteService,
        AuditOperation::ReleaseBrake => wire::AuditOperation::ReleaseBrake,
        AuditOperation::PutNamespace => wire::AuditOperation::PutNamespace,
        AuditOperation::DeleteNamespace => wire::AuditOperation::DeleteNamespace,
        AuditOperation::PutConfigSchema => wire::AuditOperation::PutConfigSchema,
        AuditOperation::DeleteConfigSchema => wire::AuditOperation::DeleteConfigSchema,
        AuditOperation::PinConfigVersion => wire::AuditOperation::PinConfigVersion,
        AuditOperation::UnpinConfigVersion => wire::AuditOperation::UnpinConfigVersion,
        AuditOperation::RequestYield => wire::AuditOperation::RequestYield,
    }
}
