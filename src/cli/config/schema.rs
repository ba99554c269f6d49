//! `config schema …`: the rules for contents.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use stanchion_client::proto::{ConfigSchema, config_schema_selector::Selector};

use crate::cli::{
    Outcome,
    connection::Connection,
    exit::Exit,
    failure::Failure,
    output::{self, Table},
};

/// Rule what contents may say, by JSON Schemas
///
/// A content is written only if it satisfies every schema that covers its key. KEYS is one key, or
/// a prefix followed by `*`: `'shop/*'`, `'*'`.
#[derive(Debug, Subcommand)]
pub(crate) enum Schema {
    Put(Put),
    Get(Get),
    List(List),
    Delete(Delete),
}

/// Put the schema for a key or a prefix
///
/// It holds for what is written from then on; contents that are there stay.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion config schema put 'shop/*' shop.schema.json")]
pub(crate) struct Put {
    /// Which keys
    keys: String,

    /// File with the schema
    #[arg(value_name = "PATH")]
    file: PathBuf,

    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    /// Revision it must have now; 0 means that there must be none
    #[arg(long, value_name = "REVISION")]
    expected_revision: Option<i64>,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// Print a schema
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Which keys, exactly as it was put for them
    keys: String,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// List schemas
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion config schema list --covering shop/limits")]
pub(crate) struct List {
    /// Only those that cover this key
    #[arg(long, value_name = "KEY")]
    covering: Option<String>,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// Delete a schema
///
/// Exits 3 if there is no such schema.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// Which keys, exactly as it was put for them
    keys: String,

    /// Revision it must have now
    #[arg(long, value_name = "REVISION")]
    expected_revision: Option<i64>,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

// === impl Schema ===

impl Schema {
    pub(super) async fn run(self) -> Outcome {
        match self {
            Self::Put(command) => command.run().await,
            Self::Get(command) => command.run().await,
            Self::List(command) => command.run().await,
            Self::Delete(command) => command.run().await,
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        match self {
            Self::Put(command) => &command.connection,
            Self::Get(command) => &command.connection,
            Self::List(command) => &command.connection,
            Self::Delete(command) => &command.connection,
        }
    }
}

// === impl Put ===

impl Put {
    async fn run(self) -> Outcome {
        let schema = tokio::fs::read_to_string(&self.file).await;
        let schema = schema.map_err(|error| {
            Failure::usage(format!("cannot read {}: {error}", self.file.display()))
        })?;
        let description = self.description.unwrap_or_default();
        let configs = self.connection.client()?.config();
        let put = configs.put_schema(
            selector(&self.keys),
            &schema,
            &description,
            self.expected_revision,
        );
        let answer = put.await?;
        if self.connection.is_json() {
            output::json(&json!({
                "schema": answer.schema.as_ref().map(shown),
                "unchanged": answer.unchanged,
            }))?;
        } else {
            let unchanged = if answer.unchanged { ", unchanged" } else { "" };
            output::line(&format!("schema for {}{unchanged}", self.keys))?;
        }
        Ok(Exit::Ok)
    }
}

// === impl Get ===

impl Get {
    async fn run(self) -> Outcome {
        let configs = self.connection.client()?.config();
        let schema = configs.schema(selector(&self.keys)).await?;
        match self.connection.is_json() {
            true => output::json(&shown(&schema))?,
            false => output::line(schema.schema.trim_end())?,
        }
        Ok(Exit::Ok)
    }
}

// === impl List ===

impl List {
    async fn run(self) -> Outcome {
        let configs = self.connection.client()?.config();
        let schemas = configs.schemas(self.covering.as_deref()).await?;
        if self.connection.is_json() {
            let schemas: Vec<_> = schemas.iter().map(shown).collect();
            output::json(&json!({ "schemas": schemas }))?;
            return Ok(Exit::Ok);
        }
        let mut table = Table::new(["KEYS", "BYTES", "AUTHOR", "CHANGED", "DESCRIPTION"]);
        for schema in schemas {
            table.row([
                keys(&schema),
                schema.schema.len().to_string(),
                schema.author.clone(),
                output::time(schema.update_time),
                schema.description,
            ]);
        }
        table.print("no schemas")?;
        Ok(Exit::Ok)
    }
}

// === impl Delete ===

impl Delete {
    async fn run(self) -> Outcome {
        let configs = self.connection.client()?.config();
        let deleted = configs.delete_schema(selector(&self.keys), self.expected_revision);
        let deleted = deleted.await?.deleted;
        if self.connection.is_json() {
            output::json(&json!({ "keys": self.keys, "deleted": deleted }))?;
        } else if deleted {
            output::line(&format!("schema for {} deleted", self.keys))?;
        } else {
            output::note(&format!("no schema for {}", self.keys))?;
        }
        Ok(match deleted {
            true => Exit::Ok,
            false => Exit::NotFound,
        })
    }
}

fn selector(keys: &str) -> Selector {
    match keys.strip_suffix('*') {
        Some(prefix) => Selector::Prefix(prefix.into()),
        None => Selector::Key(keys.into()),
    }
}

fn keys(schema: &ConfigSchema) -> String {
    let selector = schema.selector.as_ref();
    match selector.and_then(|selector| selector.selector.as_ref()) {
        Some(Selector::Key(key)) => key.clone(),
        Some(Selector::Prefix(prefix)) => format!("{prefix}*"),
        None => String::new(),
    }
}

fn shown(schema: &ConfigSchema) -> Value {
    json!({
        "namespace": schema.namespace,
        "keys": keys(schema),
        "schema": schema.schema,
        "description": schema.description,
        "author": schema.author,
        "update_time": output::time(schema.update_time),
        "revision": schema.revision,
    })
}
