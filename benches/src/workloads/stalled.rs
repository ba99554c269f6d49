//! Some subscribers stop reading: what do the others notice, and what do those cost?
//!
//! A stalled stream costs a server something only once what lies before it is full: 64 KiB of windows
//! for each connection, 64 KiB more per stream in a server made with grpc-go, and there a queue of
//! 128 (etcd) or 1,024 (its proxy) messages. By default the peers do not get that far, which favours
//! them; `--streams 1000 --stalled 100 --rate 100 --seconds 20` delivers as much in a second and does.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::time::sleep;

use super::deliveries::{KEY, LOST, Shape, stand, warn_of_losses, write};
use crate::{
    BenchError,
    http2::{Connection, Windows},
    sample::{Goal, Metric, P99, Sample},
    subscribers::{connect, shares},
    target::{Site, Target},
    wire::Selection,
    writer::Writer,
};

/// 99 of 100 deliveries to the others took no longer before anybody stalled.
const P99_BEFORE: Metric = Metric::neither("p99_before_ms", "before p99");
/// How many times longer it is with the stalled ones.
const P99_GROWTH: Metric = Metric::small("p99_growth", "p99 growth");
/// Memory that each stalled watcher added.
const KIB_PER_STALLED: Metric = Metric::small("kib_per_stalled_watcher", "KiB/stalled");

/// What a run of the workload is like.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// How many streams watch the key, stalled ones included.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    streams: u32,
    /// How many streams stop reading, on connections of their own.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    stalled: u32,
    /// Streams on each connection.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=900))]
    streams_per_connection: u32,
    /// Writes in a second.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Bytes of a value.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(24..=60_000))]
    value_bytes: u32,
    /// Seconds that are measured, before and after.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..=600))]
    seconds: u32,
}

/// What is wanted of it. The rate is half of what the peers deliver, so that their latency is not
/// that of a queue anyway.
pub(crate) const GOALS: &[Goal] = &[
    Goal::at_most(P99_GROWTH, 1.2, 1.5),
    Goal::against(Target::GrpcProxy, P99, 20.0, 4.0),
    Goal::at_most(KIB_PER_STALLED, 48.0, 96.0),
];

/// Measures one target.
pub(crate) async fn measure(site: &Site, options: &Options) -> Result<Sample, BenchError> {
    let streams = options.streams.saturating_sub(options.stalled).max(1);
    let connections = |streams: u32| streams.div_ceil(options.streams_per_connection);
    let shape = Shape {
        streams,
        connections: connections(streams),
        rate: options.rate,
        value_bytes: options.value_bytes,
        seconds: options.seconds,
    };
    let all = (streams, shape.connections);
    let standing = stand(site, all, Selection::Key(KEY), options.value_bytes).await?;
    let tally = &standing.tally;
    let writer = Writer::connect(site, tally).await?;
    let second = (shape.rate, shape.rate);
    writer.write_at_rate(KEY, second).await?;
    write(site, &writer, tally, &shape).await?;
    let p99_before = tally.latency.quantile_ms(0.99);

    // What a server does to the others is part of the result.
    tally.tolerate_ends();
    let memory_before = site.server().rss()?;
    let stalled = stall(site, (options.stalled, connections(options.stalled))).await?;
    // Until then the windows of the stalled ones are full.
    writer.write_at_rate(KEY, second).await?;
    let usage = write(site, &writer, tally, &shape).await?;
    let memory = site.server().rss()?.saturating_sub(memory_before);
    drop(stalled);

    let mut sample = standing.sample(usage);
    let p99 = tally.latency.quantile_ms(0.99);
    sample.set(P99_BEFORE, p99_before);
    sample.set(P99_GROWTH, p99 / p99_before.max(0.001));
    sample.set(LOST, tally.ended.load(Relaxed) as f64);
    let each = memory as f64 / 1024.0 / f64::from(options.stalled);
    sample.set(KIB_PER_STALLED, each);
    let writes = u64::from(shape.rate * shape.seconds);
    warn_of_losses(&mut sample, writes * u64::from(streams));
    Ok(sample)
}

/// Opens watches whose connections are never read again. They have the windows that HTTP/2 has by
/// default, as most clients do.
async fn stall(
    site: &Site,
    (streams, connections): (u32, u32),
) -> Result<Vec<Connection>, BenchError> {
    let mut opened = connect(site.port(), connections, Windows::Default).await?;
    let watch = site.dialect().watch(Selection::Key(KEY), None);
    for (connection, share) in opened.iter_mut().zip(shares(streams, connections)) {
        for _ in 0..share {
            connection.start(&watch);
        }
        connection.flush().await?;
    }
    // Nothing tells when they stand, as nobody reads.
    sleep(Duration::from_millis(500)).await;
    Ok(opened)
}
