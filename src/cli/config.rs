//! `config …`: one file for each command; `changes`, `item`, `show`, `folder`, `plan` are what they
//! share.

mod at;
mod blame;
mod change;
mod changes;
mod commit;
mod diff;
mod draft;
mod edit;
mod folder;
mod get;
mod import;
mod item;
mod list;
mod pin;
mod plan;
mod react;
mod release;
mod schema;
mod show;
mod transfer;
mod watch;

use clap::{Args, Subcommand};
use stanchion_client::{ChangeOptions, config::Commit, proto::Guard};

use super::{Outcome, connection::Connection, parse};

/// Read, change and follow configuration
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    Get(get::Get),
    At(at::At),
    Put(change::Put),
    Edit(edit::Edit),
    List(list::List),
    Watch(watch::Watch),
    History(list::History),
    Diff(diff::Diff),
    Blame(blame::Blame),
    Rollback(change::Rollback),
    Delete(change::Delete),
    Pin(pin::Pin),
    Unpin(pin::Unpin),
    Export(transfer::Export),
    Import(import::Import),
    Plan(transfer::Plans),
    Apply(transfer::Apply),
    Commit(commit::Commit),
    #[command(subcommand)]
    Draft(draft::Draft),
    #[command(subcommand)]
    Release(release::Release),
    #[command(subcommand)]
    Schema(schema::Schema),
}

/// Conditions and notes of a change.
#[derive(Debug, Args)]
struct Change {
    /// Version it must have now; 0 means that it must not exist
    #[arg(long, value_name = "VERSION")]
    expected_version: Option<i64>,

    /// SHA-256 its content must have now
    #[arg(long, value_name = "HEX")]
    expected_sha256: Option<String>,

    /// Says what would come of it, and changes nothing
    #[arg(long)]
    validate_only: bool,

    #[command(flatten)]
    grounds: Grounds,
}

/// When something may be changed, and why it is.
#[derive(Debug, Args)]
struct Grounds {
    /// Changes it only while this lock is held; the token defaults to $STANCHION_FENCING_TOKEN
    #[arg(long, value_parser = parse::guard, value_name = "LOCK[=TOKEN]")]
    guard: Option<Guard>,

    /// Changes it only while this election is led; the term defaults to $STANCHION_TERM
    #[arg(
        long,
        value_parser = parse::term,
        value_name = "ELECTION[=TERM]",
        conflicts_with = "guard"
    )]
    led: Option<Guard>,

    /// Why
    #[arg(short = 'm', long, value_name = "TEXT")]
    comment: Option<String>,
}

// === impl Config ===

impl Config {
    pub(super) async fn run(self) -> Outcome {
        match self {
            Self::Get(command) => command.run().await,
            Self::At(command) => command.run().await,
            Self::Put(command) => command.run().await,
            Self::Edit(command) => command.run().await,
            Self::List(command) => command.run().await,
            Self::Watch(command) => command.run().await,
            Self::History(command) => command.run().await,
            Self::Diff(command) => command.run().await,
            Self::Blame(command) => command.run().await,
            Self::Rollback(command) => command.run().await,
            Self::Delete(command) => command.run().await,
            Self::Pin(command) => command.run().await,
            Self::Unpin(command) => command.run().await,
            Self::Export(command) => command.run().await,
            Self::Import(command) => command.run().await,
            Self::Plan(command) => command.run().await,
            Self::Apply(command) => command.run().await,
            Self::Commit(command) => command.run().await,
            Self::Draft(command) => command.run().await,
            Self::Release(command) => command.run().await,
            Self::Schema(command) => command.run().await,
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        match self {
            Self::Get(command) => &command.connection,
            Self::At(command) => &command.connection,
            Self::Put(command) => &command.connection,
            Self::Edit(command) => &command.connection,
            Self::List(command) => &command.connection,
            Self::Watch(command) => &command.connection,
            Self::History(command) => &command.connection,
            Self::Diff(command) => &command.connection,
            Self::Blame(command) => &command.connection,
            Self::Rollback(command) => &command.connection,
            Self::Delete(command) => &command.connection,
            Self::Pin(command) => &command.connection,
            Self::Unpin(command) => &command.connection,
            Self::Export(command) => &command.connection,
            Self::Import(command) => &command.connection,
            Self::Plan(command) => &command.connection,
            Self::Apply(command) => &command.connection,
            Self::Commit(command) => &command.connection,
            Self::Draft(command) => command.connection(),
            Self::Release(command) => command.connection(),
            Self::Schema(command) => command.connection(),
        }
    }
}

// === impl Change ===

impl Change {
    fn options(&self) -> ChangeOptions {
        ChangeOptions {
            expected_sha256: self.expected_sha256.clone(),
            validate_only: self.validate_only,
            ..self.grounds.options(self.expected_version)
        }
    }
}

// === impl Grounds ===

impl Grounds {
    fn options(&self, expected_version: Option<i64>) -> ChangeOptions {
        ChangeOptions {
            expected_version,
            guard: self.guard.clone().or_else(|| self.led.clone()),
            comment: self.comment.clone().unwrap_or_default(),
            ..ChangeOptions::default()
        }
    }

    /// The changes, with when they may be made and why they are.
    fn on(&self, commit: Commit) -> Commit {
        let ChangeOptions { guard, comment, .. } = self.options(None);
        let commit = commit.comment(comment);
        match guard {
            Some(guard) => commit.guard(guard),
            None => commit,
        }
    }
}
