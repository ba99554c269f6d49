//! `namespaces`, `namespace get`, `namespace delete`.

use clap::Args;
use serde_json::{Value, json};
use stanchion_client::proto::{Namespace, NamespaceSettings};

use crate::cli::{
    Outcome,
    connection::Connection,
    exit::Exit,
    failure::Failure,
    output::{self, Table},
    settings,
};

/// List the namespaces, with what is in them and what may be
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion namespaces -o json")]
pub(crate) struct Namespaces {
    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// Show what was set for a namespace, and what is in it
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion namespace get shop")]
pub(crate) struct Get {
    /// The namespace
    #[arg(value_name = "NAMESPACE")]
    name: String,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// Take back what was set for a namespace that has nothing in it
///
/// Exits 3 if nothing was set.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion namespace delete shop")]
pub(crate) struct Delete {
    /// The namespace
    #[arg(value_name = "NAMESPACE")]
    name: String,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

// === impl Namespaces ===

impl Namespaces {
    pub(in crate::cli) async fn run(self) -> Outcome {
        let namespaces = self.connection.client()?.operator().namespaces().await?;
        if self.connection.is_json() {
            let namespaces: Vec<_> = namespaces.iter().map(to_json).collect();
            output::json(&json!({ "namespaces": namespaces }))?;
        } else {
            print(&namespaces)?;
        }
        Ok(Exit::Ok)
    }
}

// === impl Get ===

impl Get {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?.with_namespace(&self.name);
        let namespace = client.operator().namespace().await?;
        if self.connection.is_json() {
            output::json(&to_json(&namespace))?;
        } else {
            print(&[namespace])?;
        }
        Ok(Exit::Ok)
    }
}

// === impl Delete ===

impl Delete {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?.with_namespace(&self.name);
        let deleted = client.operator().delete_namespace().await?;
        settings::deleted(&self.connection, "namespace", &self.name, deleted)
    }
}

fn print(namespaces: &[Namespace]) -> Result<(), Failure> {
    let mut table = Table::new([
        "NAMESPACE",
        "INSTANCES",
        "SERVICES",
        "SESSIONS",
        "CONFIGS",
        "LOCKS",
        "ELECTIONS",
        "BARRIERS",
        "LATCHES",
        "FOR",
    ]);
    for namespace in namespaces {
        let settings = namespace.settings.clone().unwrap_or_default();
        let of = |count: i32, limit: Option<i32>| match limit {
            None => count.to_string(),
            Some(limit) => format!("{count}/{limit}"),
        };
        table.row([
            namespace.namespace.clone(),
            of(namespace.instance_count, settings.max_instances),
            of(namespace.service_count, settings.max_services),
            of(namespace.session_count, settings.max_sessions),
            namespace.config_count.to_string(),
            namespace.lock_count.to_string(),
            namespace.election_count.to_string(),
            namespace.barrier_count.to_string(),
            namespace.latch_count.to_string(),
            settings.description,
        ]);
    }
    table.print("no namespaces")
}

fn to_json(namespace: &Namespace) -> Value {
    json!({
        "namespace": namespace.namespace,
        "settings": namespace.settings.as_ref().map(settings_json),
        "instance_count": namespace.instance_count,
        "service_count": namespace.service_count,
        "session_count": namespace.session_count,
        "config_count": namespace.config_count,
        "lock_count": namespace.lock_count,
        "election_count": namespace.election_count,
        "barrier_count": namespace.barrier_count,
        "latch_count": namespace.latch_count,
    })
}

pub(super) fn settings_json(settings: &NamespaceSettings) -> Value {
    json!({
        "description": settings.description,
        "labels": settings.labels,
        "max_instances": settings.max_instances,
        "max_services": settings.max_services,
        "max_sessions": settings.max_sessions,
        "author": settings.author,
        "update_time": output::time(settings.update_time),
        "revision": settings.revision,
    })
}
