//! Stanchion side by side with etcd and `etcd grpc-proxy`, in one run on one machine.
//!
//! Each workload starts fresh servers for each sample, takes turns between the targets, and
//! compares within a round. What counts is the CPU time of the server's process for each operation;
//! times on a clock depend on the machine and its neighbours.

mod fanout;
mod histogram;
mod process;
mod report;
mod target;
mod wire;

use std::{io::Write as _, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    /// Something of the operating system failed.
    #[error("{what}: {source}")]
    Io {
        what: String,
        #[source]
        source: std::io::Error,
    },
    /// No connection to a server.
    #[error("cannot connect: {0}")]
    Connect(#[from] tonic::transport::Error),
    /// A server refused a call.
    #[error("a call failed: {0}")]
    Call(#[from] tonic::Status),
    /// Servers did not do what the workload needs.
    #[error("{0}")]
    Failed(String),
}

/// Compares Stanchion with etcd and with `etcd grpc-proxy`.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The etcd to compare with and to run over.
    #[arg(long, env = "ETCD", default_value = "etcd", global = true)]
    etcd: PathBuf,
    /// The Stanchion to measure.
    #[arg(
        long,
        env = "STANCHION",
        default_value = "target/release/stanchion",
        global = true
    )]
    stanchion: PathBuf,
    /// Also writes the results here, as JSON.
    #[arg(long, value_name = "FILE", global = true)]
    json: Option<PathBuf>,
    /// After how many seconds the run is given up.
    #[arg(long, default_value_t = 600, global = true)]
    time_limit: u64,
    #[command(subcommand)]
    workload: Workload,
}

#[derive(Subcommand)]
enum Workload {
    /// Many watchers of one key that is written at a fixed rate.
    Fanout(fanout::Options),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing can be done about a closed stderr.
            let _ = writeln!(std::io::stderr(), "stanchion-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), BenchError> {
    // Before there are threads: they inherit it.
    let cores = process::Cores::divide()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| BenchError::io("cannot start a runtime", source))?;
    let programs = target::Programs {
        etcd: arguments.etcd.clone(),
        stanchion: arguments.stanchion.clone(),
        cores,
    };
    // Leaving the block drops the servers, and that ends them.
    let report = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())
            .map_err(|source| BenchError::io("cannot listen for signals", source))?;
        let workload = async {
            match &arguments.workload {
                Workload::Fanout(options) => fanout::run(&programs, options).await,
            }
        };
        tokio::select! {
            report = workload => report,
            _ = tokio::signal::ctrl_c() => Err(BenchError::Failed("interrupted".to_owned())),
            _ = terminate.recv() => Err(BenchError::Failed("terminated".to_owned())),
            () = tokio::time::sleep(Duration::from_secs(arguments.time_limit)) => {
                Err(BenchError::Failed(format!("not done after {} s", arguments.time_limit)))
            }
        }
    })?;
    std::io::stdout()
        .write_all(report.table().as_bytes())
        .map_err(|source| BenchError::io("cannot print", source))?;
    if let Some(path) = &arguments.json {
        std::fs::write(path, format!("{:#}\n", report.json())).map_err(|source| {
            BenchError::io(&format!("cannot write {}", path.display()), source)
        })?;
    }
    Ok(())
}

// === impl BenchError ===

impl BenchError {
    fn io(what: &str, source: std::io::Error) -> Self {
        Self::Io {
            what: what.to_owned(),
            source,
        }
    }
}
