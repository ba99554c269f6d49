//! What the workloads with watchers have in common: one key, written at a fixed rate.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::time::sleep;

use crate::{
    BenchError,
    counters::EtcdCounters,
    meter::{Meter, Usage},
    sample::{ETCD_WATCHERS, Metric, P50, P99, P999, Sample},
    subscribers::{Subscribers, Tally},
    target::Site,
    wire::Selection,
    writer::Writer,
};

/// The key all watch.
pub(super) const KEY: &str = "watched";

/// Resident memory that each idle watcher added, connections included.
pub(super) const KIB_PER_WATCHER: Metric = Metric::small("kib_per_idle_watcher", "KiB/idle");
/// Watches that the server ended, although they read what they got.
pub(super) const LOST: Metric = Metric::neither("lost_watches", "lost watches");
/// Messages for each delivery: below 1 if they were batched.
const MESSAGES: Metric = Metric::neither("messages_per_delivery", "messages");
/// Bytes of messages for each delivery.
const BYTES: Metric = Metric::neither("bytes_per_delivery", "bytes");

/// After which memory is what it stays at.
const SETTLE: Duration = Duration::from_millis(500);

/// How many watch, and what is written.
pub(super) struct Shape {
    /// Streams in all.
    pub(super) streams: u32,
    /// Connections in all.
    pub(super) connections: u32,
    /// Writes in a second.
    pub(super) rate: u32,
    /// Bytes of a value.
    pub(super) value_bytes: u32,
    /// Seconds that are measured.
    pub(super) seconds: u32,
}

/// Watchers that stand, and what they cost so far.
pub(super) struct Standing {
    /// Closes the streams when dropped.
    _subscribers: Subscribers,
    pub(super) tally: Arc<Tally>,
    pub(super) kib_per_watcher: f64,
    pub(super) etcd_watchers: f64,
}

/// Measures deliveries of one key.
pub(super) async fn deliver(site: &Site, shape: &Shape) -> Result<Sample, BenchError> {
    let shares = (shape.streams, shape.connections);
    let standing = stand(site, shares, Selection::Key(KEY), shape.value_bytes).await?;
    let writer = Writer::connect(site, &standing.tally).await?;
    // The first second is for caches, pools and buffers to grow.
    writer.write_at_rate(KEY, (shape.rate, shape.rate)).await?;
    let usage = write(site, &writer, &standing.tally, shape).await?;
    let mut sample = standing.sample(usage);
    let writes = u64::from(shape.rate * shape.seconds);
    warn_of_losses(&mut sample, writes * u64::from(shape.streams));
    Ok(sample)
}

/// Measures what watches weigh that have nothing to read.
pub(super) async fn weigh(site: &Site, shares: (u32, u32)) -> Result<Sample, BenchError> {
    let standing = stand(site, shares, Selection::Key(KEY), 200).await?;
    let mut sample = Sample::default();
    sample.set(KIB_PER_WATCHER, standing.kib_per_watcher);
    sample.set(ETCD_WATCHERS, standing.etcd_watchers);
    Ok(sample)
}

/// Opens watches and weighs them.
pub(super) async fn stand(
    site: &Site,
    shares: (u32, u32),
    selection: Selection<'_>,
    value_bytes: u32,
) -> Result<Standing, BenchError> {
    let tally = Tally::new(value_bytes);
    let before = site.server().rss()?;
    let watch = site.dialect().watch(selection, None);
    let subscribers = Subscribers::open(site, shares, &watch, &tally).await?;
    sleep(SETTLE).await;
    let added = site.server().rss()?.saturating_sub(before);
    Ok(Standing {
        _subscribers: subscribers,
        tally,
        kib_per_watcher: added as f64 / 1024.0 / f64::from(shares.0),
        etcd_watchers: EtcdCounters::read(site.etcd_port()).await?.watchers,
    })
}

/// Writes for as long as is measured.
pub(super) async fn write(
    site: &Site,
    writer: &Writer<'_>,
    tally: &Tally,
    shape: &Shape,
) -> Result<Usage, BenchError> {
    tally.clear();
    let meter = Meter::start(site).await?;
    let writes = (shape.rate * shape.seconds, shape.rate);
    writer.write_at_rate(KEY, writes).await?;
    meter.stop(|| tally.delivered.load(Relaxed)).await
}

/// Says so if less was delivered than was written.
pub(super) fn warn_of_losses(sample: &mut Sample, expected: u64) {
    let delivered = sample.usage.map_or(0, |usage| usage.operations);
    if delivered < expected {
        let share = delivered as f64 * 100.0 / expected as f64;
        sample.warn(format!("delivered {share:.1} % of what was written"));
    }
}

// === impl Standing ===

impl Standing {
    /// What there is to say of deliveries.
    pub(super) fn sample(&self, usage: Usage) -> Sample {
        let mut sample = Sample::of(usage);
        let delivered = usage.operations as f64;
        let tally = &self.tally;
        sample.set(P50, tally.latency.quantile_ms(0.5));
        sample.set(P99, tally.latency.quantile_ms(0.99));
        sample.set(P999, tally.latency.quantile_ms(0.999));
        sample.set(KIB_PER_WATCHER, self.kib_per_watcher);
        sample.set(ETCD_WATCHERS, self.etcd_watchers);
        sample.set(MESSAGES, tally.messages.load(Relaxed) as f64 / delivered);
        sample.set(BYTES, tally.bytes.load(Relaxed) as f64 / delivered);
        sample
    }
}
