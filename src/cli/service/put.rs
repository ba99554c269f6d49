//! `service put`.

use std::time::Duration;

use clap::Args;
use stanchion_client::proto::{ServiceName, ServiceSettings};

use super::read::settings_json;
use crate::cli::{Outcome, checks::Checks, connection::Connection, parse, settings};

/// Set all that can be set for a service
///
/// What is not said has its default again.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  stanchion service put web --panic-threshold 50 --label team=shop\n  \
                        stanchion service put web --alias-of web-blue\n  \
                        stanchion service put web-blue --export-to shop"
)]
pub(crate) struct Put {
    /// Name of the service; need not have an instance
    service: String,

    #[command(flatten)]
    checks: Checks,

    /// Shows all active instances while fewer than so many in a hundred work; 0: never [default: 30]
    #[arg(long, value_name = "PERCENT")]
    panic_threshold: Option<i32>,

    /// Never holds removals because many sessions ended
    #[arg(long)]
    brake_off: bool,

    /// Removes an unhealthy instance after so long
    #[arg(long, value_parser = parse::duration, value_name = "DURATION")]
    remove_unhealthy_after: Option<Duration>,

    /// Holds back instances whose health changes too often
    #[arg(long)]
    flap_damping: bool,

    /// Lets the weight of an instance grow over so long
    #[arg(long, value_parser = parse::duration, value_name = "DURATION")]
    slow_start: Option<Duration>,

    /// A label; may be repeated
    #[arg(long = "label", value_parser = parse::pair, value_name = "KEY=VALUE")]
    labels: Vec<(String, String)>,

    /// What the service is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    /// Shows the instances of this service instead
    #[arg(long, value_parser = parse::service, value_name = "[NAMESPACE/]SERVICE")]
    alias_of: Option<ServiceName>,

    /// A namespace whose services may be aliases of this one, or `*`; may be repeated
    #[arg(long = "export-to", value_name = "NAMESPACE")]
    exported_to: Vec<String>,

    /// Revision that the settings must have now; 0 means that there must be none
    #[arg(long, value_name = "REVISION")]
    expected_revision: Option<i64>,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

// === impl Put ===

impl Put {
    pub(super) async fn run(self) -> Outcome {
        let wire = |duration: Option<Duration>| duration.and_then(|d| d.try_into().ok());
        let settings = ServiceSettings {
            checks: self.checks.all(),
            panic_threshold: self.panic_threshold,
            brake_off: self.brake_off,
            remove_unhealthy_after: wire(self.remove_unhealthy_after),
            flap_damping: self.flap_damping,
            slow_start: wire(self.slow_start),
            labels: self.labels.into_iter().collect(),
            description: self.description.unwrap_or_default(),
            alias_of: self.alias_of,
            exported_to: self.exported_to,
            ..ServiceSettings::default()
        };
        let operator = self.connection.client()?.operator();
        let put = operator.put_service(&self.service, settings, self.expected_revision);
        let put = put.await?;
        let settings = put.settings.as_ref().map(settings_json);
        settings::put(&self.connection, &self.service, settings, put.unchanged)
    }
}
