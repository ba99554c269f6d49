//! `deregister`: removes an instance, whoever owns it.

use clap::Args;
use serde_json::json;

use super::{Outcome, connection::Connection, exit::Exit, output, parse};

/// Remove an instance at once, whoever registered it
///
/// Its owner is told and does not register it again. Exits 3 if there is no such instance.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion deregister web/i-7")]
pub(crate) struct Deregister {
    /// The instance, as SERVICE/ID
    #[arg(value_parser = parse::instance)]
    instance: (String, String),

    #[command(flatten)]
    pub(super) connection: Connection,
}

// === impl Deregister ===

impl Deregister {
    pub(super) async fn run(self) -> Outcome {
        let (service, id) = &self.instance;
        let client = self.connection.client()?;
        let removed = client.deregister(service, id).await?;
        if self.connection.is_json() {
            output::json(&json!({"service": service, "instance_id": id, "deregistered": removed}))?;
        } else if removed {
            output::line(&format!("deregistered {service}/{id}"))?;
        } else {
            output::note(&format!("no instance {service}/{id}"))?;
        }
        Ok(if removed { Exit::Ok } else { Exit::NotFound })
    }
}
