//! `config commit`.

use clap::Args;
use serde_json::json;
use stanchion_client::proto::{CommitConfigsResponse, ConfigChangeResult};

use super::{Grounds, changes::ChangeArgs, show};
use crate::cli::{Outcome, connection::Connection, exit::Exit, failure::Failure, output};

/// Change several configs at once, or none of them
///
/// All changes become visible at one revision. If a config is not as expected nothing is changed,
/// what is there is shown, and the exit code is 4.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  stanchion config commit --expect shop/stock=7 --put shop/stock=6 --put shop/sold=1\n  \
                        stanchion config commit --delete shop/old --put-file shop/limits=limits.json\n  \
                        stanchion config commit --file changes.json --validate-only"
)]
pub(crate) struct Commit {
    #[command(flatten)]
    changes: ChangeArgs,

    #[command(flatten)]
    grounds: Grounds,

    /// Says what would come of it, and changes nothing
    #[arg(long)]
    validate_only: bool,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

// === impl Commit ===

impl Commit {
    pub(super) async fn run(self) -> Outcome {
        let configs = self.connection.client()?.config();
        let mut commit = self.grounds.on(configs.commit());
        for change in self.changes.read().await? {
            commit = commit.with(change);
        }
        if self.validate_only {
            commit = commit.validate_only();
        }
        let answer = commit.send().await?;
        show(&self.connection, &answer)?;
        Ok(match answer.committed {
            true => Exit::Ok,
            false => Exit::Conflict,
        })
    }
}

fn show(connection: &Connection, answer: &CommitConfigsResponse) -> Result<(), Failure> {
    if connection.is_json() {
        let revision = answer.header.as_ref().map(|header| header.revision);
        let results: Vec<_> = answer.results.iter().map(for_programs).collect();
        return output::json(&json!({
            "committed": answer.committed,
            "revision": revision,
            "results": results,
        }));
    }
    for result in &answer.results {
        let state = match (answer.committed, result.as_expected, result.unchanged) {
            (false, false, _) => "is not as expected",
            (false, true, _) => "not changed",
            (true, _, true) => "unchanged",
            (true, _, false) if result.config.is_none() => "deleted",
            (true, _, false) => "written",
        };
        output::line(&format!(
            "{} version {} {state}",
            result.key, result.version
        ))?;
    }
    if !answer.committed {
        output::note("nothing was changed")?;
    }
    Ok(())
}

fn for_programs(result: &ConfigChangeResult) -> serde_json::Value {
    let config = result.config.as_ref();
    json!({
        "key": result.key,
        "as_expected": result.as_expected,
        "unchanged": result.unchanged,
        "version": result.version,
        "config": config.map(|config| show::config(config, false)),
    })
}
