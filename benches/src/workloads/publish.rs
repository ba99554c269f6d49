//! A config for which many programs wait: until the last one has it.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use super::deliveries::{KEY, stand, warn_of_losses};
use crate::{
    BenchError,
    due::wait_until,
    histogram::Histogram,
    meter::Meter,
    sample::{CPU, Goal, Metric, Sample},
    subscribers::Tally,
    target::{Site, Target},
    wire::Selection,
    writer::Writer,
};

/// Until the last watcher has a content, half of the time.
const LAST_P50: Metric = Metric::small("last_p50_ms", "last p50 ms");
/// The same in 99 of 100 cases.
const LAST_P99: Metric = Metric::small("last_p99_ms", "last p99 ms");

/// For caches, pools and buffers to grow.
const WARM_UP: u32 = 10;

/// What a run of the workload is like.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Programs that watch, each over a connection of its own.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    watchers: u32,
    /// Writes in a second, unless it takes longer until all have one.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: u32,
    /// Bytes of a content.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(24..=60_000))]
    content_bytes: u32,
    /// Seconds that are measured, if all have each content in time.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(2..=600))]
    seconds: u32,
}

/// What is wanted of it.
pub(crate) const GOALS: &[Goal] = &[
    Goal::against(Target::Etcd, CPU, 2.3, 1.6),
    Goal::against(Target::Etcd, LAST_P50, 2.0, 1.3),
];

/// Measures one target.
pub(crate) async fn measure(site: &Site, options: &Options) -> Result<Sample, BenchError> {
    let shares = (options.watchers, options.watchers);
    let standing = stand(site, shares, Selection::Key(KEY), options.content_bytes).await?;
    let tally = &standing.tally;
    let writer = Writer::connect(site, tally).await?;
    let until_last = Histogram::new();
    let publish = async |count: u32| {
        let pause = Duration::from_secs(1) / options.rate;
        let mut due = Instant::now();
        for _ in 0..count {
            due = (due + pause).max(Instant::now());
            wait_until(due).await;
            until_last.record(publish_one(&writer, tally, due, options.watchers).await?);
        }
        Ok::<(), BenchError>(())
    };
    publish(WARM_UP).await?;
    tally.clear();
    until_last.clear();
    let meter = Meter::start(site).await?;
    let writes = options.rate * options.seconds;
    publish(writes).await?;
    let usage = meter.stop(|| tally.delivered.load(Relaxed)).await?;
    let mut sample = standing.sample(usage);
    sample.set(LAST_P50, until_last.quantile_ms(0.5));
    sample.set(LAST_P99, until_last.quantile_ms(0.99));
    warn_of_losses(&mut sample, u64::from(writes) * u64::from(options.watchers));
    Ok(sample)
}

/// Writes a content, and tells how long it takes until all have it.
async fn publish_one(
    writer: &Writer<'_>,
    tally: &Tally,
    due: Instant,
    watchers: u32,
) -> Result<Duration, BenchError> {
    tally.current.store(0, Relaxed);
    tally.last.store(tally.clock.nanos(due), Relaxed);
    writer.write(KEY, due).await?;
    if !tally.wait_until_current(watchers).await? {
        return Err(BenchError::failed("not all watchers get a content"));
    }
    Ok(tally.until_current())
}
