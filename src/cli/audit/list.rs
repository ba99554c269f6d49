//! `audit list`: the entries, newest first.

use std::time::{Duration, SystemTime};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use stanchion_client::proto::{AuditEntry, AuditOperation, ListAuditEntriesRequest};

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
                  stanchion audit list --by jo --since 2h --limit 1000"
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

    /// Only changes of these kinds
    #[arg(long, value_enum, value_name = "KIND")]
    operation: Vec<Kind>,

    /// Only changes of so long ago or less
    #[arg(long, value_parser = parse::duration, value_name = "DURATION")]
    since: Option<Duration>,

    /// Only changes of longer ago
    #[arg(long, value_parser = parse::duration, value_name = "DURATION")]
    until: Option<Duration>,

    /// At most so many
    #[arg(long, default_value_t = 100, value_name = "NUMBER")]
    limit: usize,

    #[command(flatten)]
    pub(super) connection: Connection,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Put,
    Delete,
    Rollback,
}

// === impl List ===

impl List {
    pub(super) async fn run(self) -> Outcome {
        let ago = |ago: Option<Duration>| {
            let time = ago.and_then(|ago| SystemTime::now().checked_sub(ago));
            time.map(Into::into)
        };
        let operations = self.operation.iter().map(|kind| match kind {
            Kind::Put => AuditOperation::PutConfig.into(),
            Kind::Delete => AuditOperation::DeleteConfig.into(),
            Kind::Rollback => AuditOperation::RollbackConfig.into(),
        });
        let filter = ListAuditEntriesRequest {
            key: self.key.unwrap_or_default(),
            prefix: self.prefix.unwrap_or_default(),
            actor: self.by.unwrap_or_default(),
            operations: operations.collect(),
            since: ago(self.since),
            until: ago(self.until),
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
            "TIME", "ACTOR", "FROM", "CHANGE", "KEY", "VERSION", "COMMENT",
        ]);
        for entry in entries {
            table.row([
                output::time(entry.create_time),
                entry.actor.clone(),
                entry.address.clone(),
                operation(&entry),
                entry.key.clone(),
                entry.version.to_string(),
                entry.comment,
            ]);
        }
        table.print("no changes")?;
        Ok(Exit::Ok)
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
        "request_id": entry.request_id,
        "hash": entry.hash,
    })
}
