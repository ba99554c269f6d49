//! `service …`: what operators decide about a service.

mod put;
mod read;
mod release_brake;

use clap::Subcommand;
use stanchion_client::proto::ServiceName;

use super::{Outcome, connection::Connection};

/// Decide about a service
#[derive(Debug, Subcommand)]
pub(crate) enum Service {
    Put(Box<put::Put>),
    Get(read::Get),
    Delete(read::Delete),
    ReleaseBrake(release_brake::ReleaseBrake),
}

// === impl Service ===

impl Service {
    pub(super) async fn run(self) -> Outcome {
        match self {
            Self::Put(command) => command.run().await,
            Self::Get(command) => command.run().await,
            Self::Delete(command) => command.run().await,
            Self::ReleaseBrake(command) => command.run().await,
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        match self {
            Self::Put(command) => &command.connection,
            Self::Get(command) => &command.connection,
            Self::Delete(command) => &command.connection,
            Self::ReleaseBrake(command) => &command.connection,
        }
    }
}

/// `namespace/service`.
pub(super) fn path(name: &ServiceName) -> String {
    format!("{}/{}", name.namespace, name.service)
}
