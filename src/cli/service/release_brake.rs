//! `service release-brake`: lets removals go on.

use clap::Args;
use serde_json::json;

use crate::cli::{Outcome, connection::Connection, exit::Exit, output};

/// Let the removals of a braked service go on
///
/// A service of which most sessions ended is braked: its suspect instances stay listed, for 10 min at
/// most by default. Release the brake when they are gone for good.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion service release-brake web -m 'zone b is gone'")]
pub(crate) struct ReleaseBrake {
    /// Name of the service
    service: String,

    /// Why; it is logged
    #[arg(short = 'm', long, value_name = "TEXT")]
    comment: Option<String>,

    #[command(flatten)]
    pub(super) connection: Connection,
}

// === impl ReleaseBrake ===

impl ReleaseBrake {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        let comment = self.comment.as_deref().unwrap_or_default();
        let released = client.release_brake(&self.service, comment).await?;
        if self.connection.is_json() {
            output::json(&json!({"service": self.service, "released": released}))?;
        } else if released {
            output::line(&format!("released the brake of {}", self.service))?;
        } else {
            output::note(&format!("{} is not braked", self.service))?;
        }
        Ok(Exit::Ok)
    }
}
