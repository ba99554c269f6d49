//! `config pin`, `config unpin`.

use clap::Args;
use serde_json::json;

use super::Grounds;
use crate::cli::{Outcome, connection::Connection, exit::Exit, output};

/// Keep a version, however old it gets
///
/// Others are forgotten once many come after them and they are old enough.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion config pin shop/limits 3 -m 'as it was audited'")]
pub(crate) struct Pin {
    /// Key of the config
    key: String,

    /// The version
    version: i64,

    #[command(flatten)]
    grounds: Grounds,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// Keep a version no longer than others
///
/// Exits 3 if it is not pinned.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion config unpin shop/limits 3")]
pub(crate) struct Unpin {
    /// Key of the config
    key: String,

    /// The version
    version: i64,

    #[command(flatten)]
    grounds: Grounds,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

// === impl Pin ===

impl Pin {
    pub(super) async fn run(self) -> Outcome {
        let configs = self.connection.client()?.config();
        let options = self.grounds.options(None);
        let answer = configs.pin(&self.key, self.version, options).await?;
        let pin = answer.pin.unwrap_or_default();
        if self.connection.is_json() {
            output::json(&json!({
                "namespace": pin.namespace,
                "key": pin.key,
                "version": pin.version,
                "author": pin.author,
                "comment": pin.comment,
                "create_time": output::time(pin.create_time),
                "revision": pin.revision,
                "unchanged": answer.unchanged,
            }))?;
        } else {
            let unchanged = if answer.unchanged { ", unchanged" } else { "" };
            let (key, version) = (pin.key, pin.version);
            output::line(&format!("{key} version {version} pinned{unchanged}"))?;
        }
        Ok(Exit::Ok)
    }
}

// === impl Unpin ===

impl Unpin {
    pub(super) async fn run(self) -> Outcome {
        let Self { key, version, .. } = &self;
        let configs = self.connection.client()?.config();
        let options = self.grounds.options(None);
        let answer = configs.unpin(key, *version, options).await?;
        let unpinned = answer.unpinned;
        if self.connection.is_json() {
            output::json(&json!({"key": key, "version": version, "unpinned": unpinned}))?;
        } else if unpinned {
            output::line(&format!("{key} version {version} unpinned"))?;
        } else {
            output::note(&format!("{key} version {version} is not pinned"))?;
        }
        Ok(match unpinned {
            true => Exit::Ok,
            false => Exit::NotFound,
        })
    }
}
