//! `isolate`, `restore`: keeping an instance out, and letting it in again.

use clap::Args;
use serde_json::json;

use super::{Outcome, connection::Connection, decision, exit::Exit, output, parse};

/// Keep an instance out of the serving view, also when it registers again
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion isolate web/1 --reason 'disk fails'")]
pub(crate) struct Isolate {
    /// The instance, as SERVICE/ID; need not be registered
    #[arg(value_parser = parse::instance)]
    instance: (String, String),

    /// Why
    #[arg(
        short = 'm',
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "TEXT"
    )]
    reason: String,

    #[command(flatten)]
    pub(super) connection: Connection,
}

/// Let an instance back in, and break off its drain
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion restore web/1")]
pub(crate) struct Restore {
    /// The instance, as SERVICE/ID
    #[arg(value_parser = parse::instance)]
    instance: (String, String),

    #[command(flatten)]
    pub(super) connection: Connection,
}

// === impl Isolate ===

impl Isolate {
    pub(super) async fn run(self) -> Outcome {
        let (service, id) = &self.instance;
        let operator = self.connection.client()?.operator();
        let decided = operator.isolate(service, id, &self.reason).await?;
        if self.connection.is_json() {
            output::json(&json!({"decision": decision::to_json(&decided)}))?;
        } else {
            output::line(&format!("isolated {service}/{id}"))?;
        }
        Ok(Exit::Ok)
    }
}

// === impl Restore ===

impl Restore {
    pub(super) async fn run(self) -> Outcome {
        let (service, id) = &self.instance;
        let operator = self.connection.client()?.operator();
        let left = operator.restore(service, id).await?;
        if self.connection.is_json() {
            let left = left.as_ref().map(decision::to_json);
            output::json(&json!({ "decision": left }))?;
        } else {
            output::line(&format!("restored {service}/{id}"))?;
        }
        Ok(Exit::Ok)
    }
}
