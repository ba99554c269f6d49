//! `config put`, `config rollback`, `config delete`.

use std::{
    io::{self, Read},
    path::PathBuf,
};

use clap::Args;
use serde_json::json;
use stanchion_client::proto::Config;

use super::{Change, item::Type, show};
use crate::cli::{Outcome, connection::Connection, exit::Exit, failure::Failure, output, parse};

/// Write a config, as a new version
///
/// Writing what is there already changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  stanchion config put shop/limit 100\n  \
                        stanchion config put shop/limits --file limits.json --type json -m 'sale'\n  \
                        echo 100 | stanchion config put shop/limit -\n  \
                        stanchion config put shop/limit 100 --expected-version 0")]
pub(crate) struct Put {
    /// Key of the config
    key: String,

    /// Content; `-` reads it from standard input
    #[arg(required_unless_present = "file", allow_hyphen_values = true)]
    content: Option<String>,

    /// Reads the content from a file
    #[arg(long, conflicts_with = "content", value_name = "PATH")]
    file: Option<PathBuf>,

    /// What the content is written in
    #[arg(long = "type", value_enum, default_value_t, value_name = "TYPE")]
    content_type: Type,

    /// A label; may be repeated. Replaces the former ones
    #[arg(long = "label", value_parser = parse::pair, value_name = "KEY=VALUE")]
    labels: Vec<(String, String)>,

    /// What the config is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    #[command(flatten)]
    change: Change,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// Make an earlier version the current one again, as a new version
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  stanchion config rollback shop/limits --to 3 -m 'sale is over'"
)]
pub(crate) struct Rollback {
    /// Key of the config
    key: String,

    /// Version to return to
    #[arg(long, value_name = "VERSION")]
    to: i64,

    #[command(flatten)]
    change: Change,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// Delete a config; its history stays
///
/// Exits 3 if there is no such config.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion config delete shop/limits")]
pub(crate) struct Delete {
    /// Key of the config
    key: String,

    #[command(flatten)]
    change: Change,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

// === impl Put ===

impl Put {
    pub(super) async fn run(self) -> Outcome {
        let content = match (self.file, self.content) {
            (Some(path), _) => tokio::fs::read(&path).await.map_err(|error| {
                Failure::usage(format!("cannot read {}: {error}", path.display()))
            })?,
            (None, Some(content)) if content == "-" => {
                let mut content = Vec::new();
                io::stdin().read_to_end(&mut content)?;
                content
            }
            (None, content) => content.unwrap_or_default().into_bytes(),
        };
        let answer = self
            .connection
            .client()?
            .config()
            .put(&self.key, content)
            .content_type(self.content_type.into())
            .labels(self.labels.into_iter().collect())
            .description(self.description.unwrap_or_default())
            .options(self.change.options())
            .send()
            .await?;
        written(&self.connection, answer.config, answer.unchanged)
    }
}

// === impl Rollback ===

impl Rollback {
    pub(super) async fn run(self) -> Outcome {
        let configs = self.connection.client()?.config();
        let options = self.change.options();
        let answer = configs.rollback(&self.key, self.to, options).await?;
        written(&self.connection, answer.config, answer.unchanged)
    }
}

// === impl Delete ===

impl Delete {
    pub(super) async fn run(self) -> Outcome {
        let configs = self.connection.client()?.config();
        let answer = configs.delete(&self.key, self.change.options()).await?;
        if self.connection.is_json() {
            output::json(&json!({
                "key": self.key,
                "deleted": answer.deleted,
                "version": answer.version,
            }))?;
        } else if answer.deleted {
            output::line(&format!(
                "{} deleted, as version {}",
                self.key, answer.version
            ))?;
        } else {
            output::note(&format!("no config {}", self.key))?;
        }
        Ok(match answer.deleted {
            true => Exit::Ok,
            false => Exit::NotFound,
        })
    }
}

pub(super) fn written(connection: &Connection, config: Option<Config>, unchanged: bool) -> Outcome {
    let config = config.unwrap_or_default();
    if connection.is_json() {
        output::json(&json!({
            "config": show::config(&config, false),
            "unchanged": unchanged,
        }))?;
    } else {
        let unchanged = if unchanged { ", unchanged" } else { "" };
        output::line(&format!(
            "{} version {}{unchanged}",
            config.key, config.version
        ))?;
    }
    Ok(Exit::Ok)
}
