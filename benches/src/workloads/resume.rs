//! All subscribers lose their connections and come back, some changes behind.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::deliveries::{LOST, stand, warn_of_losses};
use crate::{
    BenchError,
    counters::RANGES,
    meter::Meter,
    sample::{CPU, Goal, Metric, Sample},
    subscribers::{Subscribers, Tally},
    target::{Site, Target},
    wire::Selection,
    writer::Writer,
};

/// What the keys begin with, and what all watch.
const PREFIX: &str = "resume/";

/// From the first connection to when everybody has the last change.
const CURRENT: Metric = Metric::small("ms_until_current", "current ms");
/// Ranges that etcd served for each client that came back.
const STORE_CALLS: Metric = Metric::neither("store_calls_each", "calls each");
/// One for a hundred clients is what a server asks now and then anyway, whoever comes.
const NO_STORE_CALLS: f64 = 0.01;

/// What a run of the workload is like.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// How many streams come back.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    streams: u32,
    /// Over how many connections.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// By how many changes they are behind, each of another key.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    behind: u32,
    /// Bytes of a value.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(24..=60_000))]
    value_bytes: u32,
    /// How often they are dropped and come back.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    times: u32,
}

/// What is wanted of it.
pub(crate) const GOALS: &[Goal] = &[
    Goal::against(Target::Etcd, CURRENT, 8.0, 3.0),
    Goal::at_most(STORE_CALLS, NO_STORE_CALLS, NO_STORE_CALLS),
    Goal::against(Target::Etcd, CPU, 8.0, 3.0),
];

/// Measures one target.
pub(crate) async fn measure(site: &Site, options: &Options) -> Result<Sample, BenchError> {
    let shares = (options.streams, options.connections);
    let standing = stand(site, shares, Selection::Prefix(PREFIX), options.value_bytes).await?;
    let mut elapsed = Duration::ZERO;
    let mut tally = Tally::new(options.value_bytes);
    let (after, last) = write(site, &tally, options.behind).await?;
    drop(standing);
    sleep(Duration::from_millis(500)).await;

    let call = site.dialect().watch(Selection::Prefix(PREFIX), Some(after));
    let meter = Meter::start(site).await?;
    let (mut delivered, mut lost) = (0, 0);
    for _ in 0..options.times {
        tally.clear();
        tally.last.store(last, Relaxed);
        tally.tolerate_ends();
        let begun = Instant::now();
        let subscribers = Subscribers::start(site, shares, &call, &tally).await?;
        let all = u64::from(options.streams);
        if !tally.wait_until_current(options.streams).await? {
            let current = tally.current.load(Relaxed);
            let why = format!("{current} of {all} watches are current in time");
            return Err(BenchError::Failed(why));
        }
        elapsed += begun.elapsed();
        delivered += tally.delivered.load(Relaxed);
        lost += tally.ended.load(Relaxed);
        subscribers.close().await;
        // Values keep their times: the next ones have to be read with the same clock.
        tally = tally.renewed();
    }
    let usage = meter.stop(|| delivered).await?;

    let mut sample = Sample::of(usage);
    let times = f64::from(options.times);
    sample.set(CURRENT, elapsed.as_secs_f64() * 1000.0 / times);
    sample.set(LOST, lost as f64);
    let clients = f64::from(options.streams) * times;
    sample.set(STORE_CALLS, usage.counters.get(RANGES) / clients);
    let expected = u64::from(options.streams * options.behind) * u64::from(options.times);
    warn_of_losses(&mut sample, expected);
    Ok(sample)
}

/// Writes the changes they are behind by; tells the revision before them, and the time of the last.
async fn write(site: &Site, tally: &Tally, count: u32) -> Result<(i64, u64), BenchError> {
    let writer = Writer::connect(site, tally).await?;
    let after = writer
        .write(&format!("{PREFIX}before"), Instant::now())
        .await?;
    let mut last = Instant::now();
    for number in 0..count {
        last = Instant::now();
        writer.write(&format!("{PREFIX}{number}"), last).await?;
    }
    Ok((after, tally.clock.nanos(last)))
}
