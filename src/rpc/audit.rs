//! `AuditService`: who changed what, and whether the record of it is whole.

mod words;

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
            SubjectKind,
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
            kinds: kinds(&mut fields, &request),
            subject: subject(&mut fields, &request.key, request.subject),
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
    let known = wire.iter().enumerate().filter_map(|(at, number)| {
        let known = proto::AuditOperation::try_from(*number).ok();
        let known = known.and_then(words::operation);
        if known.is_none() {
            fields.add(format!("operations[{at}]"), "is not a known value");
        }
        known
    });
    known.collect()
}

/// Those of configs alone where keys are asked for.
fn kinds(fields: &mut Violations, request: &ListAuditEntriesRequest) -> Vec<SubjectKind> {
    let known = request.subject_kinds.iter().enumerate();
    let known = known.filter_map(|(at, number)| {
        let known = proto::AuditSubjectKind::try_from(*number).ok();
        let known = known.and_then(words::kind);
        if known.is_none() {
            fields.add(format!("subject_kinds[{at}]"), "is not a known value");
        }
        known
    });
    let kinds: Vec<_> = known.collect();
    if request.key.is_empty() && request.prefix.is_empty() {
        return kinds;
    }
    if !kinds.is_empty() && !kinds.contains(&SubjectKind::Config) {
        fields.add(
            "subject_kinds",
            "must name configs where keys are asked for",
        );
    }
    vec![SubjectKind::Config]
}

fn subject(fields: &mut Violations, key: &str, subject: String) -> String {
    let key = fields.text("key", key.into(), MAX_CONFIG_KEY);
    let subject = fields.text("subject", subject, MAX_CONFIG_KEY);
    match (key.is_empty(), subject.is_empty()) {
        (true, _) => subject,
        (false, true) => key,
        (false, false) => {
            fields.add("subject", "must be empty where a key is asked for");
            key
        }
    }
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
    Some(Link {
        number: wire.number,
        hash: fields.sha256("noted.hash", &wire.hash)?,
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
    let kind = entry.operation.subject_kind();
    proto::AuditEntry {
        operation: words::wire_operation(entry.operation).into(),
        subject_kind: words::wire_kind(kind).into(),
        key: match kind {
            SubjectKind::Config => entry.subject.clone(),
            _ => String::new(),
        },
        subject: entry.subject,
        detail: entry.detail,
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
