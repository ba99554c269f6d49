//! `AuditService`: who changed what, and whether the record of it is whole.

use std::time::SystemTime;

use bytes::Bytes;
use stanchion_client::proto::{
    self, AuditFault, AuditFaultKind, AuditPosition, ListAuditEntriesRequest,
    ListAuditEntriesResponse, VerifyAuditRequest, VerifyAuditResponse,
};
use tonic::{Request, Response, Status, async_trait};

use crate::{
    domain::{
        audit::{
            Audit, AuditFilter, AuditOperation, Fault, FaultKind, Hash, Link, Place, Recorded,
        },
        hash64,
        names::{MAX_CONFIG_KEY, Namespace},
    },
    proto::server::audit_service_server::AuditService,
    rpc::{Context, convert::Violations, page, status},
};

/// The handler of `AuditService`.
pub struct AuditHandler {
    context: Context,
    audit: Audit,
}

// === impl AuditHandler ===

impl AuditHandler {
    /// A handler over one replica.
    pub fn new(context: Context) -> Self {
        Self {
            audit: Audit::new(context.core.clone()),
            context,
        }
    }
}

#[async_trait]
impl AuditService for AuditHandler {
    async fn list_audit_entries(
        &self,
        request: Request<ListAuditEntriesRequest>,
    ) -> Result<Response<ListAuditEntriesResponse>, Status> {
        let request = request.into_inner();
        let mut fields = Violations::new();
        let namespace = fields.namespace(&request.namespace);
        let size = fields.page_size(request.page_size);
        let filter = AuditFilter {
            subject: fields.text("key", request.key, MAX_CONFIG_KEY),
            prefix: fields.text("prefix", request.prefix, MAX_CONFIG_KEY),
            actor: fields.label("actor", &request.actor).to_string(),
            operations: operations(&mut fields, &request.operations),
            since: instant(&mut fields, "since", request.since),
            until: instant(&mut fields, "until", request.until),
        };
        let namespace = fields.give(namespace)?;
        let digest = hash64(format!("audit\n{namespace}\n{filter:?}"));
        let after = match page::after(&request.page_token, digest)? {
            None => None,
            Some(bytes) => Some(place(&bytes).ok_or_else(page::foreign)?),
        };
        let listed = self.audit.list(&namespace, &filter, after, size).await;
        let listed = listed.map_err(status::of)?;
        let entries = listed.entries.into_iter();
        Ok(Response::new(ListAuditEntriesResponse {
            header: Some(self.context.header.at(listed.revision)),
            entries: entries.map(|entry| wire_entry(&namespace, entry)).collect(),
            next_page_token: listed
                .next
                .map_or(String::new(), |next| page::token(&token(&next), digest)),
        }))
    }

    async fn verify_audit(
        &self,
        request: Request<VerifyAuditRequest>,
    ) -> Result<Response<VerifyAuditResponse>, Status> {
        let request = request.into_inner();
        let mut fields = Violations::new();
        let namespace = fields.namespace(&request.namespace);
        let noted = request.noted.and_then(|noted| link(&mut fields, &noted));
        let namespace = fields.give(namespace)?;
        let verdict = self.audit.verify(&namespace, noted).await;
        let verdict = verdict.map_err(status::of)?;
        Ok(Response::new(VerifyAuditResponse {
            header: Some(self.context.header.at(verdict.revision)),
            fault: verdict.fault.map(wire_fault),
            first_number: verdict.first,
            tip: Some(AuditPosition {
                number: verdict.tip.number,
                hash: page::hex(&verdict.tip.hash),
            }),
            unsealed_count: i64::try_from(verdict.unsealed).unwrap_or(i64::MAX),
        }))
    }
}

fn operations(fields: &mut Violations, wire: &[i32]) -> Vec<AuditOperation> {
    use proto::AuditOperation as Wire;
    let known =
        wire.iter()
            .enumerate()
            .filter_map(|(at, operation)| match Wire::try_from(*operation) {
                Ok(Wire::PutConfig) => Some(AuditOperation::PutConfig),
                Ok(Wire::DeleteConfig) => Some(AuditOperation::DeleteConfig),
                Ok(Wire::RollbackConfig) => Some(AuditOperation::RollbackConfig),
                Ok(Wire::Unspecified) | Err(_) => {
                    fields.add(format!("operations[{at}]"), "is not a known value");
                    None
                }
            });
    known.collect()
}

fn instant(
    fields: &mut Violations,
    field: &str,
    time: Option<prost_types::Timestamp>,
) -> Option<SystemTime> {
    fields.take(field, time.map(SystemTime::try_from).transpose())?
}

fn link(fields: &mut Violations, wire: &AuditPosition) -> Option<Link> {
    if wire.number < 0 {
        fields.add("noted.number", "must not be negative");
    }
    let bytes = page::unhex(&wire.hash).and_then(|bytes| Hash::try_from(bytes).ok());
    if bytes.is_none() {
        fields.add("noted.hash", "must be 64 lower-case hexadecimal digits");
    }
    Some(Link {
        number: wire.number,
        hash: bytes?,
    })
}

fn token(place: &Place) -> Vec<u8> {
    let numbers = |a: i64, b: i64| [a.to_be_bytes(), b.to_be_bytes()].concat();
    match place {
        Place::Unsealed(revision, id) => [numbers(0, *revision), id.to_vec()].concat(),
        Place::Sealed(seal, number) => numbers(*seal, *number),
    }
}

fn place(bytes: &Bytes) -> Option<Place> {
    let (seal, rest) = bytes.split_first_chunk::<8>()?;
    let (number, id) = rest.split_first_chunk::<8>()?;
    let (seal, number) = (i64::from_be_bytes(*seal), i64::from_be_bytes(*number));
    match seal {
        0 => Some(Place::Unsealed(number, Bytes::copy_from_slice(id))),
        1.. if id.is_empty() => Some(Place::Sealed(seal, number)),
        _ => None,
    }
}

fn wire_entry(namespace: &Namespace, recorded: Recorded) -> proto::AuditEntry {
    let hash = recorded.hash.map(|hash| page::hex(&hash));
    let placed = proto::AuditEntry {
        namespace: namespace.to_string(),
        number: recorded.number,
        revision: recorded.revision,
        hash: hash.unwrap_or_default(),
        ..proto::AuditEntry::default()
    };
    let Some(entry) = recorded.entry else {
        return placed;
    };
    let checksum = |sum: Option<Hash>| sum.map_or(String::new(), |sum| page::hex(&sum));
    let address = entry.caller.address;
    proto::AuditEntry {
        operation: wire_operation(entry.operation).into(),
        key: entry.subject,
        version: entry.version,
        old_sha256: checksum(entry.old_checksum),
        new_sha256: checksum(entry.new_checksum),
        actor: entry.actor.to_string(),
        principal: entry.caller.principal,
        address: address.map_or(String::new(), |address| address.to_string()),
        replica: entry.replica.to_string(),
        create_time: Some(entry.create_time.into()),
        comment: entry.comment,
        request_id: entry.request_id,
        ..placed
    }
}

fn wire_operation(operation: AuditOperation) -> proto::AuditOperation {
    match operation {
        AuditOperation::PutConfig => proto::AuditOperation::PutConfig,
        AuditOperation::DeleteConfig => proto::AuditOperation::DeleteConfig,
        AuditOperation::RollbackConfig => proto::AuditOperation::RollbackConfig,
    }
}

fn wire_fault(fault: Fault) -> AuditFault {
    let kind = match fault.kind {
        FaultKind::Altered => AuditFaultKind::Altered,
        FaultKind::Missing => AuditFaultKind::Missing,
        FaultKind::Inserted => AuditFaultKind::Inserted,
    };
    AuditFault {
        kind: kind.into(),
        number: fault.number,
        revision: fault.revision,
        key: fault.subject,
        description: fault.description,
    }
}
