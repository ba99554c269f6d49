//! `locks yield`: asks a holder to give its lock up.

use clap::Args;
use serde_json::json;

use crate::cli::{Outcome, connection::Connection, exit::Exit, output};

/// Ask whoever holds a lock to give it up; whether it does is up to the holder
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  stanchion locks yield nightly -m 'deploying'\n\n\
                        Exits 3 if nobody holds the lock."
)]
pub(super) struct Yield {
    /// Name of the lock
    lock: String,

    /// Why; the holder is told
    #[arg(short = 'm', long, value_name = "TEXT", default_value = "")]
    reason: String,

    #[command(flatten)]
    pub(super) connection: Connection,
}

// === impl Yield ===

impl Yield {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        let asked = client.request_yield(&self.lock, &self.reason).await?;
        if self.connection.is_json() {
            output::json(&json!({
                "lock": self.lock,
                "requested": asked.requested,
                "fencing_token": asked.fencing_token,
            }))?;
        } else if asked.fencing_token == 0 {
            output::note(&format!("{} is free", self.lock))?;
        } else if asked.requested {
            let token = asked.fencing_token;
            output::line(&format!("asked the holder with token {token}"))?;
        } else {
            output::note("the holder was asked before")?;
        }
        Ok(match asked.fencing_token {
            0 => Exit::NotFound,
            _ => Exit::Ok,
        })
    }
}
