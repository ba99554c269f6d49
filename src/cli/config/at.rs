//! `config at`: a config as it was.

use std::time::SystemTime;

use clap::Args;

use super::show;
use crate::cli::{Outcome, connection::Connection, exit::Exit, output, parse};

/// Print a config as it was
///
/// Versions have the times of the clocks of the replicas that made them. Exits 3 if there was no
/// such config then, or if what it said is not kept any more.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  stanchion config at shop/limits --time 2026-03-01T12:00:00Z\n  \
                        stanchion config at shop/limits --time 2h\n  \
                        stanchion config at shop/limits --revision 4711"
)]
pub(crate) struct At {
    /// Key of the config
    key: String,

    /// When: an instant in UTC, or how long ago
    #[arg(
        long,
        value_parser = parse::instant,
        value_name = "TIME",
        required_unless_present = "revision",
        conflicts_with = "revision"
    )]
    time: Option<SystemTime>,

    /// At which revision of the store
    #[arg(long)]
    revision: Option<i64>,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

// === impl At ===

impl At {
    pub(super) async fn run(self) -> Outcome {
        let configs = self.connection.client()?.config();
        let found = match (self.time, self.revision) {
            (Some(time), _) => configs.at_time(&self.key, time).await?,
            (None, revision) => {
                let revision = revision.unwrap_or_default();
                configs.at_revision(&self.key, revision).await?
            }
        };
        let Some(version) = found else {
            output::note(&format!("{} was deleted then", self.key))?;
            return Ok(Exit::NotFound);
        };
        match self.connection.is_json() {
            true => output::json(&show::version(&version, true))?,
            false => output::content(&version.content)?,
        }
        Ok(Exit::Ok)
    }
}
