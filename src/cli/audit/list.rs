//! `audit list`: the entries, newest first.

use std::time::SystemTime;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use stanchion_client::proto::{
    AuditEntry, AuditOperation, AuditSubjectKind, ListAuditEntriesRequest,
};

use crate::cli::{
    Outcome,
    connection::Connection,
    exit::Exit,
    output::{self, Table},
    parse,
};

/// List who changed what, newest first
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  stanchion audit list\n  stanchion audit list --key db/host\n  \
                  stanchion audit list --by jo --since 2h --limit 1000\n  \
                  stanchion audit list --kind lock --subject nightly"
)]
pub(crate) struct List {
    /// Only changes of this key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// Only changes of keys that begin so
    #[arg(long, value_name = "PREFIX", conflicts_with = "key")]
    prefix: Option<String>,

    /// Only changes by this actor
    #[arg(long, value_name = "NAME")]
    by: Option<String>,

    /// Only changes of things of these kinds
    #[arg(long, value_enum, value_name = "KIND", conflicts_with_all = ["key", "prefix"])]
    kind: Vec<Kind>,

    /// Only changes of what is called so: a key, lock, service, namespace or SERVICE/INSTANCE
    #[arg(long, value_name = "NAME", conflicts_with_all = ["key", "prefix"])]
    subject: Option<String>,

    /// Only these changes
    #[arg(long, value_enum, value_name = "CHANGE")]
    operation: Vec<Change>,

    /// Only changes since then: an instant in UTC, or how long ago
    #[arg(long, value_parser = parse::instant, value_name = "TIME")]
    since: Option<SystemTime>,

    /// Only changes before: an instant in UTC, or how long ago
    #[arg(long, value_parser = parse::instant, value_name = "TIME")]
    until: Option<SystemTime>,

    /// At most so many
    #[arg(long, default_value_t = 100, value_name = "NUMBER")]
    limit: usize,

    #[command(flatten)]
    pub(super) connection: Connection,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Config,
    Lock,
    Instance,
    Service,
    Namespace,
    ConfigSchema,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Change {
    Put,
    Delete,
    Rollback,
    ForceRelease,
    Isolate,
    Restore,
    Overlay,
    Drain,
    PutService,
    DeleteService,
    ReleaseBrake,
    PutNamespace,
    DeleteNamespace,
    PutSchema,
    DeleteSchema,
    PinVersion,
    UnpinVersion,
    RequestYield,
}

// === impl List ===

impl List {
    pub(super) async fn run(self) -> Outcome {
        let operations = self.operation.iter().map(|change| change.wire().into());
        let kinds = self.kind.iter().map(|kind| kind.wire().into());
        let filter = ListAuditEntriesRequest {
            key: self.key.unwrap_or_default(),
            prefix: self.prefix.unwrap_or_default(),
            actor: self.by.unwrap_or_default(),
            operations: operations.collect(),
            subject_kinds: kinds.collect(),
            subject: self.subject.unwrap_or_default(),
            since: self.since.map(Into::into),
            until: self.until.map(Into::into),
            ..Default::default()
        };
        let audit = self.connection.client()?.audit();
        let entries = audit.list(filter, self.limit).await?;
        if self.connection.is_json() {
            let entries: Vec<_> = entries.iter().map(to_json).collect();
            output::json(&json!({ "entries": entries }))?;
            return Ok(Exit::Ok);
        }
        let mut table = Table::new([
            "TIME", "ACTOR", "FROM", "CHANGE", "SUBJECT", "VERSION", "COMMENT", "DETAIL",
        ]);
        for entry in entries {
            table.row([
                output::time(entry.create_time),
                entry.actor.clone(),
                entry.address.clone(),
                operation(&entry),
                entry.subject.clone(),
                match entry.version {
                    0 => String::new(),
                    version => version.to_string(),
                },
                entry.comment,
                entry.detail,
            ]);
        }
        table.print("no changes")?;
        Ok(Exit::Ok)
    }
}

// === impl Kind ===

impl Kind {
    fn wire(self) -> AuditSubjectKind {
        match self {
            Self::Config => AuditSubjectKind::Config,
            Self::Lock => AuditSubjectKind::Lock,
            Self::Instance => AuditSubjectKind::Instance,
            Self::Service => AuditSubjectKind::Service,
            Self::Namespace => AuditSubjectKind::Namespace,
            Self::ConfigSchema => AuditSubjectKind::ConfigSchema,
        }
    }
}

// === impl Change ===

impl Change {
    fn wire(self) -> AuditOperation {
        match self {
            Self::Put => AuditOperation::PutConfig,
            Self::Delete => AuditOperation::DeleteConfig,
            Self::Rollback => AuditOperation::RollbackConfig,
            Self::ForceRelease => AuditOperation::ForceReleaseLock,
            Self::Isolate => AuditOperation::IsolateInstance,
            Self::Restore => AuditOperation::RestoreInstance,
            Self::Overlay => AuditOperation::OverlayInstance,
            Self::Drain => AuditOperation::DrainInstance,
            Self::PutService => AuditOperation::PutService,
            Self::DeleteService => AuditOperation::DeleteService,
            Self::ReleaseBrake => AuditOperation::ReleaseBrake,
            Self::PutNamespace => AuditOperation::PutNamespace,
            Self::DeleteNamespace => AuditOperation::DeleteNamespace,
            Self::PutSchema => AuditOperation::PutConfigSchema,
            Self::DeleteSchema => AuditOperation::DeleteConfigSchema,
            Self::PinVersion => AuditOperation::PinConfigVersion,
            Self::UnpinVersion => AuditOperation::UnpinConfigVersion,
            Self::RequestYield => AuditOperation::RequestYield,
        }
    }
}

fn operation(entry: &AuditEntry) -> String {
    output::lower(entry.operation().as_str_name(), "AUDIT_OPERATION_")
}

fn to_json(entry: &AuditEntry) -> Value {
    json!({
        "namespace": entry.namespace,
        "number": entry.number,
        "revision": entry.revision,
        "operation": operation(entry),
        "subject_kind": output::lower(entry.subject_kind().as_str_name(), "AUDIT_SUBJECT_KIND_"),
        "subject": entry.subject,
        "key": entry.key,
        "version": entry.version,
        "old_sha256": entry.old_sha256,
        "new_sha256": entry.new_sha256,
        "actor": entry.actor,
        "principal": entry.principal,
        "address": entry.address,
        "replica": entry.replica,
        "create_time": output::time(entry.create_time),
        "comment": entry.comment,
        "detail": entry.detail,
        "request_id": entry.request_id,
        "hash": entry.hash,
    })
}
