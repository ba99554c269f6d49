//! What every command takes: where the server is, and how to print.

use std::env;

use clap::{Args, ValueEnum};
use stanchion_client::{Client, Options, SessionOptions};

use super::failure::Failure;

/// Where the server listens unless told otherwise.
const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:7650";

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection and output")]
pub(crate) struct Connection {
    /// Server to talk to; several are tried in turn [default: http://127.0.0.1:7650]
    #[arg(
        long,
        env = "STANCHION_ENDPOINT",
        value_name = "URL",
        value_delimiter = ','
    )]
    endpoint: Vec<String>,

    /// Namespace of the request [default: default]
    #[arg(short, long, env = "STANCHION_NAMESPACE", value_name = "NAME")]
    namespace: Option<String>,

    /// How to print
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(super) output: Format,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Table,
    /// For people, with all there is to say
    Wide,
    /// For programs: field names do not change
    Json,
}

// === impl Connection ===

impl Connection {
    pub(crate) fn is_json(&self) -> bool {
        self.output == Format::Json
    }

    pub(crate) fn client(&self) -> Result<Client, Failure> {
        self.client_with(SessionOptions::default())
    }

    pub(crate) fn client_with(&self, session: SessionOptions) -> Result<Client, Failure> {
        let options = Options {
            namespace: self.namespace.clone().unwrap_or_default(),
            actor: actor(),
            session,
            // People wait for the answer: an endpoint that refuses is told at once.
            attempts: 2,
            shuffle_endpoints: false,
            ..Options::default()
        };
        Ok(Client::connect(self.endpoints(), options)?)
    }

    pub(crate) fn endpoints(&self) -> Vec<String> {
        if !self.endpoint.is_empty() {
            return self.endpoint.clone();
        }
        let several = env::var("STANCHION_ENDPOINTS").unwrap_or_default();
        let several: Vec<_> = several
            .split(',')
            .map(str::trim)
            .filter(|endpoint| !endpoint.is_empty())
            .map(str::to_owned)
            .collect();
        match several.is_empty() {
            true => vec![DEFAULT_ENDPOINT.to_owned()],
            false => several,
        }
    }
}

/// Closes the client's session before the program ends. If that fails it expires by itself.
pub(crate) async fn close(client: &Client) {
    if let Err(error) = client.close().await {
        tracing::debug!(%error, "the session was not closed and will expire");
    }
}

/// Who asks: `user@host`.
pub(crate) fn actor() -> String {
    let user = env::var("USER").unwrap_or_else(|_| "unknown".into());
    format!("{user}@{}", host())
}

/// Name of this machine.
pub(crate) fn host() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}
