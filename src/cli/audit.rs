//! `audit …`: who changed what.

mod list;
mod verify;

use clap::Subcommand;

use super::{Outcome, connection::Connection};

/// See who changed what, and whether the record of it is whole
#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    List(list::List),
    Verify(verify::Verify),
}

// === impl Audit ===

impl Audit {
    pub(super) async fn run(self) -> Outcome {
        match self {
            Self::List(command) => command.run().await,
            Self::Verify(command) => command.run().await,
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        match self {
            Self::List(command) => &command.connection,
            Self::Verify(command) => &command.connection,
        }
    }
}
