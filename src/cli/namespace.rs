//! `namespace …`: what operators decide about a namespace.

mod put;
mod read;

use clap::Subcommand;

use super::{Outcome, connection::Connection};

pub(super) use self::read::Namespaces;

/// Decide about a namespace
#[derive(Debug, Subcommand)]
pub(crate) enum Namespace {
    Put(put::Put),
    Get(read::Get),
    Delete(read::Delete),
}

// === impl Namespace ===

impl Namespace {
    pub(super) async fn run(self) -> Outcome {
        match self {
            Self::Put(command) => command.run().await,
            Self::Get(command) => command.run().await,
            Self::Delete(command) => command.run().await,
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        match self {
            Self::Put(command) => &command.connection,
            Self::Get(command) => &command.connection,
            Self::Delete(command) => &command.connection,
        }
    }
}
