//! Stanchion side by side with etcd and `etcd grpc-proxy`, in one run on one machine.
//!
//! Each workload starts fresh servers for each sample, takes turns between the targets, and
//! compares within a round. What counts is the CPU time of the server's process for each operation;
//! times on a clock depend on the machine and its neighbours.
//!
//! [`workloads`] says how to add one.

mod arguments;
mod counters;
mod due;
mod error;
mod etcd;
mod histogram;
mod http2;
mod mark;
mod meter;
mod peers;
mod process;
mod raw;
mod report;
mod sample;
mod subscribers;
mod suite;
mod target;
mod wire;
mod workloads;
mod writer;

use std::{
    io::Write as _,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use tokio::signal::unix::{SignalKind, signal};

use self::{arguments::Arguments, report::Results, target::Programs};
pub(crate) use error::BenchError;

fn main() -> ExitCode {
    let arguments = Arguments::read();
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
    // Before there are threads and children: they inherit both.
    let cores = process::Cores::divide()?;
    process::raise_open_files()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| BenchError::io("cannot start a runtime", source))?;
    let programs = Programs {
        etcd: arguments.etcd.clone(),
        stanchion: arguments.stanchion.clone(),
        recipe: arguments.recipe.clone(),
        cores,
    };
    let limit = Duration::from_secs(arguments.time_limit);
    // Leaving the block drops the servers, and that ends them.
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())
            .map_err(|source| BenchError::io("cannot listen for signals", source))?;
        tokio::select! {
            done = measure(arguments, &programs) => done,
            _ = tokio::signal::ctrl_c() => Err(BenchError::failed("interrupted")),
            _ = terminate.recv() => Err(BenchError::failed("terminated")),
            () = tokio::time::sleep(limit) => {
                Err(BenchError::failed(format!("not done after {} s", limit.as_secs())))
            }
        }
    })
}

/// Runs the workloads, and tells the results of each as soon as they are there. One that fails
/// does not take the others with it.
async fn measure(arguments: &Arguments, programs: &Programs) -> Result<(), BenchError> {
    if let Some(options) = &arguments.peers {
        return compare_peers(arguments, options, programs).await;
    }
    let mut results = Results::new(programs)?;
    print(&results.head())?;
    let mut failed = Vec::new();
    for planned in &arguments.workloads {
        let begun = Instant::now();
        match planned.run(programs, arguments.rounds).await {
            Ok(report) => {
                print(&report.table(begun.elapsed()))?;
                results.add(report);
                keep(arguments, &results)?;
            }
            Err(error) => {
                print(&format!("\n{error}\n"))?;
                failed.push(error.to_string());
            }
        }
    }
    print(&results.tail())?;
    if failed.is_empty() {
        Ok(())
    } else {
        Err(BenchError::Failed(failed.join("; ")))
    }
}

/// Compares with other registries, and tells the results.
async fn compare_peers(
    arguments: &Arguments,
    options: &peers::Options,
    programs: &Programs,
) -> Result<(), BenchError> {
    let report = peers::run(programs, options, arguments.rounds).await?;
    print(&report.table())?;
    match &arguments.json {
        Some(path) => write(path, &format!("{:#}\n", report.json())),
        None => Ok(()),
    }
}

/// Writes the files that were asked for.
fn keep(arguments: &Arguments, results: &Results) -> Result<(), BenchError> {
    if let Some(path) = &arguments.json {
        write(path, &format!("{:#}\n", results.json()))?;
    }
    if let Some(path) = &arguments.svg {
        write(path, &results.svg())?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), BenchError> {
    std::fs::write(path, text)
        .map_err(|source| BenchError::io(&format!("cannot write {}", path.display()), source))
}

fn print(text: &str) -> Result<(), BenchError> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|source| BenchError::io("cannot print", source))
}
