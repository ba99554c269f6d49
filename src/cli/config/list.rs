//! `config list`, `config history`.

use clap::Args;
use serde_json::json;

use super::show;
use crate::cli::{
    Outcome,
    connection::Connection,
    exit::Exit,
    output::{self, Table},
};

/// List configs
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion config list shop/")]
pub(crate) struct List {
    /// Only keys that begin so
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,

    /// Has the contents too; only with `-o json`
    #[arg(long)]
    content: bool,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// List the versions of a config, newest first
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion config history shop/limits --limit 5")]
pub(crate) struct History {
    /// Key of the config
    key: String,

    /// At most so many
    #[arg(long, default_value_t = 100)]
    limit: usize,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

// === impl List ===

impl List {
    pub(super) async fn run(self) -> Outcome {
        let configs = self.connection.client()?.config();
        let configs = match self.content {
            true => configs.list(&self.prefix).await?,
            false => configs.list_without_content(&self.prefix).await?,
        };
        if self.connection.is_json() {
            let configs: Vec<_> = configs
                .iter()
                .map(|config| show::config(config, self.content))
                .collect();
            output::json(&json!({ "configs": configs }))?;
            return Ok(Exit::Ok);
        }
        let mut table = Table::new(["KEY", "VERSION", "TYPE", "BYTES", "AUTHOR", "CHANGED"]);
        for config in configs {
            table.row([
                config.key.clone(),
                config.version.to_string(),
                show::content_type(config.content_type()),
                config.size_bytes.to_string(),
                config.author.clone(),
                output::time(config.create_time),
            ]);
        }
        table.print("no configs")?;
        Ok(Exit::Ok)
    }
}

// === impl History ===

impl History {
    pub(super) async fn run(self) -> Outcome {
        let configs = self.connection.client()?.config();
        let versions = configs.history(&self.key, self.limit).await?;
        if self.connection.is_json() {
            let versions: Vec<_> = versions
                .iter()
                .map(|version| show::version(version, false))
                .collect();
            output::json(&json!({ "key": self.key, "versions": versions }))?;
            return Ok(Exit::Ok);
        }
        let mut table = Table::new([
            "VERSION",
            "OPERATION",
            "BYTES",
            "SHA256",
            "AUTHOR",
            "TIME",
            "PINNED",
            "COMMENT",
        ]);
        for version in versions {
            table.row([
                version.version.to_string(),
                match version.rollback_of {
                    0 => show::operation(version.operation()),
                    source => format!("rollback to {source}"),
                },
                version.size_bytes.to_string(),
                version.sha256.chars().take(12).collect(),
                version.author.clone(),
                output::time(version.create_time),
                if version.pinned { "yes" } else { "" }.into(),
                version.comment.clone(),
            ]);
        }
        table.print(&format!("{} has no history", self.key))?;
        Ok(Exit::Ok)
    }
}
