//! `isolate`, `restore`: keeping an instance out, and letting it in again.

use clap::Args;

use super::{Outcome, connection::Connection, decision, parse};

/// Keep an instance out of the serving view, also when it registers again
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion isolate web/1 --reason 'disk fails'")]
pub(crate) struct Isolate {
    /// The instance, as SERVICE/ID; need not be registered
    #[arg(value_parser = parse::instance)]
    instance: (String, String),

    /// Why
    #[arg(short = 'm', long, value_name = "TEXT")]
    reason: Option<String>,

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
        let reason = self.reason.as_deref().unwrap_or_default();
        let decided = operator.isolate(service, id, reason).await?;
        let done = format!("isolated {service}/{id}");
        decision::tell(&self.connection, Some(&decided), &done)
    }
}

// === impl Restore ===

impl Restore {
    pub(super) async fn run(self) -> Outcome {
        let (service, id) = &self.instance;
        let operator = self.connection.client()?.operator();
        let left = operator.restore(service, id).await?;
        let done = format!("restored {service}/{id}");
        decision::tell(&self.connection, left.as_ref(), &done)
    }
}
