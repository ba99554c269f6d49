//! The stored form of the audit.

use bytes::Bytes;

use crate::{
    domain::{
        audit::{AuditEntry, AuditOperation},
        names::ReplicaId,
    },
    proto::store as wire,
};

use super::{FORMAT, encode};

/// Writes what is remembered of a deed that `replica` did.
pub fn encode_audit_entry(entry: &AuditEntry, replica: &ReplicaId) -> Bytes {
    let checksum = |sum: Option<[u8; 32]>| sum.map_or(Bytes::new(), |sum| sum.to_vec().into());
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
        replica: replica.to_string(),
        create_time: Some(entry.create_time.into()),
        comment: entry.comment.clone(),
        request_id: entry.request_id.clone(),
    })
}

fn wire_operation(operation: AuditOperation) -> wire::AuditOperation {
    match operation {
        AuditOperation::PutConfig => wire::AuditOperation::PutConfig,
        AuditOperation::DeleteConfig => wire::AuditOperation::DeleteConfig,
        AuditOperation::RollbackConfig => wire::AuditOperation::RollbackConfig,
    }
}
