//! `locks release`: takes a lock from its holder.

use clap::Args;
use serde_json::json;

use crate::cli::{Outcome, connection::Connection, exit::Exit, output};

/// Take a lock from its holder, who may go on in the belief to have it
///
/// Only what checks the fencing token is safe from a holder that does not hear of it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  stanchion locks release nightly --force -m 'host is gone'\n  \
                  stanchion locks release nightly --token 17 --force -m 'stuck in the queue'\n\n\
                  Exits 3 if nobody has the lock, or nobody with that token."
)]
pub(super) struct Release {
    /// Name of the lock
    lock: String,

    /// Token of the claim, held or waiting, or of one that delays the lock after its owner's death
    /// [default: the holder's, or else what delays the lock]
    #[arg(long, value_name = "TOKEN", value_parser = clap::value_parser!(i64).range(1..))]
    token: Option<i64>,

    /// Says that you mean it
    #[arg(long, required = true)]
    force: bool,

    /// Why; the holder is told
    #[arg(short = 'm', long, value_name = "TEXT")]
    reason: String,

    #[command(flatten)]
    pub(super) connection: Connection,
}

// === impl Release ===

impl Release {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        let token = match self.token {
            Some(token) => Some(token),
            None => {
                let lock = client.get_lock(&self.lock).await?;
                let holder = lock.holder.map(|holder| holder.fencing_token);
                holder.or(lock.delay.map(|delay| delay.fencing_token))
            }
        };
        let released = match token {
            Some(token) => {
                let taken = client.force_release_lock(&self.lock, token, &self.reason);
                taken.await?.released
            }
            None => false,
        };
        if self.connection.is_json() {
            output::json(&json!({
                "lock": self.lock,
                "fencing_token": token,
                "released": released,
            }))?;
        } else if released {
            output::line(&format!("took {} from its owner", self.lock))?;
        } else {
            output::note(&format!("there was nothing to take of {}", self.lock))?;
        }
        Ok(if released { Exit::Ok } else { Exit::NotFound })
    }
}
