//! `config release …`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use stanchion_client::{
    ChangeOptions,
    proto::{ConfigFromDraft, Release as Published, ReleaseItem, config_change},
};

use super::{
    Grounds,
    changes::{ChangeArgs, at, set},
};
use crate::cli::{Outcome, connection::Connection, exit::Exit, output, output::Table};

/// Publish changes of several configs under one name
#[derive(Debug, Subcommand)]
pub(crate) enum Release {
    Publish(Publish),
    List(List),
    Show(Show),
    Rollback(Rollback),
}

/// Publish a release: all of it, or nothing
///
/// Exits 4 if a config is not as expected, or if there is such a release.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  stanchion config release publish sale-1 --drafts -m 'summer sale'\n  \
                        stanchion config release publish sale-2 --put shop/limit=100 --delete shop/old\n  \
                        stanchion config release publish sale-3 --drafts shop/ --validate-only"
)]
pub(crate) struct Publish {
    /// Name of the release
    name: String,

    /// Publishes all drafts whose key begins with this, if nobody has changed their configs since
    #[arg(long, num_args = 0..=1, default_missing_value = "", value_name = "PREFIX")]
    drafts: Option<String>,

    /// Publishes drafts also over what others have changed since
    #[arg(long, requires = "drafts")]
    force: bool,

    #[command(flatten)]
    changes: ChangeArgs,

    /// Says what would come of it, and changes nothing
    #[arg(long)]
    validate_only: bool,

    #[command(flatten)]
    grounds: Grounds,

    #[command(flatten)]
    connection: Connection,
}

/// List releases, newest first
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion config release list")]
pub(crate) struct List {
    /// Most releases to show
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: usize,

    #[command(flatten)]
    connection: Connection,
}

/// Show what a release did
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion config release show sale-1")]
pub(crate) struct Show {
    /// Name of the release
    name: String,

    #[command(flatten)]
    connection: Connection,
}

/// Restore what was before a release, as a new release
///
/// Exits 4 if a config has changed since.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion config release rollback sale-1 -m 'too cheap'")]
pub(crate) struct Rollback {
    /// Name of the release to roll back
    name: String,

    /// Name of the new release; default: the old one and `.rollback`
    #[arg(long = "as", value_name = "NAME")]
    new_name: Option<String>,

    /// Restores also what has changed since
    #[arg(long)]
    force: bool,

    /// Says what would come of it, and changes nothing
    #[arg(long)]
    validate_only: bool,

    #[command(flatten)]
    grounds: Grounds,

    #[command(flatten)]
    connection: Connection,
}

// === impl Release ===

impl Release {
    pub(super) async fn run(self) -> Outcome {
        match self {
            Self::Publish(command) => command.run().await,
            Self::List(command) => command.run().await,
            Self::Show(command) => command.run().await,
            Self::Rollback(command) => command.run().await,
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        match self {
            Self::Publish(command) => &command.connection,
            Self::List(command) => &command.connection,
            Self::Show(command) => &command.connection,
            Self::Rollback(command) => &command.connection,
        }
    }
}

// === impl Publish ===

impl Publish {
    async fn run(self) -> Outcome {
        let configs = self.connection.client()?.config();
        let mut changes = self.changes.read().await?;
        if let Some(prefix) = &self.drafts {
            for draft in configs.drafts(prefix).await? {
                let (key, revision) = (draft.key, draft.revision);
                let expected = &mut at(&mut changes, key.clone()).expected_version;
                if !self.force && expected.is_none() {
                    *expected = Some(draft.base_version);
                }
                let change = config_change::Change::Draft(ConfigFromDraft { revision });
                set(&mut changes, key, change)?;
            }
        }
        let options = ChangeOptions {
            validate_only: self.validate_only,
            ..self.grounds.options(None)
        };
        let release = configs.publish(&self.name, changes, options).await?;
        show(&self.connection, &release)
    }
}

// === impl List ===

impl List {
    async fn run(self) -> Outcome {
        let configs = self.connection.client()?.config();
        let releases = configs.releases(self.limit).await?;
        if self.connection.is_json() {
            let releases: Vec<Value> = releases.iter().map(for_programs).collect();
            output::json(&json!({ "releases": releases }))?;
            return Ok(Exit::Ok);
        }
        let mut table = Table::new(["NAME", "TIME", "CONFIGS", "AUTHOR", "COMMENT"]);
        for release in releases {
            table.row([
                release.name,
                output::time(release.create_time),
                release.item_count.to_string(),
                release.author,
                release.comment,
            ]);
        }
        table.print("no releases")?;
        Ok(Exit::Ok)
    }
}

// === impl Show ===

impl Show {
    async fn run(self) -> Outcome {
        let configs = self.connection.client()?.config();
        let release = configs.release(&self.name).await?;
        show(&self.connection, &release)
    }
}

// === impl Rollback ===

impl Rollback {
    async fn run(self) -> Outcome {
        let configs = self.connection.client()?.config();
        let new_name = self.new_name.unwrap_or_default();
        let options = ChangeOptions {
            validate_only: self.validate_only,
            ..self.grounds.options(None)
        };
        let release = configs.rollback_release(&self.name, &new_name, self.force, options);
        show(&self.connection, &release.await?)
    }
}

fn show(connection: &Connection, release: &Published) -> Outcome {
    if connection.is_json() {
        output::json(&for_programs(release))?;
        return Ok(Exit::Ok);
    }
    for item in &release.items {
        let state = match (item.unchanged, item.deleted) {
            (true, _) => "unchanged",
            (false, true) => "deleted",
            (false, false) => "written",
        };
        output::line(&format!("{} version {} {state}", item.key, item.version))?;
    }
    Ok(Exit::Ok)
}

fn for_programs(release: &Published) -> Value {
    let item = |item: &ReleaseItem| {
        json!({
            "key": item.key,
            "version": item.version,
            "previous_version": item.previous_version,
            "deleted": item.deleted,
            "unchanged": item.unchanged,
        })
    };
    let items: Vec<Value> = release.items.iter().map(item).collect();
    json!({
        "namespace": release.namespace,
        "name": release.name,
        "comment": release.comment,
        "author": release.author,
        "create_time": output::time(release.create_time),
        "revision": release.revision,
        "rollback_of": release.rollback_of,
        "item_count": release.item_count,
        "items": items,
    })
}
