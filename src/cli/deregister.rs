//! `deregister`: removes an instance, whoever owns it.

use clap::Args;
use serde_json::json;

use super::{Outcome, connection::Connection, exit::Exit, failure::Failure, output};

/// Remove an instance at once, whoever registered it
///
/// Its owner is told and does not register it again. Exits 3 if there is no such instance.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion deregister web/i-7")]
pub(crate) struct Deregister {
    /// The instance, as SERVICE/ID
    instance: String,

    #[command(flatten)]
    pub(super) connection: Connection,
}

// === impl Deregister ===

impl Deregister {
    pub(super) async fn run(self) -> Outcome {
        let (service, id) = self
            .instance
            .split_once('/')
            .ok_or_else(|| Failure::usage(format!("`{}` is not like SERVICE/ID", self.instance)))?;
        let client = self.connection.client()?;
        let removed = client.deregister(service, id).await?;
        if self.connection.is_json() {
            output::json(&json!({"service": service, "instance_id": id, "deregistered": removed}))?;
        } else if removed {
            output::line(&format!("deregistered {}", self.instance))?;
        } else {
            output::note(&format!("no instance {}", self.instance))?;
        }
        Ok(if removed { Exit::Ok } else { Exit::NotFound })
    }
}
