//! What programs would use instead: Stanchion side by side with ZooKeeper.
//!
//! Both get the same load from clients of the same make: 32 connections with one operation at a
//! time for all but listening, and one connection for each listener. What Stanchion's etcd
//! uses is counted as Stanchion's.
//!
//! A Java program gets faster while it runs. ZooKeeper is therefore kept under the load of each
//! workload for so long that its hot code is compiled before anything is measured; the report says
//! how long.

mod load;
mod measure;
mod push;
mod report;
mod site;
mod stanchion;
mod zookeeper;

use std::time::Duration;

use self::{
    measure::{WORKLOADS, measure},
    report::Report,
    stanchion::Stanchion,
    zookeeper::ZooKeeper,
};
use crate::{BenchError, target::Programs};

/// What a run is like.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Connections of programs that do something, with one operation at a time each.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
    /// Programs that wait for a config, with one connection each.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    listeners: u32,
    /// Writes of the config in a second, for those who listen.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: u32,
    /// Bytes of the config.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(8..=60_000))]
    content_bytes: u32,
    /// Seconds for which each workload is measured.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..=60))]
    seconds: u32,
    /// Seconds for which ZooKeeper is warmed up, as long for each workload.
    #[arg(long, default_value_t = 36, value_parser = clap::value_parser!(u32).range(6..=600))]
    warm_up: u32,
    /// Only this workload; default: all.
    #[arg(long, value_parser = WORKLOADS)]
    only: Option<String>,
}

/// Who is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    ZooKeeper,
    Stanchion,
}

/// Enough for pools, caches and buffers of a program that is compiled already.
const COMPILED_WARM_UP: Duration = Duration::from_secs(1);

/// Measures both in turns.
pub(crate) async fn run(
    programs: &Programs,
    options: &Options,
    rounds: u32,
) -> Result<Report, BenchError> {
    let mut report = Report::new(programs, options, rounds)?;
    let content = vec![b'.'; options.content_bytes as usize];
    for round in 1..=rounds {
        // A block each: one server at a time.
        {
            let site = ZooKeeper::start(programs.cores, &content).await?;
            let warm_up = Duration::from_secs(u64::from(options.warm_up)) / options.workloads();
            report.add(
                round,
                Peer::ZooKeeper,
                measure(&site, options, warm_up).await?,
            );
        }
        {
            let site = Stanchion::start(programs, &content).await?;
            let samples = measure(&site, options, COMPILED_WARM_UP).await?;
            report.add(round, Peer::Stanchion, samples);
        }
    }
    Ok(report)
}

// === impl Peer ===

impl Peer {
    /// Both, in the order of a round.
    const ALL: [Self; 2] = [Self::ZooKeeper, Self::Stanchion];

    fn name(self) -> &'static str {
        match self {
            Self::ZooKeeper => "zookeeper",
            Self::Stanchion => "stanchion",
        }
    }
}

// === impl Options ===

impl Options {
    /// Whether a workload is measured.
    fn wants(&self, workload: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == workload)
    }

    /// How many workloads are measured.
    fn workloads(&self) -> u32 {
        WORKLOADS.iter().filter(|name| self.wants(name)).count() as u32
    }

    /// How often the config is written in that time.
    fn pushes_in(&self, time: Duration) -> u32 {
        (time.as_secs_f64() * f64::from(self.rate)) as u32
    }
}
