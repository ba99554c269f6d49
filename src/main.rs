//! The `stanchion` binary: the server, and the commands that are its clients.

mod cli;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use stanchion::{serve, settings::ServeArgs};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Service registry, config centre and locks, as one gRPC service.
#[derive(Parser)]
#[command(name = "stanchion", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
#[allow(clippy::large_enum_variant)] // There is one, for a moment.
enum Command {
    /// Serve the API until told to stop
    Serve(ServeArgs),
    #[command(flatten)]
    Client(cli::Command),
}

fn main() -> ExitCode {
    let parser = Arguments::command().after_help(cli::exit_codes());
    let arguments = match Arguments::from_arg_matches(&parser.get_matches()) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    match arguments.command {
        Command::Serve(settings) => serve::run(settings),
        Command::Client(command) => cli::main(command),
    }
}
