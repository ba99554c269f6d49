//! `namespace put`.

use clap::Args;
use stanchion_client::proto::NamespaceSettings;

use super::read::settings_json;
use crate::cli::{Outcome, connection::Connection, parse, settings};

/// Set all that can be set for a namespace
///
/// What is not said has its default again: a quota that is not said is none.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion namespace put shop --max-instances 500")]
pub(crate) struct Put {
    /// The namespace
    #[arg(value_name = "NAMESPACE")]
    name: String,

    /// Most instances it may have
    #[arg(long, value_name = "NUMBER")]
    max_instances: Option<i32>,

    /// Most services it may have
    #[arg(long, value_name = "NUMBER")]
    max_services: Option<i32>,

    /// Most sessions that may have something in it
    #[arg(long, value_name = "NUMBER")]
    max_sessions: Option<i32>,

    /// A label; may be repeated
    #[arg(long = "label", value_parser = parse::pair, value_name = "KEY=VALUE")]
    labels: Vec<(String, String)>,

    /// What the namespace is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    /// Revision that the settings must have now; 0 means that there must be none
    #[arg(long, value_name = "REVISION")]
    expected_revision: Option<i64>,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

// === impl Put ===

impl Put {
    pub(super) async fn run(self) -> Outcome {
        let settings = NamespaceSettings {
            description: self.description.unwrap_or_default(),
            labels: self.labels.into_iter().collect(),
            max_instances: self.max_instances,
            max_services: self.max_services,
            max_sessions: self.max_sessions,
            ..NamespaceSettings::default()
        };
        let client = self.connection.client()?.with_namespace(&self.name);
        let put = client.operator();
        let put = put.put_namespace(settings, self.expected_revision).await?;
        let settings = put.settings.as_ref().map(settings_json);
        settings::put(&self.connection, &self.name, settings, put.unchanged)
    }
}
