//! The client commands: what people type. One file per group; each is "ask the client library,
//! print".

mod audit;
mod barrier;
mod barriers;
mod checks;
mod child;
mod colour;
mod config;
mod connection;
mod decision;
mod deregister;
mod doctor;
mod drain;
mod elect;
mod elections;
mod exit;
mod failure;
mod file;
mod health;
mod instances;
mod isolate;
mod latch;
mod leader;
mod lock;
mod locks;
mod namespace;
mod output;
mod overlay;
mod parse;
mod register;
mod service;
mod services;
mod sessions;
mod settings;
mod signals;
mod subscribers;

use std::process::ExitCode;

use clap::Subcommand;

use self::{exit::Exit, failure::Failure};

/// What a command comes to: its own exit code (that of a child, for example), or a failure.
type Outcome = Result<Exit, Failure>;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Doctor(doctor::Doctor),
    Register(Box<register::Register>),
    Instances(instances::Instances),
    Services(services::Services),
    #[command(subcommand)]
    Service(service::Service),
    Deregister(deregister::Deregister),
    Drain(drain::Drain),
    Subscribers(subscribers::Subscribers),
    #[command(subcommand)]
    Health(health::Health),
    Isolate(isolate::Isolate),
    Restore(isolate::Restore),
    Overlay(overlay::Overlay),
    #[command(subcommand)]
    Config(Box<config::Config>),
    #[command(subcommand)]
    Audit(audit::Audit),
    Lock(lock::Lock),
    Locks(locks::Locks),
    Elect(elect::Elect),
    Leader(leader::Leader),
    Elections(elections::Elections),
    Barrier(barrier::Barrier),
    Barriers(barriers::Barriers),
    #[command(subcommand)]
    Latch(latch::Latch),
    Sessions(sessions::Sessions),
    Namespaces(namespace::Namespaces),
    #[command(subcommand)]
    Namespace(namespace::Namespace),
}

/// The table of exit codes, for `--help`.
pub(crate) fn exit_codes() -> String {
    exit::table()
}

/// Runs a command to its end.
pub(crate) fn main(command: Command) -> ExitCode {
    let json = command.connection().is_json();
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("no runtime: {error}")))
        .and_then(|runtime| {
            let outcome = runtime.block_on(command.run());
            // A blocked read of standard input must not hold up the end.
            runtime.shutdown_background();
            outcome
        });
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.report(json);
            failure.exit.into()
        }
    }
}

// === impl Command ===

impl Command {
    async fn run(self) -> Outcome {
        match self {
            Self::Doctor(command) => command.run().await,
            Self::Register(command) => command.run().await,
            Self::Instances(command) => command.run().await,
            Self::Services(command) => command.run().await,
            Self::Service(command) => command.run().await,
            Self::Deregister(command) => command.run().await,
            Self::Health(command) => command.run().await,
            Self::Drain(command) => command.run().await,
            Self::Subscribers(command) => command.run().await,
            Self::Isolate(command) => command.run().await,
            Self::Restore(command) => command.run().await,
            Self::Overlay(command) => command.run().await,
            Self::Config(command) => command.run().await,
            Self::Audit(command) => command.run().await,
            Self::Lock(command) => command.run().await,
            Self::Locks(command) => command.run().await,
            Self::Elect(command) => command.run().await,
            Self::Leader(command) => command.run().await,
            Self::Elections(command) => command.run().await,
            Self::Barrier(command) => command.run().await,
            Self::Barriers(command) => command.run().await,
            Self::Latch(command) => command.run().await,
            Self::Sessions(command) => command.run().await,
            Self::Namespaces(command) => command.run().await,
            Self::Namespace(command) => command.run().await,
        }
    }

    fn connection(&self) -> &connection::Connection {
        match self {
            Self::Doctor(command) => &command.connection,
            Self::Register(command) => &command.connection,
            Self::Instances(command) => &command.connection,
            Self::Services(command) => &command.connection,
            Self::Service(command) => command.connection(),
            Self::Deregister(command) => &command.connection,
            Self::Health(command) => command.connection(),
            Self::Drain(command) => &command.connection,
            Self::Subscribers(command) => &command.connection,
            Self::Isolate(command) => &command.connection,
            Self::Restore(command) => &command.connection,
            Self::Overlay(command) => &command.connection,
            Self::Config(command) => command.connection(),
            Self::Audit(command) => command.connection(),
            Self::Lock(command) => &command.connection,
            Self::Locks(command) => command.connection(),
            Self::Elect(command) => &command.connection,
            Self::Leader(command) => &command.connection,
            Self::Elections(command) => &command.connection,
            Self::Barrier(command) => &command.connection,
            Self::Barriers(command) => command.connection(),
            Self::Latch(command) => command.connection(),
            Self::Sessions(command) => &command.connection,
            Self::Namespaces(command) => &command.connection,
            Self::Namespace(command) => command.connection(),
        }
    }
}
