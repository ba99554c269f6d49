//! The `stanchion` binary: a server, and the command line of one.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stanchion::{serve, settings::ServeArgs};

/// Service registry, config centre, locks and elections over etcd.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves the API until it is told to stop.
    Serve(ServeArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(args) => serve::run(args).await,
    }
}
