//! `overlay`: showing an instance otherwise than it registered.

use clap::Args;
use stanchion_client::proto::InstanceOverlay;

use super::{Outcome, connection::Connection, decision, parse};

/// Show an instance otherwise than it registered, also when it registers again
///
/// What is said replaces what was said before; --clear ends it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  stanchion overlay web/1 --weight 10 --reason 'warms up'\n  \
                        stanchion overlay web/1 --set tier=slow --hide color\n  \
                        stanchion overlay web/1 --clear"
)]
pub(crate) struct Overlay {
    /// The instance, as SERVICE/ID; need not be registered
    #[arg(value_parser = parse::instance)]
    instance: (String, String),

    /// Its share of the load
    #[arg(long)]
    weight: Option<i32>,

    /// Metadata to add or to replace; may be repeated
    #[arg(long, value_parser = parse::pair, value_name = "KEY=VALUE")]
    set: Vec<(String, String)>,

    /// Key of metadata to hide; may be repeated
    #[arg(long, value_name = "KEY")]
    hide: Vec<String>,

    /// Shows it as it registered
    #[arg(
        long,
        conflicts_with_all = ["weight", "set", "hide"],
        required_unless_present_any = ["weight", "set", "hide"]
    )]
    clear: bool,

    /// Why
    #[arg(short = 'm', long, value_name = "TEXT")]
    reason: Option<String>,

    #[command(flatten)]
    pub(super) connection: Connection,
}

// === impl Overlay ===

impl Overlay {
    pub(super) async fn run(self) -> Outcome {
        let (service, id) = &self.instance;
        let overlay = InstanceOverlay {
            weight: self.weight,
            metadata: self.set.into_iter().collect(),
            hidden_metadata: self.hide,
            ..InstanceOverlay::default()
        };
        let operator = self.connection.client()?.operator();
        let reason = self.reason.as_deref().unwrap_or_default();
        let decided = operator.overlay(service, id, overlay, reason).await?;
        let shown = if self.clear {
            "as it registered"
        } else {
            "otherwise"
        };
        let done = format!("{service}/{id} is shown {shown}");
        decision::tell(&self.connection, decided.as_ref(), &done)
    }
}
