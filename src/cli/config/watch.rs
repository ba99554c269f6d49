//! `config watch`: changes as they happen.

use clap::Args;
use serde_json::json;
use stanchion_client::{
    proto::{Config, WatchConfigsRequest, watch_configs_request::Selection},
    watch::{Change, Update, UpdateKind},
};

use super::{react::Reaction, show};
use crate::cli::{Outcome, connection::Connection, failure::Failure, output};

/// Follow a config, or all below a prefix
///
/// Prints what there is, then every change; with `-o json` one object a line, with contents. Runs
/// until it is interrupted, over restarts of the server too.
///
/// With a command after `--` it runs that instead, from when there is a config on, and restarts it,
/// or signals it, when a content changes. Signals are passed on. When the command ends by itself this
/// exits as it did. When the last config is deleted nothing changes; the deletion of one of several is a
/// change.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  stanchion config watch shop/limits\n  \
                        stanchion config watch --prefix shop/ -o json\n  \
                        stanchion config watch shop/limits --out limits.json -- ./shop limits.json\n  \
                        stanchion config watch nginx.conf --out /etc/nginx/nginx.conf --signal HUP -- nginx\n\n\
                        The command finds the key or prefix in STANCHION_CONFIG and the file in \
                        STANCHION_CONFIG_FILE.")]
pub(crate) struct Watch {
    /// Key of the config; it need not exist yet
    #[arg(required_unless_present = "prefix")]
    key: Option<String>,

    /// All keys that begin so
    #[arg(long, conflicts_with = "key")]
    prefix: Option<String>,

    /// Prints the contents too
    #[arg(long)]
    content: bool,

    #[command(flatten)]
    reaction: Reaction,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

// === impl Watch ===

impl Watch {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        // A first answer within the time of a call, so that a wrong address is told.
        client.server_info().await?;
        let selection = match (&self.key, &self.prefix) {
            (Some(key), _) => Selection::Key(key.clone()),
            (None, prefix) => Selection::Prefix(prefix.clone().unwrap_or_default()),
        };
        let mut watch = client.watch(WatchConfigsRequest {
            namespace: client.namespace().into(),
            selection: Some(selection),
            ..Default::default()
        });
        if self.reaction.is_some() {
            let name = self.key.or(self.prefix).unwrap_or_default();
            return self.reaction.run(&name, watch).await;
        }
        loop {
            self.show(watch.next().await?)?;
        }
    }

    fn show(&self, update: Update<Config>) -> Result<(), Failure> {
        let revision = update.revision;
        match update.kind {
            UpdateKind::Current => Ok(()),
            UpdateKind::Snapshot { items, .. } if self.connection.is_json() => {
                let configs: Vec<_> = items.iter().map(|item| show::config(item, true)).collect();
                output::json_line(
                    &json!({"type": "snapshot", "revision": revision, "configs": configs}),
                )
            }
            UpdateKind::Snapshot { items, .. } => {
                if items.is_empty() {
                    return output::note("no config yet");
                }
                items.iter().try_for_each(|config| self.told("is", config))
            }
            UpdateKind::Delta { changes, .. } => changes.iter().try_for_each(|change| {
                let (kind, config) = match change {
                    Change::Added(config) => ("added", config),
                    Change::Modified(config) => ("modified", config),
                    Change::Deleted(config, _) => ("deleted", config),
                };
                if self.connection.is_json() {
                    return output::json_line(&json!({
                        "type": kind,
                        "revision": revision,
                        "config": show::config(config, true),
                    }));
                }
                self.told(kind, config)
            }),
        }
    }

    fn told(&self, kind: &str, config: &Config) -> Result<(), Failure> {
        output::line(&format!(
            "{} {kind:8} {} version {} {}{}",
            output::time(config.create_time),
            config.key,
            config.version,
            config.author,
            match config.comment.as_str() {
                "" => String::new(),
                comment => format!(": {comment}"),
            }
        ))?;
        if self.content && kind != "deleted" {
            output::raw(&config.content)?;
            output::line("")?;
        }
        Ok(())
    }
}
