//! The command line.

use std::path::PathBuf;

use clap::{ArgMatches, Args as _, Command, FromArgMatches as _};

use crate::{peers, suite::Planned, workloads};

/// Runs every workload.
const ALL: &str = "all";

/// Compares with what users would pick instead.
const PEERS: &str = "peers";

/// Rounds, if the command line says nothing.
const ROUNDS: u32 = 5;
const SHORT_ROUNDS: u32 = 3;

/// What to do.
pub(crate) struct Arguments {
    /// The etcd to compare with and to run over.
    pub(crate) etcd: PathBuf,
    /// The Stanchion to measure.
    pub(crate) stanchion: PathBuf,
    /// Locks over etcd's own client, to compare with.
    pub(crate) recipe: PathBuf,
    /// Where to write the results as JSON.
    pub(crate) json: Option<PathBuf>,
    /// Where to draw the ratios.
    pub(crate) svg: Option<PathBuf>,
    /// Seconds.
    pub(crate) time_limit: u64,
    /// Rounds of each workload.
    pub(crate) rounds: u32,
    /// What to run.
    pub(crate) workloads: Vec<Planned>,
    /// How to compare with other registries, if that is what to do.
    pub(crate) peers: Option<peers::Options>,
}

/// What all workloads have in common.
#[derive(Debug, clap::Args)]
struct Common {
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
    /// Locks over etcd's own client, to compare with; `benches/recipe`, built.
    #[arg(
        long,
        env = "RECIPE",
        default_value = "target/bench/recipe",
        global = true
    )]
    recipe: PathBuf,
    /// Also writes the results here, as JSON.
    #[arg(long, value_name = "FILE", global = true)]
    json: Option<PathBuf>,
    /// Also draws the ratios here, as SVG.
    #[arg(long, value_name = "FILE", global = true)]
    svg: Option<PathBuf>,
    /// After how many seconds the run is given up.
    #[arg(long, default_value_t = 3600, global = true)]
    time_limit: u64,
    /// Rounds, each over all targets [default: 5, and 3 in the short form].
    #[arg(long, global = true, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// The short form, which takes less than two minutes for each workload.
    #[arg(long, global = true)]
    short: bool,
}

// === impl Arguments ===

impl Arguments {
    /// Reads the command line, and ends the program if that is wrong.
    pub(crate) fn read() -> Self {
        let line = std::env::args().collect();
        Self::parse(line).unwrap_or_else(|error| error.exit())
    }

    fn parse(mut line: Vec<String>) -> Result<Self, clap::Error> {
        let short = line.iter().any(|argument| argument == "--short");
        if short {
            lengthen(&mut line);
        }
        let matches = command().try_get_matches_from(line)?;
        let common = Common::from_arg_matches(&matches)?;
        let default_rounds = if short { SHORT_ROUNDS } else { ROUNDS };
        let peers = matches.subcommand_matches(PEERS);
        Ok(Self {
            peers: peers.map(peers::Options::from_arg_matches).transpose()?,
            workloads: plan(&matches, common.short)?,
            rounds: common.rounds.unwrap_or(default_rounds),
            etcd: common.etcd,
            stanchion: common.stanchion,
            recipe: common.recipe,
            json: common.json,
            svg: common.svg,
            time_limit: common.time_limit,
        })
    }
}

fn command() -> Command {
    let about = "Compares Stanchion with etcd and with `etcd grpc-proxy`";
    let command = Command::new("stanchion-bench")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .subcommand(Command::new(ALL).about("All workloads, one after the other"));
    let peers = peers::Options::augment_args(Command::new(PEERS))
        .about("ZooKeeper and Stanchion, with clients of the same make");
    let command = command.subcommand(peers);
    let each = workloads::all().into_iter();
    let command = Common::augment_args(command).about(about);
    command.subcommands(each.map(|workload| workload.command()))
}

/// Puts the arguments of a workload's short form right behind its name, where those that follow
/// count more.
fn lengthen(line: &mut Vec<String>) {
    for workload in workloads::all() {
        if let Some(at) = line.iter().position(|argument| argument == workload.name) {
            let short = workload.short.iter().map(|argument| (*argument).to_owned());
            line.splice(at + 1..at + 1, short);
            return;
        }
    }
}

fn plan(matches: &ArgMatches, short: bool) -> Result<Vec<Planned>, clap::Error> {
    let chosen = matches.subcommand();
    let mut planned = Vec::new();
    for workload in workloads::all() {
        match chosen {
            Some((ALL, _)) => {
                let defaults = workload.defaults(short)?;
                planned.push(Planned::new(workload, &defaults)?);
            }
            Some((name, options)) if name == workload.name => {
                planned.push(Planned::new(workload, options)?);
            }
            _ => {}
        }
    }
    Ok(planned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_means_every_workload() {
        let parse = |line: &str| Arguments::parse(line.split(' ').map(str::to_owned).collect());
        let arguments = parse("bench all --short").unwrap();
        assert_eq!(arguments.workloads.len(), workloads::all().len());
        assert_eq!(arguments.rounds, SHORT_ROUNDS);
        let arguments = parse("bench fanout --rounds 7 --streams 10").unwrap();
        assert_eq!((arguments.workloads.len(), arguments.rounds), (1, 7));
        assert!(parse("bench nothing").is_err());
    }
}
