//! Bursts: ten keys written at once, and again as soon as everybody has all ten.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use super::deliveries::stand;
use crate::{
    BenchError,
    meter::Meter,
    sample::{Goal, Metric, Sample},
    target::{Site, Target},
    wire::Selection,
    writer::Writer,
};

/// What the keys begin with, and what all watch.
const PREFIX: &str = "burst/";

/// Deliveries in a second of the server's CPU.
const EVENTS_PER_CORE: Metric = Metric::large("events_per_core_second", "events/s core");

/// What a run of the workload is like.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// How many streams watch the keys.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    streams: u32,
    /// Over how many connections.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Keys of a burst.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    keys: u32,
    /// Bytes of a value.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(24..=60_000))]
    value_bytes: u32,
    /// Seconds that are measured; less than 2 is too coarse for the kernel's clock.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..=600))]
    seconds: u32,
}

/// What is wanted of it.
pub(crate) const GOALS: &[Goal] = &[Goal::against(Target::GrpcProxy, EVENTS_PER_CORE, 12.0, 6.0)];

/// Measures one target.
pub(crate) async fn measure(site: &Site, options: &Options) -> Result<Sample, BenchError> {
    let shares = (options.streams, options.connections);
    let selection = Selection::Prefix(PREFIX);
    let standing = stand(site, shares, selection, options.value_bytes).await?;
    let tally = &standing.tally;
    let writer = Writer::connect(site, tally).await?;
    let keys: Vec<_> = (0..options.keys)
        .map(|key| format!("{PREFIX}{key}"))
        .collect();
    let each = u64::from(options.keys) * u64::from(options.streams);
    let write_for = async |duration: Duration| {
        let begun = Instant::now();
        let mut bursts = 0;
        tally.clear();
        while begun.elapsed() < duration {
            writer.burst(&keys).await?;
            bursts += 1;
            if !tally.wait_for(&tally.delivered, bursts * each).await? {
                return Err(BenchError::failed("a burst is not delivered to all"));
            }
        }
        Ok(())
    };

    write_for(Duration::from_secs(1)).await?;
    let meter = Meter::start(site).await?;
    write_for(Duration::from_secs(u64::from(options.seconds))).await?;
    let usage = meter.stop(|| tally.delivered.load(Relaxed)).await?;
    let mut sample = standing.sample(usage);
    let events = usage.operations as f64;
    sample.set(
        EVENTS_PER_CORE,
        events / usage.server.as_secs_f64().max(0.01),
    );
    Ok(sample)
}
