//! `service …`: what operators decide about a service.

mod release_brake;

use clap::Subcommand;

use super::{Outcome, connection::Connection};

/// Decide about a service
#[derive(Debug, Subcommand)]
pub(crate) enum Service {
    ReleaseBrake(release_brake::ReleaseBrake),
}

// === impl Service ===

impl Service {
    pub(super) async fn run(self) -> Outcome {
        match self {
            Self::ReleaseBrake(command) => command.run().await,
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        match self {
            Self::ReleaseBrake(command) => &command.connection,
        }
    }
}
