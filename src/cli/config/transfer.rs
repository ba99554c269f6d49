//! `config export`, `config plan`, `config apply`: a directory of files and a namespace.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use stanchion_client::{Configs, proto::Config};

use super::{
    folder,
    item::Item,
    plan::{Plan, Policy, Terms},
};
use crate::cli::{Outcome, connection::Connection, exit::Exit, failure::Failure, output};

/// How files stand for configs, for `--help`.
const FILES: &str = "\
Files:
  The path of a file is the key. Its extension says the type: .json, .yaml, .yml, .toml,
  .properties, .xml; others are text, or binary if they are no UTF-8. What a file does not say (another
  type, labels, a description) is in .stanchion.toml at the top of the directory:

    [\"db/host\"]
    type = \"json\"
    description = \"where it is\"
    labels = { team = \"shop\" }

  Hidden files are left alone. `+` at the beginning of a name is no part of the key: `+.env` is the key
  `.env`, and `+db` is the key `db` beside the directory `db`.";

/// Write configs into a directory, a file for each
///
/// Writes each file as a whole and only if it changes, follows no links, and removes nothing: files
/// without a config are named, and stay.
#[derive(Debug, Args)]
#[command(after_help = format!("Examples:\n  stanchion config export configs\n  \
    stanchion config export configs/shop --prefix shop/\n\n{FILES}"))]
pub(crate) struct Export {
    /// The directory; made if need be
    dir: PathBuf,

    #[command(flatten)]
    scope: Scope,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// Compare a directory with what there is
///
/// Exits 0 if there is nothing to do, 7 if there is.
#[derive(Debug, Args)]
#[command(after_help = format!("Example:\n  stanchion config plan configs --prune\n\n{FILES}"))]
pub(crate) struct Plans {
    /// The directory
    dir: PathBuf,

    /// Counts configs that have no file
    #[arg(long)]
    prune: bool,

    #[command(flatten)]
    scope: Scope,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// Make configs say what a directory says
///
/// Tells what would be done, and does it with --yes: all at once, if it is no more than 100 changes and
/// 1 MiB, else in several transactions, deletions last. Nothing of a transaction is done if one of its
/// configs is not as it was compared any more; then this ends there, with 4. Without --yes exits 0 if
/// there is nothing to do, 7 if there is.
#[derive(Debug, Args)]
#[command(after_help = format!("Examples:\n  stanchion config apply configs\n  \
    stanchion config apply configs --prune --yes -m \"$(git rev-parse HEAD)\"\n\n{FILES}"))]
pub(crate) struct Apply {
    /// The directory
    dir: PathBuf,

    /// Deletes configs that have no file
    #[arg(long)]
    prune: bool,

    #[command(flatten)]
    terms: Terms,

    #[command(flatten)]
    scope: Scope,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// Which configs are meant.
#[derive(Debug, Args)]
pub(super) struct Scope {
    /// Only keys below this one; files have the rest of the key
    #[arg(
        long,
        value_name = "KEY/",
        default_value = "",
        hide_default_value = true
    )]
    prefix: String,
}

// === impl Export ===

impl Export {
    pub(super) async fn run(self) -> Outcome {
        let configs = self.connection.client()?.config();
        let prefix = self.scope.prefix();
        let there = configs.list(&prefix).await?;
        let items: Vec<_> = relative(there, &prefix)
            .into_iter()
            .map(Item::from)
            .collect();
        let done = folder::write(&self.dir, &items)?;
        if self.connection.is_json() {
            output::json(&json!({
                "written": done.written,
                "unchanged": done.unchanged,
                "left": done.left,
            }))?;
            return Ok(Exit::Ok);
        }
        for key in &done.written {
            output::line(key)?;
        }
        for path in &done.left {
            output::note(&format!("{} has no config, and stays", path.display()))?;
        }
        let (written, unchanged) = (done.written.len(), done.unchanged);
        output::note(&format!("{written} written, {unchanged} as they are"))?;
        Ok(Exit::Ok)
    }
}

// === impl Plans ===

impl Plans {
    pub(super) async fn run(self) -> Outcome {
        let configs = self.connection.client()?.config();
        let policy = Policy {
            overwrite: true,
            prune: self.prune,
        };
        let items = folder::read(&self.dir)?;
        let plan = self.scope.plan(&configs, items, policy).await?;
        plan.show(self.connection.is_json(), false)?;
        Ok(plan.exit())
    }
}

// === impl Apply ===

impl Apply {
    pub(super) async fn run(self) -> Outcome {
        let configs = self.connection.client()?.config();
        let policy = Policy {
            overwrite: true,
            prune: self.prune,
        };
        let items = folder::read(&self.dir)?;
        let plan = self.scope.plan(&configs, items, policy).await?;
        let (prefix, as_json) = (self.scope.prefix(), self.connection.is_json());
        plan.settle(&configs, &prefix, self.terms, as_json).await
    }
}

// === impl Scope ===

impl Scope {
    /// What keys begin with: nothing, or whole segments.
    pub(super) fn prefix(&self) -> String {
        match self.prefix.trim_end_matches('/') {
            "" => String::new(),
            segments => format!("{segments}/"),
        }
    }

    /// What has to be done so that the configs say what `items` do.
    pub(super) async fn plan(
        &self,
        configs: &Configs,
        items: Vec<Item>,
        policy: Policy,
    ) -> Result<Plan, Failure> {
        let prefix = self.prefix();
        let there = configs.list_without_content(&prefix).await?;
        Ok(Plan::new(items, relative(there, &prefix), policy))
    }
}

fn relative(mut configs: Vec<Config>, prefix: &str) -> Vec<Config> {
    for config in &mut configs {
        config.key.drain(..prefix.len());
    }
    configs
}
